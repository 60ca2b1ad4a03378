// Activations on Vec<T>, for GEMM and convolution epilogues and the elementwise kernels. The choice is made once,
// outside the loop:
//
//   with_act(p.act.act, [&](auto tag) {
//     constexpr Act A = decltype(tag)::value;
//     for (...) act_forward<A>(x, alpha).store(...);
//   });
#pragma once

#include "kernels/activation.h"
#include "kernels/cpu/gelu_inl.h"
#include "kernels/cpu/vmath.h"

namespace lamella::LAMELLA_NS {
namespace {

template <Act A>
struct ActTag {
  static constexpr Act value = A;
};

template <class F>
LAMELLA_INLINE void with_act(Act act, const F& f) {
  switch (act) {
    case Act::kRelu:
      return f(ActTag<Act::kRelu>());
    case Act::kLeakyRelu:
      return f(ActTag<Act::kLeakyRelu>());
    case Act::kElu:
      return f(ActTag<Act::kElu>());
    case Act::kSelu:
      return f(ActTag<Act::kSelu>());
    case Act::kSigmoid:
      return f(ActTag<Act::kSigmoid>());
    case Act::kTanh:
      return f(ActTag<Act::kTanh>());
    case Act::kSoftplus:
      return f(ActTag<Act::kSoftplus>());
    case Act::kSilu:
      return f(ActTag<Act::kSilu>());
    case Act::kGelu:
      return f(ActTag<Act::kGelu>());
    case Act::kGeluTanh:
      return f(ActTag<Act::kGeluTanh>());
    case Act::kHardSigmoid:
      return f(ActTag<Act::kHardSigmoid>());
    case Act::kHardSwish:
      return f(ActTag<Act::kHardSwish>());
    case Act::kRelu6:
      return f(ActTag<Act::kRelu6>());
    case Act::kSoftsign:
      return f(ActTag<Act::kSoftsign>());
    case Act::kExp:
      return f(ActTag<Act::kExp>());
    case Act::kMish:
      return f(ActTag<Act::kMish>());
    case Act::kIdentity:
    case Act::kCount:
      return f(ActTag<Act::kIdentity>());
  }
}

constexpr double kSeluAlpha = 1.6732632423543772848;
constexpr double kSeluScale = 1.0507009873554804934;

// x held where the gates x g(x) of exponential tails have become 0.
template <class T>
LAMELLA_INLINE Vec<T> gate_clamp(Vec<T> x) {
  return max(Vec<T>(MathConst<T>::kXExpMin), x);
}

// exp(x) = (1 + t) 2^n = p 2^n. Products with exp(x) take t or p and are scaled last: they keep their digits where
// exp(x) is subnormal.
template <class T>
struct ExpParts {
  ExpSplit<T> split;
  Vec<T> t, p, exp;

  explicit LAMELLA_INLINE ExpParts(Vec<T> x) : ExpParts(exp_split(x)) {}
  explicit LAMELLA_INLINE ExpParts(const ExpSplit<T>& s)
      : split(s),
        t(fma(split.r * split.r, exp_tail(split.r), split.r)),
        p(t + Vec<T>(T(1))),
        exp(scale_by_pow2(p, split)) {}
};

// x sigmoid(z) where z has the sign of x and e = exp(-|z|): q = x / (1 + e), which is x - e q, and e q for x < 0. `y`
// is x held where nothing happens any more.
template <class T>
LAMELLA_INLINE Vec<T> gated(Vec<T> x, Vec<T> y, const ExpParts<T>& e) {
  const Vec<T> one(T(1));
  const Vec<T> d = one + e.exp;
  const Vec<T> q = y / d;
  // What d and q have lost, times a rough 1 / d.
  const Vec<T> lost = fnma(q, e.exp - (d - one), fused(neg(q), d, y)) * fnma(Vec<T>(T(0.5)), e.exp, one);
  const Vec<T> below = scale_by_pow2(q + fma(q, e.t, lost), e.split);
  return select(lt(y, Vec<T>::zero()), below, fnma(q, e.exp, x));
}

// Its derivative, s (1 + x z' (1 - s)) with s = sigmoid(z), from `slope` = |x z'|.
template <class T>
LAMELLA_INLINE Vec<T> gated_slope(Vec<T> x, Vec<T> slope, const ExpParts<T>& e) {
  const Vec<T> one(T(1));
  const Mask<T> below = lt(x, Vec<T>::zero());
  const Vec<T> r = over_one_plus(one, e.exp);
  const Vec<T> rest = slope * select(below, neg(r), e.exp * r);
  return scale_by_pow2_where(below, select(below, e.p, one) * r * (one + rest), e.split);
}

template <class T>
LAMELLA_INLINE Vec<T> vsilu(Vec<T> x) {
  const Vec<T> y = min(Vec<T>(-MathConst<T>::kXExpMin), gate_clamp(x));
  return gated(x, y, ExpParts<T>(neg(abs(y))));
}
template <class T>
LAMELLA_INLINE Vec<T> vsilu_slope(Vec<T> x) {
  const Vec<T> a = min(Vec<T>(-MathConst<T>::kXExpMin), abs(x));
  return gated_slope(x, a, ExpParts<T>(neg(a)));
}

// gelu_tanh(x) = x sigmoid(z), z = x (c1 + c3 x^2): c1 = 2 sqrt(2/pi), c3 = 0.044715 c1.
template <class T>
struct GeluTanh {
  static constexpr double kC1 = 1.5957691216057307117, kC3 = 0.071354816272600248773;
  static constexpr T kMost = sizeof(T) == 4 ? T(12) : T(24);  // where exp(-z) has vanished

  Vec<T> a, square;  // |x|

  explicit LAMELLA_INLINE GeluTanh(Vec<T> x) : a(min(Vec<T>(kMost), abs(x))), square(a * a) {}

  // exp(-|z|). An error of z is one of exp(z), relatively: it is computed with what its parts have lost.
  LAMELLA_INLINE ExpParts<T> exp() const {
    const Vec<T> c1(static_cast<T>(kC1)), c3(static_cast<T>(kC3));
    const Vec<T> c1_low(static_cast<T>(kC1 - static_cast<T>(kC1))), c3_low(static_cast<T>(kC3 - static_cast<T>(kC3)));
    const Vec<T> p = c3 * square;
    const Vec<T> p_low = fma(c3, fused(a, a, neg(square)), fma(c3_low, square, fused(c3, square, neg(p))));
    const Vec<T> s = c1 + p;
    const Vec<T> v = s - p;
    const Vec<T> s_low = ((p - (s - v)) + (c1 - v)) + (p_low + c1_low);
    const Vec<T> z = a * s;
    return ExpParts<T>(exp_split(neg(z), neg(fma(a, s_low, fused(a, s, neg(z))))));
  }
};
template <class T>
LAMELLA_INLINE Vec<T> vgelu_tanh(Vec<T> x) {
  const GeluTanh<T> g(x);
  return gated(x, copysign(g.a, x), g.exp());
}
template <class T>
LAMELLA_INLINE Vec<T> vgelu_tanh_slope(Vec<T> x) {
  using G = GeluTanh<T>;
  const G g(x);
  const Vec<T> slope = g.a * fma(Vec<T>(static_cast<T>(3 * G::kC3)), g.square, Vec<T>(static_cast<T>(G::kC1)));
  return gated_slope(x, slope, g.exp());
}

// mish(x) = x tanh(softplus(x)) is x (1 - h(e)) with e = exp(-x), and x e (1 - h(e)) with e = exp(x) for x < 0. Both h
// lie within 0.04 of c e, from 0 to 1; that distance, e (a0 + a1 e + a2 e^2) / d, may be rounded freely. In c e, where
// e = (1 + t) 2^n, the term c 2^n is exact and comes last.
template <class T>
LAMELLA_INLINE Vec<T> vmish(Vec<T> x) {
  constexpr double c = 0.40625;
  const Vec<T> one(T(1)), zero = Vec<T>::zero();
  const Vec<T> y = gate_clamp(x);
  const Vec<T> near = min(Vec<T>(-MathConst<T>::kXExpMin), y);
  const Mask<T> below = lt(near, zero);
  const auto choose = [&](double a, double b) { return select(below, Vec<T>(T(a)), Vec<T>(T(b))); };
  const ExpParts<T> e(neg(abs(near)));
  const Vec<T> n = fma(e.exp, fma(e.exp, choose(c, 2 * c), choose(2 * c - 1, 2 * c - 2)), choose(2 * c - 1, c));
  const Vec<T> d = fma(e.exp * e.exp, choose(1, 2), fma(Vec<T>(T(2)), e.exp, choose(2, 1)));
  const Vec<T> whole = scale_by_pow2(Vec<T>(T(c)), e.split);
  const Vec<T> rest = fnma(whole, e.t, e.exp * n / d);
  const Vec<T> s = select(below, fma(rest, e.p, fnma(whole, e.t, e.t)), rest) - whole;
  return scale_by_pow2_where(below, fma(near, s, y), e.split);
}

// With e = exp(x), d = e (e + 2) + 2: e ((e + 2) / d + 4 x (e + 1) / d^2). Past 20 (40) it is 1; the clamp keeps d
// finite.
template <class T>
LAMELLA_INLINE Vec<T> vmish_slope(Vec<T> x) {
  const Vec<T> one(T(1)), two(T(2));
  const Vec<T> c = min(Vec<T>(sizeof(T) == 4 ? T(20) : T(40)), gate_clamp(x));
  const ExpParts<T> e(c);
  const Vec<T> e2 = e.exp + two;
  const Vec<T> inv = one / fma(e.exp, e2, two);
  const Vec<T> slope = fma(c, Vec<T>(T(4)) * (e.exp + one) * inv, e2);
  return scale_by_pow2(e.p * inv * slope, e.split);
}

template <class T>
LAMELLA_INLINE Vec<T> hard_sigmoid(Vec<T> x) {
  const Vec<T> y = min(Vec<T>(T(6)), max(Vec<T>::zero(), x + Vec<T>(T(3))));  // exact near the kinks
  return y * Vec<T>(T(1.0 / 6.0));
}

// x with infinities made finite, for formulas whose limit is plain but would be inf * 0 or inf / inf.
template <class T>
LAMELLA_INLINE Vec<T> finite(Vec<T> x) {
  return min(Vec<T>(T(1e30)), max(Vec<T>(T(-1e30)), x));
}

// x * g where g(x) vanishes faster than x grows: x is held finite, so that -inf gives -0 and not NaN.
template <class T>
LAMELLA_INLINE Vec<T> gate(Vec<T> x, Vec<T> g) {
  return max(Vec<T>(T(-1e30)), x) * g;
}

template <Act A, class T>
LAMELLA_INLINE Vec<T> act_forward(Vec<T> x, [[maybe_unused]] Vec<T> alpha) {
  using V = Vec<T>;
  const V zero = V::zero(), one(T(1));
  if constexpr (A == Act::kRelu) {
    return max(zero, x);
  } else if constexpr (A == Act::kLeakyRelu) {
    return select(lt(x, zero), alpha * x, x);
  } else if constexpr (A == Act::kElu) {
    return select(lt(x, zero), alpha * vexpm1(x), x);
  } else if constexpr (A == Act::kSelu) {
    return select(lt(x, zero), V(T(kSeluScale * kSeluAlpha)) * vexpm1(x), V(T(kSeluScale)) * x);
  } else if constexpr (A == Act::kSigmoid) {
    return vsigmoid(x);
  } else if constexpr (A == Act::kTanh) {
    return vtanh(x);
  } else if constexpr (A == Act::kSoftplus) {
    return vsoftplus(x);
  } else if constexpr (A == Act::kSilu) {
    return vsilu(x);
  } else if constexpr (A == Act::kGelu) {
    return vgelu(x);
  } else if constexpr (A == Act::kGeluTanh) {
    return vgelu_tanh(x);
  } else if constexpr (A == Act::kHardSigmoid) {
    return hard_sigmoid(x);
  } else if constexpr (A == Act::kHardSwish) {
    return gate(x, hard_sigmoid(x));
  } else if constexpr (A == Act::kRelu6) {
    return min(V(T(6)), max(zero, x));
  } else if constexpr (A == Act::kSoftsign) {
    const V c = finite(x);
    return c / (one + abs(c));
  } else if constexpr (A == Act::kExp) {
    return vexp(x);
  } else if constexpr (A == Act::kMish) {
    return vmish(x);
  } else {
    return x;
  }
}

// dx from y = act(x), for the activations of act_grad_from_output(); the others give dy.
template <Act A, class T>
LAMELLA_INLINE Vec<T> act_backward_from_output(Vec<T> y, Vec<T> dy, [[maybe_unused]] Vec<T> alpha) {
  using V = Vec<T>;
  const V zero = V::zero(), one(T(1));
  if constexpr (A == Act::kRelu) {
    return select(le(y, zero), zero, dy);
  } else if constexpr (A == Act::kLeakyRelu) {
    return select(gt(y, zero), dy, alpha * dy);
  } else if constexpr (A == Act::kElu) {
    return select(gt(y, zero), dy, dy * (y + alpha));
  } else if constexpr (A == Act::kSelu) {
    return dy * select(gt(y, zero), V(T(kSeluScale)), y + V(T(kSeluScale * kSeluAlpha)));
  } else if constexpr (A == Act::kSigmoid) {
    return dy * (y * (one - y));
  } else if constexpr (A == Act::kTanh) {
    return dy * ((one - y) * (one + y));
  } else if constexpr (A == Act::kSoftplus) {
    return dy * neg(vexpm1(neg(y)));
  } else if constexpr (A == Act::kHardSigmoid) {
    return select(gt(y, zero) & lt(y, one), dy * V(T(1.0 / 6.0)), zero);
  } else if constexpr (A == Act::kRelu6) {
    return select(gt(y, zero) & lt(y, V(T(6))), dy, zero);
  } else if constexpr (A == Act::kExp) {
    return dy * y;
  } else {
    return dy;
  }
}

// dx from x, for every activation and any alpha.
template <Act A, class T>
LAMELLA_INLINE Vec<T> act_backward_from_input(Vec<T> x, Vec<T> dy, [[maybe_unused]] Vec<T> alpha) {
  using V = Vec<T>;
  const V zero = V::zero(), one(T(1));
  if constexpr (A == Act::kLeakyRelu) {
    return select(gt(x, zero), dy, alpha * dy);
  } else if constexpr (A == Act::kElu) {
    return select(gt(x, zero), dy, dy * (alpha * vexp(x)));
  } else if constexpr (A == Act::kSoftplus) {
    return dy * vsigmoid(x);
  } else if constexpr (A == Act::kSilu) {
    return dy * vsilu_slope(x);
  } else if constexpr (A == Act::kGelu) {
    return dy * vgelu_slope(x);
  } else if constexpr (A == Act::kGeluTanh) {
    return dy * vgelu_tanh_slope(x);
  } else if constexpr (A == Act::kHardSwish) {
    const V inner = dy * fma(x, V(T(1.0 / 3.0)), V(T(0.5)));
    return select(le(x, V(T(-3))), zero, select(ge(x, V(T(3))), dy, inner));
  } else if constexpr (A == Act::kSoftsign) {
    const V d = one + abs(x);
    return dy / (d * d);
  } else if constexpr (A == Act::kMish) {
    return dy * vmish_slope(x);
  } else {
    return act_backward_from_output<A>(act_forward<A>(x, alpha), dy, alpha);
  }
}

// For places that apply an activation to a few vectors only; loops hoist the switch with with_act.
template <class T>
LAMELLA_INLINE Vec<T> apply_act(Act act, Vec<T> x, T alpha) {
  Vec<T> y = x;
  with_act(act, [&](auto tag) { y = act_forward<decltype(tag)::value>(x, Vec<T>(alpha)); });
  return y;
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
