// Slices by index along an axis, and resizing of images.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"
#include "kernels/index_check.h"

namespace lamella {

// dst (outer, index.n, inner) = src (outer, rows, inner) at rows index[k], which are in [0, rows): checked before. Any
// element type of element_bytes 1, 2, 4 or 8.
struct GatherParams {
  IndexList index;
  int64_t outer = 1, rows = 0, inner = 1;
  const void* src = nullptr;
  void* dst = nullptr;
  int element_bytes = 4;
};

template <class T>
struct GatherGradParams {
  IndexList index;
  int64_t outer = 1, rows = 0, inner = 1;
  const T* grad_out = nullptr;  // (outer, index.n, inner)
  T* grad_in = nullptr;         // (outer, rows, inner), overwritten; sums run in the order of the indices
};

enum class Resize : int32_t { kNearest, kBilinear, kBilinearAlignCorners };

// (n, h, w, c) to (n, oh, ow, c). Output o of m over n inputs looks at
//   kNearest               floor(o * n / m)
//   kBilinear              (o + 1/2) * n / m - 1/2, clamped to [0, n - 1]
//   kBilinearAlignCorners  o * (n - 1) / (m - 1)
template <class T>
struct ResizeParams {
  int64_t n = 0, h = 0, w = 0, oh = 0, ow = 0, c = 0;
  Resize mode = Resize::kNearest;
  const T* x = nullptr;  // backward: grad_out
  T* y = nullptr;        // backward: grad_in
};

template <class T>
struct ResampleKernels {
  void (*gather)(const Context&, const GatherParams&) = nullptr;
  void (*gather_grad)(const Context&, const GatherGradParams<T>&) = nullptr;
  size_t (*resize_workspace)(const ResizeParams<T>&, int threads) = nullptr;
  void (*resize)(const Context&, const ResizeParams<T>&) = nullptr;
  size_t (*resize_backward_workspace)(const ResizeParams<T>&, int threads) = nullptr;
  void (*resize_backward)(const Context&, const ResizeParams<T>&) = nullptr;
};

}  // namespace lamella
