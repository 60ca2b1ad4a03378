// Losses that compare a prediction with a target element by element.
#include "ops/loss.h"
#include "ops/memory.h"

namespace lamella {
namespace {

// Which attributes a loss has beside reduction and row_mean, and their defaults.
struct LossInfo {
  ElementLoss loss;
  const char* name;
  const char* delta_name;  // nullptr: it has none
  double epsilon;          // negative: it has none
  bool smoothing;
  bool symmetric;  // loss(x, t) == loss(t, x), so that the target has a gradient too
};
constexpr LossInfo kLosses[] = {
    {ElementLoss::kSquared, "mse_loss", nullptr, -1, false, true},
    {ElementLoss::kAbsolute, "mae_loss", nullptr, -1, false, true},
    {ElementLoss::kHuber, "huber_loss", "delta", -1, false, true},
    {ElementLoss::kSmoothL1, "smooth_l1_loss", "beta", -1, false, true},
    {ElementLoss::kLogCosh, "log_cosh_loss", nullptr, -1, false, true},
    {ElementLoss::kBceLogits, "bce_with_logits_loss", nullptr, -1, true, false},
    {ElementLoss::kBce, "bce_loss", nullptr, 1e-7, true, false},
    {ElementLoss::kPoisson, "poisson_loss", nullptr, 1e-7, false, false},
    {ElementLoss::kKlDiv, "kl_div_loss", nullptr, 1e-7, false, false},
    {ElementLoss::kKlDivLogProbs, "kl_div_log_loss", nullptr, -1, false, false},
    {ElementLoss::kHinge, "hinge_loss", nullptr, -1, false, false},
    {ElementLoss::kSquaredHinge, "squared_hinge_loss", nullptr, -1, false, false},
    {ElementLoss::kAbsolutePercent, "mape_loss", nullptr, 1e-7, false, false},
    {ElementLoss::kSquaredLog, "msle_loss", nullptr, 1e-7, false, false},
};
static_assert(sizeof(kLosses) / sizeof(kLosses[0]) == static_cast<size_t>(ElementLoss::kCount));

struct Settings {
  Reduction reduction = Reduction::kMean;
  bool row_mean = false;
  double delta = 1, smoothing = 0, epsilon = 0;
};

// Inputs: x, target of the same shape, weight?, pos_weight (bce_with_logits_loss alone)?.
class ElementLossOp final : public Op {
 public:
  enum : size_t { kX, kTarget, kWeight, kPosWeight };

  ElementLossOp(const LossInfo& info, const Settings& s) : info_(info), s_(s) {}

  static OpPtr make(const LossInfo& info, const Json& attrs) {
    AttrReader a(info.name, attrs);
    Settings s;
    s.reduction = reduction_from_name(info.name, a.get_string("reduction", "mean"));
    s.row_mean = a.get_bool("row_mean", false);
    if (info.delta_name) {
      s.delta = number_between(a, info.name, info.delta_name, 1.0, 0.0, 1e30);
      if (info.loss == ElementLoss::kHuber && s.delta == 0) {
        fail_value(info.name, info.delta_name, "a positive number", "0");
      }
    }
    if (info.smoothing) s.smoothing = number_between(a, info.name, "label_smoothing", 0.0, 0.0, 1.0);
    if (info.epsilon >= 0) s.epsilon = number_between(a, info.name, "epsilon", info.epsilon, 0.0, 0.5);
    a.done();
    return std::make_shared<ElementLossOp>(info, s);
  }

  std::string_view name() const override { return info_.name; }

  Json attrs() const override {
    Json a = Json::Object{{"reduction", reduction_name(s_.reduction)}, {"row_mean", s_.row_mean}};
    if (info_.delta_name) a.set(info_.delta_name, s_.delta);
    if (info_.smoothing) a.set("label_smoothing", s_.smoothing);
    if (info_.epsilon >= 0) a.set("epsilon", s_.epsilon);
    return a;
  }

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    const char* op = info_.name;
    const bool pos_weight = info_.loss == ElementLoss::kBceLogits;
    check_count(op, in, 2, pos_weight ? 4 : 3);
    const TensorSpec& x = in[kX];
    check_float(op, "x", x);
    check_same_dtype(op, "target", in[kTarget], x.dtype);
    if (!(in[kTarget].shape == x.shape)) fail_value(op, "target", "shape " + x.shape.str(), in[kTarget].shape.str());
    if (s_.row_mean && x.shape.rank() < 1) fail_value(op, "x", "at least one axis for row_mean", x.shape.str());
    if (has_input(in, kWeight)) {
      check_same_dtype(op, "weight", in[kWeight], x.dtype);
      weight_group(op, "weight", in[kWeight], x.shape);
    }
    if (has_input(in, kPosWeight)) {
      check_same_dtype(op, "pos_weight", in[kPosWeight], x.dtype);
      const int64_t n = in[kPosWeight].shape.size(), cols = columns(x.shape);
      if (in[kPosWeight].shape.rank() > 1 || (n != 1 && n != cols)) {
        fail_value(op, "pos_weight", "shape () or " + Shape{cols}.str(), in[kPosWeight].shape.str());
      }
    }
    Signature sig;
    sig.outputs = {{x.dtype, s_.reduction != Reduction::kNone ? Shape()
                             : s_.row_mean                    ? leading_shape(x.shape)
                                                              : x.shape}};
    if (training) sig.saved = {{x.dtype, Shape{1}}};
    return sig;
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[kX].dtype, info_.name, "x", [&]<class T>() {
      const LossKernels<T>& k = exec.kernels<T>().loss;
      ElementLossParams<T> p = params<T>(args.in);
      (s_.reduction == Reduction::kNone ? p.result.values : p.result.total) = args.out[0].as<T>();
      if (!args.saved.empty()) p.result.norm = args.saved[0].as<T>();
      k.element_loss(exec.context(k.element_loss_workspace(p, exec.context().threads)), p);
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    for (size_t i : {kX, kTarget}) {
      const TensorView& grad_in = args.grad_in[i];
      if (!grad_in) continue;
      if (!args.grad_out[0]) {
        zero_tensor(exec, grad_in);
        continue;
      }
      dispatch_float(grad_in.dtype, info_.name, "x", [&]<class T>() {
        ElementLossGradParams<T> g;
        g.forward = params<T>(args.in);
        if (i == kTarget) std::swap(g.forward.x, g.forward.target);
        g.seed = {s_.reduction, args.grad_out[0].as<const T>(), args.saved[0].as<const T>()};
        g.grad = grad_in.as<T>();
        exec.kernels<T>().loss.element_loss_grad(exec.context(), g);
      });
    }
  }

  bool differentiable(int input) const override {
    return input == static_cast<int>(kX) || (info_.symmetric && input == static_cast<int>(kTarget));
  }
  BackwardUses backward_uses() const override { return {~0u, 0}; }

 private:
  static int64_t columns(const Shape& s) { return s.rank() > 0 ? s[-1] : 1; }

  template <class T>
  ElementLossParams<T> params(std::span<const TensorView> in) const {
    const TensorView& x = in[kX];
    ElementLossParams<T> p;
    p.loss = info_.loss;
    p.n = x.size();
    p.cols = columns(x.shape);
    p.row_mean = s_.row_mean;
    p.x = x.as<const T>();
    p.target = in[kTarget].as<const T>();
    if (const TensorView w = optional_input(in, kWeight)) {
      p.weight = w.as<const T>();
      p.group = weight_group(info_.name, "weight", w.spec(), x.shape);
    }
    if (const TensorView w = optional_input(in, kPosWeight)) {
      p.pos_weight = w.as<const T>();
      p.pos_cols = w.size();
    }
    p.delta = s_.delta;
    p.smoothing = s_.smoothing;
    p.epsilon = s_.epsilon;
    p.result.reduction = s_.reduction;
    return p;
  }

  const LossInfo& info_;
  Settings s_;
};

template <size_t I>
OpPtr make_loss(const Json& attrs) {
  return ElementLossOp::make(kLosses[I], attrs);
}

template <size_t... I>
void add_losses(OpRegistry& r, std::index_sequence<I...>) {
  (r.add(kLosses[I].name, make_loss<I>), ...);
}

}  // namespace

void register_element_losses(OpRegistry& r) {
  add_losses(r, std::make_index_sequence<static_cast<size_t>(ElementLoss::kCount)>());
}

}  // namespace lamella
