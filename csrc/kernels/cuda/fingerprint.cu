#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(FingerprintKernels<float>&) {}
void fill(FingerprintKernels<double>&) {}

}  // namespace lamella::cuda
