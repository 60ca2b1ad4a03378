#include "graph/optimizer.h"

#include <algorithm>
#include <cmath>

namespace lamella {

namespace {

constexpr int64_t kChunk = 4096;  // elements; small enough to balance, large enough to stream

template <class T>
std::vector<OptimizerTensor<T>>& pick(std::vector<OptimizerTensor<float>>& f32,
                                      std::vector<OptimizerTensor<double>>& f64) {
  if constexpr (sizeof(T) == 4) {
    return f32;
  } else {
    return f64;
  }
}

void check_range(const char* name, double v, double least, double below) {
  if (!(v >= least && v < below)) {
    fail_value("optimizer", name, "a number in [" + std::to_string(least) + ", " + std::to_string(below) + ")",
               std::to_string(v));
  }
}

}  // namespace

std::unique_ptr<Optimizer> Optimizer::make(const std::string& kind, const Json& hyper) {
  const std::vector<std::string> known = {"sgd", "adam", "rmsprop", "adagrad"};
  if (std::find(known.begin(), known.end(), kind) == known.end()) {
    const std::string close = closest_name(kind, known);
    fail_value("optimizer", "name",
               "one of sgd, adam, rmsprop, adagrad" + (close.empty() ? "" : " (did you mean '" + close + "'?)"),
               "'" + kind + "'");
  }
  std::unique_ptr<Optimizer> o(new Optimizer);
  o->kind_ = kind;
  o->eps_ = kind == "adagrad" ? 1e-10 : 1e-8;
  o->beta2_ = kind == "rmsprop" ? 0.99 : 0.999;
  o->read(hyper);
  return o;
}

void Optimizer::read(const Json& hyper) {
  AttrReader a("optimizer " + kind_, hyper);
  learning_rate_ = a.get_double("learning_rate", learning_rate_);
  weight_decay_ = a.get_double("weight_decay", weight_decay_);
  decoupled_ = a.get_bool("decoupled", decoupled_);
  maximize_ = a.get_bool("maximize", maximize_);
  clip_value_ = a.get_double("clipvalue", clip_value_);
  clip_norm_ = a.get_double("clipnorm", clip_norm_);
  global_clip_norm_ = a.get_double("global_clipnorm", global_clip_norm_);
  slots_.clear();
  if (kind_ == "sgd") {
    momentum_ = a.get_double("momentum", momentum_);
    dampening_ = a.get_double("dampening", dampening_);
    nesterov_ = a.get_bool("nesterov", nesterov_);
    velocity_ = a.get_bool("velocity", velocity_);
    if (momentum_ != 0) slots_ = {{"momentum_buffer", 0.0}};
  } else if (kind_ == "adam") {
    beta1_ = a.get_double("beta1", beta1_);
    beta2_ = a.get_double("beta2", beta2_);
    eps_ = a.get_double("eps", eps_);
    amsgrad_ = a.get_bool("amsgrad", amsgrad_);
    eps_hat_ = a.get_bool("eps_hat", eps_hat_);
    slots_ = {{"exp_avg", 0.0}, {"exp_avg_sq", 0.0}};
    if (amsgrad_) slots_.push_back({"max_exp_avg_sq", 0.0});
  } else if (kind_ == "rmsprop") {
    beta2_ = a.get_double("rho", beta2_);
    eps_ = a.get_double("eps", eps_);
    momentum_ = a.get_double("momentum", momentum_);
    centered_ = a.get_bool("centered", centered_);
    eps_inside_ = a.get_bool("eps_inside", eps_inside_);
    velocity_ = a.get_bool("velocity", velocity_);
    slots_ = {{"square_avg", 0.0}};
    if (centered_) slots_.push_back({"grad_avg", 0.0});
    if (momentum_ != 0) slots_.push_back({"momentum_buffer", 0.0});
  } else {
    eps_ = a.get_double("eps", eps_);
    lr_decay_ = a.get_double("lr_decay", lr_decay_);
    initial_ = a.get_double("initial_accumulator", initial_);
    eps_inside_ = a.get_bool("eps_inside", eps_inside_);
    slots_ = {{"sum", initial_}};
  }
  a.done();
  constexpr double kHuge = 1e300;
  check_range("learning_rate", learning_rate_, 0, kHuge);
  check_range("weight_decay", weight_decay_, 0, kHuge);
  check_range("clipvalue", clip_value_, 0, kHuge);
  check_range("clipnorm", clip_norm_, 0, kHuge);
  check_range("global_clipnorm", global_clip_norm_, 0, kHuge);
  check_range("momentum", momentum_, 0, kHuge);
  check_range("beta1", beta1_, 0, 1);
  check_range(kind_ == "rmsprop" ? "rho" : "beta2", beta2_, 0, 1);
  check_range("eps", eps_, 0, kHuge);
  check_range("lr_decay", lr_decay_, 0, kHuge);
  check_range("initial_accumulator", initial_, 0, kHuge);
  if ((clip_value_ > 0) + (clip_norm_ > 0) + (global_clip_norm_ > 0) > 1) {
    fail_value("optimizer", "clipvalue, clipnorm, global_clipnorm", "at most one of them", "several");
  }
  if (nesterov_ && (momentum_ <= 0 || dampening_ != 0)) {
    fail_value("optimizer", "nesterov", "a momentum > 0 and no dampening with it",
               "momentum " + std::to_string(momentum_) + ", dampening " + std::to_string(dampening_));
  }
}

Json Optimizer::hyper() const {
  Json::Object o{{"learning_rate", learning_rate_},
                 {"weight_decay", weight_decay_},
                 {"decoupled", decoupled_},
                 {"maximize", maximize_},
                 {"clipvalue", clip_value_},
                 {"clipnorm", clip_norm_},
                 {"global_clipnorm", global_clip_norm_}};
  const auto add = [&](const char* name, Json v) { o.emplace_back(name, std::move(v)); };
  if (kind_ == "sgd") {
    add("momentum", momentum_);
    add("dampening", dampening_);
    add("nesterov", nesterov_);
    add("velocity", velocity_);
  } else if (kind_ == "adam") {
    add("beta1", beta1_);
    add("beta2", beta2_);
    add("eps", eps_);
    add("amsgrad", amsgrad_);
    add("eps_hat", eps_hat_);
  } else if (kind_ == "rmsprop") {
    add("rho", beta2_);
    add("eps", eps_);
    add("momentum", momentum_);
    add("centered", centered_);
    add("eps_inside", eps_inside_);
    add("velocity", velocity_);
  } else {
    add("eps", eps_);
    add("lr_decay", lr_decay_);
    add("initial_accumulator", initial_);
    add("eps_inside", eps_inside_);
  }
  return o;
}

void Optimizer::set_hyper(const std::string& name, const Json& value) {
  Json all = hyper();
  if (all.find(name) == nullptr) {
    read(Json::Object{{name, value}});  // throws, naming the known ones
  }
  all.set(name, value);
  read(all);
}

template <class T>
void Optimizer::step_typed(Exec& exec, std::span<const ParamSlot> params, int64_t step) {
  auto& tensors = pick<T>(tensors_f32_, tensors_f64_);
  tensors.resize(params.size());
  chunks_.clear();
  for (size_t i = 0; i < params.size(); ++i) {
    const ParamSlot& s = params[i];
    OptimizerTensor<T>& t = tensors[i];
    t.w = s.value.as<T>();
    t.g = s.grad.as<T>();
    for (int k = 0; k < 3; ++k) t.state[k] = s.state[k].as<T>();
    t.n = s.value.size();
    t.lr = static_cast<T>(learning_rate_ * s.lr_scale);
    const double decay = s.weight_decay >= 0 ? s.weight_decay : weight_decay_;
    t.l2 = static_cast<T>(decoupled_ ? 0.0 : decay);
    t.decay = static_cast<T>(decoupled_ ? decay : 0.0);
    t.grad_scale = maximize_ ? T(-1) : T(1);
    for (int64_t b = 0; b < t.n; b += kChunk) {
      chunks_.push_back({static_cast<int64_t>(i), b, std::min(b + kChunk, t.n)});
    }
  }
  OptimizerParams<T> p;
  p.tensors = tensors.data();
  p.chunks = chunks_.data();
  p.chunk_count = static_cast<int64_t>(chunks_.size());
  p.clip_value = static_cast<T>(clip_value_);
  p.momentum = static_cast<T>(momentum_);
  p.dampening = static_cast<T>(dampening_);
  p.nesterov = nesterov_;
  p.velocity = velocity_;
  p.first_step = step == 1;
  p.beta1 = static_cast<T>(beta1_);
  p.beta2 = static_cast<T>(beta2_);
  p.eps = static_cast<T>(eps_);
  p.amsgrad = amsgrad_;
  p.centered = centered_;
  p.eps_inside = eps_inside_;
  const OptimizerKernels<T>& k = exec.kernels<T>().optimizer;
  const Context ctx = exec.context();

  if (clip_norm_ > 0 || global_clip_norm_ > 0) {
    partial_.resize(chunks_.size());
    k.sum_of_squares(ctx, p, partial_.data());
    norms_.assign(params.size(), 0.0);
    double all = 0;
    for (size_t i = 0; i < chunks_.size(); ++i) {
      norms_[static_cast<size_t>(chunks_[i].tensor)] += partial_[i];
      all += partial_[i];
    }
    const double limit = clip_norm_ > 0 ? clip_norm_ : global_clip_norm_;
    for (size_t i = 0; i < params.size(); ++i) {
      const double norm = std::sqrt(clip_norm_ > 0 ? norms_[i] : all);
      if (norm > limit) tensors[i].grad_scale *= static_cast<T>(limit / norm);
    }
  }

  if (kind_ == "sgd") {
    k.sgd(ctx, p);
  } else if (kind_ == "adam") {
    const double c1 = 1 - std::pow(beta1_, static_cast<double>(step));
    const double c2 = 1 - std::pow(beta2_, static_cast<double>(step));
    p.step_scale = static_cast<T>(eps_hat_ ? std::sqrt(c2) / c1 : 1 / c1);
    p.root_scale = static_cast<T>(eps_hat_ ? 1.0 : 1 / std::sqrt(c2));
    k.adam(ctx, p);
  } else if (kind_ == "rmsprop") {
    k.rmsprop(ctx, p);
  } else {
    p.step_scale = static_cast<T>(1 / (1 + static_cast<double>(step - 1) * lr_decay_));
    k.adagrad(ctx, p);
  }
}

void Optimizer::step(Exec& exec, std::span<const ParamSlot> params, int64_t step) {
  if (params.empty()) return;
  const DType dtype = params[0].value.dtype;
  for (const ParamSlot& s : params) {
    check_same_dtype("optimizer", "parameter", s.value.spec(), dtype);
    if (!(s.grad.spec() == s.value.spec())) {
      fail_value("optimizer", "gradient", s.value.spec().str(), s.grad.spec().str());
    }
    for (size_t k = 0; k < slots_.size(); ++k) {
      if (!(s.state[k].spec() == s.value.spec())) {
        fail_value("optimizer", "state '" + slots_[k].name + "'", s.value.spec().str(), s.state[k].spec().str());
      }
    }
  }
  dispatch_float(dtype, "optimizer", "parameter", [&]<class T>() { step_typed<T>(exec, params, step); });
}

}  // namespace lamella
