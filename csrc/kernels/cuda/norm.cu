#include "kernels/cuda/norm_parts.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

template <class T>
void fill_kernels(NormKernels<T>& k) {
  fill_channel_norm(k);
  fill_channel_norm_backward(k);
  fill_row_norm(k);
  fill_row_norm_backward(k);
}

}  // namespace

void fill(NormKernels<float>& k) { fill_kernels(k); }
void fill(NormKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
