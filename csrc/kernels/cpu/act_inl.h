// Activations on Vec<T>, for GEMM and convolution epilogues and the elementwise kernels. The choice is made once,
// outside the loop:
//
//   with_act(p.act.act, [&](auto tag) {
//     constexpr Act A = decltype(tag)::value;
//     for (...) act_forward<A>(x, alpha).store(...);
//   });
#pragma once

#include "kernels/activation.h"
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
constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kInvSqrt2Pi = 0.39894228040143267794;
// gelu_tanh(x) = x sigmoid(x (kGeluTanh1 + kGeluTanh3 x^2)): 2 sqrt(2/pi), and that times 0.044715.
constexpr double kGeluTanh1 = 1.5957691216057307117;
constexpr double kGeluTanh3 = 0.071354816272600248773;

// mish(x) = x tanh(softplus(x)) = x n / (n + 2), n = e (e + 2), e = exp(x). Past 20 (40) the quotient is 1; the clamp
// keeps n finite.
template <class T>
LAMELLA_INLINE Vec<T> mish_clamp(Vec<T> x) {
  return min(Vec<T>(sizeof(T) == 4 ? T(20) : T(40)), x);
}

// The normal distribution function.
template <class T>
LAMELLA_INLINE Vec<T> normal_cdf(Vec<T> x) {
  const Vec<T> half(T(0.5));
  return fma(half, verf(x * Vec<T>(T(kSqrtHalf))), half);
}

template <class T>
LAMELLA_INLINE Vec<T> hard_sigmoid(Vec<T> x) {
  const Vec<T> y = fma(x, Vec<T>(T(1.0 / 6.0)), Vec<T>(T(0.5)));
  return min(Vec<T>(T(1)), max(Vec<T>::zero(), y));
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
    return V(T(kSeluScale)) * select(lt(x, zero), V(T(kSeluAlpha)) * vexpm1(x), x);
  } else if constexpr (A == Act::kSigmoid) {
    return vsigmoid(x);
  } else if constexpr (A == Act::kTanh) {
    return vtanh(x);
  } else if constexpr (A == Act::kSoftplus) {
    return vsoftplus(x);
  } else if constexpr (A == Act::kSilu) {
    return gate(x, vsigmoid(x));
  } else if constexpr (A == Act::kGelu) {
    return gate(x, normal_cdf(x));
  } else if constexpr (A == Act::kGeluTanh) {
    return gate(x, vsigmoid(x * fma(x * x, V(T(kGeluTanh3)), V(T(kGeluTanh1)))));
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
    const V e = vexp(mish_clamp(x));
    const V n = e * (e + V(T(2)));
    return gate(x, n / (n + V(T(2))));
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
  const V zero = V::zero(), one(T(1)), two(T(2));
  if constexpr (A == Act::kLeakyRelu) {
    return select(gt(x, zero), dy, alpha * dy);
  } else if constexpr (A == Act::kElu) {
    return select(gt(x, zero), dy, dy * (alpha * vexp(x)));
  } else if constexpr (A == Act::kSoftplus) {
    return dy * vsigmoid(x);
  } else if constexpr (A == Act::kSilu) {
    const V s = vsigmoid(x);
    return dy * fma(finite(x) * s, one - s, s);
  } else if constexpr (A == Act::kGelu) {
    const V density = V(T(kInvSqrt2Pi)) * vexp(V(T(-0.5)) * x * x);
    return dy * fma(finite(x), density, normal_cdf(x));
  } else if constexpr (A == Act::kGeluTanh) {
    // Held where the sigmoid and its slope are done with: no inf * 0.
    const V c = min(V(T(60)), max(V(T(-60)), x));
    const V x2 = c * c;
    const V s = vsigmoid(c * fma(x2, V(T(kGeluTanh3)), V(T(kGeluTanh1))));
    const V slope = fma(x2, V(T(3 * kGeluTanh3)), V(T(kGeluTanh1)));
    return dy * fma(c * slope, s * (one - s), s);
  } else if constexpr (A == Act::kHardSwish) {
    const V inner = dy * fma(x, V(T(1.0 / 3.0)), V(T(0.5)));
    return select(le(x, V(T(-3))), zero, select(ge(x, V(T(3))), dy, inner));
  } else if constexpr (A == Act::kSoftsign) {
    const V d = one + abs(x);
    return dy / (d * d);
  } else if constexpr (A == Act::kMish) {
    const V c = mish_clamp(x);
    const V e = vexp(c);
    const V n = e * (e + two);
    const V inv = one / (n + two);
    const V slope = V(T(4)) * e * (e + one) * inv * inv;
    return dy * (gate(c, slope) + n * inv);
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
