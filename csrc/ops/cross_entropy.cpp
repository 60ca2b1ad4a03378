// softmax_cross_entropy (from logits), nll_loss (from log-probabilities), cross_entropy (from probabilities).
#include "ops/loss.h"
#include "ops/memory.h"

namespace lamella {
namespace {

struct Settings {
  Reduction reduction = Reduction::kMean;
  double smoothing = 0;
  double epsilon = 0;
  bool has_ignore = false;
  int64_t ignore_index = 0;
};

const char* name_of(ClassScores s) {
  switch (s) {
    case ClassScores::kLogits:
      return "softmax_cross_entropy";
    case ClassScores::kLogProbs:
      return "nll_loss";
    default:
      return "cross_entropy";
  }
}

// Inputs: scores (..., classes), targets (labels or probabilities), class_weight (classes)?, sample_weight?.
class CrossEntropyOp final : public Op {
 public:
  enum : size_t { kX, kTarget, kClassWeight, kSampleWeight };

  CrossEntropyOp(ClassScores scores, const Settings& s) : scores_(scores), s_(s) {}

  static OpPtr make(ClassScores scores, const Json& attrs) {
    const char* op = name_of(scores);
    AttrReader a(op, attrs);
    Settings s;
    s.reduction = reduction_from_name(op, a.get_string("reduction", "mean"));
    s.smoothing = number_between(a, op, "label_smoothing", 0.0, 0.0, 1.0);
    if (scores == ClassScores::kProbs) s.epsilon = number_between(a, op, "epsilon", 1e-7, 0.0, 0.5);
    s.has_ignore = a.has("ignore_index");
    if (s.has_ignore) s.ignore_index = a.get_int("ignore_index", 0);
    a.done();
    return std::make_shared<CrossEntropyOp>(scores, s);
  }

  std::string_view name() const override { return name_of(scores_); }

  Json attrs() const override {
    Json a = Json::Object{{"reduction", reduction_name(s_.reduction)}, {"label_smoothing", s_.smoothing}};
    if (scores_ == ClassScores::kProbs) a.set("epsilon", s_.epsilon);
    if (s_.has_ignore) a.set("ignore_index", s_.ignore_index);
    return a;
  }

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    const char* op = name_of(scores_);
    check_count(op, in, 2, 4);
    const TensorSpec& x = in[kX];
    check_float(op, "x", x);
    if (x.shape.rank() < 1) fail_value(op, "x", "at least one axis, the last for the classes", x.shape.str());
    const int64_t classes = x.shape[-1];
    const Shape values = leading_shape(x.shape);
    if (classes == 0 && values.size() > 0) fail_value(op, "x", "at least one class", x.shape.str());
    const TensorSpec& t = in[kTarget];
    if (is_index(t.dtype)) {
      check_label_shape(op, t, values);
    } else {
      if (t.dtype != x.dtype) {
        fail_type(op, "targets", "int32 or int64 labels, or probabilities of dtype " + std::string(dtype_name(x.dtype)),
                  dtype_name(t.dtype));
      }
      if (!(t.shape == x.shape)) fail_value(op, "targets", "shape " + x.shape.str(), t.shape.str());
      if (s_.has_ignore) fail_value(op, "ignore_index", "none with probabilities for targets", "one");
    }
    if (has_input(in, kClassWeight)) {
      check_same_dtype(op, "class_weight", in[kClassWeight], x.dtype);
      if (!(in[kClassWeight].shape == Shape{classes})) {
        fail_value(op, "class_weight", "shape " + Shape{classes}.str(), in[kClassWeight].shape.str());
      }
    }
    if (has_input(in, kSampleWeight)) {
      check_same_dtype(op, "sample_weight", in[kSampleWeight], x.dtype);
      weight_group(op, "sample_weight", in[kSampleWeight], values);
    }
    Signature sig;
    sig.outputs = {{x.dtype, s_.reduction == Reduction::kNone ? values : Shape()}};
    if (training) {
      const bool stats = scores_ != ClassScores::kLogProbs;
      sig.saved = {{x.dtype, {stats ? values.size() : 0, 2}}, {x.dtype, Shape{1}}};
    }
    return sig;
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    const TensorView& x = args.in[kX];
    check_targets(exec, args.in);
    dispatch_float(x.dtype, name_of(scores_), "x", [&]<class T>() {
      const LossKernels<T>& k = exec.kernels<T>().loss;
      CrossEntropyParams<T> p = params<T>(args.in);
      p.result.reduction = s_.reduction;
      (s_.reduction == Reduction::kNone ? p.result.values : p.result.total) = args.out[0].as<T>();
      if (!args.saved.empty()) {
        p.stats = stats<T>(args.saved);
        p.result.norm = args.saved[1].as<T>();
      }
      k.cross_entropy(exec.context(k.cross_entropy_workspace(p, exec.context().threads)), p);
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView& grad_in = args.grad_in[kX];
    if (!grad_in) return;
    if (!args.grad_out[0]) return zero_tensor(exec, grad_in);
    check_targets(exec, args.in);
    dispatch_float(grad_in.dtype, name_of(scores_), "x", [&]<class T>() {
      CrossEntropyGradParams<T> g;
      g.forward = params<T>(args.in);
      g.forward.stats = stats<T>(args.saved);
      g.seed = {s_.reduction, args.grad_out[0].as<const T>(), args.saved[1].as<const T>()};
      g.grad = grad_in.as<T>();
      exec.kernels<T>().loss.cross_entropy_grad(exec.context(), g);
    });
  }

  bool differentiable(int input) const override { return input == static_cast<int>(kX); }
  BackwardUses backward_uses() const override { return {~0u, 0}; }
  double flops(std::span<const TensorSpec> in) const override {
    return 20.0 * static_cast<double>(in[kX].shape.size());
  }

 private:
  // In backward too: the array may have changed since forward, and kernels follow the labels.
  void check_targets(Exec& exec, std::span<const TensorView> in) const {
    if (!is_index(in[kTarget].dtype)) return;
    check_labels(exec, name_of(scores_), in[kTarget], {in[kX].shape[-1], s_.has_ignore, s_.ignore_index});
  }
  template <class T>
  CrossEntropyParams<T> params(std::span<const TensorView> in) const {
    const TensorView& x = in[kX];
    CrossEntropyParams<T> p;
    p.scores = scores_;
    p.classes = x.shape[-1];
    const Shape values = leading_shape(x.shape);
    p.rows = values.size();
    p.x = x.as<const T>();
    if (is_index(in[kTarget].dtype))
      p.labels = index_list(in[kTarget]);
    else
      p.targets = in[kTarget].as<const T>();
    p.class_weight = optional_input(in, kClassWeight).as<const T>();
    if (const TensorView w = optional_input(in, kSampleWeight)) {
      p.sample_weight = w.as<const T>();
      p.group = weight_group(name_of(scores_), "sample_weight", w.spec(), values);
    }
    p.smoothing = s_.smoothing;
    p.epsilon = s_.epsilon;
    p.has_ignore = s_.has_ignore;
    p.ignore_index = s_.ignore_index;
    return p;
  }
  template <class T>
  T* stats(std::span<const TensorView> saved) const {
    return scores_ == ClassScores::kLogProbs ? nullptr : saved[0].as<T>();
  }

  ClassScores scores_;
  Settings s_;
};

}  // namespace

void register_cross_entropy(OpRegistry& r) {
  r.add("softmax_cross_entropy", [](const Json& a) { return CrossEntropyOp::make(ClassScores::kLogits, a); });
  r.add("nll_loss", [](const Json& a) { return CrossEntropyOp::make(ClassScores::kLogProbs, a); });
  r.add("cross_entropy", [](const Json& a) { return CrossEntropyOp::make(ClassScores::kProbs, a); });
}

}  // namespace lamella
