// Normalisation. Channel norms (batch, group, instance) gather statistics over the rows of (n, rows, c); row norms
// (layer, RMS) over each row of (rows, d).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace lamella {

// y = (x - mean) / sqrt(var + eps) * gamma + beta, then ReLU if asked for. The statistics of image i and group g are
// taken over `rows` rows and c / groups channels. Batch norm: n = 1, groups = c.
template <class T>
struct ChannelNormParams {
  int64_t n = 0, rows = 0, c = 0, groups = 0;
  const T* x = nullptr;
  const T* gamma = nullptr;  // [c]; nullptr: 1
  const T* beta = nullptr;   // [c]; nullptr: 0
  T* y = nullptr;
  double eps = 0;
  bool relu = false;
  // Not nullptr: normalise with these (n == 1, groups == c) instead of the batch's.
  const T* given_mean = nullptr;
  const T* given_var = nullptr;
  T* mean = nullptr;     // [n, groups] out; nullptr: not wanted
  T* inv_std = nullptr;  // [n, groups] out; nullptr: not wanted
  // Not nullptr (n == 1, groups == c): running = momentum * running + (1 - momentum) * batch.
  T* running_mean = nullptr;
  T* running_var = nullptr;
  double momentum = 0;
  bool unbiased_running_var = false;
};

template <class T>
struct ChannelNormBackwardParams {
  int64_t n = 0, rows = 0, c = 0, groups = 0;
  const T* grad_out = nullptr;
  const T* x = nullptr;
  const T* y = nullptr;  // read with relu only
  const T* gamma = nullptr;
  const T* mean = nullptr;     // [n, groups]
  const T* inv_std = nullptr;  // [n, groups]
  bool relu = false;
  bool constant = false;  // the statistics were given, not taken from x
  T* grad_in = nullptr;   // each nullptr: not wanted
  T* grad_gamma = nullptr;
  T* grad_beta = nullptr;
};

template <class T>
struct RowNormParams {
  int64_t rows = 0, d = 0;
  const T* x = nullptr;
  const T* gamma = nullptr;  // [d]; nullptr: 1
  const T* beta = nullptr;   // [d]; nullptr: 0; layer norm only
  T* y = nullptr;
  double eps = 0;
  T* mean = nullptr;     // [rows] out; nullptr: not wanted; layer norm only
  T* inv_std = nullptr;  // [rows] out; nullptr: not wanted; RMS norm: 1 / sqrt(mean(x^2) + eps)
};

template <class T>
struct RowNormBackwardParams {
  int64_t rows = 0, d = 0;
  const T* grad_out = nullptr;
  const T* x = nullptr;
  const T* gamma = nullptr;
  const T* mean = nullptr;  // layer norm only
  const T* inv_std = nullptr;
  T* grad_in = nullptr;  // each nullptr: not wanted
  T* grad_gamma = nullptr;
  T* grad_beta = nullptr;
};

template <class T>
struct NormKernels {
  size_t (*channel_norm_workspace)(const ChannelNormParams<T>&, int threads) = nullptr;
  void (*channel_norm)(const Context&, const ChannelNormParams<T>&) = nullptr;
  size_t (*channel_norm_backward_workspace)(const ChannelNormBackwardParams<T>&, int threads) = nullptr;
  void (*channel_norm_backward)(const Context&, const ChannelNormBackwardParams<T>&) = nullptr;
  void (*layer_norm)(const Context&, const RowNormParams<T>&) = nullptr;
  void (*rms_norm)(const Context&, const RowNormParams<T>&) = nullptr;
  size_t (*row_norm_backward_workspace)(const RowNormBackwardParams<T>&, int threads) = nullptr;
  void (*layer_norm_backward)(const Context&, const RowNormBackwardParams<T>&) = nullptr;
  void (*rms_norm_backward)(const Context&, const RowNormBackwardParams<T>&) = nullptr;
};

}  // namespace lamella
