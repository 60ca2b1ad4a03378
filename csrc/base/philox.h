// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): counter-based, so that element
// i of stream s is a pure function of (seed, s, i) and every backend and thread count draws the same numbers.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define LAMELLA_HOST_DEVICE __host__ __device__
#else
#define LAMELLA_HOST_DEVICE
#endif

namespace lamella {

// Where a random op stands: a stream is handed out per call, elements count inside it.
struct PhiloxKey {
  uint64_t seed = 0;
  uint64_t stream = 0;
  // Of a launch that is recorded once and runs at many steps: two numbers in the device's memory, which kernels add to
  // seed and stream. nullptr: nothing.
  const uint64_t* step = nullptr;
};

// Block `index` of four 32-bit words: counter = (index lo, index hi, stream lo, stream hi), key = (seed lo, seed hi).
LAMELLA_HOST_DEVICE inline void philox4x32(PhiloxKey key, uint64_t index, uint32_t out[4]) {
  uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
  uint32_t c2 = static_cast<uint32_t>(key.stream), c3 = static_cast<uint32_t>(key.stream >> 32);
  uint32_t k0 = static_cast<uint32_t>(key.seed), k1 = static_cast<uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c0;
    const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

}  // namespace lamella
