#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(ShapeKernels<float>&) {}
void fill(ShapeKernels<double>&) {}

}  // namespace lamella::cuda
