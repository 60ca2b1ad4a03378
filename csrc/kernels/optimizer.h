// One-pass fused parameter updates over many tensors in one call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace lamella {

// One parameter tensor, its gradient and its optimizer state.
template <class T>
struct OptimizerTensor {
  T* w = nullptr;
  const T* g = nullptr;
  T* state[3] = {};
  int64_t n = 0;
  T lr = 0;          // learning rate of this tensor
  T l2 = 0;          // g += l2 * w
  T decay = 0;       // decoupled: w -= lr * decay * w, before the update
  T grad_scale = 1;  // g *= grad_scale before anything else: clipping by norm, loss scaling, -1 to maximise
};

// A run of elements of one tensor. Chunks are fixed by the tensors' sizes, never by the number of threads.
struct OptimizerChunk {
  int64_t tensor = 0;
  int64_t begin = 0, end = 0;
};

// What the kinds read of it stands beside each field. Fields that depend on the step come ready from Optimizer::step.
template <class T>
struct OptimizerParams {
  const OptimizerTensor<T>* tensors = nullptr;
  const OptimizerChunk* chunks = nullptr;
  int64_t chunk_count = 0;
  T clip_value = 0;         // > 0: g is clipped to [-clip_value, clip_value] after grad_scale
  T momentum = 0;           // sgd, rmsprop
  T dampening = 0;          // sgd
  bool nesterov = false;    // sgd
  bool velocity = false;    // sgd, rmsprop: the momentum buffer holds lr-scaled steps (Keras) rather than gradients
  bool first_step = false;  // sgd: the buffer starts as the gradient itself, undampened (PyTorch)
  T beta1 = 0, beta2 = 0;   // adam; rmsprop's and adagrad's decay of the squares is beta2
  T eps = 0;
  T step_scale = 1;         // adam: w -= lr * step_scale * m / (sqrt(v) * root_scale + eps); adagrad: lr * step_scale
  T root_scale = 1;         // adam
  bool amsgrad = false;     // adam: state[2] is the largest v so far
  bool centered = false;    // rmsprop: state[1] is the mean gradient
  bool eps_inside = false;  // rmsprop, adagrad: sqrt(v + eps) rather than sqrt(v) + eps
};

template <class T>
struct OptimizerKernels {
  void (*sgd)(const Context&, const OptimizerParams<T>&) = nullptr;      // state[0]: momentum buffer, or none
  void (*adam)(const Context&, const OptimizerParams<T>&) = nullptr;     // state: m, v [, largest v]
  void (*rmsprop)(const Context&, const OptimizerParams<T>&) = nullptr;  // state: v [, mean g if centered] [, momentum]
  void (*adagrad)(const Context&, const OptimizerParams<T>&) = nullptr;  // state: sum of squares
  // partial[i] = sum of squares of the gradients in chunk i, in double.
  void (*sum_of_squares)(const Context&, const OptimizerParams<T>&, double* partial) = nullptr;
};

}  // namespace lamella
