// ctc_loss: connectionist temporal classification of log-probabilities, one value per sample.
#include "ops/loss.h"
#include "ops/memory.h"

namespace lamella {
namespace {

constexpr const char* kOp = "ctc_loss";

struct Settings {
  int64_t blank = 0;
  bool zero_infinity = false;
  bool time_first = false;  // x is (steps, batch, classes) rather than (batch, steps, classes)
};

// Inputs: x, targets (batch, width) or one after another, input_lengths (batch)?, target_lengths (batch)?. Without
// input_lengths all steps count, without target_lengths the labels other than blank. Forward keeps the gradient: both
// come out of the same sweep.
class CtcOp final : public Op {
 public:
  enum : size_t { kX, kTargets, kInputLengths, kTargetLengths };

  explicit CtcOp(const Settings& s) : s_(s) {}

  static OpPtr make(const Json& attrs) {
    AttrReader a(kOp, attrs);
    Settings s;
    s.blank = a.get_int("blank", 0);
    s.zero_infinity = a.get_bool("zero_infinity", false);
    s.time_first = a.get_bool("time_first", false);
    a.done();
    return std::make_shared<CtcOp>(s);
  }

  std::string_view name() const override { return kOp; }
  Json attrs() const override {
    return Json::Object{{"blank", s_.blank}, {"zero_infinity", s_.zero_infinity}, {"time_first", s_.time_first}};
  }

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    check_count(kOp, in, 2, 4);
    const TensorSpec& x = in[kX];
    check_float(kOp, "x", x);
    check_rank(kOp, "x", x, 3);
    const int64_t batch = x.shape[batch_axis()], classes = x.shape[2];
    if (s_.blank < 0 || s_.blank >= classes) {
      fail_value(kOp, "blank", "one of the " + std::to_string(classes) + " classes", std::to_string(s_.blank));
    }
    const TensorSpec& t = in[kTargets];
    if (!is_index(t.dtype)) fail_type(kOp, "targets", "int32 or int64", dtype_name(t.dtype));
    if (t.shape.rank() == 1) {
      if (!has_input(in, kTargetLengths)) {
        fail_value(kOp, "target_lengths", "one per sample for targets one after another", "none");
      }
    } else if (t.shape.rank() != 2 || t.shape[0] != batch) {
      fail_value(kOp, "targets", "shape (" + std::to_string(batch) + ", width), or a vector of all targets",
                 t.shape.str());
    }
    for (size_t i : {kInputLengths, kTargetLengths}) {
      if (!has_input(in, i)) continue;
      const char* argument = i == kInputLengths ? "input_lengths" : "target_lengths";
      if (!is_index(in[i].dtype)) fail_type(kOp, argument, "int32 or int64", dtype_name(in[i].dtype));
      if (!(in[i].shape == Shape{batch})) fail_value(kOp, argument, "shape " + Shape{batch}.str(), in[i].shape.str());
    }
    Signature sig;
    sig.outputs = {{x.dtype, Shape{batch}}};
    if (training) sig.saved = {x};
    return sig;
  }

  bool synchronizes() const override { return true; }  // the lengths decide how much memory is needed

  void forward(Exec& exec, const ForwardArgs& args) const override {
    const TensorView& x = args.in[kX];
    dispatch_float(x.dtype, kOp, "x", [&]<class T>() {
      const CtcKernels<T>& k = exec.kernels<T>().ctc;
      CtcParams<T> p;
      place(p, x.shape);
      p.x = x.as<const T>();
      p.targets = index_list(args.in[kTargets]);
      p.width = args.in[kTargets].shape.rank() == 2 ? args.in[kTargets].shape[1] : -1;
      if (const TensorView l = optional_input(args.in, kInputLengths)) p.input_lengths = index_list(l);
      if (const TensorView l = optional_input(args.in, kTargetLengths)) p.target_lengths = index_list(l);
      p.blank = s_.blank;
      p.zero_infinity = s_.zero_infinity;
      const CtcChecked checked = k.check(p);
      if (checked.problem != CtcProblem::kNone) refuse(checked, p.steps, p.classes, p.width, p.targets.n);
      p.longest = checked.longest;
      p.loss = args.out[0].as<T>();
      if (!args.saved.empty()) p.grad = args.saved[0].as<T>();
      k.ctc(exec.context(k.ctc_workspace(p, exec.context().threads)), p);
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView& grad_in = args.grad_in[kX];
    if (!grad_in) return;
    if (!args.grad_out[0]) return zero_tensor(exec, grad_in);
    dispatch_float(grad_in.dtype, kOp, "x", [&]<class T>() {
      CtcGradParams<T> p;
      place(p, grad_in.shape);
      p.saved = args.saved[0].as<const T>();
      p.seed = args.grad_out[0].as<const T>();
      p.grad = grad_in.as<T>();
      exec.kernels<T>().ctc.ctc_grad(exec.context(), p);
    });
  }

  bool differentiable(int input) const override { return input == static_cast<int>(kX); }
  BackwardUses backward_uses() const override { return {0, 0}; }

 private:
  int batch_axis() const { return s_.time_first ? 1 : 0; }

  template <class P>
  void place(P& p, const Shape& x) const {
    p.batch = x[batch_axis()];
    p.steps = x[1 - batch_axis()];
    p.classes = x[2];
    p.sample_stride = s_.time_first ? p.classes : p.steps * p.classes;
    p.step_stride = s_.time_first ? p.batch * p.classes : p.classes;
  }

  [[noreturn]] void refuse(const CtcChecked& c, int64_t steps, int64_t classes, int64_t width, int64_t targets) const {
    const std::string sample = " in sample " + std::to_string(c.sample);
    const std::string got = std::to_string(c.value) + sample;
    switch (c.problem) {
      case CtcProblem::kInputLength:
        fail_value(kOp, "input_lengths", "lengths in [0, " + std::to_string(steps) + "]", got);
      case CtcProblem::kTargetLength:
        fail_value(kOp, "target_lengths",
                   width < 0 ? "lengths of at least 0" : "lengths in [0, " + std::to_string(width) + "]", got);
      case CtcProblem::kTargets:
        fail_value(kOp, "targets", "at least " + std::to_string(c.value) + " labels, the sum of target_lengths",
                   std::to_string(targets));
      default:
        fail_value(kOp, "targets",
                   "class numbers in [0, " + std::to_string(classes) + ") other than blank " + std::to_string(s_.blank),
                   "label " + got);
    }
  }

  Settings s_;
};

}  // namespace

void register_ctc(OpRegistry& r) { r.add(kOp, CtcOp::make); }

}  // namespace lamella
