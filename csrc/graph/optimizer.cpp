#include "graph/optimizer.h"

#include <algorithm>
#include <cmath>

#include "ops/global_norm.h"

namespace lamella {

namespace {

constexpr int64_t kChunk = 4096;  // elements; small enough to balance, large enough to stream
constexpr double kHuge = 1e300;

void check_range(const std::string& op, const char* name, double v, double least, double below) {
  if (v >= least && v < below) return;
  const std::string bound = below == kHuge ? "a finite number >= " + Json(least).dump()
                                           : "a number in [" + Json(least).dump() + ", " + Json(below).dump() + ")";
  fail_value(op, name, bound, std::to_string(v));
}

bool alike(const TensorView& a, const TensorView& b) { return a.dtype == b.dtype && a.shape == b.shape; }

// Nadam's momentum at a step (Dozat 2016).
double nadam_momentum(double beta1, double decay, int64_t step) {
  return beta1 * (1.0 - 0.5 * std::pow(0.96, static_cast<double>(step) * decay));
}

}  // namespace

// f(name, field) for the hyper-parameters of a kind, in the order in which they are shown.
template <class H, class F>
void Optimizer::visit(Kind kind, H& h, F&& f) {
  f("learning_rate", h.learning_rate);
  f("weight_decay", h.weight_decay);
  f("decoupled", h.decoupled);
  f("maximize", h.maximize);
  f("clipvalue", h.clipvalue);
  f("clipnorm", h.clipnorm);
  f("global_clipnorm", h.global_clipnorm);
  f("loss_scale", h.loss_scale);
  f("accumulation_steps", h.accumulation_steps);
  f("use_ema", h.use_ema);
  f("ema_momentum", h.ema_momentum);
  f("ema_overwrite", h.ema_overwrite);
  switch (kind) {
    case Kind::kSgd:
      f("momentum", h.momentum);
      f("dampening", h.dampening);
      f("nesterov", h.nesterov);
      f("velocity", h.velocity);
      break;
    case Kind::kAdam:
      f("beta1", h.beta1);
      f("beta2", h.beta2);
      f("eps", h.eps);
      f("amsgrad", h.amsgrad);
      f("eps_hat", h.eps_hat);
      break;
    case Kind::kRmsprop:
      f("rho", h.beta2);
      f("eps", h.eps);
      f("momentum", h.momentum);
      f("centered", h.centered);
      f("eps_inside", h.eps_inside);
      f("velocity", h.velocity);
      break;
    case Kind::kAdagrad:
      f("eps", h.eps);
      f("lr_decay", h.lr_decay);
      f("initial_accumulator", h.initial);
      f("eps_inside", h.eps_inside);
      break;
    case Kind::kAdadelta:
      f("rho", h.beta2);
      f("eps", h.eps);
      break;
    case Kind::kAdamax:
      f("beta1", h.beta1);
      f("beta2", h.beta2);
      f("eps", h.eps);
      f("eps_inside", h.eps_inside);
      break;
    case Kind::kNadam:
      f("beta1", h.beta1);
      f("beta2", h.beta2);
      f("eps", h.eps);
      f("momentum_decay", h.momentum_decay);
      break;
    case Kind::kLion:
      f("beta1", h.beta1);
      f("beta2", h.beta2);
      break;
    case Kind::kRadam:
      f("beta1", h.beta1);
      f("beta2", h.beta2);
      f("eps", h.eps);
      break;
    case Kind::kFtrl:
      f("power", h.power);
      f("initial_accumulator", h.initial);
      f("l1", h.l1);
      f("l2", h.l2);
      f("l2_shrinkage", h.l2_shrinkage);
      f("beta", h.beta);
      break;
  }
}

const std::vector<std::string>& Optimizer::kinds() {
  static const std::vector<std::string> names = {"sgd",    "adam",  "rmsprop", "adagrad", "adadelta",
                                                 "adamax", "nadam", "lion",    "radam",   "ftrl"};  // in Kind's order
  return names;
}

std::unique_ptr<Optimizer> Optimizer::make(const std::string& kind, const Json& hyper) {
  const auto at = std::find(kinds().begin(), kinds().end(), kind);
  if (at == kinds().end()) {
    std::string known;
    for (const std::string& k : kinds()) known += (known.empty() ? "" : ", ") + k;
    const std::string close = closest_name(kind, kinds());
    fail_value("optimizer", "name", "one of " + known + (close.empty() ? "" : " (did you mean '" + close + "'?)"),
               "'" + kind + "'");
  }
  std::unique_ptr<Optimizer> o(new Optimizer);
  o->kind_ = static_cast<Kind>(at - kinds().begin());
  o->name_ = kind;
  Hyper h;
  if (o->kind_ == Kind::kRmsprop) h.beta2 = 0.99;
  if (o->kind_ == Kind::kAdagrad) h.eps = 1e-10;
  if (o->kind_ == Kind::kAdadelta) h.beta2 = 0.9, h.eps = 1e-6;
  if (o->kind_ == Kind::kAdamax) h.eps_inside = true;
  if (o->kind_ == Kind::kLion) h.beta2 = 0.99;
  if (o->kind_ == Kind::kFtrl) h.initial = 0.1;
  o->set(o->read(hyper, h));
  return o;
}

Optimizer::Hyper Optimizer::read(const Json& hyper, Hyper h) const {
  const std::string op = "optimizer " + name_;
  AttrReader a(op, hyper);
  struct Reader {
    AttrReader& a;
    void operator()(const char* key, double& v) const { v = a.get_double(key, v); }
    void operator()(const char* key, bool& v) const { v = a.get_bool(key, v); }
  };
  visit(kind_, h, Reader{a});
  a.done();
  struct Checker {
    const std::string& op;
    void operator()(const char* key, double v) const {
      const std::string k = key;
      check_range(op, key, v, 0, k == "beta1" || k == "beta2" || k == "rho" ? 1.0 : kHuge);
      if (k == "ema_momentum" && v > 1) fail_value(op, key, "a number in [0, 1]", std::to_string(v));
      if (k == "loss_scale" && v == 0) fail_value(op, key, "a number > 0", "0");
      if ((k == "accumulation_steps" && v < 1) ||
          ((k == "accumulation_steps" || k == "ema_overwrite") && v != std::floor(v))) {
        fail_value(op, key, "a whole number", std::to_string(v));
      }
    }
    void operator()(const char*, bool) const {}
  };
  visit(kind_, h, Checker{op});
  if ((h.clipvalue > 0) + (h.clipnorm > 0) + (h.global_clipnorm > 0) > 1) {
    fail_value(op, "clipvalue, clipnorm, global_clipnorm", "at most one of them", "several");
  }
  if (h.nesterov && (h.momentum <= 0 || h.dampening != 0)) {
    fail_value(op, "nesterov", "a momentum > 0 and no dampening with it",
               "momentum " + std::to_string(h.momentum) + ", dampening " + std::to_string(h.dampening));
  }
  if (h.velocity && h.dampening != 0) {
    fail_value(op, "dampening", "none with velocity", std::to_string(h.dampening));
  }
  return h;
}

void Optimizer::set(const Hyper& h) {
  if (h.beta1 != h_.beta1 || h.momentum_decay != h_.momentum_decay) {
    product_step_ = 0;
    product_ = 1.0;
  }
  Hyper as_before = h;
  as_before.learning_rate = h_.learning_rate;
  if (!(as_before == h_)) ++version_;
  h_ = h;
  slots_.clear();
  switch (kind_) {
    case Kind::kSgd:
      if (h.momentum != 0) slots_ = {{"momentum_buffer", 0.0}};
      break;
    case Kind::kAdam:
      slots_ = {{"exp_avg", 0.0}, {"exp_avg_sq", 0.0}};
      if (h.amsgrad) slots_.push_back({"max_exp_avg_sq", 0.0});
      break;
    case Kind::kRmsprop:
      slots_ = {{"square_avg", 0.0}};
      if (h.centered) slots_.push_back({"grad_avg", 0.0});
      if (h.momentum != 0) slots_.push_back({"momentum_buffer", 0.0});
      break;
    case Kind::kAdagrad:
      slots_ = {{"sum", h.initial}};
      break;
    case Kind::kAdadelta:
      slots_ = {{"square_avg", 0.0}, {"acc_delta", 0.0}};
      break;
    case Kind::kAdamax:
      slots_ = {{"exp_avg", 0.0}, {"exp_inf", 0.0}};
      break;
    case Kind::kNadam:
      slots_ = {{"exp_avg", 0.0}, {"exp_avg_sq", 0.0}};
      break;
    case Kind::kLion:
      slots_ = {{"exp_avg", 0.0}};
      break;
    case Kind::kRadam:
      slots_ = {{"exp_avg", 0.0}, {"exp_avg_sq", 0.0}};
      break;
    case Kind::kFtrl:
      slots_ = {{"accumulator", h.initial}, {"linear", 0.0}};
      break;
  }
  average_ = slots_.size();
  if (h.use_ema) slots_.push_back({"average", 0.0});
  accumulator_ = slots_.size();
  if (h.accumulation_steps > 1) slots_.push_back({"gradient_accumulator", 0.0});
}

Json Optimizer::hyper() const {
  Json::Object o;
  visit(kind_, h_, [&](const char* key, auto v) { o.emplace_back(key, v); });
  return o;
}

void Optimizer::set_hyper(const std::string& name, const Json& value) { set(read(Json::Object{{name, value}}, h_)); }

void Optimizer::set_learning_rate(double lr) {
  if (lr == h_.learning_rate) return;
  check_range("optimizer " + name_, "learning_rate", lr, 0, kHuge);
  h_.learning_rate = lr;
}

template <class T>
std::vector<OptimizerTensor<T>>& Optimizer::tensors() {
  if constexpr (sizeof(T) == 4) {
    return tensors_f32_;
  } else {
    return tensors_f64_;
  }
}

double Optimizer::momentum_product(int64_t step) {
  if (step < product_step_) {
    product_step_ = 0;
    product_ = 1.0;
  }
  while (product_step_ < step) product_ *= nadam_momentum(h_.beta1, h_.momentum_decay, ++product_step_);
  return product_;
}

// on_device: where a device leaves the scales, which nobody waits for.
template <class T>
void Optimizer::clip_by_norm(Exec& exec, double grad_scale, OptimizerTensorStep<T>* on_device) {
  std::vector<OptimizerTensor<T>>& list = tensors<T>();
  squares_.resize(list.size());
  for (size_t i = 0; i < list.size(); ++i) squares_[i] = {list[i].g, list[i].n};
  const double limit = h_.clipnorm > 0 ? h_.clipnorm : h_.global_clipnorm;
  if (on_device != nullptr) {
    const OptimizerKernels<T>& k = exec.kernels<T>().optimizer;
    const ClipNormParams<T> p{squares_.data(), static_cast<int64_t>(squares_.size()),  h_.clipnorm > 0,
                              limit,           h_.maximize ? -grad_scale : grad_scale, on_device};
    return k.clip_norm(exec.context(k.clip_norm_workspace(p)), p);
  }
  const double all = sum_squares<T>(exec, squares_);
  for (size_t i = 0; i < list.size(); ++i) {
    const double norm = std::abs(grad_scale) * std::sqrt(h_.clipnorm > 0 ? squares_[i].sum : all);
    if (norm > limit) list[i].grad_scale = static_cast<T>((h_.maximize ? -grad_scale : grad_scale) * (limit / norm));
  }
}

template <class T>
typename OptimizerKernels<T>::Update Optimizer::kernel(Exec& exec) const {
  const OptimizerKernels<T>& k = exec.kernels<T>().optimizer;
  switch (kind_) {
    case Kind::kSgd:
      return k.sgd;
    case Kind::kAdam:
    case Kind::kRadam:
      return k.adam;
    case Kind::kRmsprop:
      return k.rmsprop;
    case Kind::kAdagrad:
      return k.adagrad;
    case Kind::kAdadelta:
      return k.adadelta;
    case Kind::kAdamax:
      return k.adamax;
    case Kind::kNadam:
      return k.nadam;
    case Kind::kLion:
      return k.lion;
    case Kind::kFtrl:
      return k.ftrl;
  }
  return nullptr;
}

// What an update's number, counted from 1, makes of its step.
template <class T>
void Optimizer::correct(OptimizerParams<T>& p, int64_t update) {
  const double t = static_cast<double>(update);
  const double c1 = 1 - std::pow(h_.beta1, t), c2 = 1 - std::pow(h_.beta2, t);
  switch (kind_) {
    case Kind::kAdam:
      p.step_scale = static_cast<T>(h_.eps_hat ? std::sqrt(c2) / c1 : 1 / c1);
      p.root_scale = static_cast<T>(h_.eps_hat ? 1.0 : 1 / std::sqrt(c2));
      break;
    case Kind::kAdagrad:
      p.step_scale = static_cast<T>(1 / (1 + (t - 1) * h_.lr_decay));
      break;
    case Kind::kAdamax:
      p.step_scale = static_cast<T>(1 / c1);
      break;
    case Kind::kNadam: {
      const double now = nadam_momentum(h_.beta1, h_.momentum_decay, update);
      const double next = nadam_momentum(h_.beta1, h_.momentum_decay, update + 1);
      const double product = momentum_product(update);
      p.step_scale = static_cast<T>(next / (1 - product * next));
      p.grad_step_scale = static_cast<T>((1 - now) / (1 - product));
      p.root_scale = static_cast<T>(1 / std::sqrt(c2));
      break;
    }
    case Kind::kRadam: {
      // While the variance of the adaptive rates is not known (Liu et al. 2020), momentum alone makes the steps.
      const double longest = 2 / (1 - h_.beta2) - 1, length = longest - 2 * t * (1 - c2) / c2;
      p.step_scale = static_cast<T>(1 / c1);
      p.root_scale = 0;
      p.eps = 1;
      if (length > 5) {
        const double rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length);
        p.step_scale = static_cast<T>(std::sqrt(rectified * c2) / c1);
        p.root_scale = 1;
        p.eps = static_cast<T>(h_.eps);
      }
      break;
    }
    case Kind::kSgd:
    case Kind::kRmsprop:
    case Kind::kAdadelta:
    case Kind::kLion:
    case Kind::kFtrl:
      break;
  }
}

template <class T>
OptimizerParams<T> Optimizer::chunked() {
  OptimizerParams<T> p;
  p.tensors = tensors<T>().data();
  p.chunks = chunks_.data();
  p.chunk_count = static_cast<int64_t>(chunks_.size());
  return p;
}

// Of one update, with tensors<T>(), but for clipping by norm.
template <class T>
OptimizerParams<T> Optimizer::rules(std::span<const ParamSlot> params, int64_t update, double grad_scale) {
  auto& list = tensors<T>();
  list.resize(params.size());
  const bool accumulated = h_.accumulation_steps > 1;
  for (size_t i = 0; i < params.size(); ++i) {
    const ParamSlot& s = params[i];
    OptimizerTensor<T>& t = list[i];
    t.w = s.value.as<T>();
    t.g = accumulated ? s.state[accumulator_].as<T>() : s.grad.as<T>();
    for (int k = 0; k < 3; ++k) t.state[k] = s.state[k].as<T>();
    const double lr = h_.learning_rate * s.lr_scale;
    const double decay = s.weight_decay >= 0 ? s.weight_decay : h_.weight_decay;
    t.lr = static_cast<T>(lr);
    t.l2 = static_cast<T>(h_.decoupled ? 0.0 : decay);
    t.keep = static_cast<T>(h_.decoupled ? 1.0 - lr * decay : 1.0);
    t.grad_scale = static_cast<T>(h_.maximize ? -grad_scale : grad_scale);
  }
  OptimizerParams<T> p = chunked<T>();
  p.clip_value = static_cast<T>(h_.clipvalue);
  p.momentum = static_cast<T>(h_.momentum);
  // PyTorch's buffer starts as the gradient itself, undampened.
  p.take = static_cast<T>(update == 1 ? 1.0 : 1.0 - h_.dampening);
  p.nesterov = h_.nesterov;
  p.velocity = h_.velocity;
  p.beta1 = static_cast<T>(h_.beta1);
  p.take1 = static_cast<T>(1.0 - h_.beta1);
  p.beta2 = static_cast<T>(h_.beta2);
  p.take2 = static_cast<T>(1.0 - h_.beta2);
  p.eps = static_cast<T>(h_.eps);
  p.amsgrad = h_.amsgrad;
  p.centered = h_.centered;
  p.eps_inside = h_.eps_inside;
  p.power = static_cast<T>(h_.power);
  p.l1 = static_cast<T>(h_.l1);
  p.l2 = static_cast<T>(2 * h_.l2);
  p.l2_of_rate = static_cast<T>(h_.beta);
  p.shrinkage = static_cast<T>(2 * h_.l2_shrinkage);
  correct(p, update);
  return p;
}

// w = keep * w + take * g for each parameter, where `arrays` gives both.
template <class T, class Arrays>
void Optimizer::blend(Exec& exec, std::span<const ParamSlot> params, double keep, double take, const Arrays& arrays,
                      const OptimizerStep<T>* step) {
  for (size_t i = 0; i < params.size(); ++i) {
    const auto [w, g] = arrays(params[i]);
    tensors<T>()[i].w = w.template as<T>();
    tensors<T>()[i].g = g.template as<T>();
  }
  OptimizerParams<T> p = chunked<T>();
  p.beta1 = static_cast<T>(keep);
  p.take1 = static_cast<T>(take);
  p.step = step;
  exec.kernels<T>().optimizer.blend(exec.context(), p);
}

Optimizer::Moment Optimizer::moment(int64_t step) const {
  const int64_t cycle = static_cast<int64_t>(h_.accumulation_steps), every = static_cast<int64_t>(h_.ema_overwrite);
  Moment m;
  m.updates = (step - 1) / cycle;
  m.update = step % cycle == 0;
  m.overwrite = h_.use_ema && every > 0 && (m.updates + 1) % every == 0;
  // The average starts as the parameters are after their first update.
  m.average_keep = m.updates == 0 ? 0.0 : h_.ema_momentum;
  return m;
}

template <class T>
void Optimizer::step_typed(Exec& exec, std::span<const ParamSlot> params, int64_t step, double grad_scale,
                           void* on_device) {
  using Pair = std::pair<TensorView, TensorView>;
  auto& list = tensors<T>();
  list.resize(params.size());
  chunks_.clear();
  for (size_t i = 0; i < params.size(); ++i) {
    list[i].n = params[i].value.size();
    for (int64_t b = 0; b < list[i].n; b += kChunk) {
      chunks_.push_back({static_cast<int64_t>(i), b, std::min(b + kChunk, list[i].n)});
    }
  }
  auto* const now = static_cast<OptimizerStep<T>*>(on_device);
  auto* const tensor_steps = now == nullptr ? nullptr : reinterpret_cast<OptimizerTensorStep<T>*>(now + 1);
  const Moment m = moment(step);
  const bool accumulates = h_.accumulation_steps > 1;
  const auto accumulated = [&](const ParamSlot& s) { return Pair(s.state[accumulator_], s.grad); };
  if (accumulates) blend<T>(exec, params, 1, 1, accumulated);
  if (m.update) {
    OptimizerParams<T> p = rules<T>(params, m.updates + 1, update_scale(grad_scale));
    p.step = now;
    p.tensor_steps = tensor_steps;
    if (clips_by_norm()) clip_by_norm<T>(exec, update_scale(grad_scale), tensor_steps);
    kernel<T>(exec)(exec.context(), p);
    if (accumulates) blend<T>(exec, params, 0, 0, accumulated);
  }
  if (!h_.use_ema) return;
  const auto average = [&](const ParamSlot& s) { return Pair(s.state[average_], s.value); };
  blend<T>(exec, params, m.average_keep, 1 - m.average_keep, average, now);
  if (m.overwrite) {
    blend<T>(exec, params, 0, 1, [&](const ParamSlot& s) { return Pair(s.value, s.state[average_]); });
  }
}

void Optimizer::check(std::span<const ParamSlot> params) const {
  const DType dtype = params[0].value.dtype;
  for (const ParamSlot& s : params) {
    if (s.value.dtype != dtype) check_same_dtype("optimizer", "parameter", s.value.spec(), dtype);
    if (!alike(s.grad, s.value)) {
      fail_value("optimizer", "gradient", s.value.spec().str(), s.grad.spec().str());
    }
    for (size_t k = 0; k < slots_.size(); ++k) {
      if (!alike(s.state[k], s.value)) {
        fail_value("optimizer", "state '" + slots_[k].name + "'", s.value.spec().str(), s.state[k].spec().str());
      }
    }
  }
}

void Optimizer::step(Exec& exec, std::span<const ParamSlot> params, int64_t step, double grad_scale) {
  if (params.empty()) return;
  check(params);
  void* on_device = nullptr;
  if (exec.backend() != nullptr && clips_by_norm()) {  // nobody waits for the norm
    to_send_.resize(static_cast<size_t>(step_bytes(params)));
    write_step(to_send_.data(), params, step, grad_scale);
    on_device = exec.scratch(to_send_.size());
    exec.copy(on_device, to_send_.data(), std::ssize(to_send_), CopyKind::kToDevice);
  }
  dispatch_float(params[0].value.dtype, "optimizer", "parameter",
                 [&]<class T>() { step_typed<T>(exec, params, step, grad_scale, on_device); });
}

int Optimizer::phase(int64_t step) const {
  const Moment m = moment(step);
  return (m.update ? 1 : 0) + (m.overwrite ? 2 : 0);
}

int64_t Optimizer::step_bytes(std::span<const ParamSlot> params) const {
  if (params.empty()) return 0;
  return dispatch_float(params[0].value.dtype, "optimizer", "parameter", [&]<class T>() {
    return static_cast<int64_t>(sizeof(OptimizerStep<T>) + params.size() * sizeof(OptimizerTensorStep<T>));
  });
}

void Optimizer::write_step(void* to, std::span<const ParamSlot> params, int64_t step, double grad_scale) {
  if (params.empty()) return;
  dispatch_float(params[0].value.dtype, "optimizer", "parameter", [&]<class T>() {
    const Moment m = moment(step);
    const OptimizerParams<T> p = rules<T>(params, m.updates + 1, update_scale(grad_scale));
    auto* const now = static_cast<OptimizerStep<T>*>(to);
    *now = {p.take,
            p.step_scale,
            p.grad_step_scale,
            p.root_scale,
            p.eps,
            static_cast<T>(m.average_keep),
            static_cast<T>(1 - m.average_keep)};
    auto* own = reinterpret_cast<OptimizerTensorStep<T>*>(now + 1);
    for (const OptimizerTensor<T>& t : tensors<T>()) *own++ = {t.lr, t.keep, t.grad_scale};
  });
}

void Optimizer::launch(Exec& exec, std::span<const ParamSlot> params, int64_t step, void* on_device) {
  if (params.empty()) return;
  check(params);
  dispatch_float(params[0].value.dtype, "optimizer", "parameter",
                 [&]<class T>() { step_typed<T>(exec, params, step, 1.0, on_device); });
}

}  // namespace lamella
