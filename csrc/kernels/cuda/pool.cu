#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill_pool_forward(PoolKernels<float>&);
void fill_pool_backward(PoolKernels<float>&);
void fill(PoolKernels<float>& k) {
  fill_pool_forward(k);
  fill_pool_backward(k);
}
void fill_pool_forward(PoolKernels<double>&);
void fill_pool_backward(PoolKernels<double>&);
void fill(PoolKernels<double>& k) {
  fill_pool_forward(k);
  fill_pool_backward(k);
}

}  // namespace lamella::cuda
