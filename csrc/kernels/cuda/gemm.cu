#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(GemmKernels<float>&) {}
void fill(GemmKernels<double>&) {}

}  // namespace lamella::cuda
