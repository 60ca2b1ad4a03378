#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(RnnKernels<float>&) {}
void fill(RnnKernels<double>&) {}

}  // namespace lamella::cuda
