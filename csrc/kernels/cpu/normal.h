// Words to normal numbers.
#pragma once

#include "kernels/cpu/rows.h"
#include "kernels/cpu/vmath.h"

namespace lamella::LAMELLA_NS {
namespace {

LAMELLA_INLINE IVec<float> load_words(const uint32_t* w) {
  int32_t lanes[IVec<float>::W];
  std::memcpy(lanes, w, sizeof lanes);
  return IVec<float>::load(lanes);
}

// Each word of a pair twice: the first (a0 a0 a2 a2 ...), the second (a1 a1 a3 a3 ...).
LAMELLA_INLINE IVec<float> first_of_pair(IVec<float> a) {
#if defined(LAMELLA_ISA_AVX512)
  return _mm512_shuffle_epi32(a.v, _MM_PERM_CCAA);
#elif defined(LAMELLA_ISA_AVX2)
  return _mm256_shuffle_epi32(a.v, 0xA0);
#else
  return __builtin_shufflevector(a.v, a.v, 0, 0, 2, 2);
#endif
}
LAMELLA_INLINE IVec<float> second_of_pair(IVec<float> a) {
#if defined(LAMELLA_ISA_AVX512)
  return _mm512_shuffle_epi32(a.v, _MM_PERM_DDBB);
#elif defined(LAMELLA_ISA_AVX2)
  return _mm256_shuffle_epi32(a.v, 0xF5);
#else
  return __builtin_shufflevector(a.v, a.v, 1, 1, 3, 3);
#endif
}

// In [0, 1), 24 bits.
LAMELLA_INLINE Vec<float> unit_uniform(IVec<float> w) { return to_float(shr_logical<8>(w)) * Vec<float>(0x1p-24f); }
LAMELLA_INLINE double unit_uniform(const uint32_t* w) {
  return (static_cast<double>(w[0] >> 5) * 0x1p26 + static_cast<double>(w[1] >> 6)) * 0x1p-53;
}
// In (0, 1], all 32 bits: small numbers keep their digits, and their logarithms reach the tails.
LAMELLA_INLINE Vec<float> open_uniform(IVec<float> w) {
  const Vec<float> high = to_float(shr_logical<16>(w)), low = to_float(w & IVec<float>(0xffff));
  return high * Vec<float>(0x1p-16f) + (low + Vec<float>(0.5f)) * Vec<float>(0x1p-32f);
}

// cos(2 pi t) for t in [-1/4, 1]: with t brought to [-1/2, 1/2] it is sin(2 pi (1/4 - |t|)), whose series needs six
// terms up to pi / 2.
LAMELLA_INLINE Vec<float> cos_turns(Vec<float> t) {
  t = t - round(t);
  const Vec<float> y = Vec<float>(6.2831853071795864769f) * (Vec<float>(0.25f) - abs(t));
  constexpr float c[] = {1.0f, -0.16666667f, 0.008333334f, -0.0001984127f, 2.7557319e-6f, -2.5052108e-8f};
  return y * polynomial(y * y, c);
}

// Box-Muller on the pairs of a register: r cos and r sin, the sine as a cosine a quarter turn back.
LAMELLA_INLINE Vec<float> normal_of_words(const uint32_t* words) {
  static constexpr float kTurn[16] = {0, .25f, 0, .25f, 0, .25f, 0, .25f, 0, .25f, 0, .25f, 0, .25f, 0, .25f};
  const IVec<float> w = load_words(words);
  const Vec<float> u = open_uniform(first_of_pair(w));
  const Vec<float> r = sqrt(max(Vec<float>::zero(), Vec<float>(-2.0f) * vlog(u)));
  return r * cos_turns(unit_uniform(second_of_pair(w)) - Vec<float>::load(kTurn));
}

// The same in double, two numbers from four words.
LAMELLA_INLINE void normal_of_words(const uint32_t* words, double z[2]) {
  const double r = __builtin_sqrt(-2.0 * __builtin_log(unit_uniform(words) + 0x1p-54));
  const double angle = 6.28318530717958647693 * unit_uniform(words + 2);
  z[0] = r * __builtin_cos(angle);
  z[1] = r * __builtin_sin(angle);
}

// sqrt(2) erfinv(x): fits in w = -log(1 - x^2), a few 1e-7 off.
LAMELLA_INLINE Vec<float> normal_quantile(Vec<float> x) {
  constexpr float center[] = {2.1233137f,        0.34880266f,     -0.005908171f,    -0.0017730102f,    0.00030915017f,
                              -0.0000062179715f, -0.00000499056f, 0.0000004861022f, 0.000000040354173f};
  constexpr float tail[] = {4.006435f,    1.4165875f,     0.0133217545f, -0.010867778f,
                            0.008281846f, -0.0049093687f, 0.0015406373f, -0.00011675257f};
  const Vec<float> one(1.0f), w = neg(vlog((one - x) * (one + x)));
  const Vec<float> near = polynomial(w - Vec<float>(2.5f), center), far = polynomial(sqrt(w) - Vec<float>(3.0f), tail);
  return x * select(lt(w, Vec<float>(5.0f)), near, far);
}
// The same in double: bisection on erf to start with, Newton's steps to the end.
LAMELLA_INLINE double normal_quantile(double x) {
  double z = 0;
  {
    double low = -8.3, high = 8.3;
    for (int i = 0; i < 12; ++i) {
      z = 0.5 * (low + high);
      (__builtin_erf(z * 0.70710678118654752440) < x ? low : high) = z;
    }
  }
  for (int i = 0; i < 4; ++i) {
    const double slope = 0.79788456080286535588 * __builtin_exp(-0.5 * z * z);
    if (slope > 0) z -= (__builtin_erf(z * 0.70710678118654752440) - x) / slope;
  }
  return z;
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
