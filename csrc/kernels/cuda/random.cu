#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(RandomKernels<float>&) {}
void fill(RandomKernels<double>&) {}

}  // namespace lamella::cuda
