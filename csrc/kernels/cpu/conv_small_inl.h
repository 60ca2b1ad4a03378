// For convolutions of few input channels (a network's first layer): in a row of NHWC memory the kw * c values that one
// row of the kernel sees lie side by side, so they are one run of products instead of kw short ones. Padding would tear
// the run, so a band of rows is copied with its zeros where there is any: c is small, the copy is cheap.
#pragma once

#include "kernels/cpu/conv_geometry.h"
#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

// Strides and kernels are those of first layers: a band holds all rows between the first and the last that it needs.
LAMELLA_INLINE bool small_channels(const ConvShape& s) {
  return s.c <= 4 && s.groups == 1 && s.dilation_w == 1 && s.kw * s.c <= 64 && s.stride_h <= 16 && s.stride_w <= 16 &&
         (s.kh - 1) * s.dilation_h <= 64;
}

// Rows of x as the output rows [i0, i0 + rows) of image n see them.
template <class T>
struct Band {
  const T* x;   // first row and column, padding included
  int64_t row;  // stride
};

// Rows are read up to (ow - 1)*stride_w + kw pixels.
LAMELLA_INLINE int64_t band_width(const ConvShape& s) { return ((s.ow - 1) * s.stride_w + s.kw) * s.c; }
LAMELLA_INLINE int64_t band_height(const ConvShape& s, int64_t rows) {
  return (rows - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1;
}
LAMELLA_INLINE bool band_copied(const ConvShape& s) {
  return s.pad_top != 0 || s.pad_left != 0 || (s.ow - 1) * s.stride_w + s.kw > s.w || band_height(s, s.oh) > s.h;
}
LAMELLA_INLINE int64_t band_elements(const ConvShape& s, int64_t rows) {
  return band_copied(s) ? band_width(s) * band_height(s, rows) : 0;
}

template <class T>
LAMELLA_NOINLINE Band<T> make_band(const ConvShape& s, const T* x, int64_t n, int64_t i0, int64_t rows, T* scratch) {
  const int64_t y0 = i0 * s.stride_h - s.pad_top, line = s.w * s.c;
  x += n * s.h * line;
  if (!band_copied(s)) return {x + y0 * line, line};
  const int64_t width = band_width(s), left = min64(width, s.pad_left * s.c);
  const int64_t middle = max64(0, min64(line, width - left));
  constexpr int64_t W = Vec<T>::W;
  for (int64_t r = 0; r < band_height(s, rows); ++r) {
    // Vectors, for rows may be too short for calls of memcpy and memset.
    T* to = scratch + r * width;
    const bool inside = y0 + r >= 0 && y0 + r < s.h;
    if (!inside || middle < width) {
      for (int64_t i = 0; i < width; i += W) Vec<T>::zero().store(to + i, width - i);
    }
    if (!inside) continue;
    const T* from = x + (y0 + r) * line;
    for (int64_t i = 0; i < middle; i += W) Vec<T>::load(from + i, middle - i).store(to + left + i, middle - i);
  }
  return {scratch, width};
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
