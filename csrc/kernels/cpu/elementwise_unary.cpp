// Unary functions over flat arrays, forward and backward.
#include "kernels/cpu/elementwise_parts.h"
#include "kernels/cpu/map_inl.h"
#include "kernels/cpu/vmath.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T, class F>
LAMELLA_INLINE Map<T> cheap(const F& f) {
  return make_map<T, 1, 4>(0.3, f);
}
template <class T, class F>
LAMELLA_INLINE Map<T> heavy(const F& f) {
  return make_map<T, 1, 1>(Vec<T>::W >= 8 ? 0.7 : 0.7 * 8 / Vec<T>::W, f);
}

template <class T>
Map<T> forward_map(Unary fn) {
  using V = Vec<T>;
  switch (fn) {
    case Unary::kNeg:
      return cheap<T>([](const V* v, const V*) { return neg(v[0]); });
    case Unary::kAbs:
      return cheap<T>([](const V* v, const V*) { return abs(v[0]); });
    case Unary::kSign:
      return cheap<T>([](const V* v, const V*) {
        const V zero = V::zero();
        return select(gt(v[0], zero), V(T(1)), select(lt(v[0], zero), V(T(-1)), v[0]));
      });
    case Unary::kSquare:
      return cheap<T>([](const V* v, const V*) { return v[0] * v[0]; });
    case Unary::kSqrt:
      return cheap<T>([](const V* v, const V*) { return sqrt(v[0]); });
    case Unary::kRsqrt:
      return cheap<T>([](const V* v, const V*) { return V(T(1)) / sqrt(v[0]); });
    case Unary::kReciprocal:
      return cheap<T>([](const V* v, const V*) { return V(T(1)) / v[0]; });
    case Unary::kExp:
      return heavy<T>([](const V* v, const V*) { return vexp(v[0]); });
    case Unary::kExpm1:
      return heavy<T>([](const V* v, const V*) { return vexpm1(v[0]); });
    case Unary::kLog:
      return heavy<T>([](const V* v, const V*) { return vlog(v[0]); });
    case Unary::kLog1p:
      return heavy<T>([](const V* v, const V*) { return vlog1p(v[0]); });
    case Unary::kSin:
      return heavy<T>([](const V* v, const V*) { return vsin(v[0]); });
    case Unary::kCos:
      return heavy<T>([](const V* v, const V*) { return vcos(v[0]); });
    case Unary::kErf:
      return heavy<T>([](const V* v, const V*) { return verf(v[0]); });
    case Unary::kFloor:
      return cheap<T>([](const V* v, const V*) { return vfloor(v[0]); });
    case Unary::kCeil:
      return cheap<T>([](const V* v, const V*) { return vceil(v[0]); });
    case Unary::kRound:
    case Unary::kCount:
      return cheap<T>([](const V* v, const V*) { return round(v[0]); });
  }
  return {};
}

template <class T, class F>
LAMELLA_INLINE Map<T> cheap2(const F& f) {
  return make_map<T, 2, 4>(0.4, f);
}
template <class T, class F>
LAMELLA_INLINE Map<T> heavy2(const F& f) {
  return make_map<T, 2, 1>(Vec<T>::W >= 8 ? 0.7 : 0.7 * 8 / Vec<T>::W, f);
}

// Operands: dy, then x or y (dy again where neither is read).
template <class T>
Map<T> backward_map(Unary fn) {
  using V = Vec<T>;
  switch (fn) {
    case Unary::kNeg:
      return cheap2<T>([](const V* v, const V*) { return neg(v[0]); });
    case Unary::kAbs:
      return cheap2<T>([](const V* v, const V*) {
        const V zero = V::zero();
        return select(gt(v[1], zero), v[0], select(lt(v[1], zero), neg(v[0]), zero));
      });
    case Unary::kSquare:
      return cheap2<T>([](const V* v, const V*) { return (v[1] + v[1]) * v[0]; });
    case Unary::kSqrt:
      return cheap2<T>([](const V* v, const V*) { return v[0] * V(T(0.5)) / v[1]; });
    case Unary::kRsqrt:
      return cheap2<T>([](const V* v, const V*) { return v[0] * (V(T(-0.5)) * v[1]) * (v[1] * v[1]); });
    case Unary::kReciprocal:
      return cheap2<T>([](const V* v, const V*) { return neg(v[0] * v[1]) * v[1]; });
    case Unary::kExp:
      return cheap2<T>([](const V* v, const V*) { return v[0] * v[1]; });
    case Unary::kExpm1:
      return cheap2<T>([](const V* v, const V*) { return fma(v[0], v[1], v[0]); });
    case Unary::kLog:
      return cheap2<T>([](const V* v, const V*) { return v[0] / v[1]; });
    case Unary::kLog1p:
      return cheap2<T>([](const V* v, const V*) { return v[0] / (v[1] + V(T(1))); });
    case Unary::kSin:
      return heavy2<T>([](const V* v, const V*) { return v[0] * vcos(v[1]); });
    case Unary::kCos:
      return heavy2<T>([](const V* v, const V*) { return neg(v[0] * vsin(v[1])); });
    case Unary::kErf:
      return heavy2<T>(
          [](const V* v, const V*) { return v[0] * (V(T(1.1283791670955125739)) * vexp(neg(v[1] * v[1]))); });
    case Unary::kSign:
    case Unary::kFloor:
    case Unary::kCeil:
    case Unary::kRound:
    case Unary::kCount:
      return cheap2<T>([](const V*, const V*) { return V::zero(); });
  }
  return {};
}

template <class T>
void unary(const Context& ctx, const UnaryParams<T>& p) {
  const void* in[] = {p.x};
  flat_map(ctx, forward_map<T>(p.fn), p.n, in, p.y);
}

template <class T>
void unary_backward(const Context& ctx, const UnaryBackwardParams<T>& p) {
  const void* in[] = {p.dy, p.value != nullptr ? p.value : p.dy};
  flat_map(ctx, backward_map<T>(p.fn), p.n, in, p.dx);
}

template <class T>
void fill_part(ElementwiseKernels<T>& k) {
  k.unary = unary<T>;
  k.unary_backward = unary_backward<T>;
}

}  // namespace

void fill_unary(ElementwiseKernels<float>& k) { fill_part(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_unary(ElementwiseKernels<double>& k) { fill_part(k); }
#endif

}  // namespace lamella::LAMELLA_NS
