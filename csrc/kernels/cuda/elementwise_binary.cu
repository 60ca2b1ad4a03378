// Broadcasting arithmetic, forward.
#include "kernels/cuda/choose.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/elementwise_parts.h"
#include "kernels/cuda/functors.h"
#include "kernels/cuda/map.h"
#include "kernels/cuda/math.h"

namespace lamella::cuda {
namespace {

template <class T, Binary kFn>
struct BinaryValue : Functor<T, 2, kFn == Binary::kPow> {
  __device__ T operator()(const T (&v)[2]) const {
    if constexpr (kFn == Binary::kAdd) {
      return v[0] + v[1];
    } else if constexpr (kFn == Binary::kSub) {
      return v[0] - v[1];
    } else if constexpr (kFn == Binary::kMul) {
      return v[0] * v[1];
    } else if constexpr (kFn == Binary::kDiv) {
      return v[0] / v[1];
    } else if constexpr (kFn == Binary::kMaximum) {
      return nan_max(v[0], v[1]);
    } else if constexpr (kFn == Binary::kMinimum) {
      return nan_min(v[0], v[1]);
    } else {
      static_assert(kFn == Binary::kPow);
      return math::pow_of(v[0], v[1]);
    }
  }
};

template <class T>
void binary(const Context& ctx, const BinaryParams<T>& p) {
  const void* in[] = {p.a, p.b};
  choose(p.fn,
         [&](auto fn) { broadcast_map(ctx, on<T>(BinaryValue<Real<T>, decltype(fn)::value>()), p.dims, in, p.y); });
}

}  // namespace

void fill_binary(ElementwiseKernels<float>& k) { k.binary = binary<float>; }
void fill_binary(ElementwiseKernels<double>& k) { k.binary = binary<double>; }
void fill_binary(ElementwiseKernels<f16>& k) { k.binary = binary<f16>; }
void fill_binary(ElementwiseKernels<bf16>& k) { k.binary = binary<bf16>; }

}  // namespace lamella::cuda
