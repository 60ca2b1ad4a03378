// Connectionist temporal classification with its gradient.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"
#include "kernels/index_check.h"

namespace lamella {

// Minus the logarithm of the probability of all alignments of a target with the
// steps of a sample.
template <class T>
struct CtcParams {
  int64_t batch = 0, steps = 0, classes = 0;
  int64_t sample_stride = 0, step_stride = 0;  // of x and grad, whose classes are contiguous
  const T* x = nullptr;                        // log-probabilities
  IndexList targets;                           // (batch, width), or one after another where width is -1
  int64_t width = 0;
  IndexList input_lengths;   // none: all steps
  IndexList target_lengths;  // none: as many as are not blank
  int64_t longest = 0;       // of the target lengths, from ctc_check
  int64_t blank = 0;
  bool zero_infinity = false;  // a target that does not fit into its steps loses 0 rather than infinity
  T* loss = nullptr;           // (batch)
  T* grad = nullptr;           // d loss / dx, or nullptr
};

enum class CtcProblem : int32_t { kNone, kInputLength, kTargetLength, kTargets, kLabel };

struct CtcChecked {
  int64_t longest = 0;
  CtcProblem problem = CtcProblem::kNone;  // of the first sample that has one
  int64_t sample = -1, value = 0;
};

// grad[t, n, :] = saved[t, n, :] * seed[n]
template <class T>
struct CtcGradParams {
  int64_t batch = 0, steps = 0, classes = 0, sample_stride = 0, step_stride = 0;
  const T* saved = nullptr;
  const T* seed = nullptr;
  T* grad = nullptr;
};

template <class T>
struct CtcKernels {
  CtcChecked (*check)(const CtcParams<T>&) = nullptr;
  size_t (*ctc_workspace)(const CtcParams<T>&, int threads) = nullptr;
  void (*ctc)(const Context&, const CtcParams<T>&) = nullptr;
  void (*ctc_grad)(const Context&, const CtcGradParams<T>&) = nullptr;
};

}  // namespace lamella
