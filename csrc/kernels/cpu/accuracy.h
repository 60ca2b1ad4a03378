// How many predictions are right.
#pragma once

#include "kernels/cpu/index_check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/loss.h"

namespace lamella::LAMELLA_NS {
namespace {

struct AccuracySums {
  double correct = 0, total = 0;
};

template <class T>
LAMELLA_INLINE bool has_nan(const T* x, int64_t n) {
  Mask<T> nan = is_nan(Vec<T>::zero());
  for_each_vec<T>(0, n, [&](int64_t i, auto step) { nan = nan | is_nan(load(x + i, step)); });
  return nan.any();
}

// The first position of the largest element; a NaN counts as the largest, as in NumPy.
template <class T>
LAMELLA_INLINE int64_t first_largest(const T* x, int64_t n) {
  if (has_nan(x, n)) {
    for (int64_t i = 0; i < n; ++i)
      if (x[i] != x[i]) return i;
  }
  const T top = row_max(x, n);
  int64_t i = 0;
  while (i + Vec<T>::W <= n && !eq(Vec<T>::load(x + i), Vec<T>(top)).any()) i += Vec<T>::W;
  for (; i < n; ++i)
    if (x[i] == top) return i;
  return -1;
}

template <class T>
LAMELLA_INLINE bool in_top_k(const T* x, int64_t n, int64_t label, int64_t k) {
  if (label < 0 || label >= n || !(x[label] - x[label] == 0)) return false;  // NaN and infinities are never right
  int64_t larger = 0;
  for (int64_t i = 0; i < n; ++i) larger += !(x[i] <= x[label]);
  return larger < k;
}

template <class T>
LAMELLA_INLINE bool row_is_right(const AccuracyParams<T>& p, int64_t r) {
  using Kind = typename AccuracyParams<T>::Kind;
  const T* x = p.x + r * p.classes;
  const int64_t label =
      p.kind == Kind::kLabels ? index_at(p.labels, r) : first_largest(p.targets + r * p.classes, p.classes);
  return p.k == 1 ? first_largest(x, p.classes) == label : in_top_k(x, p.classes, label, p.k);
}

// classes == 1 in the binary case: every element is a row.
template <class T>
LAMELLA_INLINE int64_t accuracy_step(const AccuracyParams<T>& p) {
  const int64_t step = grain(1.0) / (p.classes > 0 ? p.classes : 1);
  return step > 0 ? step : 1;
}

template <class T>
size_t accuracy_workspace(const AccuracyParams<T>& p, int) {
  const int64_t step = accuracy_step(p);
  return static_cast<size_t>((p.rows + step - 1) / step) * sizeof(AccuracySums);
}

template <class T>
void accuracy(const Context& ctx, const AccuracyParams<T>& p) {
  const int64_t step = accuracy_step(p);
  const T threshold = static_cast<T>(p.threshold);
  AccuracySums* sums = static_cast<AccuracySums*>(ctx.workspace);
  parallel_range(ctx, p.rows, step, [&](int64_t begin, int64_t end, int) {
    AccuracySums s;
    for (int64_t r = begin; r < end; ++r) {
      bool right;
      if (p.kind == AccuracyParams<T>::Kind::kBinary) {
        right = p.targets[r] == static_cast<T>(p.x[r] > threshold ? 1 : 0);
      } else {
        if (p.has_ignore && index_at(p.labels, r) == p.ignore_index) continue;
        right = row_is_right(p, r);
      }
      const double w = p.weight ? static_cast<double>(p.weight[r / p.group]) : 1.0;
      s.total += w;
      if (right) s.correct += w;
    }
    sums[begin / step] = s;
  });
  AccuracySums all;
  for (int64_t i = 0; i < (p.rows + step - 1) / step; ++i) {
    all.correct += sums[i].correct;
    all.total += sums[i].total;
  }
  *p.correct = static_cast<float>(all.correct);
  *p.total = static_cast<float>(all.total);
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
