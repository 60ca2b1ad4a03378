#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(PoolKernels<float>&) {}
void fill(PoolKernels<double>&) {}

}  // namespace lamella::cuda
