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
  TensorView state[5];         // as many as Optimizer::slots() names, zero- or slot-initialised by their owner
  double lr_scale = 1.0;       // times the learning rate: parameter groups
  double weight_decay = -1.0;  // >= 0: instead of the optimizer's own
};

class Optimizer {
 public:
  struct Slot {
    std::string name;  // "momentum_buffer", "exp_avg", ... as PyTorch's state_dict calls them
    double initial = 0.0;
  };

  // Kinds and their hyper-parameters, with defaults (unknown names are refused with the closest known one). The rules
  // are PyTorch's; the flags in parentheses make them Keras'.
  //   sgd       momentum 0, dampening 0, nesterov false (velocity: the buffer holds steps, not gradients)
  //   adam      beta1 0.9, beta2 0.999, eps 1e-8, amsgrad false (eps_hat: epsilon before the bias correction)
  //   rmsprop   rho 0.99, eps 1e-8, momentum 0, centered false (eps_inside: the root, and velocity)
  //   adagrad   eps 1e-10, lr_decay 0, initial_accumulator 0 (eps_inside: the root)
  //   adadelta  rho 0.9, eps 1e-6
  //   adamax    beta1 0.9, beta2 0.999, eps 1e-8, eps_inside true: the maximum (false: added to it)
  //   nadam     beta1 0.9, beta2 0.999, eps 1e-8, momentum_decay 0.004 (1)
  //   lion      beta1 0.9, beta2 0.99
  //   radam     beta1 0.9, beta2 0.999, eps 1e-8
  //   ftrl      power 0.5, initial_accumulator 0.1, l1 0, l2 0, l2_shrinkage 0, beta 0
  // and for all: learning_rate 0.001, weight_decay 0, decoupled false (true: AdamW's), maximize false,
  //   clipvalue 0, clipnorm 0 (per tensor), global_clipnorm 0 (0: off), loss_scale 1 (gradients are divided by it),
  //   accumulation_steps 1 (only each n-th step updates, from the mean gradient of n), use_ema false, ema_momentum
  //   0.99, ema_overwrite 0 (every so many updates the averages become the parameters).
  static std::unique_ptr<Optimizer> make(const std::string& kind, const Json& hyper);
  static const std::vector<std::string>& kinds();

  const std::string& kind() const { return name_; }
  const std::vector<Slot>& slots() const { return slots_; }
  Json hyper() const;
  void set_hyper(const std::string& name, const Json& value);  // same checks as make; changes nothing if they fail
  double learning_rate() const { return h_.learning_rate; }
  void set_learning_rate(double lr);

  // One step of all parameters; `step` counts from 1, gradients are multiplied by grad_scale first. Allocates only
  // while the list of parameters grows. All of them must be of one float dtype.
  void step(Exec& exec, std::span<const ParamSlot> params, int64_t step, double grad_scale = 1.0);

  // The same on a device, for launches that are recorded and run at many steps: what changes from step to step is
  // written here, into step_bytes() of them, and read where `launch` is told that it lies in the device's memory. Steps
  // of different phases have different launches; those of another version() have different constants.
  int64_t step_bytes(std::span<const ParamSlot> params) const;
  void write_step(void* to, std::span<const ParamSlot> params, int64_t step, double grad_scale = 1.0);
  void launch(Exec& exec, std::span<const ParamSlot> params, int64_t step, void* on_device);
  int phase(int64_t step) const;
  uint64_t version() const { return version_; }

 private:
  enum class Kind { kSgd, kAdam, kRmsprop, kAdagrad, kAdadelta, kAdamax, kNadam, kLion, kRadam, kFtrl };
  struct Hyper {
    double learning_rate = 1e-3, weight_decay = 0, clipvalue = 0, clipnorm = 0, global_clipnorm = 0;
    double momentum = 0, dampening = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, lr_decay = 0, initial = 0;
    double momentum_decay = 0.004, power = 0.5, l1 = 0, l2 = 0, l2_shrinkage = 0, beta = 0;
    double loss_scale = 1, accumulation_steps = 1, ema_momentum = 0.99, ema_overwrite = 0;
    bool use_ema = false;
    bool decoupled = false, maximize = false, nesterov = false, velocity = false, amsgrad = false, eps_hat = false;
    bool centered = false, eps_inside = false;
    bool operator==(const Hyper&) const = default;
  };
  // Where a step stands in the cycle of accumulated gradients, and what becomes of the averages.
  struct Moment {
    int64_t updates = 0;  // that have been made
    bool update = true, overwrite = false;
    double average_keep = 0;
  };
  template <class H, class F>
  static void visit(Kind kind, H& h, F&& f);

  Optimizer() = default;
  Hyper read(const Json& hyper, Hyper from) const;
  void set(const Hyper& h);
  Moment moment(int64_t step) const;
  bool clips_by_norm() const { return h_.clipnorm > 0 || h_.global_clipnorm > 0; }
  void check(std::span<const ParamSlot> params) const;
  // That of one update: the mean of what has been accumulated, without the loss's own scale.
  double update_scale(double grad_scale) const { return grad_scale / (h_.loss_scale * h_.accumulation_steps); }
  template <class T>
  void step_typed(Exec& exec, std::span<const ParamSlot> params, int64_t step, double grad_scale, void* on_device);
  template <class T>
  OptimizerParams<T> rules(std::span<const ParamSlot> params, int64_t update, double grad_scale);
  template <class T>
  void correct(OptimizerParams<T>& p, int64_t update);
  template <class T, class Arrays>
  void blend(Exec& exec, std::span<const ParamSlot> params, double keep, double take, const Arrays& arrays,
             const OptimizerStep<T>* step = nullptr);
  template <class T>
  OptimizerParams<T> chunked();
  template <class T>
  void clip_by_norm(Exec& exec, double grad_scale, OptimizerTensorStep<T>* on_device);
  template <class T>
  typename OptimizerKernels<T>::Update kernel(Exec& exec) const;
  template <class T>
  std::vector<OptimizerTensor<T>>& tensors();
  double momentum_product(int64_t step);

  Kind kind_ = Kind::kSgd;
  std::string name_;
  Hyper h_;
  std::vector<Slot> slots_;
  size_t average_ = 0, accumulator_ = 0;  // their places among the slots, where there are any
  std::vector<OptimizerChunk> chunks_;
  std::vector<SumSquaresArray> squares_;
  std::vector<OptimizerTensor<float>> tensors_f32_;
  std::vector<OptimizerTensor<double>> tensors_f64_;
  int64_t product_step_ = 0;  // nadam: the product of its momenta over the first steps
  double product_ = 1.0;
  uint64_t version_ = 0;
  std::vector<char> to_send_;  // to a device, by `step`
};

}  // namespace lamella
