// Gradients of reductions and of the variance.
#include "kernels/cuda/reduce_parts.h"
#include "kernels/cuda/reduce_spread.h"
#include "kernels/cuda/reducers.h"

namespace lamella::cuda {
namespace {

template <class T>
__device__ bool same(T a, T b) {
  return a == b || (a != a && b != b);
}

// How many elements are their output's extremum.
template <class T>
struct TieReducer : ArrayReducer<T> {
  using Acc = T;
  using Given = T;
  const T* y = nullptr;
  T* ties = nullptr;

  __device__ T given(int64_t out, int64_t) const { return y[out]; }
  __device__ T lift(T v, T top) const { return same(v, top) ? T(1) : T(0); }
  template <int kVec, int N>
  __device__ T tile(const T (&v)[N], int n, int64_t, int64_t, T top) const {
    return tile_tree(*this, v, n, top);
  }
  __device__ T identity() const { return 0; }
  __device__ T combine(T a, T b) const { return a + b; }
  __device__ void finish(int64_t out, T count, T) const { ties[out] = count; }
};

// The product of all but the zeros, and how many of these there are.
template <class T>
struct RestReducer : ArrayReducer<T> {
  struct Acc {
    T rest, zeros;
  };
  using Given = typename ArrayReducer<T>::Given;
  T* rest = nullptr;
  T* zeros = nullptr;

  __device__ Acc lift(T v, const Given&) const { return v == 0 ? Acc{1, 1} : Acc{v, 0}; }
  template <int kVec, int N>
  __device__ Acc tile(const T (&v)[N], int n, int64_t, int64_t, const Given& g) const {
    return tile_tree(*this, v, n, g);
  }
  __device__ Acc identity() const { return {1, 0}; }
  __device__ Acc combine(const Acc& a, const Acc& b) const { return {a.rest * b.rest, a.zeros + b.zeros}; }
  __device__ void finish(int64_t out, const Acc& a, const Given&) const {
    rest[out] = a.rest;
    zeros[out] = a.zeros;
  }
};

template <class T>
struct ScaledGrad {
  static constexpr int kOuts = 1;
  static constexpr bool kReadsX = false;
  T scale;
  __device__ T operator()(T, const T (&dy)[1]) const { return scale * dy[0]; }
};
template <class T>
struct ExtremeGrad {
  static constexpr int kOuts = 3;
  static constexpr bool kReadsX = true;
  __device__ T operator()(T x, const T (&y_dy_ties)[3]) const {
    return same(x, y_dy_ties[0]) ? y_dy_ties[1] / y_dy_ties[2] : T(0);
  }
};
// The product of the others.
template <class T>
struct ProductGrad {
  static constexpr int kOuts = 3;
  static constexpr bool kReadsX = true;
  __device__ T operator()(T x, const T (&dy_rest_zeros)[3]) const {
    const T others = x == 0 ? dy_rest_zeros[1] : dy_rest_zeros[1] / x;
    return dy_rest_zeros[0] * (dy_rest_zeros[2] - (x == 0 ? T(1) : T(0)) == 0 ? others : T(0));
  }
};
template <class T>
struct SquaresGrad {
  static constexpr int kOuts = 1;
  static constexpr bool kReadsX = true;
  __device__ T operator()(T x, const T (&dy)[1]) const { return (x + x) * dy[0]; }
};
template <class T>
struct NormGrad {
  static constexpr int kOuts = 2;
  static constexpr bool kReadsX = true;
  __device__ T operator()(T x, const T (&y_dy)[2]) const { return y_dy[0] == 0 ? T(0) : x * (y_dy[1] / y_dy[0]); }
};
// dvar/dx = 2 (x - mean) / (n - ddof); the root's is that over 2 root, and 0 where nothing varies.
template <class T>
struct VarGrad {
  static constexpr int kOuts = 2;
  static constexpr bool kReadsX = true;
  T scale;
  __device__ T operator()(T x, const T (&mean_dy)[2]) const { return (x - mean_dy[0]) * (scale * mean_dy[1]); }
};
template <class T>
struct RootGrad {
  static constexpr int kOuts = 3;
  static constexpr bool kReadsX = true;
  T scale;
  __device__ T operator()(T x, const T (&mean_dy_root)[3]) const {
    return mean_dy_root[2] == 0 ? T(0) : (x - mean_dy_root[0]) * (scale * mean_dy_root[1] / mean_dy_root[2]);
  }
};

size_t lines(size_t bytes) { return (bytes + 255) / 256 * 256; }
template <class T>
size_t output_bytes(const ReduceSpace& s) {
  return lines(static_cast<size_t>(s.outputs()) * sizeof(T));
}

template <class T>
size_t reduce_backward_workspace(const ReduceBackwardParams<T>& p, int) {
  const ReduceSpace s(p.dims);
  switch (p.fn) {
    case Reduce::kMax:
    case Reduce::kMin:
      return output_bytes<T>(s) + reduce_workspace_bytes<TieReducer<T>>(s);
    case Reduce::kProd:
      return 2 * output_bytes<T>(s) + reduce_workspace_bytes<RestReducer<T>>(s);
    default:
      return 0;
  }
}

template <class T>
void reduce_backward(const Context& ctx, const ReduceBackwardParams<T>& p) {
  const ReduceSpace s(p.dims);
  char* const workspace = static_cast<char*>(ctx.workspace);
  switch (p.fn) {
    case Reduce::kSum:
    case Reduce::kMean: {
      const T scale = p.fn == Reduce::kSum ? T(1) : static_cast<T>(1.0 / static_cast<double>(s.count()));
      return run_spread(ctx, ScaledGrad<T>{scale}, p.dims, p.x, {p.dy}, p.dx);
    }
    case Reduce::kMax:
    case Reduce::kMin: {
      TieReducer<T> r;
      r.x = p.x;
      r.y = p.y;
      r.ties = reinterpret_cast<T*>(workspace);
      run_reduction(ctx, r, s, aligned16(p.x), workspace + output_bytes<T>(s));
      return run_spread(ctx, ExtremeGrad<T>(), p.dims, p.x, {p.y, p.dy, r.ties}, p.dx);
    }
    case Reduce::kProd: {
      RestReducer<T> r;
      r.x = p.x;
      r.rest = reinterpret_cast<T*>(workspace);
      r.zeros = reinterpret_cast<T*>(workspace + output_bytes<T>(s));
      run_reduction(ctx, r, s, aligned16(p.x), workspace + 2 * output_bytes<T>(s));
      return run_spread(ctx, ProductGrad<T>(), p.dims, p.x, {p.dy, r.rest, r.zeros}, p.dx);
    }
    case Reduce::kSumSquares:
      return run_spread(ctx, SquaresGrad<T>(), p.dims, p.x, {p.dy}, p.dx);
    case Reduce::kNorm:
    case Reduce::kCount:
      return run_spread(ctx, NormGrad<T>(), p.dims, p.x, {p.y, p.dy}, p.dx);
  }
}

template <class T>
void var_backward(const Context& ctx, const VarParams<T>& p) {
  const auto n = static_cast<double>(ReduceSpace(p.dims).count());
  const T scale = static_cast<T>((p.root ? 1.0 : 2.0) / (n > p.ddof ? n - p.ddof : 0));
  if (p.root) return run_spread(ctx, RootGrad<T>{scale}, p.dims, p.x, {p.mean, p.dy, p.var}, p.dx);
  run_spread(ctx, VarGrad<T>{scale}, p.dims, p.x, {p.mean, p.dy}, p.dx);
}

template <class T>
void fill_part(ReduceKernels<T>& k) {
  k.reduce_backward_workspace = reduce_backward_workspace<T>;
  k.reduce_backward = reduce_backward<T>;
  k.var_backward = var_backward<T>;
}

}  // namespace

void fill_reduce_backward(ReduceKernels<float>& k) { fill_part(k); }
void fill_reduce_backward(ReduceKernels<double>& k) { fill_part(k); }

}  // namespace lamella::cuda
