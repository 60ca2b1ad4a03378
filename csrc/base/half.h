// Floats of 16 bits, for storage: what is computed with them is computed in float32.
#pragma once

#include <cstdint>

namespace lamella {

struct bf16 {  // 8 bits of exponent, 7 of fraction: the upper half of a float32
  uint16_t bits = 0;
};
struct f16 {  // IEEE 754 binary16: 5 bits of exponent, 10 of fraction
  uint16_t bits = 0;
};

// What scalars and sums are where arrays are of type T.
template <class T>
struct RealOf {
  using type = T;
};
template <>
struct RealOf<bf16> {
  using type = float;
};
template <>
struct RealOf<f16> {
  using type = float;
};
template <class T>
using Real = typename RealOf<T>::type;

// Inlined by force: kernels are compiled for several levels of the processor, and no copy of one may serve another.
#define LAMELLA_HALF_INLINE [[gnu::always_inline]] constexpr

// Conversions to 16 bits are to the nearest, ties to even; what is too large becomes infinite. Without branches, so
// that loops over them become vector code.

LAMELLA_HALF_INLINE float to_float(bf16 v) { return __builtin_bit_cast(float, uint32_t{v.bits} << 16); }

LAMELLA_HALF_INLINE bf16 to_bf16(float v) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, v);
  const uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
  const uint32_t nan = bits >> 16 | 0x40u;
  return {static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded)};
}

LAMELLA_HALF_INLINE float to_float(f16 v) {
  const uint32_t magnitude = v.bits & 0x7FFFu;
  const uint32_t normal = (magnitude << 13) + (uint32_t{127 - 15} << 23);
  const uint32_t special = magnitude << 13 | 0x7F800000u;
  // Subnormals, multiples of 2^-24: the fraction of a number whose last place that is, less the number.
  constexpr uint32_t kBase = uint32_t{127 - 14} << 23;
  const float small = __builtin_bit_cast(float, magnitude << 13 | kBase) - __builtin_bit_cast(float, kBase);
  uint32_t bits = magnitude >= 0x7C00u ? special : normal;
  bits = magnitude < 0x400u ? __builtin_bit_cast(uint32_t, small) : bits;
  return __builtin_bit_cast(float, bits | (v.bits & 0x8000u) << 16);
}

LAMELLA_HALF_INLINE f16 to_f16(float v) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, v), magnitude = bits & 0x7FFFFFFFu;
  const uint32_t normal = (magnitude - (uint32_t{127 - 15} << 23) + 0xFFFu + (magnitude >> 13 & 1)) >> 13;
  // Below 2^-14: the sum with 0.5, whose last place is 2^-24, is rounded as it has to be.
  const float sum = __builtin_bit_cast(float, magnitude < 0x38800000u ? magnitude : 0u) + 0.5f;
  uint32_t half = magnitude < 0x38800000u ? __builtin_bit_cast(uint32_t, sum) - 0x3F000000u : normal;
  half = magnitude >= 0x47800000u ? 0x7C00u : half;  // 65536 and more; what lies closely below carries over by itself
  half = magnitude > 0x7F800000u ? 0x7E00u | (magnitude >> 13 & 0x3FFu) : half;
  return {static_cast<uint16_t>(half | (bits >> 16 & 0x8000u))};
}

template <class T>
LAMELLA_HALF_INLINE T narrowed(float v);
template <>
LAMELLA_HALF_INLINE bf16 narrowed<bf16>(float v) {
  return to_bf16(v);
}
template <>
LAMELLA_HALF_INLINE f16 narrowed<f16>(float v) {
  return to_f16(v);
}

#undef LAMELLA_HALF_INLINE

}  // namespace lamella
