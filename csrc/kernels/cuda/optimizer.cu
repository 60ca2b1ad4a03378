#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(OptimizerKernels<float>&) {}
void fill(OptimizerKernels<double>&) {}

}  // namespace lamella::cuda
