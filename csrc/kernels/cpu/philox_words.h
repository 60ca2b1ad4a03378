// Philox4x32-10 on whole registers: the same words as base/philox.h, in their order.
//
// A block's four words sit in the low halves of the 64-bit lanes of four registers, one block per lane, because the
// vector units multiply 32 x 32 to 64 bits lane by lane. High halves hold garbage that no product reads.
#pragma once

#include "base/philox.h"
#include "kernels/cpu/simd.h"

#if defined(LAMELLA_ISA_PORTABLE) && defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace lamella::LAMELLA_NS {
namespace {

#if defined(LAMELLA_ISA_AVX512)

struct Lanes64 {
  static constexpr int kLanes = 8;
  __m512i v;
  static LAMELLA_INLINE Lanes64 all(uint64_t x) { return {_mm512_set1_epi64(static_cast<int64_t>(x))}; }
  // first + 0 ... 7, in the order that makes store_words come out straight.
  static LAMELLA_INLINE Lanes64 counters(uint64_t first) {
    return {_mm512_add_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7), all(first).v)};
  }
};
LAMELLA_INLINE Lanes64 mul32(Lanes64 a, Lanes64 b) { return {_mm512_mul_epu32(a.v, b.v)}; }
LAMELLA_INLINE Lanes64 high_half(Lanes64 a) { return {_mm512_srli_epi64(a.v, 32)}; }
LAMELLA_INLINE Lanes64 xor3(Lanes64 a, Lanes64 b, Lanes64 c) {
  return {_mm512_ternarylogic_epi64(a.v, b.v, c.v, 0x96)};
}
// The words of 8 blocks.
LAMELLA_INLINE void store_words(Lanes64 c0, Lanes64 c1, Lanes64 c2, Lanes64 c3, uint32_t* out) {
  const __m512i a = _mm512_mask_blend_epi32(0xAAAA, c0.v, _mm512_slli_epi64(c1.v, 32));
  const __m512i b = _mm512_mask_blend_epi32(0xAAAA, c2.v, _mm512_slli_epi64(c3.v, 32));
  _mm512_storeu_si512(out, _mm512_unpacklo_epi64(a, b));
  _mm512_storeu_si512(out + 16, _mm512_unpackhi_epi64(a, b));
}

#elif defined(LAMELLA_ISA_AVX2)

struct Lanes64 {
  static constexpr int kLanes = 4;
  __m256i v;
  static LAMELLA_INLINE Lanes64 all(uint64_t x) { return {_mm256_set1_epi64x(static_cast<int64_t>(x))}; }
  static LAMELLA_INLINE Lanes64 counters(uint64_t first) {
    return {_mm256_add_epi64(_mm256_setr_epi64x(0, 2, 1, 3), all(first).v)};
  }
};
LAMELLA_INLINE Lanes64 mul32(Lanes64 a, Lanes64 b) { return {_mm256_mul_epu32(a.v, b.v)}; }
LAMELLA_INLINE Lanes64 high_half(Lanes64 a) { return {_mm256_srli_epi64(a.v, 32)}; }
LAMELLA_INLINE Lanes64 xor3(Lanes64 a, Lanes64 b, Lanes64 c) {
  return {_mm256_xor_si256(_mm256_xor_si256(a.v, b.v), c.v)};
}
LAMELLA_INLINE void store_words(Lanes64 c0, Lanes64 c1, Lanes64 c2, Lanes64 c3, uint32_t* out) {
  const __m256i a = _mm256_blend_epi32(c0.v, _mm256_slli_epi64(c1.v, 32), 0xAA);
  const __m256i b = _mm256_blend_epi32(c2.v, _mm256_slli_epi64(c3.v, 32), 0xAA);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_unpacklo_epi64(a, b));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), _mm256_unpackhi_epi64(a, b));
}

#elif defined(__SSE2__)

struct Lanes64 {
  static constexpr int kLanes = 2;
  __m128i v;
  static LAMELLA_INLINE Lanes64 all(uint64_t x) { return {_mm_set1_epi64x(static_cast<int64_t>(x))}; }
  static LAMELLA_INLINE Lanes64 counters(uint64_t first) { return {_mm_add_epi64(_mm_set_epi64x(1, 0), all(first).v)}; }
};
LAMELLA_INLINE Lanes64 mul32(Lanes64 a, Lanes64 b) { return {_mm_mul_epu32(a.v, b.v)}; }
LAMELLA_INLINE Lanes64 high_half(Lanes64 a) { return {_mm_srli_epi64(a.v, 32)}; }
LAMELLA_INLINE Lanes64 xor3(Lanes64 a, Lanes64 b, Lanes64 c) { return {_mm_xor_si128(_mm_xor_si128(a.v, b.v), c.v)}; }
LAMELLA_INLINE void store_words(Lanes64 c0, Lanes64 c1, Lanes64 c2, Lanes64 c3, uint32_t* out) {
  const __m128i a = _mm_unpacklo_epi32(_mm_shuffle_epi32(c0.v, 0x08), _mm_shuffle_epi32(c1.v, 0x08));
  const __m128i b = _mm_unpacklo_epi32(_mm_shuffle_epi32(c2.v, 0x08), _mm_shuffle_epi32(c3.v, 0x08));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi64(a, b));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 4), _mm_unpackhi_epi64(a, b));
}

#else

struct Lanes64 {
  static constexpr int kLanes = 1;
  uint64_t v;
  static LAMELLA_INLINE Lanes64 all(uint64_t x) { return {x}; }
  static LAMELLA_INLINE Lanes64 counters(uint64_t first) { return {first}; }
};
LAMELLA_INLINE Lanes64 mul32(Lanes64 a, Lanes64 b) { return {(a.v & 0xffffffffu) * (b.v & 0xffffffffu)}; }
LAMELLA_INLINE Lanes64 high_half(Lanes64 a) { return {a.v >> 32}; }
LAMELLA_INLINE Lanes64 xor3(Lanes64 a, Lanes64 b, Lanes64 c) { return {a.v ^ b.v ^ c.v}; }
LAMELLA_INLINE void store_words(Lanes64 c0, Lanes64 c1, Lanes64 c2, Lanes64 c3, uint32_t* out) {
  out[0] = static_cast<uint32_t>(c0.v);
  out[1] = static_cast<uint32_t>(c1.v);
  out[2] = static_cast<uint32_t>(c2.v);
  out[3] = static_cast<uint32_t>(c3.v);
}

#endif

// kStreams groups of blocks at once: a round is one long chain of a product, a shift and an exclusive or.
constexpr int kPhiloxStreams = 2;
constexpr int kPhiloxStep = kPhiloxStreams * Lanes64::kLanes * 4;  // words

LAMELLA_INLINE void philox_step(PhiloxKey key, uint64_t block, uint32_t* out) {
  Lanes64 c0[kPhiloxStreams], c1[kPhiloxStreams], c2[kPhiloxStreams], c3[kPhiloxStreams];
#pragma GCC unroll 4
  for (int s = 0; s < kPhiloxStreams; ++s) {
    c0[s] = Lanes64::counters(block + static_cast<uint64_t>(s * Lanes64::kLanes));
    c1[s] = high_half(c0[s]);
    c2[s] = Lanes64::all(key.stream);
    c3[s] = Lanes64::all(key.stream >> 32);
  }
  const Lanes64 m0 = Lanes64::all(0xD2511F53u), m1 = Lanes64::all(0xCD9E8D57u);
  uint32_t k0 = static_cast<uint32_t>(key.seed), k1 = static_cast<uint32_t>(key.seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const Lanes64 r0 = Lanes64::all(k0), r1 = Lanes64::all(k1);
#pragma GCC unroll 4
    for (int s = 0; s < kPhiloxStreams; ++s) {
      const Lanes64 p0 = mul32(c0[s], m0), p1 = mul32(c2[s], m1);
      c0[s] = xor3(high_half(p1), c1[s], r0);
      c1[s] = p1;
      c2[s] = xor3(high_half(p0), c3[s], r1);
      c3[s] = p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
#pragma GCC unroll 4
  for (int s = 0; s < kPhiloxStreams; ++s) {
    store_words(c0[s], c1[s], c2[s], c3[s], out + s * Lanes64::kLanes * 4);
  }
}

// Some words of a stream at hand.
class Words {
 public:
  static constexpr int64_t kCapacity = 256;

  // Words first ... first + n - 1 for n <= kCapacity; good until the next call.
  LAMELLA_NOINLINE const uint32_t* get(PhiloxKey key, int64_t first, int64_t n) {
    const int64_t start = first / kPhiloxStep * kPhiloxStep;
    for (int64_t w = start; w < first + n; w += kPhiloxStep) {
      philox_step(key, static_cast<uint64_t>(w) / 4, buffer_ + (w - start));
    }
    return buffer_ + (first - start);
  }

 private:
  // Both ends of a stretch may lie inside a step.
  alignas(64) uint32_t buffer_[kCapacity + 2 * kPhiloxStep];
};

// f(i, n, words) for stretches of n elements of [begin, end), each element with its `per_element` words.
template <class F>
LAMELLA_INLINE void for_words(PhiloxKey key, int64_t begin, int64_t end, int64_t per_element, const F& f) {
  Words words;
  const int64_t step = Words::kCapacity / per_element;
  for (int64_t i = begin; i < end; i += step) {
    const int64_t n = i + step < end ? step : end - i;
    f(i, n, words.get(key, i * per_element, n * per_element));
  }
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
