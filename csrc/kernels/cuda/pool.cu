#include "kernels/cuda/tables.h"

namespace lamella::cuda {

#define LAMELLA_POOL(T)                     \
  void fill_pool_forward(PoolKernels<T>&);  \
  void fill_pool_backward(PoolKernels<T>&); \
  void fill(PoolKernels<T>& k) {            \
    fill_pool_forward(k);                   \
    fill_pool_backward(k);                  \
  }
LAMELLA_POOL(float)
LAMELLA_POOL(double)
LAMELLA_POOL(f16)
LAMELLA_POOL(bf16)

}  // namespace lamella::cuda
