#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(ReduceKernels<float>&) {}
void fill(ReduceKernels<double>&) {}

}  // namespace lamella::cuda
