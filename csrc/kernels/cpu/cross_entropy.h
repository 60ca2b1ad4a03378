// Cross-entropy of class scores, row by row: one pass for the loss, one for the gradient.
#pragma once

#include "kernels/cpu/index_check.h"
#include "kernels/cpu/loss_result.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/softmax_exp.h"
#include "kernels/cpu/transpose_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

// What is the same for all rows.
template <class T>
struct CrossEntropyCall {
  const CrossEntropyParams<T>& p;
  T keep, smooth;        // t = keep * t + smooth
  T low, high;           // bounds of probabilities
  double class_weights;  // their sum

  LAMELLA_INLINE explicit CrossEntropyCall(const CrossEntropyParams<T>& params)
      : p(params),
        keep(static_cast<T>(1.0 - p.smoothing)),
        smooth(static_cast<T>(p.classes > 0 ? p.smoothing / static_cast<double>(p.classes) : 0.0)),
        low(static_cast<T>(p.epsilon)),
        high(static_cast<T>(1.0 - p.epsilon)),
        class_weights(static_cast<double>(p.classes)) {
    if (p.class_weight && p.smoothing != 0) {
      class_weights = sum_vecs<T>(0, p.classes, [&](int64_t c, auto step) { return load(p.class_weight + c, step); });
    }
  }
};

// One row's place and weights. `label` is -1 where targets are dense.
template <class T>
struct CrossEntropyRow {
  const T* x;
  const T* target = nullptr;
  int64_t label = -1;
  bool ignored = false;
  T label_weight = 1;  // the label's class weight
  T sample_weight = 1;

  LAMELLA_INLINE CrossEntropyRow(const CrossEntropyParams<T>& p, int64_t r) : x(p.x + r * p.classes) {
    if (p.targets) {
      target = p.targets + r * p.classes;
    } else {
      label = index_at(p.labels, r);
      ignored = p.has_ignore && label == p.ignore_index;
      if (p.class_weight && !ignored) label_weight = p.class_weight[label];
    }
    if (p.sample_weight) sample_weight = p.sample_weight[r / p.group];
  }
};

// Weight of -log p in columns i...: all of it for dense targets, the smoothed part for labels.
template <bool kDense, bool kClassWeight, class T, class Step>
LAMELLA_INLINE Vec<T> column_weight(const CrossEntropyCall<T>& call, const CrossEntropyRow<T>& row, int64_t i,
                                    Step step) {
  Vec<T> q(call.smooth);
  if constexpr (kDense) q = fma(load(row.target + i, step), Vec<T>(call.keep), q);
  if constexpr (kClassWeight) q = q * load(call.p.class_weight + i, step);
  return q;
}

// Keeps NaN.
template <class T>
LAMELLA_INLINE Vec<T> clip(Vec<T> x, T low, T high) {
  return min(Vec<T>(high), max(Vec<T>(low), x));
}

// What the losses of neighbouring rows are made of, a row per lane: rows of a few classes would else spend their time
// on one logarithm each.
constexpr int kLossRows = 16;
template <class T>
struct LossRows {
  alignas(64) T top[kLossRows], total[kLossRows], scale[kLossRows], log_total[kLossRows];
  alignas(64) T log_p[kLossRows];  // of the label
};

// Rows of so few classes lie side by side from the start: lane r of column c is x[r, c].
constexpr int64_t kNarrowClasses = 16;

// dst[c * ldd + r] = src[r * lds + c] of at most 16 x 16.
template <class T>
LAMELLA_INLINE void turn(int64_t rows, int64_t cols, const T* src, int64_t lds, T* dst, int64_t ldd) {
  constexpr int64_t W = Vec<T>::W;
  for (int64_t r = 0; r < rows; r += W)
    for (int64_t c = 0; c < cols; c += W)
      transpose_tile(rows - r < W ? rows - r : W, cols - c < W ? cols - c : W, src + r * lds + c, lds,
                     dst + c * ldd + r, ldd);
}
// Of x (rows, n); lanes without a row are 0.
template <class T>
LAMELLA_INLINE void read_columns(int64_t rows, int64_t n, const T* x, T* columns) {
  if (rows < kLossRows)
    for (int64_t i = 0; i < n * kLossRows; i += Vec<T>::W) Vec<T>::zero().store(columns + i);
  turn(rows, n, x, n, columns, kLossRows);
}

// Wide rows are done one by one: each is in L1 when it is read again.
LAMELLA_INLINE int64_t loss_rows(int64_t classes) { return classes <= 256 ? kLossRows : 1; }

// First of all rows' passes: `at` is the row's lane.
template <ClassScores S, class T>
LAMELLA_INLINE void row_total(const CrossEntropyRow<T>& row, int64_t n, int64_t at, LossRows<T>& rows) {
  const T* x = row.x;
  if constexpr (S == ClassScores::kLogits) {
    const Vec<T> top(rows.top[at] = row_max(x, n));
    rows.total[at] =
        static_cast<T>(sum_vecs<T>(0, n, [&](int64_t i, auto step) { return exp_below(load(x + i, step) - top); }));
  }
  if constexpr (S == ClassScores::kProbs) {
    rows.total[at] = static_cast<T>(sum_vecs<T>(0, n, [&](int64_t i, auto step) { return load(x + i, step); }));
  }
}

// Likewise for `count` rows of at most kNarrowClasses from x on, side by side.
template <ClassScores S, class T>
LAMELLA_INLINE void narrow_totals(const T* x, int64_t count, int64_t n, LossRows<T>& rows) {
  alignas(64) T columns[kNarrowClasses * kLossRows];
  if constexpr (S != ClassScores::kLogProbs) read_columns(count, n, x, columns);
  for (int64_t i = 0; i < count; i += Vec<T>::W) {
    const auto column = [&](int64_t c) { return Vec<T>::load(columns + c * kLossRows + i); };
    Vec<T> top(static_cast<T>(-__builtin_inf())), total = Vec<T>::zero();
    if constexpr (S == ClassScores::kLogits) {
      for (int64_t c = 0; c < n; ++c) top = max(column(c), top);
      for (int64_t c = 0; c < n; ++c) total = total + exp_below(column(c) - top);
    }
    if constexpr (S == ClassScores::kProbs) {
      for (int64_t c = 0; c < n; ++c) total = total + column(c);
    }
    top.store(rows.top + i);
    total.store(rows.total + i);
  }
}

// The score of the label; nothing of rows that are ignored.
template <ClassScores S, bool kDense, class T>
LAMELLA_INLINE void take_label(const CrossEntropyRow<T>& row, int64_t at, LossRows<T>& rows) {
  if (row.ignored || S != ClassScores::kLogits) rows.top[at] = 0;
  if (row.ignored || S == ClassScores::kLogProbs) rows.total[at] = 1;
  rows.log_p[at] = kDense || row.ignored ? T(0) : row.x[row.label];
}

// All lanes at once: from totals and scores to their logarithms.
template <ClassScores S, class T>
LAMELLA_INLINE void finish_totals(const CrossEntropyCall<T>& call, int64_t count, LossRows<T>& rows) {
  if constexpr (S == ClassScores::kLogProbs) return;
  for (int64_t i = 0; i < count; i += Vec<T>::W) {
    const Vec<T> total = Vec<T>::load(rows.total + i, count - i);
    const Vec<T> scale = Vec<T>(T(1)) / total, score = Vec<T>::load(rows.log_p + i, count - i);
    scale.store(rows.scale + i);
    if constexpr (S == ClassScores::kLogits) {
      const Vec<T> log_total = vlog(total);
      log_total.store(rows.log_total + i);
      ((score - Vec<T>::load(rows.top + i, count - i)) - log_total).store(rows.log_p + i);
    } else {
      vlog(clip(score * scale, call.low, call.high)).store(rows.log_p + i);
    }
  }
}

template <ClassScores S, bool kDense, bool kClassWeight, class T>
LAMELLA_INLINE double row_loss(const CrossEntropyCall<T>& call, const CrossEntropyRow<T>& row, const LossRows<T>& rows,
                               int64_t at) {
  const CrossEntropyParams<T>& p = call.p;
  const T* x = row.x;
  double loss = 0;
  if (kDense || p.smoothing != 0) {
    loss = sum_vecs<T>(0, p.classes, [&](int64_t i, auto step) {
      const Vec<T> q = column_weight<kDense, kClassWeight>(call, row, i, step);
      const Vec<T> v = load(x + i, step);
      Vec<T> log_p;
      if constexpr (S == ClassScores::kLogits) log_p = (v - Vec<T>(rows.top[at])) - Vec<T>(rows.log_total[at]);
      if constexpr (S == ClassScores::kLogProbs) log_p = v;
      if constexpr (S == ClassScores::kProbs) log_p = vlog(clip(v * Vec<T>(rows.scale[at]), call.low, call.high));
      // A class that cannot be (log p = -inf) and is not wanted (q = 0) costs nothing.
      return select(eq(q, Vec<T>::zero()), Vec<T>::zero(), neg(q * log_p));
    });
  }
  if constexpr (!kDense) {
    loss -=
        static_cast<double>(call.keep) * static_cast<double>(row.label_weight) * static_cast<double>(rows.log_p[at]);
  }
  return loss * static_cast<double>(row.sample_weight);
}

template <ClassScores S, bool kDense, bool kClassWeight, class T>
LAMELLA_INLINE void row_grad(const CrossEntropyCall<T>& call, const CrossEntropyRow<T>& row, const T* stats, T seed,
                             T* grad) {
  const CrossEntropyParams<T>& p = call.p;
  const int64_t n = p.classes;
  const T* x = row.x;
  const T inverse = S == ClassScores::kLogProbs ? T(1) : stats[1];
  const Vec<T> s(seed), scale(inverse);
  const auto weight = [&](int64_t i, auto step) { return column_weight<kDense, kClassWeight>(call, row, i, step); };
  const T label_part = call.keep * row.label_weight;
  if constexpr (S == ClassScores::kLogits) {
    // d/dx_c of sum_k q_k (lse - x_k) = p_c sum_k q_k - q_c.
    double all = static_cast<double>(label_part) + static_cast<double>(call.smooth) * call.class_weights;
    if constexpr (kDense) all = sum_vecs<T>(0, n, weight);
    const Vec<T> top(stats[0]), factor = scale * (Vec<T>(static_cast<T>(all)) * s);
    const int64_t next = fetched_row<T>(n);
    for_each_vec<T>(0, n, [&](int64_t i, auto step) {
      __builtin_prefetch(x + i + next);
      __builtin_prefetch(grad + i + next, 1);
      store(grad + i, fnma(weight(i, step), s, exp_below(load(x + i, step) - top) * factor), step);
    });
    if constexpr (!kDense) grad[row.label] -= label_part * seed;
  } else if constexpr (S == ClassScores::kLogProbs) {
    for_each_vec<T>(0, n, [&](int64_t i, auto step) { store(grad + i, neg(weight(i, step) * s), step); });
    if constexpr (!kDense) grad[row.label] -= label_part * seed;
  } else {
    // With p = x / sum(x): d/dx_c = (l_c - sum_k l_k p_k) / sum(x), l_k = -q_k / p_k inside the bounds and 0 outside.
    const auto slope = [&](int64_t i, auto step) {
      const Vec<T> prob = load(x + i, step) * scale, q = weight(i, step);
      const Mask<T> outside = lt(prob, Vec<T>(call.low)) | gt(prob, Vec<T>(call.high));
      return select(outside, Vec<T>::zero(), neg(q / prob));
    };
    T label_slope = 0;
    double common = 0;
    if (kDense || p.smoothing != 0) {
      common = sum_vecs<T>(0, n, [&](int64_t i, auto step) { return slope(i, step) * (load(x + i, step) * scale); });
    }
    if constexpr (!kDense) {
      const T prob = x[row.label] * inverse;
      if (!(prob < call.low || prob > call.high)) {
        label_slope = -label_part / prob;
        common -= static_cast<double>(label_part);
      }
    }
    const Vec<T> shift(static_cast<T>(common)), factor = scale * s;
    for_each_vec<T>(0, n, [&](int64_t i, auto step) { store(grad + i, (slope(i, step) - shift) * factor, step); });
    if constexpr (!kDense) grad[row.label] += label_slope * inverse * seed;
  }
}

// row_grad from logits and labels for `count` rows of at most kNarrowClasses from `first` on, side by side. seed(r)
// multiplies row r.
template <bool kClassWeight, class T, class Seed>
LAMELLA_INLINE void narrow_grad(const CrossEntropyCall<T>& call, const CrossEntropyGradParams<T>& g, int64_t first,
                                int64_t count, const Seed& seed) {
  using V = Vec<T>;
  const CrossEntropyParams<T>& p = call.p;
  const int64_t n = p.classes;
  alignas(64) T columns[kNarrowClasses * kLossRows];
  alignas(64) T top[kLossRows] = {}, factor[kLossRows] = {}, seeds[kLossRows] = {};
  read_columns(count, n, p.x + first * n, columns);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t r = first + i;
    const CrossEntropyRow<T> row(p, r);
    const double all =
        static_cast<double>(call.keep * row.label_weight) + static_cast<double>(call.smooth) * call.class_weights;
    top[i] = p.stats[2 * r];
    seeds[i] = seed(r, row);
    factor[i] = p.stats[2 * r + 1] * (static_cast<T>(all) * seeds[i]);
  }
  for (int64_t i = 0; i < count; i += V::W) {
    const V t = V::load(top + i), f = V::load(factor + i), d = V::load(seeds + i);
    for (int64_t c = 0; c < n; ++c) {
      T* const column = columns + c * kLossRows + i;
      const V weight(kClassWeight ? call.smooth * p.class_weight[c] : call.smooth);
      fnma(weight, d, exp_below(V::load(column) - t) * f).store(column);
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    const CrossEntropyRow<T> row(p, first + i);
    if (!row.ignored) columns[row.label * kLossRows + i] -= call.keep * row.label_weight * seeds[i];
  }
  turn(n, count, columns, kLossRows, g.grad + first * n, n);
  for (int64_t i = 0; p.has_ignore && i < count; ++i) {
    const CrossEntropyRow<T> row(p, first + i);
    if (row.ignored) std::memset(g.grad + (first + i) * n, 0, static_cast<size_t>(n) * sizeof(T));
  }
}

template <class T>
LAMELLA_INLINE int64_t cross_entropy_step(const CrossEntropyParams<T>& p) {
  const int64_t step = grain(1.5) / (p.classes > 0 ? p.classes : 1);
  return step > 0 ? step : 1;
}

template <class T>
size_t cross_entropy_workspace(const CrossEntropyParams<T>& p, int) {
  const int64_t step = cross_entropy_step(p);
  return static_cast<size_t>((p.rows + step - 1) / step) * sizeof(LossSums);
}

template <ClassScores S, bool kDense, bool kClassWeight, class T>
void cross_entropy_rows(const Context& ctx, const CrossEntropyParams<T>& p) {
  const CrossEntropyCall<T> call(p);
  const int64_t step = cross_entropy_step(p);
  LossSums* sums = static_cast<LossSums*>(ctx.workspace);
  parallel_range(ctx, p.rows, step, [&](int64_t begin, int64_t end, int) {
    LossSums s;
    LossRows<T> rows;
    const int64_t most = loss_rows(p.classes);
    for (int64_t first = begin; first < end; first += most) {
      const int64_t count = end - first < most ? end - first : most;
      if (p.classes <= kNarrowClasses) narrow_totals<S>(p.x + first * p.classes, count, p.classes, rows);
      for (int64_t i = 0; i < count; ++i) {
        const CrossEntropyRow<T> row(p, first + i);
        if (p.classes > kNarrowClasses && !row.ignored) row_total<S>(row, p.classes, i, rows);
        take_label<S, kDense>(row, i, rows);
      }
      finish_totals<S>(call, count, rows);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t r = first + i;
        const CrossEntropyRow<T> row(p, r);
        double loss = 0;
        if (!row.ignored) {
          loss = row_loss<S, kDense, kClassWeight>(call, row, rows, i);
          s.loss += loss;
          s.weight += static_cast<double>(row.sample_weight) * static_cast<double>(row.label_weight);
          s.count += 1;
        }
        if (p.stats) {
          p.stats[2 * r] = rows.top[i];
          p.stats[2 * r + 1] = row.ignored ? T(0) : S == ClassScores::kLogProbs ? T(1) : rows.scale[i];
        }
        if (p.result.reduction == Reduction::kNone) p.result.values[r] = static_cast<T>(loss);
      }
    }
    if (p.result.reduction != Reduction::kNone) sums[begin / step] = s;
  });
  finish_loss(p.result, sums, (p.rows + step - 1) / step, 1.0);
}

template <ClassScores S, bool kDense, bool kClassWeight, class T>
void cross_entropy_grad_rows(const Context& ctx, const CrossEntropyGradParams<T>& g) {
  const CrossEntropyParams<T>& p = g.forward;
  const CrossEntropyCall<T> call(p);
  const T common = loss_seed(g.seed);
  const auto seed_of = [&](int64_t r, const CrossEntropyRow<T>& row) {
    return (g.seed.reduction == Reduction::kNone ? g.seed.grad[r] : common) * row.sample_weight;
  };
  parallel_range(ctx, p.rows, cross_entropy_step(p), [&](int64_t begin, int64_t end, int) {
    if constexpr (S == ClassScores::kLogits && !kDense) {
      if (p.classes <= kNarrowClasses) {
        for (int64_t r = begin; r < end; r += kLossRows)
          narrow_grad<kClassWeight>(call, g, r, end - r < kLossRows ? end - r : kLossRows, seed_of);
        return;
      }
    }
    for (int64_t r = begin; r < end; ++r) {
      const CrossEntropyRow<T> row(p, r);
      T* grad = g.grad + r * p.classes;
      if (row.ignored) {
        std::memset(grad, 0, static_cast<size_t>(p.classes) * sizeof(T));
        continue;
      }
      row_grad<S, kDense, kClassWeight>(call, row, p.stats ? p.stats + 2 * r : nullptr, seed_of(r, row), grad);
    }
  });
}

// f.run<scores, dense, class weights>() for the case at hand.
template <class T, class F>
LAMELLA_INLINE void choose_cross_entropy(const CrossEntropyParams<T>& p, const F& f) {
  const auto with = [&]<ClassScores S>() {
    if (p.targets) {
      p.class_weight ? f.template operator()<S, true, true>() : f.template operator()<S, true, false>();
    } else {
      p.class_weight ? f.template operator()<S, false, true>() : f.template operator()<S, false, false>();
    }
  };
  switch (p.scores) {
    case ClassScores::kLogits:
      return with.template operator()<ClassScores::kLogits>();
    case ClassScores::kLogProbs:
      return with.template operator()<ClassScores::kLogProbs>();
    case ClassScores::kProbs:
      return with.template operator()<ClassScores::kProbs>();
  }
}

template <class T>
void cross_entropy(const Context& ctx, const CrossEntropyParams<T>& p) {
  choose_cross_entropy(
      p, [&]<ClassScores S, bool kDense, bool kClassWeight>() { cross_entropy_rows<S, kDense, kClassWeight>(ctx, p); });
}

template <class T>
void cross_entropy_grad(const Context& ctx, const CrossEntropyGradParams<T>& p) {
  choose_cross_entropy(p.forward, [&]<ClassScores S, bool kDense, bool kClassWeight>() {
    cross_entropy_grad_rows<S, kDense, kClassWeight>(ctx, p);
  });
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
