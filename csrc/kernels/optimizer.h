// One-pass fused parameter updates over many tensors in one call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"
#include "kernels/reduce.h"

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
  T keep = 1;        // decoupled weight decay: w *= keep, before the update
  T grad_scale = 1;  // g *= grad_scale before anything else: clipping by norm, loss scaling, -1 to maximise
};

// What changes from one step to the next. Where the step runs again and again from a recording, it lies in the device's
// memory, which is written anew for each step; fields are called as those that they take the place of.
template <class T>
struct OptimizerStep {
  T take = 1, step_scale = 1, grad_step_scale = 0, root_scale = 1, eps = 0;
  T average_keep = 0, average_take = 0;  // blend: beta1 and take1
};
template <class T>
struct OptimizerTensorStep {
  T lr = 0, keep = 1, grad_scale = 1;
};

// A run of elements of one tensor. Chunks are fixed by the tensors' sizes, never by the number of threads.
struct OptimizerChunk {
  int64_t tensor = 0;
  int64_t begin = 0, end = 0;
};

// What the kinds read of it stands beside each field. Fields that depend on the step come ready from Optimizer::step,
// and complements like 1 - beta2 were taken in double.
template <class T>
struct OptimizerParams {
  const OptimizerTensor<T>* tensors = nullptr;
  const OptimizerChunk* chunks = nullptr;
  int64_t chunk_count = 0;
  T clip_value = 0;        // > 0: g is clipped to [-clip_value, clip_value] after grad_scale
  T momentum = 0;          // sgd, rmsprop
  T take = 1;              // sgd: share of the gradient that enters the buffer
  bool nesterov = false;   // sgd
  bool velocity = false;   // sgd, rmsprop: the momentum buffer holds lr-scaled steps (Keras) rather than gradients
  T beta1 = 0, take1 = 0;  // adam, adamax, nadam, lion: m = beta1 * m + take1 * g; blend: the same of w
  T beta2 = 0, take2 = 0;  // of the squares, rho of rmsprop and adadelta; lion: what enters m
  T eps = 0;
  T step_scale = 1;         // adam, adamax, adagrad, nadam: times the learning rate; bias correction of m
  T grad_step_scale = 0;    // nadam: the same for the gradient's own part
  T root_scale = 1;         // adam, nadam: times sqrt(v)
  T power = 0;              // ftrl: sums of squares enter with this exponent
  T l1 = 0, l2 = 0;         // ftrl: twice l2, without what the learning rate adds
  T l2_of_rate = 0;         // ftrl: divided by the learning rate, added to l2
  T shrinkage = 0;          // ftrl: g += shrinkage * w, but not in the sum of squares
  bool amsgrad = false;     // adam: state[2] is the largest v so far
  bool centered = false;    // rmsprop: state[1] is the mean gradient
  bool eps_inside = false;  // rmsprop, adagrad: sqrt(v + eps) rather than sqrt(v) + eps; adamax: max(.., |g| + eps)
  // Of a device, or nullptr: there is the step, and one of those for each tensor (but for blend).
  const OptimizerStep<T>* step = nullptr;
  const OptimizerTensorStep<T>* tensor_steps = nullptr;
};

// Clipping by norm where nobody waits for the norm: steps[i].grad_scale, which is `scale` rounded, becomes
// scale * limit / norm where |scale| times the norm of array i (`each`), or of all of them together, is above the
// limit.
template <class T>
struct ClipNormParams {
  SumSquaresArray* arrays = nullptr;
  int64_t count = 0;
  bool each = false;
  double limit = 0, scale = 1;
  OptimizerTensorStep<T>* steps = nullptr;
};

template <class T>
struct OptimizerKernels {
  using Update = void (*)(const Context&, const OptimizerParams<T>&);
  Update sgd = nullptr;       // state[0]: momentum buffer, or none
  Update adam = nullptr;      // state: m, v [, largest v]
  Update rmsprop = nullptr;   // state: v [, mean g if centered] [, momentum]
  Update adagrad = nullptr;   // state: sum of squares
  Update adadelta = nullptr;  // state: mean square of g, mean square of the steps
  Update adamax = nullptr;    // state: m, decaying maximum of |g|
  Update nadam = nullptr;     // state: m, v
  Update lion = nullptr;      // state: m
  Update ftrl = nullptr;      // state: sum of squares, linear terms
  Update blend = nullptr;     // no optimizer: w = beta1 * w + take1 * g; what has the factor 0 is not read
  // Of devices; the host does it where it has the norm at once.
  size_t (*clip_norm_workspace)(const ClipNormParams<T>&) = nullptr;
  void (*clip_norm)(const Context&, const ClipNormParams<T>&) = nullptr;
};

}  // namespace lamella
