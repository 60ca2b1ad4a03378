// What pooling makes of a window's taps: the maximum, the maximum and where it was, the mean. For V channels side by
// side, which stand in memory as S.
#pragma once

#include "kernels/cuda/pool_windows.h"

namespace lamella::cuda {
namespace {

constexpr int kNoTap = 0x7fffffff;

template <class S, int V_>
struct MaxFold {
  using Stored = S;
  using T = Real<S>;
  static constexpr int V = V_;
  static constexpr bool kArg = false;
  T m[V];

  static constexpr T kNothing = -static_cast<T>(INFINITY);  // changes no result
  __device__ void begin(int) {
    for (int k = 0; k < V; ++k) m[k] = kNothing;
  }
  __device__ void add(const Group<T, V>& v, int) {
#pragma unroll
    for (int k = 0; k < V; ++k) m[k] = nan_max(m[k], v.v[k]);
  }
  __device__ void end_row() {}
  __device__ void merge(const Group<T, V>& v, const Group<int, V>&) { add(v, 0); }
  __device__ Group<T, V> value() const {
    Group<T, V> g;
    for (int k = 0; k < V; ++k) g.v[k] = m[k];
    return g;
  }
  __device__ Group<int, V> taps() const { return same<int, V>(0); }
  __device__ Group<T, V> result(T) const { return value(); }
};

template <class S, int V_>
struct ArgMaxFold {
  using Stored = S;
  using T = Real<S>;
  static constexpr int V = V_;
  static constexpr bool kArg = true;
  T m[V];
  int where[V];

  static constexpr T kNothing = -static_cast<T>(INFINITY);
  __device__ void begin(int first_tap) {
    for (int k = 0; k < V; ++k) {
      m[k] = kNothing;
      where[k] = first_tap;
    }
  }
  // In the order of the taps: ties go to the first, of several NaN the last is taken.
  __device__ void add(const Group<T, V>& v, int tap) {
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const bool take = v.v[k] > m[k] || v.v[k] != v.v[k];
      m[k] = take ? v.v[k] : m[k];
      where[k] = take ? tap : where[k];
    }
  }
  __device__ void end_row() {}
  // In any order, with the same result.
  __device__ void merge(const Group<T, V>& v, const Group<int, V>& taps) {
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const T b = v.v[k];
      const bool take = b != b ? m[k] == m[k] || taps.v[k] > where[k] : b > m[k] || (b == m[k] && taps.v[k] < where[k]);
      m[k] = take ? b : m[k];
      where[k] = take ? taps.v[k] : where[k];
    }
  }
  __device__ Group<T, V> value() const {
    Group<T, V> g;
    for (int k = 0; k < V; ++k) g.v[k] = m[k];
    return g;
  }
  __device__ Group<int, V> taps() const {
    Group<int, V> g;
    for (int k = 0; k < V; ++k) g.v[k] = where[k];
    return g;
  }
  __device__ Group<T, V> result(T) const { return value(); }
};

// Rows are added up on their own: the error grows with height + width of the window, not with its area.
template <class S, int V_>
struct MeanFold {
  using Stored = S;
  using T = Real<S>;
  static constexpr int V = V_;
  static constexpr bool kArg = false;
  T total[V], row[V];

  static constexpr T kNothing = 0;
  __device__ void begin(int) {
    for (int k = 0; k < V; ++k) total[k] = row[k] = 0;
  }
  __device__ void add(const Group<T, V>& v, int) {
#pragma unroll
    for (int k = 0; k < V; ++k) row[k] += v.v[k];
  }
  __device__ void end_row() {
#pragma unroll
    for (int k = 0; k < V; ++k) {
      total[k] += row[k];
      row[k] = 0;
    }
  }
  __device__ void merge(const Group<T, V>& v, const Group<int, V>&) {
#pragma unroll
    for (int k = 0; k < V; ++k) total[k] += v.v[k];
  }
  __device__ Group<T, V> value() const {
    Group<T, V> g;
    for (int k = 0; k < V; ++k) g.v[k] = total[k];
    return g;
  }
  __device__ Group<int, V> taps() const { return same<int, V>(0); }
  __device__ Group<T, V> result(T divisor) const {
    Group<T, V> g;
#pragma unroll
    for (int k = 0; k < V; ++k) g.v[k] = total[k] / divisor;
    return g;
  }
};

// How average divides; max ignores it.
struct Divide {
  bool include_pad = false;
  int64_t fixed = 0;
};

// Where results go. `at`: of the first of V channels.
template <class S>
struct PoolOut {
  S* y;
  void* argmax;
  bool wide;  // tap numbers of 32 bits

  template <class Fold, int V = Fold::V>
  __device__ void put(int64_t at, const Fold& fold, Real<S> divisor) const {
    store_rounded<V>(y + at, fold.result(divisor));
    if constexpr (Fold::kArg) {
      const Group<int, V> taps = fold.taps();
      if (wide) {
        store_group<V>(static_cast<int*>(argmax) + at, taps);
      } else {
        Group<uint8_t, V> bytes;
        for (int k = 0; k < V; ++k) bytes.v[k] = static_cast<uint8_t>(taps.v[k]);
        store_group<V>(static_cast<uint8_t*>(argmax) + at, bytes);
      }
    }
  }
};

}  // namespace
}  // namespace lamella::cuda
