// Random words on the device, and the numbers made of them: the same words and formulas as on the CPU
// (kernels/cpu/{philox_words,normal}.h). Keys are those of at_step().
#pragma once

#include "base/philox.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/math.h"

namespace lamella::cuda {

// Words 4 * block ... 4 * block + 3.
struct Words {
  uint32_t w[4];
};
__device__ inline Words words_of_block(const PhiloxKey& key, int64_t block) {
  Words words;
  philox4x32(key, static_cast<uint64_t>(block), words.w);
  return words;
}
// Word i alone.
__device__ inline uint32_t word_at(const PhiloxKey& key, int64_t i) {
  const Words b = words_of_block(key, i / 4);
  const uint32_t low = (i & 1) != 0 ? b.w[1] : b.w[0], high = (i & 1) != 0 ? b.w[3] : b.w[2];
  return (i & 2) != 0 ? high : low;
}

// In [0, 1): 24 bits, 53 bits.
__device__ inline float unit_uniform(uint32_t w) { return __fmul_rn(static_cast<float>(w >> 8), 0x1p-24f); }
__device__ inline double unit_uniform(uint32_t w0, uint32_t w1) {
  return (static_cast<double>(w0 >> 5) * 0x1p26 + static_cast<double>(w1 >> 6)) * 0x1p-53;
}

// Box-Muller: two normal numbers from two words (float) or four (double). Small numbers keep their digits in u, so
// their logarithms reach the tails.
__device__ inline void normal_of_words(uint32_t w0, uint32_t w1, float z[2]) {
  using V = math::Vec<float>;
  const V high(static_cast<float>(w0 >> 16)), low(static_cast<float>(w0 & 0xFFFF));
  const V u = high * V(0x1p-16f) + (low + V(0.5f)) * V(0x1p-32f);
  const V r = sqrt(max(V::zero(), V(-2.0f) * math::vlog(u)));
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    // cos(2 pi t) for t in [-1/4, 1]; the sine is a cosine a quarter turn back. With t brought to [-1/2, 1/2] it is
    // sin(2 pi (1/4 - |t|)), whose series needs six terms up to pi / 2.
    V t = V(unit_uniform(w1)) - V(i == 0 ? 0.0f : 0.25f);
    t = t - round(t);
    const V y = V(6.2831853071795864769f) * (V(0.25f) - math::abs(t));
    constexpr float c[] = {1.0f, -0.16666667f, 0.008333334f, -0.0001984127f, 2.7557319e-6f, -2.5052108e-8f};
    z[i] = (r * (y * math::polynomial(y * y, c))).v[0];
  }
}
__device__ inline void normal_of_words(const Words& words, double z[2]) {
  const double r = sqrt(-2.0 * log(unit_uniform(words.w[0], words.w[1]) + 0x1p-54));
  const double angle = 6.28318530717958647693 * unit_uniform(words.w[2], words.w[3]);
  z[0] = r * cos(angle);
  z[1] = r * sin(angle);
}

// sqrt(2) erfinv(x): fits in w = -log(1 - x^2), a few 1e-7 off.
__device__ inline float normal_quantile(float at) {
  using V = math::Vec<float>;
  constexpr float center[] = {2.1233137f,        0.34880266f,     -0.005908171f,    -0.0017730102f,    0.00030915017f,
                              -0.0000062179715f, -0.00000499056f, 0.0000004861022f, 0.000000040354173f};
  constexpr float tail[] = {4.006435f,    1.4165875f,     0.0133217545f, -0.010867778f,
                            0.008281846f, -0.0049093687f, 0.0015406373f, -0.00011675257f};
  const V x(at), one(1.0f), w = math::neg(math::vlog((one - x) * (one + x)));
  const V value = w.v[0] < 5.0f ? math::polynomial(w - V(2.5f), center) : math::polynomial(sqrt(w) - V(3.0f), tail);
  return (x * value).v[0];
}
// The same in double: bisection on erf to start with, Newton's steps to the end.
__device__ inline double normal_quantile(double x) {
  double z = 0, low = -8.3, high = 8.3;
  for (int i = 0; i < 12; ++i) {
    z = 0.5 * (low + high);
    (erf(z * 0.70710678118654752440) < x ? low : high) = z;
  }
  for (int i = 0; i < 4; ++i) {
    const double slope = 0.79788456080286535588 * exp(-0.5 * z * z);
    if (slope > 0) z -= (erf(z * 0.70710678118654752440) - x) / slope;
  }
  return z;
}

}  // namespace lamella::cuda
