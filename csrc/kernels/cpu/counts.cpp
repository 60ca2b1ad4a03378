#include "kernels/counts.h"

#include <cstring>

#include "kernels/cpu/index_check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

// Items per chunk: enough that adding up the chunks' `bins` costs little beside counting.
LAMELLA_INLINE int64_t counting_step(double ns, int64_t bins) {
  const int64_t step = grain(ns);
  return step > 8 * bins ? step : 8 * bins;
}

// The sums of the chunks, in their order; every chunk has counted into its own bins.
LAMELLA_INLINE void add_up(const double* parts, int64_t chunks, int64_t bins, double* total) {
  std::memset(total, 0, static_cast<size_t>(bins) * sizeof(double));
  for (int64_t c = 0; c < chunks; ++c)
    for (int64_t i = 0; i < bins; ++i) total[i] += parts[c * bins + i];
}

// How many of the ascending thresholds are below x.
template <class T>
LAMELLA_INLINE int64_t thresholds_below(const T* thresholds, int64_t n, T x) {
  const T* base = thresholds;
  for (; n > 1; n -= n / 2) base += base[n / 2 - 1] < x ? n / 2 : 0;
  return base - thresholds + (n == 1 && *base < x);
}

// The smallest of a row's k largest scores, by value and position.
template <class T>
struct TopK {
  T value = static_cast<T>(-__builtin_inf());
  int64_t at = INT64_MAX;

  LAMELLA_INLINE TopK(const T* x, int64_t n, int64_t k) {
    if (k <= 0 || k >= n) return;
    T least = static_cast<T>(__builtin_inf());
    int64_t last = -1;
    for (; k > 0; --k) {
      int64_t best = -1;
      for (int64_t i = 0; i < n; ++i) {
        const bool left = x[i] < least || (x[i] == least && i > last);
        if (left && (best < 0 || x[i] > x[best])) best = i;
      }
      if (best < 0) return;  // the others are NaN
      least = x[best];
      last = best;
    }
    value = least;
    at = last;
  }
  LAMELLA_INLINE bool has(T x, int64_t i) const { return x > value || (x == value && i <= at); }
};

template <class T>
LAMELLA_INLINE int64_t threshold_bins(const ThresholdCountsParams<T>& p) {
  return 2 * (p.threshold_count + 1) * (p.per_label ? p.cols : 1);
}

template <class T>
LAMELLA_INLINE int64_t threshold_rows_step(const ThresholdCountsParams<T>& p) {
  const int64_t rows = counting_step(8.0, threshold_bins(p)) / (p.cols > 0 ? p.cols : 1);
  return rows > 0 ? rows : 1;
}

template <class T>
size_t threshold_counts_workspace(const ThresholdCountsParams<T>& p, int) {
  const int64_t step = threshold_rows_step(p);
  return static_cast<size_t>((p.rows + step - 1) / step * threshold_bins(p)) * sizeof(double);
}

template <class T>
void threshold_counts(const Context& ctx, const ThresholdCountsParams<T>& p) {
  const int64_t step = threshold_rows_step(p), bins = threshold_bins(p), labels = p.per_label ? p.cols : 1;
  double* parts = static_cast<double*>(ctx.workspace);
  const int64_t first = p.column < 0 ? 0 : p.column, last = p.column < 0 ? p.cols : p.column + 1;
  parallel_range(ctx, p.rows, step, [&](int64_t begin, int64_t end, int) {
    double* positive = parts + begin / step * bins;
    double* negative = positive + bins / 2;
    std::memset(positive, 0, static_cast<size_t>(bins) * sizeof(double));
    for (int64_t r = begin; r < end; ++r) {
      const T *x = p.x + r * p.cols, *target = p.target + r * p.cols;
      const TopK<T> top(x, p.cols, p.k);
      for (int64_t c = first; c < last; ++c) {
        const int64_t bin = top.has(x[c], c) ? thresholds_below(p.thresholds, p.threshold_count, x[c]) : 0;
        const int64_t at = bin * labels + (p.per_label ? c : 0);
        const double w = p.weight ? static_cast<double>(p.weight[(r * p.cols + c) / p.group]) : 1.0;
        const double t = static_cast<double>(target[c]);
        positive[at] += w * t;
        negative[at] += w * (1.0 - t);
      }
    }
  });
  add_up(parts, (p.rows + step - 1) / step, bins, p.counts);
}

template <class T>
LAMELLA_INLINE int64_t confusion_step(const ConfusionParams<T>& p) {
  return counting_step(2.0, p.classes * p.classes);
}

template <class T>
size_t confusion_workspace(const ConfusionParams<T>& p, int) {
  const int64_t step = confusion_step(p);
  return static_cast<size_t>((p.n + step - 1) / step * p.classes * p.classes) * sizeof(double);
}

template <class T>
void confusion(const Context& ctx, const ConfusionParams<T>& p) {
  const int64_t step = confusion_step(p), bins = p.classes * p.classes;
  double* parts = static_cast<double*>(ctx.workspace);
  parallel_range(ctx, p.n, step, [&](int64_t begin, int64_t end, int) {
    double* counts = parts + begin / step * bins;
    std::memset(counts, 0, static_cast<size_t>(bins) * sizeof(double));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t label = index_at(p.labels, i);
      if (p.has_ignore && label == p.ignore_index) continue;
      counts[label * p.classes + index_at(p.predictions, i)] +=
          p.weight ? static_cast<double>(p.weight[i / p.group]) : 1.0;
    }
  });
  add_up(parts, (p.n + step - 1) / step, bins, p.counts);
}

template <class T>
void fill_counts(CountKernels<T>& k) {
  k.threshold_counts_workspace = threshold_counts_workspace<T>;
  k.threshold_counts = threshold_counts<T>;
  k.confusion_workspace = confusion_workspace<T>;
  k.confusion = confusion<T>;
}

}  // namespace

void fill(CountKernels<float>& k) { fill_counts(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(CountKernels<double>& k) { fill_counts(k); }
#endif

}  // namespace lamella::LAMELLA_NS
