// Fingerprints at the speed of reading.
#include "kernels/fingerprint.h"

#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr int64_t kChunk = 256 << 10;  // bytes that one thread takes, at any thread count
constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u, kSeed = 0xD6E8FEB86659FD93u;

// Independent chains, for one alone would wait for each multiplication; the compiler cuts them to the level's vectors.
constexpr int kLanes = 8, kVectors = 4;
typedef uint64_t Lanes __attribute__((vector_size(kLanes * 8)));

// h becomes something that is one to one in h and in word. The rotation carries high bits down: without it, two flipped
// signs would cancel.
template <class U>
LAMELLA_INLINE void mix(U& h, const U& word) {
  h ^= word;
  h = ((h << 29) | (h >> 35)) * kOdd;
}

uint64_t chunk_fingerprint(const char* data, int64_t bytes) {
  Lanes h[kVectors], words[kVectors];
  for (int i = 0; i < kVectors; ++i) {
    for (int l = 0; l < kLanes; ++l) h[i][l] = kSeed + static_cast<uint64_t>(i * kLanes + l);
  }
  constexpr int64_t kStep = sizeof(words);
  int64_t at = 0;
  for (; at + kStep <= bytes; at += kStep) {
    std::memcpy(words, data + at, kStep);
    for (int i = 0; i < kVectors; ++i) mix(h[i], words[i]);
  }
  if (at < bytes) {
    std::memset(words, 0, kStep);
    std::memcpy(words, data + at, static_cast<size_t>(bytes - at));
    for (int i = 0; i < kVectors; ++i) mix(h[i], words[i]);
  }
  uint64_t whole = static_cast<uint64_t>(bytes);
  for (int i = 0; i < kVectors; ++i) {
    for (int l = 0; l < kLanes; ++l) mix(whole, static_cast<uint64_t>(h[i][l]));
  }
  return whole;
}

uint64_t fingerprint(const Context& ctx, const void* data, int64_t bytes) {
  const char* const begin = static_cast<const char*>(data);
  constexpr int64_t kWave = 64;  // chunks whose results are kept before they are added up
  uint64_t h = static_cast<uint64_t>(bytes);
  for (int64_t wave = 0; wave < bytes; wave += kWave * kChunk) {
    uint64_t parts[kWave];
    const int64_t left = bytes - wave, all = (left + kChunk - 1) / kChunk, chunks = all < kWave ? all : kWave;
    parallel_for(ctx, chunks, [&](int64_t i, int) {
      const int64_t at = wave + i * kChunk;
      parts[i] = chunk_fingerprint(begin + at, bytes - at < kChunk ? bytes - at : kChunk);
    });
    for (int64_t i = 0; i < chunks; ++i) mix(h, parts[i]);
  }
  return h;
}

}  // namespace

void fill(FingerprintKernels<float>& k) { k.fingerprint = fingerprint; }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(FingerprintKernels<double>& k) { k.fingerprint = fingerprint; }
#endif

}  // namespace lamella::LAMELLA_NS
