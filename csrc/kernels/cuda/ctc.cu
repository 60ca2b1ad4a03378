#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(CtcKernels<float>&) {}
void fill(CtcKernels<double>&) {}

}  // namespace lamella::cuda
