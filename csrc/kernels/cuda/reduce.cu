// Sums, means, extrema, products and norms.
#include "kernels/cuda/reduce_parts.h"
#include "kernels/cuda/reducers.h"
#include "kernels/cuda/tables.h"
#include "kernels/reduce.h"

namespace lamella::cuda {
namespace {

template <class T, bool kSquares>
struct SumReducer : ArrayReducer<T> {
  using Acc = T;
  using Given = typename ArrayReducer<T>::Given;
  T* y = nullptr;
  T divisor = 1;
  bool root = false;

  __device__ T lift(T v, const Given&) const { return kSquares ? v * v : v; }
  template <int kVec, int N>
  __device__ T tile(const T (&v)[N], int n, int64_t, int64_t, const Given& g) const {
    return tile_tree(*this, v, n, g);
  }
  __device__ T identity() const { return 0; }
  __device__ T combine(T a, T b) const { return a + b; }
  __device__ void finish(int64_t out, T total, const Given&) const {
    if (divisor != 1) total /= divisor;
    y[out] = root ? sqrt(total) : total;
  }
};

// The largest, of the numbers times a sign. NaN wins.
template <class T>
struct ExtremeReducer : ArrayReducer<T> {
  using Acc = T;
  using Given = typename ArrayReducer<T>::Given;
  T* y = nullptr;
  T sign = 1;

  __device__ T lift(T v, const Given&) const { return v * sign; }
  template <int kVec, int N>
  __device__ T tile(const T (&v)[N], int n, int64_t, int64_t, const Given& g) const {
    return tile_tree(*this, v, n, g);
  }
  __device__ T identity() const { return T(-INFINITY); }
  __device__ T combine(T a, T b) const { return nan_max(a, b); }
  __device__ void finish(int64_t out, T top, const Given&) const { y[out] = top * sign; }
};

template <class T>
struct ProductReducer : ArrayReducer<T> {
  using Acc = T;
  using Given = typename ArrayReducer<T>::Given;
  T* y = nullptr;

  __device__ T lift(T v, const Given&) const { return v; }
  template <int kVec, int N>
  __device__ T tile(const T (&v)[N], int n, int64_t, int64_t, const Given& g) const {
    return tile_tree(*this, v, n, g);
  }
  __device__ T identity() const { return 1; }
  __device__ T combine(T a, T b) const { return a * b; }
  __device__ void finish(int64_t out, T product, const Given&) const { y[out] = product; }
};

template <class T>
size_t reduce_workspace(const ReduceParams<T>& p, int) {
  // The partial results of all of them are numbers.
  return reduce_workspace_bytes<SumReducer<T, false>>(ReduceSpace(p.dims));
}

template <class T>
void reduce(const Context& ctx, const ReduceParams<T>& p) {
  const ReduceSpace s(p.dims);
  const auto run = [&](auto r) {
    r.x = p.x;
    r.y = p.y;
    run_reduction(ctx, r, s, aligned16(p.x), ctx.workspace);
  };
  switch (p.fn) {
    case Reduce::kSum:
    case Reduce::kMean: {
      SumReducer<T, false> r;
      if (p.fn == Reduce::kMean) r.divisor = static_cast<T>(s.count());
      return run(r);
    }
    case Reduce::kMax:
    case Reduce::kMin: {
      ExtremeReducer<T> r;
      if (p.fn == Reduce::kMin) r.sign = -1;
      return run(r);
    }
    case Reduce::kProd:
      return run(ProductReducer<T>());
    case Reduce::kSumSquares:
    case Reduce::kNorm:
    case Reduce::kCount: {
      SumReducer<T, true> r;
      r.root = p.fn == Reduce::kNorm;
      return run(r);
    }
  }
}

template <class T>
void fill_kernels(ReduceKernels<T>& k) {
  k.reduce_workspace = reduce_workspace<T>;
  k.reduce = reduce<T>;
  fill_reduce_backward(k);
  fill_var(k);
  fill_arg(k);
  fill_sum_squares(k);
}

}  // namespace

void fill(ReduceKernels<float>& k) { fill_kernels(k); }
void fill(ReduceKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
