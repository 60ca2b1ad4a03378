// gelu(x) = x Phi(x), Phi the normal distribution function, and its derivative. Both come from the tail, which neither
// cancels nor loses digits where it gets small:
//
//   gelu(-a) = -a tail(a),  gelu(a) = a + gelu(-a),  tail(a) = exp(-a^2/2) g(a),  g(a) = (1 + eps(a)) / (2 + k a)
//
// with k = sqrt(2 pi). eps, a quotient printed by bench/fit_vmath.py, stays below 0.19 and vanishes at both ends, so
// that its own rounding hardly matters.
#pragma once

#include "kernels/cpu/vmath.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kInvSqrt2Pi = 0.39894228040143267794;

// tail(a) = (1 + t) (1 + eps) / (2 + k a) 2^n, for a >= 0.
struct NormalTail {
  static constexpr float kK = 2.5066283f;
  // gelu(-a) and its slope have vanished.
  static constexpr float kMost = 15.0f;

  Vec<float> a, t, eps;
  Vec<float> d, q;  // 2 + k a, a / d
  ExpSplit<float> e;

  explicit LAMELLA_INLINE NormalTail(Vec<float> x) {
    using V = Vec<float>;
    constexpr float p[] = {0.45543003f, 0.29317945f, 0.085776605f, 0.011404327f};
    constexpr float r[] = {1.0f, 1.7416254f, 1.3083128f, 0.5398101f, 0.12537368f, 0.014294176f};
    a = min(V(kMost), abs(x));
    const V half = V(0.5f) * a;
    const V square = a * half;
    e = exp_split(neg(square), fused(neg(a), half, square));
    t = fma(e.r * e.r, exp_tail(e.r), e.r);
    d = fma(V(kK), a, V(2.0f));
    q = a / d;
    eps = a * polynomial(a, p) / polynomial(a, r);
  }

  // 1 / d; off by some ULP of 0.5.
  LAMELLA_INLINE Vec<float> inverse() const { return fnma(Vec<float>(0.5f * kK), q, Vec<float>(0.5f)); }
};

// a tail(a), which is -gelu(-a).
LAMELLA_INLINE Vec<float> gelu_part(const NormalTail& z) {
  using V = Vec<float>;
  const V p = V(1.0f) + z.t;
  // What d and q have lost.
  const V d_low = fused(V(z.kK), z.a, V(2.0f) - z.d);
  const V rest = fnma(z.q, d_low, fused(neg(z.q), z.d, z.a));
  const V low = rest * (z.inverse() * p);
  return scale_by_pow2(z.q + fma(z.q, fma(z.eps, p, z.t), low), z.e);
}

LAMELLA_INLINE Vec<float> vgelu(Vec<float> x) { return max(Vec<float>::zero(), x) - gelu_part(NormalTail(x)); }

// Phi(x) + x phi(x).
LAMELLA_INLINE Vec<float> vgelu_slope(Vec<float> x) {
  using V = Vec<float>;
  const NormalTail z(x);
  const V v = z.inverse();
  const V g = fnma(V(static_cast<float>(kInvSqrt2Pi)), z.a, fma(v, z.eps, v));
  const V below = scale_by_pow2(fma(g, z.t, g), z.e);
  return select(lt(x, V::zero()), below, V(1.0f) - below);
}

#if defined(LAMELLA_ISA_PORTABLE) || defined(LAMELLA_DEVICE_VEC)
LAMELLA_INLINE Vec<double> normal_cdf(Vec<double> x) {
  Vec<double> y;
  for (int i = 0; i < Vec<double>::W; ++i) y.v[i] = 0.5 * __builtin_erfc(-kSqrtHalf * x.v[i]);
  return y;
}
LAMELLA_INLINE Vec<double> vgelu(Vec<double> x) { return max(Vec<double>(-40.0), x) * normal_cdf(x); }
LAMELLA_INLINE Vec<double> vgelu_slope(Vec<double> x) {
  using V = Vec<double>;
  const V c = min(V(40.0), max(V(-40.0), x));
  return fma(c, V(kInvSqrt2Pi) * vexp(V(-0.5) * c * c), normal_cdf(c));
}
#endif

}  // namespace
}  // namespace lamella::LAMELLA_NS
