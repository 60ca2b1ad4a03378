#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(NormKernels<float>&) {}
void fill(NormKernels<double>&) {}

}  // namespace lamella::cuda
