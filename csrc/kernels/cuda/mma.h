// The matrix units, as instructions of a warp (compute capability 8.0 on): D[16, 8] += A[16, k] B[k, 8] in float32,
// with factors of a lower precision. Lane l = 4 g + t of the warp holds
//
//   A, k = 8 of 32 bits:   a[0] (g, t)     a[1] (g + 8, t)     a[2] (g, t + 4)     a[3] (g + 8, t + 4)
//   B                      b[0] (t, g)     b[1] (t + 4, g)
//   A, k = 16 of 16 bits:  a[0] (g, 2t..)  a[1] (g + 8, 2t..)  a[2] (g, 2t + 8..)  a[3] (g + 8, 2t + 8..), two along k
//   B                      b[0] (2t.., g)  b[1] (2t + 8.., g)
//   D                      d[0] (g, 2t)    d[1] (g, 2t + 1)    d[2] (g + 8, 2t)    d[3] (g + 8, 2t + 1)
//
// Where rows of A (columns of B) lie along k in shared memory, both kinds have k steps of 32 bytes, and matrix_load
// brings the same registers for both.
#pragma once

#include "base/half.h"
#include "kernels/cuda/device.h"

namespace lamella::cuda {
namespace {

// ---- rounding -------------------------------------------------------------------------------------------------------

// To 10 bits of fraction, ties away from zero.
__device__ __forceinline__ uint32_t to_tf32(float v) {
#if defined(LAMELLA_CUDA_HOST)
  const uint32_t bits = __float_as_uint(v);
  if ((bits & 0x7F800000u) == 0x7F800000u) return (bits & 0x7FFFFFu) != 0 ? 0x7FFFFFFFu : bits;
  return (bits + 0x1000u) & 0xFFFFE000u;
#else
  uint32_t r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
  return r;
#endif
}

#if defined(LAMELLA_CUDA_HOST)
inline uint32_t host_bf16(float v) {
  const uint32_t bits = __float_as_uint(v);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFFu;
  return (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
}
inline uint32_t host_f16(float v) { return to_f16(v).bits; }
#endif
// Two numbers in one register, the first one low; to the nearest, ties to even.
__device__ __forceinline__ uint32_t to_bf16_pair(float low, float high) {
#if defined(LAMELLA_CUDA_HOST)
  return host_bf16(low) | host_bf16(high) << 16;
#else
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
#endif
}
__device__ __forceinline__ uint32_t to_f16_pair(float low, float high) {
#if defined(LAMELLA_CUDA_HOST)
  return host_f16(low) | host_f16(high) << 16;
#else
  uint32_t r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
#endif
}

// ---- products -------------------------------------------------------------------------------------------------------

#if defined(LAMELLA_CUDA_HOST)
// `value(bits, i)`: the i-th factor of a register. Products are exact, sums are rounded once, which the hardware does
// not promise: neither its order nor its rounding is specified.
template <int kPerRegister, class Value>
inline void host_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const Value& value) {
  struct Lane {
    uint32_t a[4], b[2];
  } mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const void* all = cuda_host::warp_exchange(~0u, &mine, sizeof mine);
  const int g = cuda_host::lane() / 4, t = cuda_host::lane() % 4;
  for (int i = 0; i < 4; ++i) {
    double sum = 0;
    for (int half = 0; half < 2; ++half) {
      for (int from = 0; from < 4; ++from) {
        const Lane row = cuda_host::from_lane<Lane>(all, ~0u, g * 4 + from);
        const Lane column = cuda_host::from_lane<Lane>(all, ~0u, (2 * t + i % 2) * 4 + from);
        for (int k = 0; k < kPerRegister; ++k)
          sum += static_cast<double>(value(row.a[half * 2 + i / 2], k)) * static_cast<double>(value(column.b[half], k));
      }
    }
    d[i] = static_cast<float>(d[i] + sum);
  }
}
#endif

// Factors as the units take them, in shared memory.
struct Tf32 {
  using Stored = uint32_t;
  static constexpr int kStep = 8;  // along k, of one instruction

  static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(LAMELLA_CUDA_HOST)
    host_mma<1>(d, a, b, [](uint32_t bits, int) { return __uint_as_float(bits & 0xFFFFE000u); });
#else
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
  }
  static __device__ __forceinline__ void store(Stored* to, const Pack<float>& v) {
    Pack<uint32_t> r;
#pragma unroll
    for (int j = 0; j < 4; ++j) r.v[j] = to_tf32(v.v[j]);
    store_pack(to, r);
  }
};

struct Bf16 {
  using Stored = uint16_t;
  static constexpr int kStep = 16;

  static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(LAMELLA_CUDA_HOST)
    host_mma<2>(d, a, b,
                [](uint32_t bits, int i) { return __uint_as_float(i == 0 ? bits << 16 : bits & 0xFFFF0000u); });
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
  }
  static __device__ __forceinline__ void store(Stored* to, const Pack<float>& v) {
    *reinterpret_cast<uint2*>(to) = make_uint2(to_bf16_pair(v.v[0], v.v[1]), to_bf16_pair(v.v[2], v.v[3]));
  }
  // Numbers that are stored in this precision: eight at a time.
  static __device__ __forceinline__ void store(Stored* to, const Pack<bf16>& v) {
    *reinterpret_cast<Pack<bf16>*>(to) = v;
  }
};

struct F16 {
  using Stored = uint16_t;
  static constexpr int kStep = 16;

  static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(LAMELLA_CUDA_HOST)
    host_mma<2>(d, a, b,
                [](uint32_t bits, int i) { return to_float(f16{static_cast<uint16_t>(i == 0 ? bits : bits >> 16)}); });
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
  }
  static __device__ __forceinline__ void store(Stored* to, const Pack<float>& v) {
    *reinterpret_cast<uint2*>(to) = make_uint2(to_f16_pair(v.v[0], v.v[1]), to_f16_pair(v.v[2], v.v[3]));
  }
  static __device__ __forceinline__ void store(Stored* to, const Pack<f16>& v) {
    *reinterpret_cast<Pack<f16>*>(to) = v;
  }
};

// That of arrays of 16-bit floats.
template <class T>
struct KindOf;
template <>
struct KindOf<bf16> {
  using type = Bf16;
};
template <>
struct KindOf<f16> {
  using type = F16;
};

// ---- from shared memory ---------------------------------------------------------------------------------------------

// Four 8 x 8 matrices of 16-bit numbers (or 8 x 4 of 32 bits): lane 8 i + r names the 16 bytes of row r of matrix i,
// and gets in r[i] the numbers 2t and 2t + 1 (the number t) of row g of matrix i; transposed, rows 2t and 2t + 1 of
// column g.
template <bool kTransposed>
__device__ __forceinline__ void matrix_load(uint32_t (&r)[4], const void* row) {
#if defined(LAMELLA_CUDA_HOST)
  const void* all = cuda_host::warp_exchange(~0u, &row, sizeof row);
  const int g = cuda_host::lane() / 4, t = cuda_host::lane() % 4;
  for (int i = 0; i < 4; ++i) {
    if (kTransposed) {
      uint16_t pair[2];
      for (int j = 0; j < 2; ++j)
        pair[j] = static_cast<const uint16_t*>(cuda_host::from_lane<const void*>(all, ~0u, i * 8 + 2 * t + j))[g];
      r[i] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
    } else {
      const void* from = cuda_host::from_lane<const void*>(all, ~0u, i * 8 + g);
      if (reinterpret_cast<uintptr_t>(from) % 16 != 0) cuda_host::fail("matrix_load from an unaligned row");
      std::memcpy(&r[i], static_cast<const char*>(from) + t * 4, 4);
    }
  }
#else
  const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
  }
#endif
}

}  // namespace
}  // namespace lamella::cuda
