// What the depthwise passes share.
#pragma once

#include "kernels/cpu/conv_geometry.h"
#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

LAMELLA_INLINE bool depthwise(const ConvShape& s) { return s.groups == s.c && s.c > 1; }

// y[i*multiplier + m] = x[i].
template <class T>
LAMELLA_NOINLINE void spread_channels(int64_t n, int64_t multiplier, const T* x, T* y) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t m = 0; m < multiplier; ++m) *y++ = x[i];
  }
}
// y[i] = sum over m of x[i*multiplier + m] (+ bias[i]).
template <class T>
LAMELLA_NOINLINE void fold_channels(int64_t n, int64_t multiplier, const T* x, const T* bias, T* y) {
  for (int64_t i = 0; i < n; ++i) {
    T sum = bias == nullptr ? T(0) : bias[i];
    for (int64_t m = 0; m < multiplier; ++m) sum += *x++;
    y[i] = sum;
  }
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
