// Words to normal numbers, with the formulas of kernels/cpu/normal.h: the same numbers on every device.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/math.h"

namespace lamella::cuda {
namespace {

// Number i of a stream's, which takes word i and its neighbour: Box-Muller on the pair, r cos for even numbers and r
// sin for odd ones, the sine as a cosine a quarter turn back. `words`: those of block i / 4.
__device__ inline float normal_of_words(const uint32_t* words, int64_t i, float) {
  const bool late = (i & 2) != 0;
  const uint32_t first = late ? words[2] : words[0], second = late ? words[3] : words[1];
  const float high = static_cast<float>(first >> 16), low = static_cast<float>(first & 0xffffu);
  const float u = high * 0x1p-16f + (low + 0.5f) * 0x1p-32f;  // in (0, 1]: the products are exact
  const float square = -2.0f * math::log_of(u);
  const float r = sqrt(square > 0.0f ? square : 0.0f);
  float t = static_cast<float>(second >> 8) * 0x1p-24f - (i % 2 == 0 ? 0.0f : 0.25f);
  t -= rint(t);
  // cos(2 pi t) = sin(2 pi (1/4 - |t|)).
  const float y = 6.2831853071795864769f * (0.25f - fabs(t)), z = y * y;
  float p = -2.5052108e-8f;
  p = fma(p, z, 2.7557319e-6f);
  p = fma(p, z, -0.0001984127f);
  p = fma(p, z, 0.008333334f);
  p = fma(p, z, -0.16666667f);
  p = fma(p, z, 1.0f);
  return r * (y * p);
}
__device__ inline double unit_uniform(const uint32_t* w) {
  return (static_cast<double>(w[0] >> 5) * 0x1p26 + static_cast<double>(w[1] >> 6)) * 0x1p-53;
}
// Two numbers from four words.
__device__ inline double normal_of_words(const uint32_t* words, int64_t i, double) {
  const double r = sqrt(-2.0 * log(unit_uniform(words) + 0x1p-54));
  const double angle = 6.28318530717958647693 * unit_uniform(words + 2);
  return i % 2 == 0 ? r * cos(angle) : r * sin(angle);
}

// The number itself. `first_word` is where the stream's numbers begin, a multiple of 4.
template <class T>
__device__ T normal_number(PhiloxKey key, uint64_t first_word, int64_t i) {
  uint32_t words[4];
  philox4x32(key, first_word / 4 + static_cast<uint64_t>(i) / (sizeof(T) == 4 ? 4 : 2), words);
  return normal_of_words(words, i, T(0));
}

}  // namespace
}  // namespace lamella::cuda
