#include "kernels/cuda/index_check.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(LossKernels<float>& k) { k.check_labels = check_indices; }
void fill(LossKernels<double>& k) { k.check_labels = check_indices; }

}  // namespace lamella::cuda
