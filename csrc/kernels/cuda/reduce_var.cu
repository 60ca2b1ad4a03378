// Mean and variance in one pass over memory: the numbers of a vector's tile around their own mean, tiles put together
// by their means (see Moments).
#include "kernels/cuda/reduce_parts.h"
#include "kernels/cuda/reducers.h"

namespace lamella::cuda {
namespace {

template <class T>
struct VarReducer : MomentsReducer<T> {
  T* mean = nullptr;
  T* var = nullptr;
  T divisor = 1;
  bool root = false;

  __device__ void finish(int64_t out, const Moments<T>& m, T shift) const {
    const T v = m.square / divisor;
    // Of nothing: not a number.
    mean[out] = m.n == 0 ? m.square / m.n : shift + m.mean;
    var[out] = root ? sqrt(v) : v;
  }
};

template <class T>
size_t var_workspace(const VarParams<T>& p, int) {
  return reduce_workspace_bytes<VarReducer<T>>(ReduceSpace(p.dims));
}

template <class T>
void var(const Context& ctx, const VarParams<T>& p) {
  const ReduceSpace s(p.dims);
  const auto n = static_cast<double>(s.count());
  VarReducer<T> r;
  r.x = p.x;
  r.mean = p.mean;
  r.var = p.var;
  r.divisor = static_cast<T>(n > p.ddof ? n - p.ddof : 0);
  r.root = p.root;
  run_reduction(ctx, r, s, aligned16(p.x), ctx.workspace);
}

template <class T>
void fill_part(ReduceKernels<T>& k) {
  k.var_workspace = var_workspace<T>;
  k.var = var<T>;
}

}  // namespace

void fill_var(ReduceKernels<float>& k) { fill_part(k); }
void fill_var(ReduceKernels<double>& k) { fill_part(k); }

}  // namespace lamella::cuda
