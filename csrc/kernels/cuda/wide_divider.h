// Division by a number that is known at the launch, for numbers of either size.
#pragma once

#include <type_traits>

#include "kernels/cuda/divider.h"

namespace lamella::cuda {

// What Divider is, for numbers beyond 2^31.
struct WideDivider {
  int64_t d = 1;

  WideDivider() = default;
  explicit WideDivider(int64_t divisor) : d(divisor) {}
  __device__ int64_t operator()(int64_t v) const { return v / d; }
  __device__ int64_t rest(int64_t v, int64_t quotient) const { return v - quotient * d; }
};

// Kernels count in int where everything they add up stays below 2^31, else in int64_t.
template <class I>
using DividerOf = std::conditional_t<sizeof(I) == 4, Divider, WideDivider>;

// Calls launch(first, count) for as many of n images at once as have fewer than 2^30 items together, which int can
// count with room to spare; false, and nothing, where one image has more.
template <class F>
bool in_narrow_parts(int64_t n, int64_t items_per_image, const F& launch) {
  constexpr int64_t kMost = int64_t{1} << 30;
  if (items_per_image >= kMost) return false;
  const int64_t images = items_per_image == 0 ? n : kMost / items_per_image;
  for (int64_t k = 0; k < n; k += images) launch(k, n - k < images ? n - k : images);
  return true;
}

}  // namespace lamella::cuda
