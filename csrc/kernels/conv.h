// 2-D convolution (1-D is h = kh = 1) with explicit padding, its gradients to data and to weights.
//
//   y[n, i, j, o] = act(bias[o] + sum over r, s, q of
//                       x[n, i*stride_h - pad_top + r*dilation_h, j*stride_w - pad_left + s*dilation_w, g*c/groups + q]
//                       * weight[r, s, q, o])          where g = o / (oc/groups) and x is 0 outside its bounds
//
// x (n,h,w,c), weight (kh,kw,c/groups,oc), y (n,oh,ow,oc), all dense. The bottom and right padding is whatever oh and
// ow imply. The gradient to data takes a bias over c and an activation too: it is the transposed convolution's forward.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation.h"
#include "kernels/context.h"

namespace lamella {

struct ConvShape {
  int64_t n = 0, h = 0, w = 0, c = 0;  // x
  int64_t kh = 1, kw = 1, oc = 0;
  int64_t oh = 0, ow = 0;  // y
  int64_t stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t groups = 1;
};

enum class ConvPass { kForward, kBackwardData, kBackwardWeight };

// Forward: src = x, dst = y, bias over oc. Gradient to data: src = the gradient of y, dst = the gradient of x, bias
// over c. dst is overwritten.
//
// Forward of candidates where `fuses_pool` takes a pooling by 2x2 along: dst is (n, oh/2, ow/2, oc), the activation of
// the largest value of each window; oh and ow are even.
template <class T>
struct ConvParams {
  ConvShape shape;
  int algorithm = 0;  // index into the pass' candidates
  const T* src = nullptr;
  const T* weight = nullptr;
  const T* bias = nullptr;         // or nullptr
  const void* prepared = nullptr;  // what `prepare` wrote for this pass, shape and algorithm, or nullptr
  Activation act;
  bool pool = false;
  uint8_t* argmax = nullptr;  // or nullptr; of pool, as max pooling's (see pool.h)
  T* dst = nullptr;
};

template <class T>
struct ConvWeightParams {
  ConvShape shape;
  int algorithm = 0;
  const T* x = nullptr;
  const T* dy = nullptr;
  T* dweight = nullptr;  // overwritten
  // Where fuses_activation(algorithm): the way back through the activation and the bias on the fly (see
  // ConvActivationParams), for callers that need the gradient in between for nothing else.
  Activation act;
  bool from_output = true;
  const T* value = nullptr;
  T* dbias = nullptr;
  // There also: the way back through a pooling by 2x2; dy and value are (n, oh/2, ow/2, oc) then.
  const uint8_t* argmax = nullptr;
};

// Backward through the activation and the bias that forward fused, in one pass: dz = dy * act'(value), dbias = column
// sums of dz.
template <class T>
struct ConvActivationParams {
  int64_t rows = 0, cols = 0;
  Activation act;
  bool from_output = true;   // value is the output (see act_grad_from_output), else what went into the activation
  const T* value = nullptr;  // not read for the identity
  const T* dy = nullptr;
  T* dz = nullptr;     // or nullptr
  T* dbias = nullptr;  // or nullptr
};

// Every pass has an ordered list of candidates, the reference (which can run anything) last. Which one `choose` takes
// depends on the shape and on `strict` alone, so that neither threads nor prepared weights change a bit of the result.
template <class T>
struct ConvKernels {
  int (*candidates)(ConvPass) = nullptr;
  const char* (*name)(ConvPass, int algorithm) = nullptr;
  bool (*can_run)(const ConvShape&, ConvPass, int algorithm) = nullptr;
  int (*choose)(const ConvShape&, ConvPass, bool strict) = nullptr;

  // Bytes of ctx.workspace; `prepared` tells whether ConvParams::prepared will be given.
  size_t (*workspace)(const ConvShape&, ConvPass, int algorithm, bool prepared, int threads) = nullptr;
  void (*forward)(const Context&, const ConvParams<T>&) = nullptr;
  void (*backward_data)(const Context&, const ConvParams<T>&) = nullptr;
  void (*backward_weight)(const Context&, const ConvWeightParams<T>&) = nullptr;
  bool (*fuses_activation)(int algorithm) = nullptr;  // of the gradient to weights
  bool (*fuses_pool)(int algorithm) = nullptr;        // of forward
  size_t (*activation_backward_workspace)(const ConvActivationParams<T>&) = nullptr;
  void (*activation_backward)(const Context&, const ConvActivationParams<T>&) = nullptr;

  // Packed or transformed weights, for callers whose weights stay the same over many calls. 0 bytes: nothing to gain.
  size_t (*prepared_bytes)(const ConvShape&, ConvPass, int algorithm) = nullptr;
  void (*prepare)(const Context&, const ConvShape&, ConvPass, int algorithm, const T* weight, void* prepared) = nullptr;
};

}  // namespace lamella
