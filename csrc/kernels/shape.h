// Moves: strided copies (transposes, slices, concatenation, padding, reversal are all one), fills and casts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace lamella {

// dst[i . dst_strides] = src[i . src_strides] for every index i below dims; strides in elements, any sign, 0 in the
// source to repeat. The destination's elements are distinct. Any element type of element_bytes 1, 2, 4 or 8.
struct StridedCopyParams {
  static constexpr int kMaxRank = 8;
  int rank = 0;
  int64_t dims[kMaxRank] = {};
  int64_t src_strides[kMaxRank] = {};
  int64_t dst_strides[kMaxRank] = {};
  const void* src = nullptr;
  void* dst = nullptr;
  int element_bytes = 4;
};

struct FillBytesParams {
  void* dst = nullptr;
  int64_t n = 0;  // elements
  int element_bytes = 4;
  uint64_t pattern = 0;  // the element's bits
};

enum class Element : int32_t { kF32, kF64, kI32, kI64, kU8, kU64, kF16, kBF16 };

// Floats become integers by truncation; NaN becomes 0 and what does not fit the nearest end of the range. Between
// floats of 16 bits and anything but float32 the way leads over float32.
struct CastParams {
  const void* src = nullptr;
  void* dst = nullptr;
  Element from = Element::kF32, to = Element::kF32;
  int64_t n = 0;
};

template <class T>
struct ShapeKernels {
  void (*copy)(const Context&, const StridedCopyParams&) = nullptr;
  void (*fill_bytes)(const Context&, const FillBytesParams&) = nullptr;
  void (*cast)(const Context&, const CastParams&) = nullptr;
};

}  // namespace lamella
