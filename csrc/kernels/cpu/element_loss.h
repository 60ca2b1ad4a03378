// Losses of single elements: value(x, t) and slope(x, t) = d value / dx of each, and the loops around them.
#pragma once

#include "kernels/cpu/loss_result.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vmath.h"

namespace lamella::LAMELLA_NS {
namespace {

// x / |x|, 0 for 0, NaN for NaN.
template <class T>
LAMELLA_INLINE Vec<T> sign(Vec<T> x) {
  return select(gt(abs(x), Vec<T>::zero()), copysign(Vec<T>(T(1)), x), x);
}

template <class T>
struct SquaredLoss {
  explicit SquaredLoss(const ElementLossParams<T>&) {}
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const {
    const Vec<T> d = x - t;
    return d * d;
  }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T>) const { return Vec<T>(T(2)) * (x - t); }
};

template <class T>
struct AbsoluteLoss {
  explicit AbsoluteLoss(const ElementLossParams<T>&) {}
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const { return abs(x - t); }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T>) const { return sign(x - t); }
};

template <class T>
struct HuberLoss {
  Vec<T> delta;
  explicit HuberLoss(const ElementLossParams<T>& p) : delta(static_cast<T>(p.delta)) {}
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const {
    const Vec<T> half(T(0.5)), a = abs(x - t);
    return select(le(a, delta), half * a * a, delta * fnma(half, delta, a));
  }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T>) const { return min(delta, max(neg(delta), x - t)); }
};

template <class T>
struct SmoothL1Loss {
  Vec<T> beta, inverse;
  explicit SmoothL1Loss(const ElementLossParams<T>& p)
      : beta(static_cast<T>(p.delta)), inverse(static_cast<T>(p.delta > 0 ? 1.0 / p.delta : 0.0)) {}
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const {
    const Vec<T> half(T(0.5)), a = abs(x - t);
    return select(lt(a, beta), half * a * a * inverse, fnma(half, beta, a));
  }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T>) const {
    const Vec<T> d = x - t;
    return select(lt(abs(d), beta), d * inverse, sign(d));
  }
};

template <class T>
struct LogCoshLoss {
  explicit LogCoshLoss(const ElementLossParams<T>&) {}
  // With m = exp(-|d|) - 1: cosh(d) - 1 = m^2 / (2 (1 + m)), exact near 0; and log cosh(d) =
  // |d| - log(2) + log(1 + exp(-2|d|)), which cannot overflow.
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const {
    const Vec<T> one(T(1)), a = abs(x - t);
    const Vec<T> m = vexpm1(neg(a)), e = one + m;
    const Mask<T> near = lt(a, one);
    const Vec<T> u = select(near, m * m / (e + e), e * e);
    return vlog1p(u) + select(near, Vec<T>::zero(), a - Vec<T>(T(0.69314718055994530942)));
  }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T>) const { return vtanh(x - t); }
};

// t moved towards 1/2.
template <class T>
struct Smoothing {
  Vec<T> keep, add;
  explicit Smoothing(double s) : keep(static_cast<T>(1.0 - s)), add(static_cast<T>(0.5 * s)) {}
  LAMELLA_INLINE Vec<T> operator()(Vec<T> t) const { return fma(t, keep, add); }
};

template <class T>
struct BceLogitsLoss {
  Smoothing<T> smooth;
  explicit BceLogitsLoss(const ElementLossParams<T>& p) : smooth(p.smoothing) {}
  // -log sigmoid(x) = max(-x, 0) + L and -log(1 - sigmoid(x)) = max(x, 0) + L with L = log(1 + exp(-|x|)): sums of
  // positive terms, so a small loss keeps its digits.
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T> pos_weight) const {
    const Vec<T> zero = Vec<T>::zero(), one(T(1)), s = smooth(t), l = vsoftplus(neg(abs(x)));
    return fma(pos_weight * s, max(zero, neg(x)) + l, (one - s) * (max(zero, x) + l));
  }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T> pos_weight) const {
    const Vec<T> s = smooth(t), w = pos_weight * s;
    return fma(vsigmoid(x), (Vec<T>(T(1)) - s) + w, neg(w));
  }
};

template <class T>
struct BceLoss {
  Smoothing<T> smooth;
  Vec<T> low, high;
  bool clipped;
  explicit BceLoss(const ElementLossParams<T>& p)
      : smooth(p.smoothing),
        low(static_cast<T>(p.epsilon)),
        high(static_cast<T>(1.0 - p.epsilon)),
        clipped(p.epsilon > 0) {}
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const {
    const Vec<T> s = smooth(t), one(T(1));
    Vec<T> log_x, log_y;
    if (clipped) {
      const Vec<T> p = min(high, max(low, x));
      log_x = vlog(p);
      log_y = vlog1p(neg(p));
    } else {
      const Vec<T> least(T(-100));
      log_x = max(least, vlog(x));
      log_y = max(least, vlog1p(neg(x)));
    }
    return neg(fma(s, log_x, (one - s) * log_y));
  }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T>) const {
    const Vec<T> s = smooth(t), one(T(1));
    const Vec<T> variance = x * (one - x);
    if (!clipped) return (x - s) / max(Vec<T>(T(1e-12)), variance);
    const Mask<T> outside = lt(x, low) | gt(x, high);
    return select(outside, Vec<T>::zero(), (x - s) / variance);
  }
};

template <class T>
struct PoissonLoss {
  Vec<T> epsilon;
  explicit PoissonLoss(const ElementLossParams<T>& p) : epsilon(static_cast<T>(p.epsilon)) {}
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const { return fnma(t, vlog(x + epsilon), x); }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T>) const { return Vec<T>(T(1)) - t / (x + epsilon); }
};

template <class T>
struct KlDivLoss {
  Vec<T> low;
  explicit KlDivLoss(const ElementLossParams<T>& p) : low(static_cast<T>(p.epsilon)) {}
  LAMELLA_INLINE Vec<T> clip01(Vec<T> v) const { return min(Vec<T>(T(1)), max(low, v)); }
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const {
    const Vec<T> s = clip01(t);
    return s * (vlog(s) - vlog(clip01(x)));
  }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T>) const {
    const Mask<T> outside = lt(x, low) | gt(x, Vec<T>(T(1)));
    return select(outside, Vec<T>::zero(), neg(clip01(t) / x));
  }
};

template <class T>
struct KlDivLogProbsLoss {
  explicit KlDivLogProbsLoss(const ElementLossParams<T>&) {}
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const {
    return select(eq(t, Vec<T>::zero()), Vec<T>::zero(), t * (vlog(t) - x));
  }
  LAMELLA_INLINE Vec<T> slope(Vec<T>, Vec<T> t, Vec<T>) const { return neg(t); }
};

template <class T>
struct HingeLoss {
  explicit HingeLoss(const ElementLossParams<T>&) {}
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const {
    return max(Vec<T>::zero(), fnma(t, x, Vec<T>(T(1))));
  }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T>) const {
    return select(le(fnma(t, x, Vec<T>(T(1))), Vec<T>::zero()), Vec<T>::zero(), neg(t));
  }
};

template <class T>
struct SquaredHingeLoss {
  explicit SquaredHingeLoss(const ElementLossParams<T>&) {}
  LAMELLA_INLINE Vec<T> margin(Vec<T> x, Vec<T> t) const { return max(Vec<T>::zero(), fnma(t, x, Vec<T>(T(1)))); }
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const {
    const Vec<T> m = margin(x, t);
    return m * m;
  }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T>) const { return Vec<T>(T(-2)) * t * margin(x, t); }
};

template <class T>
struct AbsolutePercentLoss {
  Vec<T> least;
  explicit AbsolutePercentLoss(const ElementLossParams<T>& p) : least(static_cast<T>(p.epsilon)) {}
  LAMELLA_INLINE Vec<T> factor(Vec<T> t) const { return Vec<T>(T(100)) / max(least, abs(t)); }
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const { return abs(x - t) * factor(t); }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T>) const { return sign(x - t) * factor(t); }
};

template <class T>
struct SquaredLogLoss {
  Vec<T> least;
  explicit SquaredLogLoss(const ElementLossParams<T>& p) : least(static_cast<T>(p.epsilon)) {}
  LAMELLA_INLINE Vec<T> gap(Vec<T> x, Vec<T> t) const { return vlog1p(max(least, x)) - vlog1p(max(least, t)); }
  LAMELLA_INLINE Vec<T> value(Vec<T> x, Vec<T> t, Vec<T>) const {
    const Vec<T> d = gap(x, t);
    return d * d;
  }
  LAMELLA_INLINE Vec<T> slope(Vec<T> x, Vec<T> t, Vec<T>) const {
    const Vec<T> s = Vec<T>(T(2)) * gap(x, t) / (Vec<T>(T(1)) + x);
    return select(lt(x, least), Vec<T>::zero(), s);
  }
};

// ---- loops
// -----------------------------------------------------------------------------------------------------------

// The longest stretch over which everything but x, t and a weight per element is constant or contiguous.
template <class T>
LAMELLA_INLINE int64_t segment_length(const ElementLossParams<T>& p) {
  if (p.pos_weight && p.pos_cols > 1) return p.cols;
  if (p.weight && p.group > 1) return p.group;
  return p.n > 0 ? p.n : 1;
}

// f(begin, end) for the segments, cut at chunk borders.
template <class F>
LAMELLA_INLINE void for_segments(int64_t begin, int64_t end, int64_t length, const F& f) {
  for (int64_t i = begin; i < end;) {
    const int64_t border = (i / length + 1) * length;
    const int64_t e = border < end ? border : end;
    f(i, e);
    i = e;
  }
}

// pos_weight and weight of the elements i... of the segment that starts at `begin`.
template <class T>
struct SegmentWeights {
  const ElementLossParams<T>& p;
  int64_t column;  // of the segment's first element, less the element's number
  Vec<T> pos, constant;
  LAMELLA_INLINE SegmentWeights(const ElementLossParams<T>& params, int64_t segment)
      : p(params),
        column(params.pos_weight ? segment % params.cols - segment : 0),
        pos(params.pos_weight && params.pos_cols == 1 ? params.pos_weight[0] : T(1)),
        constant(params.weight && params.group > 1 ? params.weight[segment / params.group] : T(1)) {}
  template <class Step>
  LAMELLA_INLINE Vec<T> pos_weight(int64_t i, Step step) const {
    return p.pos_weight && p.pos_cols > 1 ? load(p.pos_weight + column + i, step) : pos;
  }
  template <class Step>
  LAMELLA_INLINE Vec<T> weight(int64_t i, Step step) const {
    return p.weight && p.group == 1 ? load(p.weight + i, step) : constant;
  }
};

template <class T>
LAMELLA_INLINE int64_t element_step(const ElementLossParams<T>& p) {
  const bool cheap = p.loss == ElementLoss::kSquared || p.loss == ElementLoss::kAbsolute ||
                     p.loss == ElementLoss::kHuber || p.loss == ElementLoss::kSmoothL1;
  const int64_t step = grain(cheap ? 0.3 : 2.0);
  if (p.result.reduction != Reduction::kNone || !p.row_mean) return step;
  return step > p.cols ? step / p.cols * p.cols : p.cols;  // whole rows
}

template <class T>
size_t element_loss_workspace(const ElementLossParams<T>& p, int) {
  const int64_t step = element_step(p);
  return static_cast<size_t>((p.n + step - 1) / step) * sizeof(LossSums);
}

template <class L, class T>
void element_loss_rows(const Context& ctx, const ElementLossParams<T>& p) {
  const L loss(p);
  const int64_t step = element_step(p), segment = segment_length(p);
  const bool none = p.result.reduction == Reduction::kNone;
  LossSums* sums = static_cast<LossSums*>(ctx.workspace);
  // The weighted sum over [begin, end), inside one segment; value stored where `values` is given.
  const auto run = [&](int64_t begin, int64_t end, T* values) {
    const SegmentWeights<T> w(p, begin);
    return sum_vecs<T>(begin, end, [&](int64_t i, auto s) {
      const Vec<T> v = w.weight(i, s) * loss.value(load(p.x + i, s), load(p.target + i, s), w.pos_weight(i, s));
      if (values) store(values + i, v, s);
      return v;
    });
  };
  const auto weights = [&](int64_t begin, int64_t end) {
    const SegmentWeights<T> w(p, begin);
    if (p.weight && p.group == 1) return sum_vecs<T>(begin, end, [&](int64_t i, auto s) { return w.weight(i, s); });
    return static_cast<double>(p.weight ? p.weight[begin / p.group] : T(1)) * static_cast<double>(end - begin);
  };
  parallel_range(ctx, p.n, step, [&](int64_t begin, int64_t end, int) {
    if (none && p.row_mean) {
      for (int64_t row = begin; row < end; row += p.cols) {
        double total = 0;
        for_segments(row, row + p.cols, segment, [&](int64_t b, int64_t e) { total += run(b, e, nullptr); });
        p.result.values[row / p.cols] = static_cast<T>(total / static_cast<double>(p.cols));
      }
      return;
    }
    LossSums s;
    for_segments(begin, end, segment, [&](int64_t b, int64_t e) {
      s.loss += run(b, e, none ? p.result.values : nullptr);
      if (p.result.reduction == Reduction::kWeightedMean) s.weight += weights(b, e);
    });
    s.count = static_cast<double>(end - begin);
    if (!none) sums[begin / step] = s;
  });
  const double scale = p.row_mean && p.cols > 0 ? 1.0 / static_cast<double>(p.cols) : 1.0;
  finish_loss(p.result, sums, (p.n + step - 1) / step, scale);
}

template <class L, class T>
void element_loss_grad_rows(const Context& ctx, const ElementLossGradParams<T>& g) {
  const ElementLossParams<T>& p = g.forward;
  const L loss(p);
  const bool none = g.seed.reduction == Reduction::kNone;
  const bool per_row = none && p.row_mean;
  const T common = per_row ? static_cast<T>(1.0 / static_cast<double>(p.cols)) : loss_seed(g.seed);
  // A gradient per row makes rows the segments: a group is a multiple of them.
  const int64_t segment = per_row ? p.cols : segment_length(p);
  parallel_range(ctx, p.n, element_step(p), [&](int64_t begin, int64_t end, int) {
    for_segments(begin, end, segment, [&](int64_t b, int64_t e) {
      const SegmentWeights<T> w(p, b);
      const Vec<T> seed(per_row ? common * g.seed.grad[b / p.cols] : common);
      for_each_vec<T>(b, e, [&](int64_t i, auto s) {
        Vec<T> v = loss.slope(load(p.x + i, s), load(p.target + i, s), w.pos_weight(i, s));
        v = v * (w.weight(i, s) * seed);
        if (none && !per_row) v = v * load(g.seed.grad + i, s);
        store(g.grad + i, v, s);
      });
    });
  });
}

template <class T, class F>
LAMELLA_INLINE void choose_element_loss(ElementLoss loss, const F& f) {
  switch (loss) {
    case ElementLoss::kSquared:
      return f.template operator()<SquaredLoss<T>>();
    case ElementLoss::kAbsolute:
      return f.template operator()<AbsoluteLoss<T>>();
    case ElementLoss::kHuber:
      return f.template operator()<HuberLoss<T>>();
    case ElementLoss::kSmoothL1:
      return f.template operator()<SmoothL1Loss<T>>();
    case ElementLoss::kLogCosh:
      return f.template operator()<LogCoshLoss<T>>();
    case ElementLoss::kBceLogits:
      return f.template operator()<BceLogitsLoss<T>>();
    case ElementLoss::kBce:
      return f.template operator()<BceLoss<T>>();
    case ElementLoss::kPoisson:
      return f.template operator()<PoissonLoss<T>>();
    case ElementLoss::kKlDiv:
      return f.template operator()<KlDivLoss<T>>();
    case ElementLoss::kKlDivLogProbs:
      return f.template operator()<KlDivLogProbsLoss<T>>();
    case ElementLoss::kHinge:
      return f.template operator()<HingeLoss<T>>();
    case ElementLoss::kSquaredHinge:
      return f.template operator()<SquaredHingeLoss<T>>();
    case ElementLoss::kAbsolutePercent:
      return f.template operator()<AbsolutePercentLoss<T>>();
    case ElementLoss::kSquaredLog:
      return f.template operator()<SquaredLogLoss<T>>();
    case ElementLoss::kCount:
      return;
  }
}

template <class T>
void element_loss(const Context& ctx, const ElementLossParams<T>& p) {
  choose_element_loss<T>(p.loss, [&]<class L>() { element_loss_rows<L>(ctx, p); });
}

template <class T>
void element_loss_grad(const Context& ctx, const ElementLossGradParams<T>& p) {
  choose_element_loss<T>(p.forward.loss, [&]<class L>() { element_loss_grad_rows<L>(ctx, p); });
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
