// Losses of single elements: value(x, t, pos_weight) and slope(x, t, pos_weight) = d value / dx of each.
#pragma once

#include "kernels/cuda/loss_result.h"

namespace lamella::cuda {
namespace {

// x / |x|, 0 for 0, NaN for NaN.
template <class T>
__device__ T sign(T x) {
  return fabs(x) > T(0) ? copysign(T(1), x) : x;
}

template <class T>
struct SquaredLoss {
  explicit SquaredLoss(const ElementLossParams<T>&) {}
  __device__ T value(T x, T t, T) const {
    const T d = x - t;
    return d * d;
  }
  __device__ T slope(T x, T t, T) const { return T(2) * (x - t); }
};

template <class T>
struct AbsoluteLoss {
  explicit AbsoluteLoss(const ElementLossParams<T>&) {}
  __device__ T value(T x, T t, T) const { return fabs(x - t); }
  __device__ T slope(T x, T t, T) const { return sign(x - t); }
};

template <class T>
struct HuberLoss {
  T delta;
  explicit HuberLoss(const ElementLossParams<T>& p) : delta(static_cast<T>(p.delta)) {}
  __device__ T value(T x, T t, T) const {
    const T a = fabs(x - t);
    return a <= delta ? T(0.5) * a * a : delta * fma(T(-0.5), delta, a);
  }
  __device__ T slope(T x, T t, T) const { return smaller(delta, larger(-delta, x - t)); }
};

template <class T>
struct SmoothL1Loss {
  T beta, inverse;
  explicit SmoothL1Loss(const ElementLossParams<T>& p)
      : beta(static_cast<T>(p.delta)), inverse(static_cast<T>(p.delta > 0 ? 1.0 / p.delta : 0.0)) {}
  __device__ T value(T x, T t, T) const {
    const T a = fabs(x - t);
    return a < beta ? T(0.5) * a * a * inverse : fma(T(-0.5), beta, a);
  }
  __device__ T slope(T x, T t, T) const {
    const T d = x - t;
    return fabs(d) < beta ? d * inverse : sign(d);
  }
};

template <class T>
struct LogCoshLoss {
  explicit LogCoshLoss(const ElementLossParams<T>&) {}
  // With m = exp(-|d|) - 1: cosh(d) - 1 = m^2 / (2 (1 + m)), exact near 0; and log cosh(d) =
  // |d| - log(2) + log(1 + exp(-2|d|)), which cannot overflow.
  __device__ T value(T x, T t, T) const {
    const T a = fabs(x - t), m = expm1(-a), e = T(1) + m;
    const bool near = a < T(1);
    return log1p(near ? m * m / (e + e) : e * e) + (near ? T(0) : a - T(0.69314718055994530942));
  }
  __device__ T slope(T x, T t, T) const { return tanh(x - t); }
};

// t moved towards 1/2.
template <class T>
struct Smoothing {
  T keep, add;
  explicit Smoothing(double s) : keep(static_cast<T>(1.0 - s)), add(static_cast<T>(0.5 * s)) {}
  __device__ T operator()(T t) const { return fma(t, keep, add); }
};

template <class T>
struct BceLogitsLoss {
  Smoothing<T> smooth;
  explicit BceLogitsLoss(const ElementLossParams<T>& p) : smooth(p.smoothing) {}
  // -log sigmoid(x) = max(-x, 0) + L and -log(1 - sigmoid(x)) = max(x, 0) + L with L = log(1 + exp(-|x|)): sums of
  // positive terms, so a small loss keeps its digits.
  __device__ T value(T x, T t, T pos_weight) const {
    const T s = smooth(t), l = log1p(exp(-fabs(x)));
    return fma(pos_weight * s, larger(T(0), -x) + l, (T(1) - s) * (larger(T(0), x) + l));
  }
  __device__ T slope(T x, T t, T pos_weight) const {
    const T s = smooth(t), w = pos_weight * s;
    return fma(T(1) / (T(1) + exp(-x)), (T(1) - s) + w, -w);
  }
};

template <class T>
struct BceLoss {
  Smoothing<T> smooth;
  T low, high;
  bool clipped;
  explicit BceLoss(const ElementLossParams<T>& p)
      : smooth(p.smoothing),
        low(static_cast<T>(p.epsilon)),
        high(static_cast<T>(1.0 - p.epsilon)),
        clipped(p.epsilon > 0) {}
  __device__ T value(T x, T t, T) const {
    const T s = smooth(t), p = clipped ? smaller(high, larger(low, x)) : x;
    T log_p = log(p), log_q = log1p(-p);
    if (!clipped) {
      log_p = larger(T(-100), log_p);
      log_q = larger(T(-100), log_q);
    }
    return -fma(s, log_p, (T(1) - s) * log_q);
  }
  __device__ T slope(T x, T t, T) const {
    const T s = smooth(t), variance = x * (T(1) - x);
    if (!clipped) return (x - s) / larger(T(1e-12), variance);
    return x < low || x > high ? T(0) : (x - s) / variance;
  }
};

template <class T>
struct PoissonLoss {
  T epsilon;
  explicit PoissonLoss(const ElementLossParams<T>& p) : epsilon(static_cast<T>(p.epsilon)) {}
  __device__ T value(T x, T t, T) const { return fma(-t, static_cast<T>(log(x + epsilon)), x); }
  __device__ T slope(T x, T t, T) const { return T(1) - t / (x + epsilon); }
};

template <class T>
struct KlDivLoss {
  T low;
  explicit KlDivLoss(const ElementLossParams<T>& p) : low(static_cast<T>(p.epsilon)) {}
  __device__ T clip01(T v) const { return smaller(T(1), larger(low, v)); }
  __device__ T value(T x, T t, T) const {
    const T s = clip01(t);
    return s * (log(s) - log(clip01(x)));
  }
  __device__ T slope(T x, T t, T) const { return x < low || x > T(1) ? T(0) : -(clip01(t) / x); }
};

template <class T>
struct KlDivLogProbsLoss {
  explicit KlDivLogProbsLoss(const ElementLossParams<T>&) {}
  __device__ T value(T x, T t, T) const { return t == T(0) ? T(0) : t * (log(t) - x); }
  __device__ T slope(T, T t, T) const { return -t; }
};

template <class T>
struct HingeLoss {
  explicit HingeLoss(const ElementLossParams<T>&) {}
  __device__ T value(T x, T t, T) const { return larger(T(0), fma(-t, x, T(1))); }
  __device__ T slope(T x, T t, T) const { return fma(-t, x, T(1)) <= T(0) ? T(0) : -t; }
};

template <class T>
struct SquaredHingeLoss {
  explicit SquaredHingeLoss(const ElementLossParams<T>&) {}
  __device__ T margin(T x, T t) const { return larger(T(0), fma(-t, x, T(1))); }
  __device__ T value(T x, T t, T) const {
    const T m = margin(x, t);
    return m * m;
  }
  __device__ T slope(T x, T t, T) const { return T(-2) * t * margin(x, t); }
};

template <class T>
struct AbsolutePercentLoss {
  T least;
  explicit AbsolutePercentLoss(const ElementLossParams<T>& p) : least(static_cast<T>(p.epsilon)) {}
  __device__ T factor(T t) const { return T(100) / larger(least, static_cast<T>(fabs(t))); }
  __device__ T value(T x, T t, T) const { return fabs(x - t) * factor(t); }
  __device__ T slope(T x, T t, T) const { return sign(x - t) * factor(t); }
};

template <class T>
struct SquaredLogLoss {
  T least;
  explicit SquaredLogLoss(const ElementLossParams<T>& p) : least(static_cast<T>(p.epsilon)) {}
  __device__ T gap(T x, T t) const { return log1p(larger(least, x)) - log1p(larger(least, t)); }
  __device__ T value(T x, T t, T) const {
    const T d = gap(x, t);
    return d * d;
  }
  __device__ T slope(T x, T t, T) const { return x < least ? T(0) : T(2) * gap(x, t) / (T(1) + x); }
};

// f<Loss>() for the loss at hand.
template <class T, class F>
void choose_element_loss(ElementLoss loss, const F& f) {
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

}  // namespace
}  // namespace lamella::cuda
