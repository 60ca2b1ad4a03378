// Index of the first extremum; a NaN counts as the extremum.
#include "kernels/cuda/reduce_parts.h"
#include "kernels/cuda/reducers.h"

namespace lamella::cuda {
namespace {

template <class T>
struct Place {
  T value;
  int64_t at;
};

// Of numbers times a sign, the first of the largest.
template <class T>
struct ArgReducer : ArrayReducer<T> {
  using Acc = Place<T>;
  using Given = typename ArrayReducer<T>::Given;
  int64_t* y = nullptr;
  T sign = 1;

  __device__ static bool beats(T a, T b) { return a > b || (a != a && b == b); }
  template <int kVec, int N>
  __device__ Acc tile(const T (&v)[N], int n, int64_t first, int64_t step, const Given&) const {
    T best = v[0] * sign;
    int at = 0;
#pragma unroll
    for (int i = 1; i < N; ++i) {
      const T w = v[i] * sign;
      if (i < n && beats(w, best)) {
        best = w;
        at = i;
      }
    }
    return {best, first + at / kVec * step + at % kVec};
  }
  __device__ Acc identity() const { return {T(-INFINITY), INT64_MAX}; }
  __device__ Acc combine(const Acc& a, const Acc& b) const {
    const bool equal = a.value == b.value || (a.value != a.value && b.value != b.value);
    return beats(b.value, a.value) || (equal && b.at < a.at) ? b : a;
  }
  __device__ void finish(int64_t out, const Acc& place, const Given&) const { y[out] = place.at; }
};

template <class T>
size_t arg_workspace(const ArgParams<T>& p, int) {
  return reduce_workspace_bytes<ArgReducer<T>>(ReduceSpace(p.outer, p.length, p.inner));
}

template <class T>
void arg(const Context& ctx, const ArgParams<T>& p) {
  ArgReducer<T> r;
  r.x = p.x;
  r.y = p.y;
  r.sign = p.largest ? T(1) : T(-1);
  run_reduction(ctx, r, ReduceSpace(p.outer, p.length, p.inner), aligned16(p.x), ctx.workspace);
}

template <class T>
void fill_part(ReduceKernels<T>& k) {
  k.arg_workspace = arg_workspace<T>;
  k.arg = arg<T>;
}

}  // namespace

void fill_arg(ReduceKernels<float>& k) { fill_part(k); }
void fill_arg(ReduceKernels<double>& k) { fill_part(k); }

}  // namespace lamella::cuda
