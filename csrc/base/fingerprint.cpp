#include "base/fingerprint.h"

#include <bit>
#include <cstring>

namespace lamella {
namespace {

constexpr int64_t kChunk = 256 << 10;  // bytes that one thread takes; a power of two of words, at any thread count
constexpr int kLanes = 8;              // independent chains: one alone would wait for each multiplication
constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u, kSeed = 0xD6E8FEB86659FD93u;

// One to one in either argument. The rotation carries high bits down: without it, two flipped signs would cancel.
uint64_t mix(uint64_t h, uint64_t word) { return std::rotl(h ^ word, 29) * kOdd; }

uint64_t chunk_fingerprint(const char* data, int64_t bytes) {
  uint64_t lane[kLanes];
  for (int i = 0; i < kLanes; ++i) lane[i] = kSeed + static_cast<uint64_t>(i);
  constexpr int64_t kStep = kLanes * 8;
  int64_t at = 0;
  for (; at + kStep <= bytes; at += kStep) {
    uint64_t words[kLanes];
    std::memcpy(words, data + at, kStep);
    for (int i = 0; i < kLanes; ++i) lane[i] = mix(lane[i], words[i]);
  }
  if (at < bytes) {
    uint64_t words[kLanes] = {};
    std::memcpy(words, data + at, static_cast<size_t>(bytes - at));
    for (int i = 0; i < kLanes; ++i) lane[i] = mix(lane[i], words[i]);
  }
  uint64_t h = static_cast<uint64_t>(bytes);
  for (const uint64_t l : lane) h = mix(h, l);
  return h;
}

}  // namespace

uint64_t fingerprint(const Context& ctx, const void* data, int64_t bytes) {
  const char* const begin = static_cast<const char*>(data);
  constexpr int64_t kWave = 64;  // chunks whose results are kept before they are added up
  uint64_t h = static_cast<uint64_t>(bytes);
  for (int64_t wave = 0; wave < bytes; wave += kWave * kChunk) {
    uint64_t parts[kWave];
    const int64_t left = bytes - wave,
                  chunks = (left + kChunk - 1) / kChunk < kWave ? (left + kChunk - 1) / kChunk : kWave;
    const auto one = [&](int64_t i) {
      const int64_t at = wave + i * kChunk;
      parts[i] = chunk_fingerprint(begin + at, bytes - at < kChunk ? bytes - at : kChunk);
    };
    if (chunks == 1 || ctx.threads <= 1 || ctx.parallel_for == nullptr) {
      for (int64_t i = 0; i < chunks; ++i) one(i);
    } else {
      ctx.parallel_for(
          ctx.pool, chunks, ctx.threads,
          [](void* arg, int64_t chunk, int) { (*static_cast<const decltype(one)*>(arg))(chunk); },
          const_cast<void*>(static_cast<const void*>(&one)));
    }
    for (int64_t i = 0; i < chunks; ++i) h = mix(h, parts[i]);
  }
  return h;
}

}  // namespace lamella
