// Max and average pooling over the two middle axes of (n, h, w, c); 1-D pooling is the case h = 1. Adaptive and global
// pooling are the same kernels with another rule for the windows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace lamella {

// One pooled axis. Output o looks at inputs o*stride - pad_lo + tap*dilation, tap in [0, window), that lie in [0, in).
// adaptive: output o looks at [floor(o*in/out), ceil((o+1)*in/out)) and `window` is the largest such extent.
// Every output sees at least one input.
struct PoolAxis {
  int64_t in = 1, out = 1;
  int64_t window = 1, stride = 1, dilation = 1;
  int64_t pad_lo = 0, pad_hi = 0;
  bool adaptive = false;
};

struct PoolShape {
  int64_t n = 0, c = 0;
  PoolAxis h, w;
  int64_t taps() const { return h.window * w.window; }
  // The taps of a window are numbered row by row from 0, so 256 of them fit a byte.
  bool wide_argmax() const { return taps() > 256; }
  bool global() const {
    return h.out == 1 && w.out == 1 && h.window == h.in && w.window == w.in && h.pad_lo == 0 && w.pad_lo == 0 &&
           h.dilation == 1 && w.dilation == 1;
  }
};

template <class T>
struct MaxPoolParams {
  PoolShape shape;
  const T* x = nullptr;
  T* y = nullptr;
  void* argmax = nullptr;  // [n, oh, ow, c] tap numbers, uint8 or (wide_argmax) int32; nullptr: not wanted
};

template <class T>
struct MaxPoolBackwardParams {
  PoolShape shape;
  const T* grad_out = nullptr;
  const void* argmax = nullptr;
  T* grad_in = nullptr;
};

template <class T>
struct AvgPoolParams {
  PoolShape shape;
  const T* x = nullptr;  // backward: grad_out
  T* y = nullptr;        // backward: grad_in
  bool count_include_pad = false;
  int64_t divisor = 0;  // > 0: divide by this instead of the number of taps
};

template <class T>
struct PoolKernels {
  size_t (*max_forward_workspace)(const MaxPoolParams<T>&, int threads) = nullptr;
  void (*max_forward)(const Context&, const MaxPoolParams<T>&) = nullptr;
  size_t (*max_backward_workspace)(const MaxPoolBackwardParams<T>&, int threads) = nullptr;
  void (*max_backward)(const Context&, const MaxPoolBackwardParams<T>&) = nullptr;
  size_t (*avg_forward_workspace)(const AvgPoolParams<T>&, int threads) = nullptr;
  void (*avg_forward)(const Context&, const AvgPoolParams<T>&) = nullptr;
  size_t (*avg_backward_workspace)(const AvgPoolParams<T>&, int threads) = nullptr;
  void (*avg_backward)(const Context&, const AvgPoolParams<T>&) = nullptr;
};

}  // namespace lamella
