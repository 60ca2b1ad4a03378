// Slices by index along an axis, and the gradient that goes back to them.
#include "kernels/cuda/resample_parts.h"
#include "kernels/cuda/row_gather.h"
#include "kernels/cuda/row_sums.h"

namespace lamella::cuda {
namespace {

void gather(const Context& ctx, const GatherParams& p) {
  gather_rows(ctx, {p.src, p.dst, p.index, p.outer, p.rows, p.inner * p.element_bytes});
}

template <class T>
void gather_grad(const Context& ctx, const GatherGradParams<T>& p) {
  sum_rows(ctx, RowSums<T>{p.index, p.outer, p.rows, p.inner, -1, p.grad_out, p.grad_in});
}

template <class T>
void fill_kernels(ResampleKernels<T>& k) {
  k.gather = gather;
  k.gather_grad = gather_grad<T>;
}

}  // namespace

void fill_gather(ResampleKernels<float>& k) { fill_kernels(k); }
void fill_gather(ResampleKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
