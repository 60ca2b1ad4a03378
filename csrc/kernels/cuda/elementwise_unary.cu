// Unary functions over flat arrays, forward and backward.
#include "kernels/cuda/choose.h"
#include "kernels/cuda/elementwise_parts.h"
#include "kernels/cuda/functors.h"
#include "kernels/cuda/map.h"
#include "kernels/cuda/math.h"

namespace lamella::cuda {
namespace {

constexpr bool transcendental(Unary f) {
  switch (f) {
    case Unary::kExp:
    case Unary::kExpm1:
    case Unary::kLog:
    case Unary::kLog1p:
    case Unary::kSin:
    case Unary::kCos:
    case Unary::kErf:
      return true;
    default:
      return false;
  }
}

template <class T, Unary kFn>
struct UnaryValue : Functor<T, 1, transcendental(kFn)> {
  using V = math::Vec<T>;

  static __device__ __forceinline__ V value(V x) {
    using namespace math;
    if constexpr (kFn == Unary::kNeg) {
      return neg(x);
    } else if constexpr (kFn == Unary::kAbs) {
      return abs(x);
    } else if constexpr (kFn == Unary::kSign) {
      const V zero = V::zero();
      return select(gt(x, zero), V(T(1)), select(lt(x, zero), V(T(-1)), x));
    } else if constexpr (kFn == Unary::kSquare) {
      return x * x;
    } else if constexpr (kFn == Unary::kSqrt) {
      return sqrt(x);
    } else if constexpr (kFn == Unary::kRsqrt) {
      return V(T(1)) / sqrt(x);
    } else if constexpr (kFn == Unary::kReciprocal) {
      return V(T(1)) / x;
    } else if constexpr (kFn == Unary::kExp) {
      return vexp(x);
    } else if constexpr (kFn == Unary::kExpm1) {
      return vexpm1(x);
    } else if constexpr (kFn == Unary::kLog) {
      return vlog(x);
    } else if constexpr (kFn == Unary::kLog1p) {
      return vlog1p(x);
    } else if constexpr (kFn == Unary::kSin) {
      return vsin(x);
    } else if constexpr (kFn == Unary::kCos) {
      return vcos(x);
    } else if constexpr (kFn == Unary::kErf) {
      return verf(x);
    } else if constexpr (kFn == Unary::kFloor) {
      return vfloor(x);
    } else if constexpr (kFn == Unary::kCeil) {
      return vceil(x);
    } else {
      static_assert(kFn == Unary::kRound);
      return round(x);
    }
  }
  __device__ T operator()(const T (&v)[1]) const { return value(V(v[0])).v[0]; }
};

// Operands: dy, then x or y.
template <class T, Unary kFn>
struct UnaryGradient : Functor<T, 2, kFn == Unary::kSin || kFn == Unary::kCos || kFn == Unary::kErf> {
  using V = math::Vec<T>;

  static __device__ __forceinline__ V gradient(V dy, V v) {
    using namespace math;
    if constexpr (kFn == Unary::kAbs) {
      const V zero = V::zero();
      return select(gt(v, zero), dy, select(lt(v, zero), neg(dy), zero));
    } else if constexpr (kFn == Unary::kSquare) {
      return (v + v) * dy;
    } else if constexpr (kFn == Unary::kSqrt) {
      return dy * V(T(0.5)) / v;
    } else if constexpr (kFn == Unary::kRsqrt) {
      return dy * (V(T(-0.5)) * v) * (v * v);
    } else if constexpr (kFn == Unary::kReciprocal) {
      return neg(dy * v) * v;
    } else if constexpr (kFn == Unary::kExp) {
      return dy * v;
    } else if constexpr (kFn == Unary::kExpm1) {
      return fma(dy, v, dy);
    } else if constexpr (kFn == Unary::kLog) {
      return dy / v;
    } else if constexpr (kFn == Unary::kLog1p) {
      return dy / (v + V(T(1)));
    } else if constexpr (kFn == Unary::kSin) {
      return dy * vcos(v);
    } else if constexpr (kFn == Unary::kCos) {
      return neg(dy * vsin(v));
    } else {
      static_assert(kFn == Unary::kErf);
      return dy * (V(T(1.1283791670955125739)) * vexp(neg(v * v)));
    }
  }
  __device__ T operator()(const T (&v)[2]) const { return gradient(V(v[0]), V(v[1])).v[0]; }
};

template <class T>
void unary(const Context& ctx, const UnaryParams<T>& p) {
  const void* in[] = {p.x};
  choose(p.fn, [&](auto fn) { flat_map(ctx, on<T>(UnaryValue<Real<T>, decltype(fn)::value>()), p.n, in, p.y); });
}

template <class T>
void unary_backward(const Context& ctx, const UnaryBackwardParams<T>& p) {
  const void* in[] = {p.dy, p.value};
  choose(p.fn, [&](auto fn) {
    constexpr Unary kFn = decltype(fn)::value;
    if constexpr (unary_grad_from_output(kFn) || unary_grad_from_input(kFn)) {
      flat_map(ctx, on<T>(UnaryGradient<Real<T>, kFn>()), p.n, in, p.dx);
    } else if constexpr (kFn == Unary::kNeg) {
      flat_map(ctx, on<T>(Scaled<Real<T>>(Real<T>(-1))), p.n, in, p.dx);
    } else {
      fill_array(ctx, p.dx, p.n, T{});  // steps
    }
  });
}

template <class T>
void fill_part(ElementwiseKernels<T>& k) {
  k.unary = unary<T>;
  k.unary_backward = unary_backward<T>;
}

}  // namespace

void fill_unary(ElementwiseKernels<float>& k) { fill_part(k); }
void fill_unary(ElementwiseKernels<double>& k) { fill_part(k); }
void fill_unary(ElementwiseKernels<f16>& k) { fill_part(k); }
void fill_unary(ElementwiseKernels<bf16>& k) { fill_part(k); }

}  // namespace lamella::cuda
