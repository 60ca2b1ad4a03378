#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(EmbeddingKernels<float>&) {}
void fill(EmbeddingKernels<double>&) {}

}  // namespace lamella::cuda
