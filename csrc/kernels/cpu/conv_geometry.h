// What forward and the gradient to data have in common: both gather, for every destination pixel, the source pixels of
// some kernel taps. With stride s the gradient to data falls into s phases per axis (destination pixels of equal
// remainder modulo s); each phase is a stride-1 gather with every so many taps of the kernel, so nothing is ever
// scattered.
#pragma once

#include "kernels/conv.h"
#include "kernels/cpu/isa.h"

namespace lamella::LAMELLA_NS {
namespace {

// One phase of one axis. Destination out0 + j*out_step, j in [0, count), gathers source j*src_step + off0 + q*off_step
// with kernel tap tap0 + q*tap_step, q in [0, taps).
struct ConvAxis {
  int64_t out0, out_step, count;
  int64_t src_step, src_size;
  int64_t taps, tap0, tap_step, off0, off_step;
};

struct ConvView {
  int64_t n;
  int64_t sh, sw, sc;      // source
  int64_t dh, dw, dc;      // destination
  int64_t groups, kc, nc;  // source and destination channels of a group
  int64_t kh, kw;
  int64_t phases_h, phases_w;
  // Element (r, s, k, j) of group g: weight[(r*kw + s)*w_tap + g*w_group + k*w_k + j*w_j].
  int64_t w_tap, w_group, w_k, w_j;
};

LAMELLA_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
LAMELLA_INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
LAMELLA_INLINE int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
LAMELLA_INLINE int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
LAMELLA_INLINE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

LAMELLA_INLINE ConvView conv_view(const ConvShape& s, ConvPass pass) {
  const int64_t cg = s.c / s.groups, og = s.oc / s.groups;
  if (pass == ConvPass::kForward) {
    return {s.n, s.h, s.w, s.c, s.oh, s.ow, s.oc, s.groups, cg, og, s.kh, s.kw, 1, 1, cg * s.oc, og, s.oc, 1};
  }
  const int64_t ph = min64(s.stride_h, s.h), pw = min64(s.stride_w, s.w);  // phases beyond the size are empty
  return {s.n, s.oh, s.ow, s.oc, s.h, s.w, s.c, s.groups, og, cg, s.kh, s.kw, ph, pw, cg * s.oc, og, 1, s.oc};
}

LAMELLA_INLINE ConvAxis conv_axis(ConvPass pass, int64_t x_size, int64_t y_size, int64_t kernel, int64_t stride,
                                  int64_t dilation, int64_t pad, int64_t phase) {
  if (pass == ConvPass::kForward) return {0, 1, y_size, stride, x_size, kernel, 0, 1, -pad, dilation};
  ConvAxis a{phase, stride, x_size > phase ? (x_size - phase + stride - 1) / stride : 0, 1, y_size, 0, 0, 1, 0, 0};
  // Tap r reaches x[phase + j*stride] from y[j + (phase + pad - r*dilation)/stride] where that division is exact; the
  // taps that do so follow each other at distance stride/gcd(stride, dilation).
  int64_t g = stride, b = dilation;
  while (b != 0) {
    const int64_t t = g % b;
    g = b;
    b = t;
  }
  a.tap_step = stride / g;
  a.off_step = -(dilation / g);
  for (int64_t r = 0; r < kernel && r < a.tap_step; ++r) {
    if ((phase + pad - r * dilation) % stride != 0) continue;
    a.tap0 = r;
    a.taps = (kernel - r + a.tap_step - 1) / a.tap_step;
    a.off0 = (phase + pad - r * dilation) / stride;
    break;
  }
  return a;
}
LAMELLA_INLINE ConvAxis conv_axis_h(const ConvShape& s, ConvPass pass, int64_t phase) {
  return conv_axis(pass, s.h, s.oh, s.kh, s.stride_h, s.dilation_h, s.pad_top, phase);
}
LAMELLA_INLINE ConvAxis conv_axis_w(const ConvShape& s, ConvPass pass, int64_t phase) {
  return conv_axis(pass, s.w, s.ow, s.kw, s.stride_w, s.dilation_w, s.pad_left, phase);
}

// [begin, end) of those j in [0, count) whose source j*step + off lies in [0, size).
struct Range {
  int64_t begin, end;
};
LAMELLA_INLINE Range valid_range(int64_t count, int64_t step, int64_t off, int64_t size) {
  int64_t begin = off < 0 ? ceil_div(-off, step) : 0;
  int64_t end = size > off ? ceil_div(size - off, step) : 0;
  if (end > count) end = count;
  if (begin > end) begin = end;
  return {begin, end};
}

// Carves 64-byte aligned pieces from the workspace; with a null base it only counts.
struct Carver {
  char* base;
  size_t used = 0;
  template <class U>
  LAMELLA_INLINE U* take(int64_t count) {
    U* p = reinterpret_cast<U*>(base + used);
    used += (static_cast<size_t>(count) * sizeof(U) + 63) / 64 * 64;
    return p;
  }
};

}  // namespace

// One way to compute forward and the gradient to data, or the gradient to weights. Costs are estimated nanoseconds on
// one core and only compared with each other.
template <class T>
struct ConvCandidate {
  const char* name;
  bool (*can_run)(const ConvShape&, ConvPass);
  double (*cost)(const ConvShape&, ConvPass);
  size_t (*workspace)(const ConvShape&, ConvPass, bool prepared, int threads);
  void (*run)(const Context&, ConvPass, const ConvParams<T>&);
  size_t (*prepared_bytes)(const ConvShape&, ConvPass);
  void (*prepare)(const Context&, const ConvShape&, ConvPass, const T* weight, void* prepared);
  bool strict;  // keeps plain sums of products
  bool fuses_pool = false;
};
template <class T>
struct ConvWeightCandidate {
  const char* name;
  bool (*can_run)(const ConvShape&);
  double (*cost)(const ConvShape&);
  size_t (*workspace)(const ConvShape&, int threads);
  void (*run)(const Context&, const ConvWeightParams<T>&);
  bool fuses_activation;
  bool strict;  // keeps plain sums of products
};

template <class T>
ConvCandidate<T> conv_reference();
template <class T>
ConvCandidate<T> conv_igemm();
template <class T>
ConvCandidate<T> conv_depthwise();
template <class T>
ConvCandidate<T> conv_grouped();
template <class T>
ConvCandidate<T> conv_small_channels();
template <class T>
ConvCandidate<T> conv_small_channels_data();
template <class T>
ConvCandidate<T> conv_winograd4();
template <class T>
ConvCandidate<T> conv_winograd2();
template <class T>
ConvCandidate<T> conv_winograd_stride2();
template <class T>
ConvWeightCandidate<T> conv_weight_reference();
template <class T>
ConvWeightCandidate<T> conv_weight_depthwise();
template <class T>
ConvWeightCandidate<T> conv_weight_grouped();
template <class T>
ConvWeightCandidate<T> conv_weight_small_channels();
template <class T>
ConvWeightCandidate<T> conv_weight_winograd4();
template <class T>
ConvWeightCandidate<T> conv_weight_winograd_stride2();
template <class T>
ConvWeightCandidate<T> conv_weight_direct();
template <class T>
size_t conv_activation_backward_workspace(const ConvActivationParams<T>&);
template <class T>
void conv_activation_backward(const Context&, const ConvActivationParams<T>&);

#if defined(LAMELLA_ISA_PORTABLE)
#define LAMELLA_FOR_EACH_TYPE(M) M(float) M(double)
#else
#define LAMELLA_FOR_EACH_TYPE(M) M(float)
#endif

}  // namespace lamella::LAMELLA_NS
