#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(CountKernels<float>&) {}
void fill(CountKernels<double>&) {}

}  // namespace lamella::cuda
