// What forward and the gradient to data have in common: both gather, for every destination pixel, the source pixels of
// some kernel taps. With stride s the gradient to data falls into s phases per axis (destination pixels of equal
// remainder modulo s); each phase is a stride-1 gather with every so many taps of the kernel, so nothing is ever
// scattered.
#pragma once

#include "kernels/conv.h"
#include "kernels/cuda/device.h"

namespace lamella::cuda {

// I: int32_t where `small_enough` says so (fast divisions), else int64_t.

// One axis of one phase. Destination out0 + j*out_step, j in [0, count), gathers source j*src_step + off0 + q*off_step
// with kernel tap tap0 + q*tap_step, q in [0, taps).
template <class I>
struct ConvAxis {
  I out0, out_step, count;
  I src_step, src_size;
  I taps, tap0, tap_step, off0, off_step;
};

// An axis before its phase is known; made on the host.
template <class I>
struct ConvAxisRule {
  I dst_size, src_size, kernel, stride, dilation, pad;
  I phases;          // 1: forward's gather, or the gradient of a stride of 1
  I tap_step, jump;  // of the gradient: stride/gcd and dilation/gcd of stride and dilation
  bool forward;

  __host__ __device__ I count(I phase) const {
    return forward ? dst_size : dst_size > phase ? (dst_size - phase + stride - 1) / stride : 0;
  }

  __host__ __device__ ConvAxis<I> axis(I phase) const {
    if (forward) return {0, 1, dst_size, stride, src_size, kernel, 0, 1, -pad, dilation};
    ConvAxis<I> a{phase, stride, count(phase), 1, src_size, 0, 0, tap_step, 0, -jump};
    // Tap r reaches x[phase + j*stride] from y[j + (phase + pad - r*dilation)/stride] where that division is exact; the
    // taps that do so follow each other at distance tap_step.
    for (I r = 0; r < kernel && r < tap_step; ++r) {
      if ((phase + pad - r * dilation) % stride != 0) continue;
      a.tap0 = r;
      a.taps = (kernel - r + tap_step - 1) / tap_step;
      a.off0 = (phase + pad - r * dilation) / stride;
      break;
    }
    return a;
  }
};

template <class I>
struct ConvView {
  ConvAxisRule<I> h, w;
  I n, sc, dc;       // batch, channels of source and destination
  I groups, kc, nc;  // source and destination channels of a group
  // Element (r, s, k, j) of group g: weight[(r*kw + s)*w_tap + g*w_group + k*w_k + j*w_j].
  int64_t w_tap, w_group, w_k, w_j;
};

template <class I>
ConvAxisRule<I> conv_axis_rule(ConvPass pass, int64_t x_size, int64_t y_size, int64_t kernel, int64_t stride,
                               int64_t dilation, int64_t pad) {
  int64_t g = stride, b = dilation;
  while (b != 0) {
    const int64_t t = g % b;
    g = b;
    b = t;
  }
  const bool forward = pass == ConvPass::kForward;
  const int64_t dst = forward ? y_size : x_size, src = forward ? x_size : y_size;
  // Phases beyond the size are empty; but one phase alone means that all taps reach all pixels.
  const int64_t most = dst > 2 ? dst : 2;
  const int64_t phases = forward ? 1 : stride < most ? stride : most;
  const auto i = [](int64_t v) { return static_cast<I>(v); };
  return {i(dst), i(src),    i(kernel),     i(stride),       i(dilation),
          i(pad), i(phases), i(stride / g), i(dilation / g), forward};
}

template <class I>
ConvView<I> conv_view(const ConvShape& s, ConvPass pass) {
  const int64_t cg = s.c / s.groups, og = s.oc / s.groups;
  const bool forward = pass == ConvPass::kForward;
  ConvView<I> v;
  v.h = conv_axis_rule<I>(pass, s.h, s.oh, s.kh, s.stride_h, s.dilation_h, s.pad_top);
  v.w = conv_axis_rule<I>(pass, s.w, s.ow, s.kw, s.stride_w, s.dilation_w, s.pad_left);
  v.n = static_cast<I>(s.n);
  v.sc = static_cast<I>(forward ? s.c : s.oc);
  v.dc = static_cast<I>(forward ? s.oc : s.c);
  v.groups = static_cast<I>(s.groups);
  v.kc = static_cast<I>(forward ? cg : og);
  v.nc = static_cast<I>(forward ? og : cg);
  v.w_tap = cg * s.oc;
  v.w_group = og;
  v.w_k = forward ? s.oc : 1;
  v.w_j = forward ? 1 : s.oc;
  return v;
}

// Whether every coordinate, pixel number and length of a sum fits 31 bits with room for tiles that overhang.
inline bool small_enough(const ConvShape& s) {
  constexpr int64_t kMost = int64_t{1} << 30;
  const auto axis = [](int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad) {
    return in < kMost && out < kMost && stride < kMost && dilation < kMost && pad < kMost && kernel < kMost &&
           out * stride < kMost && kernel * dilation < kMost && in + pad + stride < kMost;
  };
  if (!axis(s.h, s.oh, s.kh, s.stride_h, s.dilation_h, s.pad_top)) return false;
  if (!axis(s.w, s.ow, s.kw, s.stride_w, s.dilation_w, s.pad_left)) return false;
  const double most = static_cast<double>(kMost), n = static_cast<double>(s.n);
  const auto f = [](int64_t v) { return static_cast<double>(v); };
  return n * f(s.h) * f(s.w) < most && n * f(s.oh) * f(s.ow) < most &&
         f(s.kh) * f(s.kw) * f(s.c > s.oc ? s.c : s.oc) < most;
}

// One way to compute forward and the gradient to data, or the gradient to weights. Host functions.
template <class T>
struct ConvCandidate {
  const char* name;
  bool (*can_run)(const ConvShape&, ConvPass);
  void (*run)(const Context&, ConvPass, const ConvParams<T>&);
  size_t (*workspace)(const ConvShape&, ConvPass);
  bool fuses_pool = false;
};
template <class T>
struct ConvWeightCandidate {
  const char* name;
  bool (*can_run)(const ConvShape&);
  size_t (*workspace)(const ConvShape&);
  void (*run)(const Context&, const ConvWeightParams<T>&);
};

template <class T>
ConvCandidate<T> conv_depthwise();
template <class T>
ConvCandidate<T> conv_igemm();
template <class T>
ConvCandidate<T> conv_reference();
template <class T>
ConvWeightCandidate<T> conv_weight_depthwise();
template <class T>
ConvWeightCandidate<T> conv_weight_igemm();
template <class T>
ConvWeightCandidate<T> conv_weight_reference();
template <class T>
size_t conv_activation_backward_workspace(const ConvActivationParams<T>&);
template <class T>
void conv_activation_backward(const Context&, const ConvActivationParams<T>&);

}  // namespace lamella::cuda
