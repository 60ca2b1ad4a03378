// One value from the lanes of a register, by halves and in registers.
#pragma once

#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

// f(a, b) of lanes that lie W/2, W/4, ..., 1 apart; f must not mind the order of its operands but for signs of zero and
// payloads of NaN.
template <class T, class F>
LAMELLA_INLINE T fold_lanes(Vec<T> v, const F& f) {
#if defined(LAMELLA_ISA_AVX512)
  v = f(v, Vec<T>(_mm512_shuffle_f32x4(v.v, v.v, 0x4E)));
  v = f(v, Vec<T>(_mm512_shuffle_f32x4(v.v, v.v, 0xB1)));
  v = f(v, Vec<T>(_mm512_permute_ps(v.v, 0x4E)));
  v = f(v, Vec<T>(_mm512_permute_ps(v.v, 0xB1)));
  return _mm512_cvtss_f32(v.v);
#elif defined(LAMELLA_ISA_AVX2)
  v = f(v, Vec<T>(_mm256_permute2f128_ps(v.v, v.v, 1)));
  v = f(v, Vec<T>(_mm256_permute_ps(v.v, 0x4E)));
  v = f(v, Vec<T>(_mm256_permute_ps(v.v, 0xB1)));
  return _mm256_cvtss_f32(v.v);
#else
  for (int half = Vec<T>::W / 2; half > 0; half /= 2) {
    Vec<T> other;
    for (int i = 0; i < Vec<T>::W; ++i) other.v[i] = v.v[i ^ half];
    v = f(v, other);
  }
  return v.v[0];
#endif
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
