// Which inputs an output sees, and which outputs an input is seen by.
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/pool.h"

namespace lamella::LAMELLA_NS {
namespace {

LAMELLA_INLINE int64_t ceil_div(int64_t a, int64_t b) { return a <= 0 ? 0 : (a + b - 1) / b; }
LAMELLA_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
LAMELLA_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// Tap t of a window stands at input start + t * dilation; taps [lo, hi) lie inside.
struct Window {
  int64_t start, lo, hi;
  int64_t count() const { return hi - lo; }
};

LAMELLA_INLINE Window window_of(const PoolAxis& a, int64_t o) {
  if (a.adaptive) {
    const int64_t start = o * a.in / a.out;
    return {start, 0, ((o + 1) * a.in + a.out - 1) / a.out - start};
  }
  const int64_t start = o * a.stride - a.pad_lo;
  return {start, ceil_div(-start, a.dilation), smaller(a.window, ceil_div(a.in - start, a.dilation))};
}

// Outputs [begin, end) of the axis see all their taps.
struct Interior {
  int64_t begin, end;
};
LAMELLA_INLINE Interior interior_of(const PoolAxis& a) {
  if (a.adaptive) return {0, 0};
  const int64_t begin = smaller(ceil_div(a.pad_lo, a.stride), a.out);
  const int64_t room = a.in + a.pad_lo - (a.window - 1) * a.dilation;  // starts below this fit
  return {begin, larger(begin, smaller(a.out, ceil_div(room, a.stride)))};
}

// What an average divides by along this axis.
LAMELLA_INLINE int64_t divisor_of(const PoolAxis& a, int64_t o, bool include_pad) {
  const Window w = window_of(a, o);
  if (!include_pad || a.adaptive) return w.count();
  return smaller(w.start + a.window, a.in + a.pad_hi) - w.start;
}

// For every input along an axis the (output, tap) pairs that see it, outputs ascending.
struct Cover {
  struct Seen {
    int32_t out, tap;
  };
  const int32_t* first;  // [in + 1]
  const Seen* seen;
};
LAMELLA_INLINE size_t cover_bytes(const PoolAxis& a) {
  const size_t bytes = sizeof(int32_t) * static_cast<size_t>(a.in + 1) +
                       sizeof(Cover::Seen) * static_cast<size_t>(a.out * smaller(a.window, a.in));
  return (bytes + 63) / 64 * 64;
}
LAMELLA_NOINLINE inline Cover make_cover(const PoolAxis& a, void* memory) {
  int32_t* first = static_cast<int32_t*>(memory);
  Cover::Seen* seen = reinterpret_cast<Cover::Seen*>(first + a.in + 1);
  for (int64_t i = 0; i <= a.in; ++i) first[i] = 0;
  for (int64_t o = 0; o < a.out; ++o) {
    const Window w = window_of(a, o);
    for (int64_t t = w.lo; t < w.hi; ++t) ++first[w.start + t * a.dilation + 1];
  }
  for (int64_t i = 0; i < a.in; ++i) first[i + 1] += first[i];
  // Fill from each input's begin, which moves to its end, then shift the begins back.
  for (int64_t o = 0; o < a.out; ++o) {
    const Window w = window_of(a, o);
    for (int64_t t = w.lo; t < w.hi; ++t)
      seen[first[w.start + t * a.dilation]++] = {static_cast<int32_t>(o), static_cast<int32_t>(t)};
  }
  for (int64_t i = a.in; i > 0; --i) first[i] = first[i - 1];
  first[0] = 0;
  return {first, seen};
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
