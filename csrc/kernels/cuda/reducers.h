// The monoids that more than one file reduces by (see reduce_engine.h).
#pragma once

#include "kernels/cuda/reduce_engine.h"

namespace lamella::cuda {

// What reducers of one array have in common, whose elements count each by itself.
template <class T>
struct ArrayReducer {
  using Element = T;
  using Value = T;
  struct Given {};
  static constexpr int kUnroll = 8;
  const T* x = nullptr;

  __device__ Given given(int64_t, int64_t) const { return {}; }
  template <int kVec>
  __device__ void load(T (&v)[kVec], int64_t at, int64_t) const {
    load_vector<kVec>(v, x + at);
  }
};

// Of numbers of one kind, or more of them at once: the sum of each.
template <class T, int kCount>
struct Sums {
  T v[kCount];

  __device__ static Sums zero() {
    Sums s;
    for (int i = 0; i < kCount; ++i) s.v[i] = 0;
    return s;
  }
  __device__ friend Sums operator+(const Sums& a, const Sums& b) {
    Sums s;
    for (int i = 0; i < kCount; ++i) s.v[i] = a.v[i] + b.v[i];
    return s;
  }
};

// Count, mean and sum of squares around it, of what is left of numbers when a shift is taken off.
template <class T>
struct Moments {
  T n, mean, square;

  __device__ static Moments none() { return {0, 0, 0}; }
  // Of the first n of v.
  template <int N>
  __device__ static Moments of(const T (&v)[N], int n, T shift) {
    T d[N];
#pragma unroll
    for (int i = 0; i < N; ++i) d[i] = i < n ? v[i] - shift : T(0);
    const T sum = fold_sum(d);
    Moments m{static_cast<T>(n), n == N ? sum * (T(1) / N) : sum / static_cast<T>(n), 0};
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const T e = i < n ? d[i] - m.mean : T(0);
      d[i] = e * e;
    }
    m.square = fold_sum(d);
    return m;
  }
  __device__ friend Moments combined(const Moments& a, const Moments& b) {
    if (b.n == 0) return a;
    if (a.n == 0) return b;
    const T n = a.n + b.n, part = b.n / n, apart = b.mean - a.mean;
    return {n, fma(apart, part, a.mean), (a.square + b.square) + apart * apart * (a.n * part)};
  }
};

// Of outputs whose numbers lie near their first: they are shifted by that.
template <class T>
struct MomentsReducer {
  using Element = T;
  using Value = T;
  using Acc = Moments<T>;
  using Given = T;
  static constexpr int kUnroll = 8;
  const T* x = nullptr;

  __device__ T given(int64_t, int64_t first) const { return x[first]; }
  template <int kVec>
  __device__ void load(T (&v)[kVec], int64_t at, int64_t) const {
    load_vector<kVec>(v, x + at);
  }
  template <int kVec, int N>
  __device__ Acc tile(const T (&v)[N], int n, int64_t, int64_t, T shift) const {
    return Acc::of(v, n, shift);
  }
  __device__ Acc identity() const { return Acc::none(); }
  __device__ Acc combine(const Acc& a, const Acc& b) const { return combined(a, b); }
};

}  // namespace lamella::cuda
