// Vec<T>: one SIMD register of T for the ISA this file is compiled for, and Mask<T>, IVec<T> (signed integers of the
// same width) beside it. Kernels are templates over these; intrinsics stand here and nowhere else unless they pay.
//
//   portable  GCC/Clang vector extensions, 16 bytes (SSE2 or NEON underneath); float and double
//   avx2      __m256, float          avx512   __m512, float         device   one number: kernels/cuda/scalar_vec.h
//
// Semantics that hold on all three:
//   min(a, b) = a < b ? a : b and max(a, b) = a > b ? a : b, so an unordered pair gives b: write max(V(0), x) to keep
//   NaN round(x) is to nearest even; load(p, n)/store(p, n) touch only the first n elements (missing lanes read as 0)
//   fma(a, b, c) = a*b + c is fused where the ISA has it, and two roundings on portable x86; fused(a, b, c) is one
//   rounding everywhere
//   sum(v), max(v) reduce in one fixed order
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/isa.h"

#if defined(LAMELLA_ISA_AVX2) || defined(LAMELLA_ISA_AVX512)
#include <immintrin.h>
#endif

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
struct Vec;
template <class T>
struct IVec;
template <class T>
struct Mask;

template <class T>
struct IntOf;
template <>
struct IntOf<float> {
  using type = int32_t;
  static constexpr int kMantissa = 23;
  static constexpr int kBias = 127;
};
template <>
struct IntOf<double> {
  using type = int64_t;
  static constexpr int kMantissa = 52;
  static constexpr int kBias = 1023;
};

#if defined(LAMELLA_ISA_AVX512)

template <>
struct Mask<float> {
  __mmask16 m;
  bool any() const { return m != 0; }
  bool all() const { return m == 0xffff; }
};
LAMELLA_INLINE Mask<float> operator&(Mask<float> a, Mask<float> b) { return {static_cast<__mmask16>(a.m & b.m)}; }
LAMELLA_INLINE Mask<float> operator|(Mask<float> a, Mask<float> b) { return {static_cast<__mmask16>(a.m | b.m)}; }
LAMELLA_INLINE Mask<float> operator!(Mask<float> a) { return {static_cast<__mmask16>(~a.m)}; }

template <>
struct IVec<float> {
  static constexpr int W = 16;
  __m512i v;
  IVec() = default;
  LAMELLA_INLINE IVec(__m512i x) : v(x) {}
  LAMELLA_INLINE explicit IVec(int32_t x) : v(_mm512_set1_epi32(x)) {}
  static LAMELLA_INLINE IVec load(const int32_t* p) { return _mm512_loadu_si512(p); }
  LAMELLA_INLINE void store(int32_t* p) const { _mm512_storeu_si512(p, v); }
};
using VI_ = IVec<float>;
LAMELLA_INLINE VI_ operator+(VI_ a, VI_ b) { return _mm512_add_epi32(a.v, b.v); }
LAMELLA_INLINE VI_ operator-(VI_ a, VI_ b) { return _mm512_sub_epi32(a.v, b.v); }
LAMELLA_INLINE VI_ operator&(VI_ a, VI_ b) { return _mm512_and_si512(a.v, b.v); }
LAMELLA_INLINE VI_ operator|(VI_ a, VI_ b) { return _mm512_or_si512(a.v, b.v); }
LAMELLA_INLINE VI_ operator^(VI_ a, VI_ b) { return _mm512_xor_si512(a.v, b.v); }
template <int K>
LAMELLA_INLINE VI_ shl(VI_ a) {
  return _mm512_slli_epi32(a.v, K);
}
template <int K>
LAMELLA_INLINE VI_ shr_logical(VI_ a) {
  return _mm512_srli_epi32(a.v, K);
}
template <int K>
LAMELLA_INLINE VI_ shr_arith(VI_ a) {
  return _mm512_srai_epi32(a.v, K);
}
LAMELLA_INLINE Mask<float> gt(VI_ a, VI_ b) { return {_mm512_cmpgt_epi32_mask(a.v, b.v)}; }
LAMELLA_INLINE Mask<float> eq(VI_ a, VI_ b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
LAMELLA_INLINE VI_ select(Mask<float> m, VI_ a, VI_ b) { return _mm512_mask_blend_epi32(m.m, b.v, a.v); }

template <>
struct Vec<float> {
  using T = float;
  static constexpr int W = 16;
  __m512 v;
  Vec() = default;
  LAMELLA_INLINE Vec(__m512 x) : v(x) {}
  LAMELLA_INLINE explicit Vec(float x) : v(_mm512_set1_ps(x)) {}
  static LAMELLA_INLINE Vec zero() { return _mm512_setzero_ps(); }
  static LAMELLA_INLINE __mmask16 first(int64_t n) {
    return n >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << (n > 0 ? n : 0)) - 1);
  }
  static LAMELLA_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static LAMELLA_INLINE Vec load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
  LAMELLA_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  LAMELLA_INLINE void store(float* p, int64_t n) const { _mm512_mask_storeu_ps(p, first(n), v); }
  LAMELLA_INLINE void stream(float* p) const { _mm512_stream_ps(p, v); }  // p 64-byte aligned
};
using VF_ = Vec<float>;
LAMELLA_INLINE VF_ operator+(VF_ a, VF_ b) { return _mm512_add_ps(a.v, b.v); }
LAMELLA_INLINE VF_ operator-(VF_ a, VF_ b) { return _mm512_sub_ps(a.v, b.v); }
LAMELLA_INLINE VF_ operator*(VF_ a, VF_ b) { return _mm512_mul_ps(a.v, b.v); }
LAMELLA_INLINE VF_ operator/(VF_ a, VF_ b) { return _mm512_div_ps(a.v, b.v); }
LAMELLA_INLINE VF_ fma(VF_ a, VF_ b, VF_ c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
LAMELLA_INLINE VF_ fnma(VF_ a, VF_ b, VF_ c) { return _mm512_fnmadd_ps(a.v, b.v, c.v); }  // c - a*b
LAMELLA_INLINE VF_ min(VF_ a, VF_ b) { return _mm512_min_ps(a.v, b.v); }
LAMELLA_INLINE VF_ max(VF_ a, VF_ b) { return _mm512_max_ps(a.v, b.v); }
LAMELLA_INLINE VF_ sqrt(VF_ a) { return _mm512_sqrt_ps(a.v); }
LAMELLA_INLINE VF_ round(VF_ a) { return _mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
LAMELLA_INLINE Mask<float> lt(VF_ a, VF_ b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
LAMELLA_INLINE Mask<float> le(VF_ a, VF_ b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
LAMELLA_INLINE Mask<float> gt(VF_ a, VF_ b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
LAMELLA_INLINE Mask<float> ge(VF_ a, VF_ b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
LAMELLA_INLINE Mask<float> eq(VF_ a, VF_ b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
LAMELLA_INLINE Mask<float> is_nan(VF_ a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
LAMELLA_INLINE VF_ select(Mask<float> m, VF_ a, VF_ b) { return _mm512_mask_blend_ps(m.m, b.v, a.v); }
LAMELLA_INLINE VF_ as_float(VI_ a) { return _mm512_castsi512_ps(a.v); }
LAMELLA_INLINE VI_ as_int(VF_ a) { return _mm512_castps_si512(a.v); }
LAMELLA_INLINE VI_ to_int(VF_ a) { return _mm512_cvtps_epi32(a.v); }  // nearest even
LAMELLA_INLINE VF_ to_float(VI_ a) { return _mm512_cvtepi32_ps(a.v); }
LAMELLA_INLINE float sum(VF_ a) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps(d, d, 1)));
}

#elif defined(LAMELLA_ISA_AVX2)

template <>
struct Mask<float> {
  __m256 m;
  bool any() const { return _mm256_movemask_ps(m) != 0; }
  bool all() const { return _mm256_movemask_ps(m) == 0xff; }
};
LAMELLA_INLINE Mask<float> operator&(Mask<float> a, Mask<float> b) { return {_mm256_and_ps(a.m, b.m)}; }
LAMELLA_INLINE Mask<float> operator|(Mask<float> a, Mask<float> b) { return {_mm256_or_ps(a.m, b.m)}; }
LAMELLA_INLINE Mask<float> operator!(Mask<float> a) {
  return {_mm256_xor_ps(a.m, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))};
}

template <>
struct IVec<float> {
  static constexpr int W = 8;
  __m256i v;
  IVec() = default;
  LAMELLA_INLINE IVec(__m256i x) : v(x) {}
  LAMELLA_INLINE explicit IVec(int32_t x) : v(_mm256_set1_epi32(x)) {}
  static LAMELLA_INLINE IVec load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  LAMELLA_INLINE void store(int32_t* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
};
using VI_ = IVec<float>;
LAMELLA_INLINE VI_ operator+(VI_ a, VI_ b) { return _mm256_add_epi32(a.v, b.v); }
LAMELLA_INLINE VI_ operator-(VI_ a, VI_ b) { return _mm256_sub_epi32(a.v, b.v); }
LAMELLA_INLINE VI_ operator&(VI_ a, VI_ b) { return _mm256_and_si256(a.v, b.v); }
LAMELLA_INLINE VI_ operator|(VI_ a, VI_ b) { return _mm256_or_si256(a.v, b.v); }
LAMELLA_INLINE VI_ operator^(VI_ a, VI_ b) { return _mm256_xor_si256(a.v, b.v); }
template <int K>
LAMELLA_INLINE VI_ shl(VI_ a) {
  return _mm256_slli_epi32(a.v, K);
}
template <int K>
LAMELLA_INLINE VI_ shr_logical(VI_ a) {
  return _mm256_srli_epi32(a.v, K);
}
template <int K>
LAMELLA_INLINE VI_ shr_arith(VI_ a) {
  return _mm256_srai_epi32(a.v, K);
}
LAMELLA_INLINE Mask<float> gt(VI_ a, VI_ b) { return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(a.v, b.v))}; }
LAMELLA_INLINE Mask<float> eq(VI_ a, VI_ b) { return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.v, b.v))}; }
LAMELLA_INLINE VI_ select(Mask<float> m, VI_ a, VI_ b) {
  return _mm256_blendv_epi8(b.v, a.v, _mm256_castps_si256(m.m));
}

template <>
struct Vec<float> {
  using T = float;
  static constexpr int W = 8;
  __m256 v;
  Vec() = default;
  LAMELLA_INLINE Vec(__m256 x) : v(x) {}
  LAMELLA_INLINE explicit Vec(float x) : v(_mm256_set1_ps(x)) {}
  static LAMELLA_INLINE Vec zero() { return _mm256_setzero_ps(); }
  static LAMELLA_INLINE __m256i first(int64_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n < 8 ? n : 8)), lane);
  }
  static LAMELLA_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static LAMELLA_INLINE Vec load(const float* p, int64_t n) { return _mm256_maskload_ps(p, first(n)); }
  LAMELLA_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  LAMELLA_INLINE void store(float* p, int64_t n) const { _mm256_maskstore_ps(p, first(n), v); }
  LAMELLA_INLINE void stream(float* p) const { _mm256_stream_ps(p, v); }  // p 32-byte aligned
};
using VF_ = Vec<float>;
LAMELLA_INLINE VF_ operator+(VF_ a, VF_ b) { return _mm256_add_ps(a.v, b.v); }
LAMELLA_INLINE VF_ operator-(VF_ a, VF_ b) { return _mm256_sub_ps(a.v, b.v); }
LAMELLA_INLINE VF_ operator*(VF_ a, VF_ b) { return _mm256_mul_ps(a.v, b.v); }
LAMELLA_INLINE VF_ operator/(VF_ a, VF_ b) { return _mm256_div_ps(a.v, b.v); }
LAMELLA_INLINE VF_ fma(VF_ a, VF_ b, VF_ c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }
LAMELLA_INLINE VF_ fnma(VF_ a, VF_ b, VF_ c) { return _mm256_fnmadd_ps(a.v, b.v, c.v); }  // c - a*b
LAMELLA_INLINE VF_ min(VF_ a, VF_ b) { return _mm256_min_ps(a.v, b.v); }
LAMELLA_INLINE VF_ max(VF_ a, VF_ b) { return _mm256_max_ps(a.v, b.v); }
LAMELLA_INLINE VF_ sqrt(VF_ a) { return _mm256_sqrt_ps(a.v); }
LAMELLA_INLINE VF_ round(VF_ a) { return _mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
LAMELLA_INLINE Mask<float> lt(VF_ a, VF_ b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
LAMELLA_INLINE Mask<float> le(VF_ a, VF_ b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
LAMELLA_INLINE Mask<float> gt(VF_ a, VF_ b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)}; }
LAMELLA_INLINE Mask<float> ge(VF_ a, VF_ b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)}; }
LAMELLA_INLINE Mask<float> eq(VF_ a, VF_ b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
LAMELLA_INLINE Mask<float> is_nan(VF_ a) { return {_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)}; }
LAMELLA_INLINE VF_ select(Mask<float> m, VF_ a, VF_ b) { return _mm256_blendv_ps(b.v, a.v, m.m); }
LAMELLA_INLINE VF_ as_float(VI_ a) { return _mm256_castsi256_ps(a.v); }
LAMELLA_INLINE VI_ as_int(VF_ a) { return _mm256_castps_si256(a.v); }
LAMELLA_INLINE VI_ to_int(VF_ a) { return _mm256_cvtps_epi32(a.v); }  // nearest even
LAMELLA_INLINE VF_ to_float(VI_ a) { return _mm256_cvtepi32_ps(a.v); }
LAMELLA_INLINE float sum(VF_ a) {
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps(d, d, 1)));
}

#elif !defined(LAMELLA_DEVICE_VEC)  // portable: float and double

// Spelled out per type: GCC drops vector_size from a typedef of a dependent type.
template <class T>
struct Native;
template <>
struct Native<float> {
  typedef float F __attribute__((vector_size(16)));
  typedef int32_t I __attribute__((vector_size(16)));
  typedef uint32_t U __attribute__((vector_size(16)));
};
template <>
struct Native<double> {
  typedef double F __attribute__((vector_size(16)));
  typedef int64_t I __attribute__((vector_size(16)));
  typedef uint64_t U __attribute__((vector_size(16)));
};

template <class T>
struct Mask {
  typename Native<T>::I m;
  bool any() const {
    for (unsigned i = 0; i < 16 / sizeof(T); ++i)
      if (m[i]) return true;
    return false;
  }
  bool all() const {
    for (unsigned i = 0; i < 16 / sizeof(T); ++i)
      if (!m[i]) return false;
    return true;
  }
};
template <class T>
LAMELLA_INLINE Mask<T> operator&(Mask<T> a, Mask<T> b) {
  return {a.m & b.m};
}
template <class T>
LAMELLA_INLINE Mask<T> operator|(Mask<T> a, Mask<T> b) {
  return {a.m | b.m};
}
template <class T>
LAMELLA_INLINE Mask<T> operator!(Mask<T> a) {
  return {~a.m};
}

template <class T>
struct IVec {
  using I = typename IntOf<T>::type;
  static constexpr int W = 16 / sizeof(T);
  using V = typename Native<T>::I;
  using U = typename Native<T>::U;
  V v;
  IVec() = default;
  LAMELLA_INLINE IVec(V x) : v(x) {}
  LAMELLA_INLINE explicit IVec(I x) : v(V{} + x) {}
  static LAMELLA_INLINE IVec load(const I* p) {
    IVec r;
    std::memcpy(&r.v, p, 16);
    return r;
  }
  LAMELLA_INLINE void store(I* p) const { std::memcpy(p, &v, 16); }
  // Unsigned, so that they wrap as the registers of the other levels do.
  friend LAMELLA_INLINE IVec operator+(IVec a, IVec b) { return (V)((U)a.v + (U)b.v); }
  friend LAMELLA_INLINE IVec operator-(IVec a, IVec b) { return (V)((U)a.v - (U)b.v); }
  friend LAMELLA_INLINE IVec operator&(IVec a, IVec b) { return a.v & b.v; }
  friend LAMELLA_INLINE IVec operator|(IVec a, IVec b) { return a.v | b.v; }
  friend LAMELLA_INLINE IVec operator^(IVec a, IVec b) { return a.v ^ b.v; }
  friend LAMELLA_INLINE Mask<T> gt(IVec a, IVec b) { return {a.v > b.v}; }
  friend LAMELLA_INLINE Mask<T> eq(IVec a, IVec b) { return {a.v == b.v}; }
  friend LAMELLA_INLINE IVec select(Mask<T> m, IVec a, IVec b) { return (a.v & m.m) | (b.v & ~m.m); }
};
template <int K, class T>
LAMELLA_INLINE IVec<T> shl(IVec<T> a) {
  return a.v << K;
}
template <int K, class T>
LAMELLA_INLINE IVec<T> shr_arith(IVec<T> a) {
  return a.v >> K;
}
template <int K, class T>
LAMELLA_INLINE IVec<T> shr_logical(IVec<T> a) {
  return (typename Native<T>::I)((typename Native<T>::U)a.v >> K);
}

template <class T_>
struct Vec {
  using T = T_;
  static constexpr int W = 16 / sizeof(T);
  using V = typename Native<T>::F;
  using I = typename Native<T>::I;
  V v;
  Vec() = default;
  LAMELLA_INLINE Vec(V x) : v(x) {}
  LAMELLA_INLINE explicit Vec(T x) {
    for (int i = 0; i < W; ++i) v[i] = x;
  }
  static LAMELLA_INLINE Vec zero() { return V{}; }
  static LAMELLA_INLINE Vec load(const T* p) {
    Vec r;
    std::memcpy(&r.v, p, 16);
    return r;
  }
  static LAMELLA_INLINE Vec load(const T* p, int64_t n) {
    if (n >= W) return load(p);
    Vec r = zero();
    for (int64_t i = 0; i < n; ++i) r.v[i] = p[i];
    return r;
  }
  LAMELLA_INLINE void store(T* p) const { std::memcpy(p, &v, 16); }
  LAMELLA_INLINE void store(T* p, int64_t n) const {
    if (n >= W) return store(p);
    for (int64_t i = 0; i < n; ++i) p[i] = v[i];
  }
  LAMELLA_INLINE void stream(T* p) const { store(p); }
  friend LAMELLA_INLINE Vec operator+(Vec a, Vec b) { return a.v + b.v; }
  friend LAMELLA_INLINE Vec operator-(Vec a, Vec b) { return a.v - b.v; }
  friend LAMELLA_INLINE Vec operator*(Vec a, Vec b) { return a.v * b.v; }
  friend LAMELLA_INLINE Vec operator/(Vec a, Vec b) { return a.v / b.v; }
#if defined(__aarch64__)
  friend LAMELLA_INLINE Vec fma(Vec a, Vec b, Vec c) {
    Vec r;
    for (int i = 0; i < W; ++i)
      r.v[i] = sizeof(T) == 4 ? __builtin_fmaf(a.v[i], b.v[i], c.v[i]) : __builtin_fma(a.v[i], b.v[i], c.v[i]);
    return r;
  }
  friend LAMELLA_INLINE Vec fnma(Vec a, Vec b, Vec c) { return fma(Vec(-a.v), b, c); }
#else
  friend LAMELLA_INLINE Vec fma(Vec a, Vec b, Vec c) { return a.v * b.v + c.v; }
  friend LAMELLA_INLINE Vec fnma(Vec a, Vec b, Vec c) { return c.v - a.v * b.v; }
#endif
  friend LAMELLA_INLINE Mask<T> lt(Vec a, Vec b) { return {a.v < b.v}; }
  friend LAMELLA_INLINE Mask<T> le(Vec a, Vec b) { return {a.v <= b.v}; }
  friend LAMELLA_INLINE Mask<T> gt(Vec a, Vec b) { return {a.v > b.v}; }
  friend LAMELLA_INLINE Mask<T> ge(Vec a, Vec b) { return {a.v >= b.v}; }
  friend LAMELLA_INLINE Mask<T> eq(Vec a, Vec b) { return {a.v == b.v}; }
  friend LAMELLA_INLINE Mask<T> is_nan(Vec a) { return {a.v != a.v}; }
  friend LAMELLA_INLINE IVec<T> as_int(Vec a) { return (I)a.v; }
  friend LAMELLA_INLINE Vec select(Mask<T> m, Vec a, Vec b) { return (V)(((I)a.v & m.m) | ((I)b.v & ~m.m)); }
  friend LAMELLA_INLINE Vec min(Vec a, Vec b) { return select(lt(a, b), a, b); }
  friend LAMELLA_INLINE Vec max(Vec a, Vec b) { return select(gt(a, b), a, b); }
  friend LAMELLA_INLINE Vec sqrt(Vec a) {
    Vec r;
    for (int i = 0; i < W; ++i) r.v[i] = sizeof(T) == 4 ? __builtin_sqrtf(a.v[i]) : __builtin_sqrt(a.v[i]);
    return r;
  }
  friend LAMELLA_INLINE T sum(Vec a) {
    T s = a.v[0];
    if constexpr (W == 4) return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]);
    for (int i = 1; i < W; ++i) s += a.v[i];
    return s;
  }
};
template <class T>
LAMELLA_INLINE Vec<T> as_float(IVec<T> a) {
  return (typename Native<T>::F)a.v;
}
template <class T>
LAMELLA_INLINE Vec<T> to_float(IVec<T> a) {
  return __builtin_convertvector(a.v, typename Native<T>::F);
}
template <class T>
LAMELLA_INLINE Vec<T> round(Vec<T> a) {
  // Adding 2^mantissa to |a| pushes the fraction out of the word; from there on a float has no fraction to round.
  constexpr T kMagic = sizeof(T) == 4 ? T(8388608.0) : T(4503599627370496.0);
  const Vec<T> magic(kMagic), m = abs(a);
  return copysign(select(lt(m, magic), (m + magic) - magic, m), a);
}
template <class T>
LAMELLA_INLINE IVec<T> to_int(Vec<T> a) {  // nearest even
  return __builtin_convertvector(round(a).v, typename Native<T>::I);
}

#endif

// ---- shared by all levels ------------------------------------------------------------------------------------------

template <class T>
LAMELLA_INLINE Vec<T> abs(Vec<T> a) {
  using I = typename IntOf<T>::type;
  return as_float(as_int(a) & IVec<T>(static_cast<I>(~(static_cast<I>(1) << (sizeof(T) * 8 - 1)))));
}
template <class T>
LAMELLA_INLINE Vec<T> neg(Vec<T> a) {
  using I = typename IntOf<T>::type;
  return as_float(as_int(a) ^ IVec<T>(static_cast<I>(static_cast<I>(1) << (sizeof(T) * 8 - 1))));
}
// |a| with the sign of b.
template <class T>
LAMELLA_INLINE Vec<T> copysign(Vec<T> a, Vec<T> b) {
  using I = typename IntOf<T>::type;
  const IVec<T> sign(static_cast<I>(static_cast<I>(1) << (sizeof(T) * 8 - 1)));
  return as_float(as_int(abs(a)) | (as_int(b) & sign));
}
// a*b + c in one rounding, also where fma() has two: for what is computed to know what another operation has lost.
LAMELLA_INLINE Vec<float> fused(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(LAMELLA_ISA_PORTABLE) && !defined(__aarch64__)
  // In double the product is exact, and the sum's rounding too small to count.
  Vec<float> y;
  for (int i = 0; i < Vec<float>::W; ++i)
    y.v[i] =
        static_cast<float>(static_cast<double>(a.v[i]) * static_cast<double>(b.v[i]) + static_cast<double>(c.v[i]));
  return y;
#else
  return fma(a, b, c);
#endif
}
#if defined(LAMELLA_ISA_PORTABLE) || defined(LAMELLA_DEVICE_VEC)
LAMELLA_INLINE Vec<double> fused(Vec<double> a, Vec<double> b, Vec<double> c) {
  for (int i = 0; i < Vec<double>::W; ++i) c.v[i] = __builtin_fma(a.v[i], b.v[i], c.v[i]);
  return c;
}
#endif
// 2^n for n whose result is a normal number.
template <class T>
LAMELLA_INLINE Vec<T> pow2n(IVec<T> n) {
  using I = typename IntOf<T>::type;
  return as_float(shl<IntOf<T>::kMantissa>(n + IVec<T>(static_cast<I>(IntOf<T>::kBias))));
}
// max over the lanes (NaN if any lane is NaN is not promised: check is_nan first where it matters).
template <class T>
LAMELLA_INLINE T max_lane(Vec<T> a) {
  T lanes[Vec<T>::W];
  a.store(lanes);
  T m = lanes[0];
  for (int i = 1; i < Vec<T>::W; ++i) m = lanes[i] > m ? lanes[i] : m;
  return m;
}
template <class T>
LAMELLA_INLINE T min_lane(Vec<T> a) {
  T lanes[Vec<T>::W];
  a.store(lanes);
  T m = lanes[0];
  for (int i = 1; i < Vec<T>::W; ++i) m = lanes[i] < m ? lanes[i] : m;
  return m;
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
