#include "ops/memory.h"
#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

enum class Kind { kSoftmax, kLogSoftmax };

// The axis a shape is cut at: elements before it, along it, behind it.
struct Cut {
  int64_t outer = 1, axis = 1, inner = 1;
};

class SoftmaxOp final : public Op {
 public:
  SoftmaxOp(Kind kind, int64_t axis) : kind_(kind), axis_(axis) {}

  static OpPtr make(Kind kind, const Json& attrs) {
    AttrReader a(kind == Kind::kSoftmax ? "softmax" : "log_softmax", attrs);
    const int64_t axis = a.get_int("axis", -1);
    a.done();
    return std::make_shared<SoftmaxOp>(kind, axis);
  }

  std::string_view name() const override { return kind_ == Kind::kSoftmax ? "softmax" : "log_softmax"; }
  Json attrs() const override { return Json::Object{{"axis", axis_}}; }

  Signature infer(std::span<const TensorSpec> in, bool) const override {
    const char* op = name().data();
    check_count(op, in, 1, 1);
    check_float(op, "x", in[0]);
    const int64_t rank = in[0].shape.rank();
    if (axis_ < -rank || axis_ >= rank) {
      fail_value(op, "axis", "an axis of x, whose shape is " + in[0].shape.str(), std::to_string(axis_));
    }
    return {{in[0]}, {}};
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    const TensorView& x = args.in[0];
    const Cut c = cut(x.shape);
    dispatch_float(x.dtype, name().data(), "x", [&]<class T>() {
      const SoftmaxKernels<T>& k = exec.kernels<T>().softmax;
      const SoftmaxParams<T> p{c.outer, c.axis, c.inner, x.as<const T>(), args.out[0].as<T>()};
      (kind_ == Kind::kSoftmax ? k.softmax : k.log_softmax)(exec.context(), p);
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView& grad_in = args.grad_in[0];
    if (!grad_in) return;
    if (!args.grad_out[0]) return zero_tensor(exec, grad_in);
    const TensorView& y = args.out[0];
    const Cut c = cut(y.shape);
    dispatch_float(y.dtype, name().data(), "y", [&]<class T>() {
      const SoftmaxKernels<T>& k = exec.kernels<T>().softmax;
      const SoftmaxGradParams<T> p{c.outer,        c.axis, c.inner, y.as<const T>(), args.grad_out[0].as<const T>(),
                                   grad_in.as<T>()};
      (kind_ == Kind::kSoftmax ? k.softmax_grad : k.log_softmax_grad)(exec.context(), p);
    });
  }

  BackwardUses backward_uses() const override { return {0, 1}; }
  bool can_run_in_place() const override { return true; }
  double flops(std::span<const TensorSpec> in) const override { return 20.0 * static_cast<double>(in[0].shape.size()); }

 private:
  Cut cut(const Shape& s) const {
    const int axis = static_cast<int>(axis_ < 0 ? axis_ + s.rank() : axis_);
    Cut c;
    for (int i = 0; i < axis; ++i) c.outer *= s[i];
    c.axis = s[axis];
    for (int i = axis + 1; i < s.rank(); ++i) c.inner *= s[i];
    return c;
  }

  Kind kind_;
  int64_t axis_;
};

}  // namespace

void register_softmax(OpRegistry& r) {
  r.add("softmax", [](const Json& a) { return SoftmaxOp::make(Kind::kSoftmax, a); });
  r.add("log_softmax", [](const Json& a) { return SoftmaxOp::make(Kind::kLogSoftmax, a); });
}

}  // namespace lamella
