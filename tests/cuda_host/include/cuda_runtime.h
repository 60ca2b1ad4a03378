// What CUDA C++ source needs to be compiled as plain C++ and run on the CPU, one thread after another: see
// emulator.h. Stands in for the toolkit's header of the same name. Launches go through kernels/cuda/launch.h.
#pragma once

#include <math.h>  // sqrt(float) and the like outside of std, as in CUDA

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulator.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
// Blocks run one after another (cooperative ones use dynamic shared memory alone), so one copy serves them all.
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

#define threadIdx (lamella::cuda_host::current().thread)
#define blockIdx (lamella::cuda_host::current().block)
#define blockDim (lamella::cuda_host::current().block_size)
#define gridDim (lamella::cuda_host::current().grid_size)
constexpr int warpSize = 32;

inline void __syncthreads() { lamella::cuda_host::block_barrier(); }
inline int __syncthreads_or(int p) { return lamella::cuda_host::block_or(p); }
inline int __syncthreads_and(int p) { return !lamella::cuda_host::block_or(!p); }
inline int __syncthreads_count(int p) { return lamella::cuda_host::block_count(p); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

// ---- warps ----------------------------------------------------------------------------------------------------------

inline void __syncwarp(unsigned mask = ~0u) { lamella::cuda_host::warp_exchange(mask, nullptr, 0); }
template <class T>
T __shfl_sync(unsigned mask, T v, int lane, int width = 32) {
  const int me = lamella::cuda_host::lane();
  const void* all = lamella::cuda_host::warp_exchange(mask, &v, sizeof v);
  const int base = me / width * width;
  return lamella::cuda_host::from_lane<T>(all, mask, base + (lane & (width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) {
  const int me = lamella::cuda_host::lane();
  const void* all = lamella::cuda_host::warp_exchange(mask, &v, sizeof v);
  const int from = me ^ bits;
  return from / width > me / width ? v : lamella::cuda_host::from_lane<T>(all, mask, from);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, int by, int width = 32) {
  const int me = lamella::cuda_host::lane();
  const void* all = lamella::cuda_host::warp_exchange(mask, &v, sizeof v);
  return me % width + by >= width ? v : lamella::cuda_host::from_lane<T>(all, mask, me + by);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, int by, int width = 32) {
  const int me = lamella::cuda_host::lane();
  const void* all = lamella::cuda_host::warp_exchange(mask, &v, sizeof v);
  return me % width < by ? v : lamella::cuda_host::from_lane<T>(all, mask, me - by);
}
inline unsigned __ballot_sync(unsigned mask, int p) {
  const void* all = lamella::cuda_host::warp_exchange(mask, &p, sizeof p);
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1) && lamella::cuda_host::from_lane<int>(all, mask, i)) r |= 1u << i;
  }
  return r;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T v) {
  const void* all = lamella::cuda_host::warp_exchange(mask, &v, sizeof v);
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1) && lamella::cuda_host::from_lane<T>(all, mask, i) == v) r |= 1u << i;
  }
  return r;
}
inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, p) == mask; }
inline unsigned __activemask() { return ~0u; }

// ---- atomics: nothing runs at the same time -------------------------------------------------------------------------

template <class T>
T atomicAdd(T* p, T v) {
  const T old = *p;
  *p = old + v;
  return old;
}
template <class T>
T atomicMax(T* p, T v) {
  const T old = *p;
  *p = std::max(old, v);
  return old;
}
template <class T>
T atomicMin(T* p, T v) {
  const T old = *p;
  *p = std::min(old, v);
  return old;
}
template <class T>
T atomicExch(T* p, T v) {
  const T old = *p;
  *p = v;
  return old;
}
template <class T>
T atomicCAS(T* p, T expected, T v) {
  const T old = *p;
  if (old == expected) *p = v;
  return old;
}
template <class T>
T atomicOr(T* p, T v) {
  const T old = *p;
  *p = old | v;
  return old;
}
#define atomicCAS_system atomicCAS

// ---- numbers --------------------------------------------------------------------------------------------------------

template <class To, class From>
inline To lamella_bits(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To t;
  std::memcpy(&t, &v, sizeof t);
  return t;
}
inline int __float_as_int(float v) { return lamella_bits<int>(v); }
inline unsigned __float_as_uint(float v) { return lamella_bits<unsigned>(v); }
inline float __int_as_float(int v) { return lamella_bits<float>(v); }
inline float __uint_as_float(unsigned v) { return lamella_bits<float>(v); }
inline long long __double_as_longlong(double v) { return lamella_bits<long long>(v); }
inline double __longlong_as_double(long long v) { return lamella_bits<double>(v); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }
inline float __expf(float v) { return std::exp(v); }
inline float __logf(float v) { return std::log(v); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float v) { return 1.0f / std::sqrt(v); }
inline double rsqrt(double v) { return 1.0 / std::sqrt(v); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((static_cast<uint64_t>(a) * b) >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __clz(int v) { return v == 0 ? 32 : __builtin_clz(static_cast<unsigned>(v)); }
inline int __ffs(int v) { return __builtin_ffs(v); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T v) {
  *p = v;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
void __stcg(T* p, T v) {
  *p = v;
}
inline size_t __cvta_generic_to_shared(const void* p) { return reinterpret_cast<size_t>(p); }

using std::max;
using std::min;

// ---- the runtime, as far as device code's host side needs it
// ---------------------------------------------------------

using cudaStream_t = void*;
