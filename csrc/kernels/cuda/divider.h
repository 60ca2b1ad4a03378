// Division by a number that is known at the launch: a multiplication and a shift.
#pragma once

#include "kernels/cuda/launch.h"

namespace lamella::cuda {

// Of numbers in [0, 2^31) by d in [1, 2^31).
struct Divider {
  uint32_t d = 1, multiplier = 0, shift = 0;

  Divider() = default;
  explicit Divider(int64_t divisor) : d(static_cast<uint32_t>(divisor)) {
    while ((uint64_t{1} << shift) < d) ++shift;
    multiplier = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift) - d)) / d + 1);
  }
  __device__ int operator()(int v) const {
    const auto u = static_cast<uint32_t>(v);
    return static_cast<int>((__umulhi(u, multiplier) + u) >> shift);
  }
  // v % d, given v / d.
  __device__ int rest(int v, int quotient) const { return v - quotient * static_cast<int>(d); }
};

}  // namespace lamella::cuda
