// Folding the taps of windows: the accumulators of max, max with argmax and average, and the loops over taps and
// channels that they share.
#pragma once

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/max_inl.h"
#include "kernels/cpu/pool_windows.h"
#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
struct PoolOut {
  T* y;
  void* argmax;  // same offset as y
  T divisor;
  bool stream;
  LAMELLA_INLINE void put(Vec<T> v, int64_t at, int64_t lanes) const {
    if (lanes < Vec<T>::W) return v.store(y + at, lanes);
    if (stream) return v.stream(y + at);
    v.store(y + at);
  }
};

template <class T>
struct MaxAcc {
  using Real = T;
  Vec<T> m;
  LAMELLA_INLINE void begin(IVec<T>) { m = Vec<T>(-static_cast<T>(__builtin_inf())); }
  LAMELLA_INLINE void add(Vec<T> v, IVec<T>) { m = max_or_nan(m, v); }
  LAMELLA_INLINE void end_row() {}
  LAMELLA_INLINE void finish(const PoolOut<T>& out, int64_t at, int64_t lanes) const { out.put(m, at, lanes); }
};

template <class T, class Index>
struct ArgMaxAcc {
  using Real = T;
  Vec<T> m;
  IVec<T> where;
  LAMELLA_INLINE void begin(IVec<T> tap) {
    m = Vec<T>(-static_cast<T>(__builtin_inf()));
    where = tap;
  }
  LAMELLA_INLINE void add(Vec<T> v, IVec<T> tap) { take_larger(v, tap, m, where); }
  LAMELLA_INLINE void end_row() {}
  LAMELLA_INLINE void finish(const PoolOut<T>& out, int64_t at, int64_t lanes) const {
    out.put(m, at, lanes);
    store_narrow<T>(where, static_cast<Index*>(out.argmax) + at, lanes);
  }
};

// Row sums are added up on their own: the error grows with height + width of the window, not with its area.
template <class T>
struct MeanAcc {
  using Real = T;
  Vec<T> total, row;
  LAMELLA_INLINE void begin(IVec<T>) { total = row = Vec<T>::zero(); }
  LAMELLA_INLINE void add(Vec<T> v, IVec<T>) { row = row + v; }
  LAMELLA_INLINE void end_row() {
    total = total + row;
    row = Vec<T>::zero();
  }
  LAMELLA_INLINE void finish(const PoolOut<T>& out, int64_t at, int64_t lanes) const {
    out.put(total / Vec<T>(out.divisor), at, lanes);
  }
};

// Where the valid taps of a window lie relative to the first of them, in elements.
struct Taps {
  int64_t rows, cols;
  int64_t row_step, col_step;
  int64_t number, row_number;  // number of the first tap; what a row adds to the numbers
};

template <class T>
struct LoadWhole {
  LAMELLA_INLINE Vec<T> operator()(const T* p, int u) const { return Vec<T>::load(p + u * Vec<T>::W); }
};
template <class T>
struct LoadFirst {
  int64_t lanes;
  LAMELLA_INLINE Vec<T> operator()(const T* p, int) const { return Vec<T>::load(p, lanes); }
};
// Lanes that lie within 2*W elements (several narrow pixels two apart).
template <class T>
struct LoadPair {
  IVec<T> index;
  LAMELLA_INLINE Vec<T> operator()(const T* p, int) const {
    return pick(Vec<T>::load(p), Vec<T>::load(p + Vec<T>::W), index);
  }
};
template <class T>
struct LoadPairBefore {
  IVec<T> index;
  const T* end;  // nothing is read from here on
  LAMELLA_INLINE Vec<T> operator()(const T* p, int) const {
    return pick(Vec<T>::load(p, end - p), Vec<T>::load(p + Vec<T>::W, end - p - Vec<T>::W), index);
  }
};
template <class T>
struct LoadGather {
  IVec<T> index;
  LAMELLA_INLINE Vec<T> operator()(const T* p, int) const { return gather(p, index); }
};

// KH, KW: the window's size where it is known at compile time, else 0.
template <class Acc, int U, int KH, int KW, class Load>
LAMELLA_INLINE void fold_taps(const Taps& k, const typename Acc::Real* x, const Load& load, Acc (&acc)[U]) {
  using T = typename Acc::Real;
  using I = typename IntOf<T>::type;
  const int64_t rows = KH ? KH : k.rows, cols = KW ? KW : k.cols;
  IVec<T> first(static_cast<I>(k.number));
  const IVec<T> one(1), row_number(static_cast<I>(k.row_number));
  for (int u = 0; u < U; ++u) acc[u].begin(first);
  for (int64_t i = 0; i < rows; ++i) {
    IVec<T> tap = first;
    for (int64_t j = 0; j < cols; ++j) {
      const T* p = x + i * k.row_step + j * k.col_step;
      for (int u = 0; u < U; ++u) acc[u].add(load(p, u), tap);
      tap = tap + one;
    }
    for (int u = 0; u < U; ++u) acc[u].end_row();
    first = first + row_number;
  }
}

template <class Acc, int U, int KH, int KW, class T = typename Acc::Real>
LAMELLA_INLINE void fold_tile(const Taps& k, const T* x, const PoolOut<T>& out, int64_t at) {
  Acc acc[U];
  fold_taps<Acc, U, KH, KW>(k, x, LoadWhole<T>{}, acc);
  for (int u = 0; u < U; ++u) acc[u].finish(out, at + u * Vec<T>::W, Vec<T>::W);
}

// All `c` contiguous elements of one output from the first tap at x.
template <class Acc, int KH, int KW, class T = typename Acc::Real>
LAMELLA_INLINE void fold_channels(const Taps& k, const T* x, const PoolOut<T>& out, int64_t at, int64_t c) {
  constexpr int W = Vec<T>::W;
  int64_t ch = 0;
  for (; ch + 4 * W <= c; ch += 4 * W) fold_tile<Acc, 4, KH, KW>(k, x + ch, out, at + ch);
  for (; ch + W <= c; ch += W) fold_tile<Acc, 1, KH, KW>(k, x + ch, out, at + ch);
  if (ch < c) {
    Acc acc[1];
    fold_taps<Acc, 1, KH, KW>(k, x + ch, LoadFirst<T>{c - ch}, acc);
    acc[0].finish(out, at + ch, c - ch);
  }
}

// A run of outputs that all see the same taps, `step` inputs (times c) apart.
template <class Acc, int KH, int KW, class T = typename Acc::Real>
LAMELLA_INLINE void fold_wide(const Taps& k, const T* x, int64_t step, const PoolOut<T>& out, int64_t count,
                              int64_t c) {
  for (int64_t o = 0; o < count; ++o) fold_channels<Acc, KH, KW>(k, x + o * step * c, out, o * c, c);
}

// The same for pixels narrower than a vector: several of them share one. out.y[count * c) is written, nothing beyond;
// x_end bounds what may be read.
template <class Acc, int KH, int KW, class T = typename Acc::Real>
LAMELLA_INLINE void fold_narrow(const Taps& k, const T* x, const T* x_end, int64_t step, const PoolOut<T>& out,
                                int64_t count, int64_t c) {
  constexpr int W = Vec<T>::W;
  using I = typename IntOf<T>::type;
  if (step == 1) return fold_channels<Acc, KH, KW>(k, x, out, 0, count * c);
  const int64_t pixels = W / c, lanes = pixels * c;
  const auto positions = [&](int64_t used) {
    I index[W];
    for (int64_t l = 0; l < W; ++l) index[l] = static_cast<I>(l < used ? l / c * step * c + l % c : 0);
    return IVec<T>::load(index);
  };
  const IVec<T> where = positions(lanes);
  const int64_t reach = (k.rows - 1) * k.row_step + (k.cols - 1) * k.col_step + 2 * W;  // of a pair of loads
  const int64_t end = count * c;
  for (int64_t at = 0; at < end; at += lanes, x += pixels * step * c) {
    Acc acc[1];
    if (step == 2 && x + reach <= x_end) {
      fold_taps<Acc, 1, KH, KW>(k, x, LoadPair<T>{where}, acc);
    } else if (step == 2) {
      fold_taps<Acc, 1, KH, KW>(k, x, LoadPairBefore<T>{where, x_end}, acc);
    } else if (at + lanes <= end) {
      fold_taps<Acc, 1, KH, KW>(k, x, LoadGather<T>{where}, acc);
    } else {
      fold_taps<Acc, 1, KH, KW>(k, x, LoadGather<T>{positions(end - at)}, acc);
    }
    // A whole vector where there is room: the next store overwrites the lanes that mean nothing.
    acc[0].finish(out, at, at + W <= end ? W : smaller(lanes, end - at));
  }
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
