// Softmax and log-softmax over one axis, forward and backward.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace lamella {

// Element a of row (o, i) is x[(o * axis + a) * inner + i]; all arrays share that layout. y may be x itself.
template <class T>
struct SoftmaxParams {
  int64_t outer = 0, axis = 0, inner = 1;
  const T* x = nullptr;
  T* y = nullptr;
};

// From the forward's output y alone. grad_in may be grad_out itself.
template <class T>
struct SoftmaxGradParams {
  int64_t outer = 0, axis = 0, inner = 1;
  const T* y = nullptr;
  const T* grad_out = nullptr;
  T* grad_in = nullptr;
};

template <class T>
struct SoftmaxKernels {
  void (*softmax)(const Context&, const SoftmaxParams<T>&) = nullptr;
  void (*log_softmax)(const Context&, const SoftmaxParams<T>&) = nullptr;
  void (*softmax_grad)(const Context&, const SoftmaxGradParams<T>&) = nullptr;
  void (*log_softmax_grad)(const Context&, const SoftmaxGradParams<T>&) = nullptr;
};

}  // namespace lamella
