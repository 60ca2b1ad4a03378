// Transposing W x W tiles in registers: dst[c*ldd + r] = src[r*lds + c].
#pragma once

#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

#if defined(LAMELLA_ISA_AVX512)

LAMELLA_INLINE void transpose_vectors(Vec<float> (&v)[16]) {
  __m512 t[16], u[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(v[i].v, v[i + 1].v);
    t[i + 1] = _mm512_unpackhi_ps(v[i].v, v[i + 1].v);
  }
  for (int i = 0; i < 16; i += 4) {  // u[i+q]: columns q, q+4, q+8, q+12 (one per lane) of rows i..i+3
    u[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int q = 0; q < 4; ++q) {
    const __m512 a = _mm512_shuffle_f32x4(u[q], u[q + 4], 0x88);
    const __m512 b = _mm512_shuffle_f32x4(u[q], u[q + 4], 0xdd);
    const __m512 c = _mm512_shuffle_f32x4(u[q + 8], u[q + 12], 0x88);
    const __m512 d = _mm512_shuffle_f32x4(u[q + 8], u[q + 12], 0xdd);
    v[q] = _mm512_shuffle_f32x4(a, c, 0x88);
    v[q + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
    v[q + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
    v[q + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
}

#elif defined(LAMELLA_ISA_AVX2)

LAMELLA_INLINE void transpose_vectors(Vec<float> (&v)[8]) {
  __m256 t[8], u[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(v[i].v, v[i + 1].v);
    t[i + 1] = _mm256_unpackhi_ps(v[i].v, v[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int q = 0; q < 4; ++q) {
    v[q] = _mm256_permute2f128_ps(u[q], u[q + 4], 0x20);
    v[q + 4] = _mm256_permute2f128_ps(u[q], u[q + 4], 0x31);
  }
}

#else

LAMELLA_INLINE void transpose_vectors(Vec<float> (&v)[4]) {
  const auto a = __builtin_shufflevector(v[0].v, v[1].v, 0, 4, 1, 5),
             b = __builtin_shufflevector(v[0].v, v[1].v, 2, 6, 3, 7);
  const auto c = __builtin_shufflevector(v[2].v, v[3].v, 0, 4, 1, 5),
             d = __builtin_shufflevector(v[2].v, v[3].v, 2, 6, 3, 7);
  v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
  v[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
  v[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
  v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}
LAMELLA_INLINE void transpose_vectors(Vec<double> (&v)[2]) {
  const auto a = __builtin_shufflevector(v[0].v, v[1].v, 0, 2);
  v[1] = __builtin_shufflevector(v[0].v, v[1].v, 1, 3);
  v[0] = a;
}

#endif

// rows x cols of src, each at most W, into cols x rows of dst; nothing else is read or written.
template <class T>
LAMELLA_INLINE void transpose_tile(int64_t rows, int64_t cols, const T* src, int64_t lds, T* dst, int64_t ldd) {
  constexpr int W = Vec<T>::W;
  Vec<T> v[W];
  if (rows == W && cols == W) {
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) v[i] = Vec<T>::load(src + i * lds);
    transpose_vectors(v);
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) v[i].store(dst + i * ldd);
    return;
  }
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) v[i] = i < rows ? Vec<T>::load(src + i * lds, cols) : Vec<T>::zero();
  transpose_vectors(v);
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i)
    if (i < cols) v[i].store(dst + i * ldd, rows);
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
