// Floats of 16 bits on the device: single instructions where the host's headers count bits.
#pragma once

#include "base/half.h"
#include "kernels/cuda/device.h"

namespace lamella::cuda {
namespace {

template <class T>
constexpr bool kIsHalf = false;
template <>
constexpr bool kIsHalf<bf16> = true;
template <>
constexpr bool kIsHalf<f16> = true;

template <class T>
constexpr bool kIsBrain = false;
template <>
constexpr bool kIsBrain<bf16> = true;

__device__ __forceinline__ float widened(float v) { return v; }
__device__ __forceinline__ double widened(double v) { return v; }
__device__ __forceinline__ float widened(bf16 v) { return __uint_as_float(uint32_t{v.bits} << 16); }
__device__ __forceinline__ float widened(f16 v) {
#if defined(LAMELLA_CUDA_HOST)
  return to_float(v);
#else
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v.bits));
  return r;
#endif
}

// To the nearest, ties to even.
template <class T>
__device__ __forceinline__ T rounded_to(T v) {
  return v;
}
template <class T>
__device__ __forceinline__ T rounded_to(float v) requires(kIsHalf<T>) {
#if defined(LAMELLA_CUDA_HOST)
  return narrowed<T>(v);
#else
  T r;
  if constexpr (kIsBrain<T>) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(v));
  } else {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r.bits) : "f"(v));
  }
  return r;
#endif
}

// Where one kernel serves both types, and is told which at run time.
__device__ __forceinline__ float widened(uint16_t bits, bool brain) {
  return brain ? widened(bf16{bits}) : widened(f16{bits});
}
__device__ __forceinline__ uint16_t rounded_to_bits(float v, bool brain) {
  return brain ? rounded_to<bf16>(v).bits : rounded_to<f16>(v).bits;
}

// 8 bytes at once.
template <class T>
struct alignas(8) FourHalves {
  T v[4];
};

}  // namespace
}  // namespace lamella::cuda
