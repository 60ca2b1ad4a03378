#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(AttentionKernels<float>&) {}
void fill(AttentionKernels<double>&) {}

}  // namespace lamella::cuda
