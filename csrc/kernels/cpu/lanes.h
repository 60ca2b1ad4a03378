// What pooling and the shape kernels need beyond arithmetic: lanes picked from memory, small integers packed to bytes,
// and stores that bypass the cache.
#pragma once

#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

// Outputs from this size on are written around the cache where their alignment allows it: they would push out what is
// in it, of their operands too, and could not stay themselves; and the read of each line before it is written is saved.
constexpr int64_t kStreamBytes = int64_t{16} << 20;

// To be called by every thread that used Vec::stream, at the end of its chunk: streaming stores are not ordered by the
// pool's own release/acquire.
LAMELLA_INLINE void stream_fence() {
#if defined(LAMELLA_ISA_AVX2) || defined(LAMELLA_ISA_AVX512)
  _mm_sfence();
#endif
}

template <class T>
LAMELLA_INLINE bool vector_aligned(const T* p) {
  return (reinterpret_cast<uintptr_t>(p) & (sizeof(T) * Vec<T>::W - 1)) == 0;
}

// Lane l: base[index[l]]. All indices must be valid.
template <class T>
LAMELLA_INLINE Vec<T> gather(const T* base, IVec<T> index) {
#if defined(LAMELLA_ISA_AVX512)
  return _mm512_i32gather_ps(index.v, base, 4);
#elif defined(LAMELLA_ISA_AVX2)
  return _mm256_i32gather_ps(base, index.v, 4);
#else
  Vec<T> r;
  for (int l = 0; l < Vec<T>::W; ++l) r.v[l] = base[index.v[l]];
  return r;
#endif
}

// Lane l: element index[l] of the 2*W elements (lo, hi).
template <class T>
LAMELLA_INLINE Vec<T> pick(Vec<T> lo, Vec<T> hi, IVec<T> index) {
#if defined(LAMELLA_ISA_AVX512)
  return _mm512_permutex2var_ps(lo.v, index.v, hi.v);
#elif defined(LAMELLA_ISA_AVX2)
  const __m256 a = _mm256_permutevar8x32_ps(lo.v, index.v), b = _mm256_permutevar8x32_ps(hi.v, index.v);
  return _mm256_blendv_ps(a, b, _mm256_castsi256_ps(_mm256_slli_epi32(index.v, 28)));  // bit 3 to the sign
#else
  constexpr int W = Vec<T>::W;
  Vec<T> r;
  for (int l = 0; l < W; ++l) r.v[l] = index.v[l] < W ? lo.v[index.v[l]] : hi.v[index.v[l] - W];
  return r;
#endif
}

// The first n lanes (n <= W) as bytes or 32-bit integers; the lanes' values must fit.
template <class T>
LAMELLA_INLINE void store_narrow(IVec<T> a, uint8_t* p, int64_t n) {
#if defined(LAMELLA_ISA_AVX512)
  if (n >= 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
  } else {
    _mm_mask_storeu_epi8(p, Vec<T>::first(n), _mm512_cvtepi32_epi8(a.v));
  }
#elif defined(LAMELLA_ISA_AVX2)
  const __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
  uint64_t bytes = static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_packus_epi16(half, half)));
  std::memcpy(p, &bytes, static_cast<size_t>(n >= 8 ? 8 : n));
#else
  for (int64_t l = 0; l < Vec<T>::W && l < n; ++l) p[l] = static_cast<uint8_t>(a.v[l]);
#endif
}
template <class T>
LAMELLA_INLINE void store_narrow(IVec<T> a, int32_t* p, int64_t n) {
#if defined(LAMELLA_ISA_AVX512)
  _mm512_mask_storeu_epi32(p, Vec<T>::first(n), a.v);
#elif defined(LAMELLA_ISA_AVX2)
  if (n >= 8) return a.store(p);
  _mm256_maskstore_epi32(p, Vec<T>::first(n), a.v);
#else
  for (int64_t l = 0; l < Vec<T>::W && l < n; ++l) p[l] = static_cast<int32_t>(a.v[l]);
#endif
}

// The reverse: W (or the first n) bytes or 32-bit integers widened to lanes; the others are 0.
template <class T>
LAMELLA_INLINE IVec<T> load_wide(const uint8_t* p, int64_t n) {
#if defined(LAMELLA_ISA_AVX512)
  if (n >= 16) return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(Vec<T>::first(n), p));
#elif defined(LAMELLA_ISA_AVX2)
  int64_t bytes = 0;
  std::memcpy(&bytes, p, static_cast<size_t>(n >= 8 ? 8 : n));
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes));
#else
  IVec<T> r(0);
  for (int64_t l = 0; l < Vec<T>::W && l < n; ++l) r.v[l] = p[l];
  return r;
#endif
}
template <class T>
LAMELLA_INLINE IVec<T> load_wide(const int32_t* p, int64_t n) {
#if defined(LAMELLA_ISA_AVX512)
  return _mm512_maskz_loadu_epi32(Vec<T>::first(n), p);
#elif defined(LAMELLA_ISA_AVX2)
  if (n >= 8) return IVec<T>::load(p);
  return _mm256_maskload_epi32(p, Vec<T>::first(n));
#else
  IVec<T> r(0);
  for (int64_t l = 0; l < Vec<T>::W && l < n; ++l) r.v[l] = p[l];
  return r;
#endif
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
