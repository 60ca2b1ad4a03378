// Loops over one contiguous row: whole vectors and a masked tail from one lambda, sums with bounded rounding error.
#pragma once

#include "kernels/cpu/lane_fold.h"
#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

// The two kinds of step: a whole vector, or its first n lanes.
struct Whole {};
struct Part {
  int64_t n;
};

template <class T>
LAMELLA_INLINE Vec<T> load(const T* p, Whole) {
  return Vec<T>::load(p);
}
template <class T>
LAMELLA_INLINE Vec<T> load(const T* p, Part part) {
  return Vec<T>::load(p, part.n);
}
template <class T>
LAMELLA_INLINE void store(T* p, Vec<T> v, Whole) {
  v.store(p);
}
template <class T>
LAMELLA_INLINE void store(T* p, Vec<T> v, Part part) {
  v.store(p, part.n);
}

// True in the lanes below n.
template <class T>
LAMELLA_INLINE Mask<T> lanes_below(int64_t n) {
  static constexpr T kLane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return lt(Vec<T>::load(kLane), Vec<T>(static_cast<T>(n)));
}
template <class T>
LAMELLA_INLINE Vec<T> keep_lanes(Vec<T> v, Whole, Vec<T>) {
  return v;
}
template <class T>
LAMELLA_INLINE Vec<T> keep_lanes(Vec<T> v, Part part, Vec<T> other) {
  return select(lanes_below<T>(part.n), v, other);
}

// f(i, Whole or Part) for every vector of [begin, end).
template <class T, class F>
LAMELLA_INLINE void for_each_vec(int64_t begin, int64_t end, const F& f) {
  constexpr int W = Vec<T>::W;
  int64_t i = begin;
  for (; i + W <= end; i += W) f(i, Whole{});
  if (i < end) f(i, Part{end - i});
}

// The sum of f(i, Whole or Part) over [begin, end): four accumulators inside blocks of 2048, the blocks in double, so
// that the error does not grow with the length of the row. f may store on its way.
template <class T, class F>
LAMELLA_INLINE double sum_vecs(int64_t begin, int64_t end, const F& f) {
  constexpr int W = Vec<T>::W;
  constexpr int64_t kBlock = 2048;
  if (end - begin <= W) {
    const Part part{end - begin};
    return static_cast<double>(sum(keep_lanes(f(begin, part), part, Vec<T>::zero())));
  }
  double total = 0;
  for (int64_t b = begin; b < end; b += kBlock) {
    const int64_t e = b + kBlock < end ? b + kBlock : end;
    Vec<T> s0 = Vec<T>::zero(), s1 = s0, s2 = s0, s3 = s0;
    int64_t i = b;
    for (; i + 4 * W <= e; i += 4 * W) {
      s0 = s0 + f(i, Whole{});
      s1 = s1 + f(i + W, Whole{});
      s2 = s2 + f(i + 2 * W, Whole{});
      s3 = s3 + f(i + 3 * W, Whole{});
    }
    for (; i + W <= e; i += W) s0 = s0 + f(i, Whole{});
    if (i < e) s1 = s1 + keep_lanes(f(i, Part{e - i}), Part{e - i}, Vec<T>::zero());
    total += static_cast<double>(sum((s0 + s1) + (s2 + s3)));
  }
  return total;
}

// The largest element, NaNs passed over; -inf for a row of none or of NaNs only.
template <class T>
LAMELLA_INLINE T row_max(const T* x, int64_t n) {
  constexpr int W = Vec<T>::W;
  const Vec<T> lowest(static_cast<T>(-__builtin_inf()));
  const auto larger = [](Vec<T> a, Vec<T> b) { return max(a, b); };
  if (n <= W) return fold_lanes(max(keep_lanes(Vec<T>::load(x, n), Part{n}, lowest), lowest), larger);
  Vec<T> m0 = lowest, m1 = lowest, m2 = lowest, m3 = lowest;
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
    m0 = max(Vec<T>::load(x + i), m0);
    m1 = max(Vec<T>::load(x + i + W), m1);
    m2 = max(Vec<T>::load(x + i + 2 * W), m2);
    m3 = max(Vec<T>::load(x + i + 3 * W), m3);
  }
  for (; i + W <= n; i += W) m0 = max(Vec<T>::load(x + i), m0);
  if (i < n) m1 = max(keep_lanes(Vec<T>::load(x + i, n - i), Part{n - i}, lowest), m1);
  return fold_lanes(max(max(m0, m1), max(m2, m3)), larger);
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
