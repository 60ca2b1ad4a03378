#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {

void fill_pool_forward(PoolKernels<float>&);
void fill_pool_backward(PoolKernels<float>&);
void fill(PoolKernels<float>& k) {
  fill_pool_forward(k);
  fill_pool_backward(k);
}
#if defined(LAMELLA_ISA_PORTABLE)
void fill_pool_forward(PoolKernels<double>&);
void fill_pool_backward(PoolKernels<double>&);
void fill(PoolKernels<double>& k) {
  fill_pool_forward(k);
  fill_pool_backward(k);
}
#endif

}  // namespace lamella::LAMELLA_NS
