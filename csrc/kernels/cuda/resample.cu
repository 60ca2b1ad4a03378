#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(ResampleKernels<float>&) {}
void fill(ResampleKernels<double>&) {}

}  // namespace lamella::cuda
