// Conversion between element types. Bound by memory: each thread reads and writes four neighbours at once.
#include "kernels/cuda/device.h"
#include "kernels/cuda/half.h"
#include "kernels/cuda/shape_parts.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAtOnce = 4;

template <class T>
struct alignas(sizeof(T) * kAtOnce < 16 ? sizeof(T) * kAtOnce : 16) Four {
  T v[kAtOnce];
};

template <class T>
constexpr bool kIsFloat = static_cast<T>(0.5) != static_cast<T>(0);

template <>
constexpr bool kIsFloat<f16> = true;
template <>
constexpr bool kIsFloat<bf16> = true;

template <class To, class From>
__device__ To convert(From v) {
  if constexpr (kIsHalf<From>) {
    return convert<To>(widened(v));
  } else if constexpr (kIsHalf<To>) {
    return rounded_to<To>(static_cast<float>(v));
  } else if constexpr (kIsFloat<From> && !kIsFloat<To>) {
    constexpr bool is_signed = static_cast<To>(-1) < static_cast<To>(0);
    constexpr int bits = static_cast<int>(sizeof(To)) * 8 - (is_signed ? 1 : 0);
    constexpr To top = static_cast<To>(~uint64_t{0} >> (64 - bits));
    constexpr To bottom = is_signed ? static_cast<To>(-top - 1) : static_cast<To>(0);
    if (!(v == v)) return static_cast<To>(0);
    if (v <= static_cast<From>(bottom)) return bottom;
    if (v >= static_cast<From>(top)) return top;
    return static_cast<To>(v);
  } else {
    return static_cast<To>(v);
  }
}

// The first `packed` elements go four at a time, the others alone: all of them where the arrays are not aligned.
template <class To, class From>
__global__ void __launch_bounds__(kThreads)
    cast_kernel(const From* __restrict__ src, To* __restrict__ dst, int64_t n, int64_t packed) {
  const int64_t packs = packed / kAtOnce;
  for (int64_t i = thread_number(); i < packs; i += thread_count()) {
    const auto from = reinterpret_cast<const Four<From>*>(src)[i];
    Four<To> to;
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) to.v[k] = convert<To>(from.v[k]);
    reinterpret_cast<Four<To>*>(dst)[i] = to;
  }
  for (int64_t i = packed + thread_number(); i < n; i += thread_count()) dst[i] = convert<To>(src[i]);
}

template <class To, class From>
void cast_typed(const Context& ctx, const CastParams& p) {
  const bool aligned = reinterpret_cast<uintptr_t>(p.src) % alignof(Four<From>) == 0 &&
                       reinterpret_cast<uintptr_t>(p.dst) % alignof(Four<To>) == 0;
  const int64_t packed = aligned ? p.n / kAtOnce * kAtOnce : 0;
  launch(ctx, cast_kernel<To, From>, flat(aligned ? ceil_div(p.n, kAtOnce) : p.n, kThreads),
         static_cast<const From*>(p.src), static_cast<To*>(p.dst), p.n, packed);
}

template <class From>
void cast_from(const Context& ctx, const CastParams& p) {
  switch (p.to) {
    case Element::kF32:
      return cast_typed<float, From>(ctx, p);
    case Element::kF64:
      return cast_typed<double, From>(ctx, p);
    case Element::kI32:
      return cast_typed<int32_t, From>(ctx, p);
    case Element::kI64:
      return cast_typed<int64_t, From>(ctx, p);
    case Element::kU8:
      return cast_typed<uint8_t, From>(ctx, p);
    case Element::kU64:
      return cast_typed<uint64_t, From>(ctx, p);
    case Element::kF16:
      return cast_typed<f16, From>(ctx, p);
    case Element::kBF16:
      return cast_typed<bf16, From>(ctx, p);
  }
}

}  // namespace

void cast(const Context& ctx, const CastParams& p) {
  switch (p.from) {
    case Element::kF32:
      return cast_from<float>(ctx, p);
    case Element::kF64:
      return cast_from<double>(ctx, p);
    case Element::kI32:
      return cast_from<int32_t>(ctx, p);
    case Element::kI64:
      return cast_from<int64_t>(ctx, p);
    case Element::kU8:
      return cast_from<uint8_t>(ctx, p);
    case Element::kU64:
      return cast_from<uint64_t>(ctx, p);
    case Element::kF16:
      return cast_from<f16>(ctx, p);
    case Element::kBF16:
      return cast_from<bf16>(ctx, p);
  }
}

}  // namespace lamella::cuda
