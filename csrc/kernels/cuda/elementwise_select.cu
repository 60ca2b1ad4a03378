// Comparisons and choices: bytes out, bytes in.
#include "kernels/cuda/choose.h"
#include "kernels/cuda/elementwise_parts.h"
#include "kernels/cuda/functors.h"
#include "kernels/cuda/gradient_of_operand.h"
#include "kernels/cuda/map.h"

namespace lamella::cuda {
namespace {

template <class T, Compare kFn>
struct Compared : Functor<T, 2, false, false, uint8_t> {
  __device__ uint8_t operator()(const T (&v)[2]) const {
    if constexpr (kFn == Compare::kEqual) {
      return v[0] == v[1];
    } else if constexpr (kFn == Compare::kNotEqual) {
      return v[0] != v[1];
    } else if constexpr (kFn == Compare::kLess) {
      return v[0] < v[1];
    } else if constexpr (kFn == Compare::kLessEqual) {
      return v[0] <= v[1];
    } else if constexpr (kFn == Compare::kGreater) {
      return v[0] > v[1];
    } else {
      static_assert(kFn == Compare::kGreaterEqual);
      return v[0] >= v[1];
    }
  }
};

// Of condition, a, b.
template <class T>
struct Where : Functor<T, 3, false, true> {
  __device__ T operator()(const T (&v)[3]) const { return v[0] != T(0) ? v[1] : v[2]; }
};

// Of condition, dy.
template <class T>
struct WhereGradient : Functor<T, 2, false, true> {
  bool taken;
  explicit WhereGradient(bool t) : taken(t) {}
  __device__ T operator()(const T (&v)[2]) const { return (v[0] != T(0)) == taken ? v[1] : T(0); }
};

template <class T>
void compare(const Context& ctx, const CompareParams<T>& p) {
  const void* in[] = {p.a, p.b};
  choose(p.fn, [&](auto fn) { broadcast_map(ctx, on<T>(Compared<Real<T>, decltype(fn)::value>()), p.dims, in, p.y); });
}

template <class T>
void where(const Context& ctx, const WhereParams<T>& p) {
  const void* in[] = {p.condition, p.a, p.b};
  broadcast_map(ctx, on<T>(Where<Real<T>>()), p.dims, in, p.y);
}

template <class T>
size_t where_backward_workspace(const WhereParams<T>& p, int) {
  const size_t a = p.da != nullptr ? gradient_of_operand_workspace<T>(p.dims, 1) : 0;
  const size_t b = p.db != nullptr ? gradient_of_operand_workspace<T>(p.dims, 2) : 0;
  return a > b ? a : b;
}

template <class T>
void where_backward(const Context& ctx, const WhereParams<T>& p) {
  for (int k = 0; k < 2; ++k) {
    T* out = k == 0 ? p.da : p.db;
    if (out == nullptr) continue;
    gradient_of_operand(ctx, on<T>(WhereGradient<Real<T>>(k == 0)), p.dims, k + 1,
                        {{p.condition, 0}, {p.dy, kLikeOutput}}, out);
  }
}

template <class T>
void fill_part(ElementwiseKernels<T>& k) {
  k.compare = compare<T>;
  k.where = where<T>;
  k.where_backward_workspace = where_backward_workspace<T>;
  k.where_backward = where_backward<T>;
}

}  // namespace

void fill_select(ElementwiseKernels<float>& k) { fill_part(k); }
void fill_select(ElementwiseKernels<double>& k) { fill_part(k); }
void fill_select(ElementwiseKernels<f16>& k) { fill_part(k); }
void fill_select(ElementwiseKernels<bf16>& k) { fill_part(k); }

}  // namespace lamella::cuda
