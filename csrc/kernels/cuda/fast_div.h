// Division by numbers that are known before a launch: a product, an addition and a shift.
#pragma once

#include "kernels/cuda/launch.h"

namespace lamella::cuda {

// n / divisor for 0 <= n < 2^31 and 1 <= divisor < 2^31. With 2^(s - 1) < divisor <= 2^s, 2^(32 + s) / divisor is
// 2^32 + magic, rounded up.
struct FastDiv {
  uint32_t divisor = 1, magic = 1, shift = 0;

  FastDiv() = default;
  __host__ __device__ explicit FastDiv(int64_t d) : divisor(static_cast<uint32_t>(d)) {
    while ((uint64_t{1} << shift) < divisor) ++shift;
    magic = static_cast<uint32_t>((((uint64_t{1} << shift) - divisor) << 32) / divisor + 1);
  }
  __device__ uint32_t div(uint32_t n) const { return (__umulhi(n, magic) + n) >> shift; }
  // n becomes the quotient; gives the remainder.
  __device__ uint32_t split(uint32_t& n) const {
    const uint32_t q = div(n), r = n - q * divisor;
    n = q;
    return r;
  }
};

// The same for numbers of 64 bits, as the hardware divides.
struct WideDiv {
  int64_t divisor = 1;

  WideDiv() = default;
  explicit WideDiv(int64_t d) : divisor(d) {}
  __device__ int64_t div(int64_t n) const { return n / divisor; }
  __device__ int64_t split(int64_t& n) const {
    const int64_t q = n / divisor, r = n - q * divisor;
    n = q;
    return r;
  }
};

// a / b of numbers from 0 on, in 32 bits where they fit: for divisors of which a thread needs a quotient or two.
__device__ inline int64_t quotient(int64_t a, int64_t b) {
  if (((a | b) >> 32) == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
  return a / b;
}

}  // namespace lamella::cuda
