// Slices by index along an axis.
#include "kernels/cuda/resample_parts.h"
#include "kernels/cuda/row_gather.h"

namespace lamella::cuda {
namespace {

void gather(const Context& ctx, const GatherParams& p) {
  gather_rows(ctx, {p.src, p.dst, p.index, p.outer, p.rows, p.inner * p.element_bytes});
}

template <class T>
void fill_kernels(ResampleKernels<T>& k) {
  k.gather = gather;
}

}  // namespace

void fill_gather(ResampleKernels<float>& k) { fill_kernels(k); }
void fill_gather(ResampleKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
