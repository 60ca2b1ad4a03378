#include "kernels/cuda/index_check.h"
#include "kernels/cuda/loss_parts.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

template <class T>
void fill_kernels(LossKernels<T>& k) {
  k.check_labels = check_indices;
  fill_cross_entropy(k);
  fill_element_losses(k);
  fill_accuracy(k);
}

}  // namespace

void fill(LossKernels<float>& k) { fill_kernels(k); }
void fill(LossKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
