#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(ConvKernels<float>&) {}
void fill(ConvKernels<double>&) {}

}  // namespace lamella::cuda
