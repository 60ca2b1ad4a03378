#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(AugmentKernels<float>&) {}
void fill(AugmentKernels<double>&) {}

}  // namespace lamella::cuda
