#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(GatherKernels<float>&) {}
void fill(GatherKernels<double>&) {}

}  // namespace lamella::cuda
