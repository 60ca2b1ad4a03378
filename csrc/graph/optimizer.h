// Optimizers: hyper-parameters and the order of things; the arithmetic is in kernels/optimizer.h. Eager steps from
// Python and native training steps both run this class.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ops/op.h"

namespace lamella {

struct ParamSlot {
  TensorView value, grad;
  TensorView state[3];         // as many as Optimizer::slots() names, zero- or slot-initialised by their owner
  double lr_scale = 1.0;       // times the learning rate: parameter groups
  double weight_decay = -1.0;  // >= 0: instead of the optimizer's own
};

class Optimizer {
 public:
  struct Slot {
    std::string name;  // "momentum", "exp_avg", ...
    double initial = 0.0;
  };

  // Kinds and their hyper-parameters, with defaults (unknown names are refused with the closest known one):
  //   sgd      momentum 0, dampening 0, nesterov false, velocity false (true: Keras' form of momentum)
  //   adam     beta1 0.9, beta2 0.999, eps 1e-8, amsgrad false, eps_hat false (true: Keras' place of epsilon)
  //   rmsprop  rho 0.99, eps 1e-8, momentum 0, centered false, eps_inside false, velocity false (both true: Keras)
  //   adagrad  eps 1e-10, lr_decay 0, initial_accumulator 0, eps_inside false
  // and for all: learning_rate 0.001, weight_decay 0, decoupled false (true: AdamW's), maximize false,
  //   clipvalue 0, clipnorm 0 (per tensor), global_clipnorm 0 (0: off).
  static std::unique_ptr<Optimizer> make(const std::string& kind, const Json& hyper);

  const std::string& kind() const { return kind_; }
  const std::vector<Slot>& slots() const { return slots_; }
  Json hyper() const;
  void set_hyper(const std::string& name, const Json& value);  // same checks as make
  double learning_rate() const { return learning_rate_; }
  void set_learning_rate(double lr) { learning_rate_ = lr; }

  // One update of all parameters; `step` counts from 1. Allocates only while the list of parameters grows. All of them
  // must be of one float dtype.
  void step(Exec& exec, std::span<const ParamSlot> params, int64_t step);

 private:
  Optimizer() = default;
  void read(const Json& hyper);
  template <class T>
  void step_typed(Exec& exec, std::span<const ParamSlot> params, int64_t step);

  std::string kind_;
  std::vector<Slot> slots_;
  double learning_rate_ = 1e-3, weight_decay_ = 0;
  double clip_value_ = 0, clip_norm_ = 0, global_clip_norm_ = 0;
  double momentum_ = 0, dampening_ = 0, beta1_ = 0.9, beta2_ = 0.999, eps_ = 1e-8, lr_decay_ = 0, initial_ = 0;
  bool nesterov_ = false, velocity_ = false, amsgrad_ = false, eps_hat_ = false, centered_ = false, eps_inside_ = false;
  bool decoupled_ = false, maximize_ = false;
  std::vector<OptimizerChunk> chunks_;
  std::vector<double> partial_, norms_;
  std::vector<OptimizerTensor<float>> tensors_f32_;
  std::vector<OptimizerTensor<double>> tensors_f64_;
};

}  // namespace lamella
