// Gradients of broadcasting arithmetic: maps where an operand is as large as the output (both gradients in one pass
// where both are), sums of maps where it was broadcast.
#include "kernels/cuda/elementwise_parts.h"
#include "kernels/cuda/functors.h"
#include "kernels/cuda/gradient_of_operand.h"
#include "kernels/cuda/map.h"
#include "kernels/cuda/math.h"

namespace lamella::cuda {
namespace {

// dy / b is Quotient's; this one is -(dy a / b) / b, of dy, a, b.
template <class T>
struct DivisorGradient : Functor<T, 3> {
  __device__ T operator()(const T (&v)[3]) const { return -(v[0] * (v[1] / v[2])) / v[2]; }
};

// Of dy, one's own, the other's: the whole gradient where the winner takes it, half where both are equal.
template <class T, bool kLargest>
struct WinnerGradient : Functor<T, 3> {
  __device__ T operator()(const T (&v)[3]) const {
    const bool loses = kLargest ? v[1] < v[2] : v[1] > v[2];
    return loses ? T(0) : v[1] == v[2] ? T(0.5) * v[0] : v[0];
  }
};

// b a^(b-1), 0 for b = 0 whatever a is; of dy, a, b.
template <class T>
struct BaseGradient : Functor<T, 3, true> {
  __device__ T operator()(const T (&v)[3]) const {
    const T d = v[0] * (v[2] * math::pow_of(v[1], v[2] - T(1)));
    return v[2] == T(0) ? T(0) : d;
  }
};

// y log(a), 0 where a = 0 and b >= 0; of dy, a, b, y.
template <class T>
struct ExponentGradient : Functor<T, 4, true> {
  __device__ T operator()(const T (&v)[4]) const {
    const bool flat = v[1] == T(0) && v[2] >= T(0);
    return flat ? T(0) : v[0] * (v[3] * math::log_of(v[1]));
  }
};

// ---- both at once, where nothing was broadcast
// ------------------------------------------------------------------------

template <class T>
struct SumPair : Functor<T, 1> {
  T sign;
  explicit SumPair(T s) : sign(s) {}
  __device__ void operator()(const T (&v)[1], T& da, T& db) const {
    da = v[0];
    db = sign * v[0];
  }
};
template <class T>
struct ProductPair : Functor<T, 3> {
  __device__ void operator()(const T (&v)[3], T& da, T& db) const {
    da = v[0] * v[2];
    db = v[0] * v[1];
  }
};
template <class T>
struct QuotientPair : Functor<T, 3> {
  __device__ void operator()(const T (&v)[3], T& da, T& db) const {
    da = v[0] / v[2];
    db = DivisorGradient<T>()(v);
  }
};
template <class T, bool kLargest>
struct WinnerPair : Functor<T, 3> {
  __device__ void operator()(const T (&v)[3], T& da, T& db) const {
    const T swapped[3] = {v[0], v[2], v[1]};
    da = WinnerGradient<T, kLargest>()(v);
    db = WinnerGradient<T, kLargest>()(swapped);
  }
};

// Whether both gradients were wanted and nothing was broadcast; then they are done.
template <class T>
bool both(const Context& ctx, const BinaryBackwardParams<T>& p) {
  if (p.da == nullptr || p.db == nullptr) return false;
  for (int i = 0; i < p.dims.rank; ++i)
    if (p.dims.strides[0][i] == 0 || p.dims.strides[1][i] == 0) return false;
  using R = Real<T>;
  const int64_t n = places(p.dims);
  const void* in[] = {p.dy, p.a, p.b};
  switch (p.fn) {
    case Binary::kAdd:
      flat_pair(ctx, on<T>(SumPair<R>(R(1))), n, in, p.da, p.db);
      return true;
    case Binary::kSub:
      flat_pair(ctx, on<T>(SumPair<R>(R(-1))), n, in, p.da, p.db);
      return true;
    case Binary::kMul:
      flat_pair(ctx, on<T>(ProductPair<R>()), n, in, p.da, p.db);
      return true;
    case Binary::kDiv:
      flat_pair(ctx, on<T>(QuotientPair<R>()), n, in, p.da, p.db);
      return true;
    case Binary::kMaximum:
      flat_pair(ctx, on<T>(WinnerPair<R, true>()), n, in, p.da, p.db);
      return true;
    case Binary::kMinimum:
      flat_pair(ctx, on<T>(WinnerPair<R, false>()), n, in, p.da, p.db);
      return true;
    default:
      return false;  // bound by arithmetic
  }
}

// Operands of p.dims: a, b; dy and y lie as the output (kDy).
template <class T>
void gradient(const Context& ctx, const BinaryBackwardParams<T>& p, bool of_a, T* out) {
  using R = Real<T>;
  const void* own = of_a ? p.a : p.b;
  const void* other = of_a ? p.b : p.a;
  const int me = of_a ? 0 : 1, it = 1 - me;
  const auto run = [&](const auto& f, std::initializer_list<OperandOf> in) {
    gradient_of_operand(ctx, on<T>(f), p.dims, me, in, out);
  };
  switch (p.fn) {
    case Binary::kAdd:
      return run(Itself<R>(), {{p.dy, kLikeOutput}});
    case Binary::kSub:
      return run(Scaled<R>(of_a ? R(1) : R(-1)), {{p.dy, kLikeOutput}});
    case Binary::kMul:
      return run(Product<R>(), {{p.dy, kLikeOutput}, {other, it}});
    case Binary::kDiv:
      if (of_a) return run(Quotient<R>(), {{p.dy, kLikeOutput}, {p.b, 1}});
      return run(DivisorGradient<R>(), {{p.dy, kLikeOutput}, {p.a, 0}, {p.b, 1}});
    case Binary::kMaximum:
      return run(WinnerGradient<R, true>(), {{p.dy, kLikeOutput}, {own, me}, {other, it}});
    case Binary::kMinimum:
      return run(WinnerGradient<R, false>(), {{p.dy, kLikeOutput}, {own, me}, {other, it}});
    case Binary::kPow:
    case Binary::kCount:
      if (of_a) return run(BaseGradient<R>(), {{p.dy, kLikeOutput}, {p.a, 0}, {p.b, 1}});
      return run(ExponentGradient<R>(), {{p.dy, kLikeOutput}, {p.a, 0}, {p.b, 1}, {p.y, kLikeOutput}});
  }
}

template <class T>
size_t binary_backward_workspace(const BinaryBackwardParams<T>& p, int) {
  const size_t a = p.da != nullptr ? gradient_of_operand_workspace<T>(p.dims, 0) : 0;
  const size_t b = p.db != nullptr ? gradient_of_operand_workspace<T>(p.dims, 1) : 0;
  return a > b ? a : b;
}

template <class T>
void binary_backward(const Context& ctx, const BinaryBackwardParams<T>& p) {
  if (both(ctx, p)) return;
  if (p.da != nullptr) gradient(ctx, p, true, p.da);
  if (p.db != nullptr) gradient(ctx, p, false, p.db);
}

template <class T>
void fill_part(ElementwiseKernels<T>& k) {
  k.binary_backward_workspace = binary_backward_workspace<T>;
  k.binary_backward = binary_backward<T>;
}

}  // namespace

void fill_binary_backward(ElementwiseKernels<float>& k) { fill_part(k); }
void fill_binary_backward(ElementwiseKernels<double>& k) { fill_part(k); }
void fill_binary_backward(ElementwiseKernels<f16>& k) { fill_part(k); }
void fill_binary_backward(ElementwiseKernels<bf16>& k) { fill_part(k); }

}  // namespace lamella::cuda
