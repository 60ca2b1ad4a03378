// Ops: activation; unary functions, one op per name; clip; broadcasting arithmetic and comparisons, one op per name;
// where.
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "base/thread_pool.h"
#include "ops/broadcast.h"
#include "ops/memory.h"
#include "ops/named_ops.h"
#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

// y = act(x). Attributes: activation (name), alpha (leaky_relu and elu only).
class ActivationOp final : public Op {
 public:
  explicit ActivationOp(const Json& attrs) {
    AttrReader a("activation", attrs);
    const std::string name = a.get_string("activation", "");
    const bool has_alpha = a.has("alpha");
    act_ = activation_from_name("activation", name, a.get_double("alpha", std::nan("")));
    a.done();
    const bool takes_alpha = act_.act == Act::kLeakyRelu || act_.act == Act::kElu;
    if (has_alpha && !takes_alpha) fail_value("activation", "alpha", "none for '" + name + "'", "a value");
    // With a negative alpha the output no longer tells which side of zero the input was on.
    from_output_ = act_grad_from_output(act_.act) && !(takes_alpha && act_.alpha < 0);
    has_alpha_ = takes_alpha;
  }

  std::string_view name() const override { return "activation"; }
  Json attrs() const override {
    Json a(Json::Object{{"activation", activation_name(act_.act)}});
    if (has_alpha_) a.set("alpha", act_.alpha);
    return a;
  }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count("activation", in, 1, 1);
    check_float("activation", "x", in[0]);
    return {{in[0]}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_real(args.in[0].dtype, "activation", "x", [&]<class T>() {
      ActivationParams<T> p;
      p.n = args.in[0].size();
      p.x = args.in[0].as<T>();
      p.y = args.out[0].as<T>();
      p.act = act_;
      exec.kernels<T>().elementwise.activation(exec.context(), p);
    });
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_in[0]) return;
    if (!args.grad_out[0]) return zero_tensor(exec, args.grad_in[0]);
    dispatch_real(args.grad_in[0].dtype, "activation", "x", [&]<class T>() {
      ActivationBackwardParams<T> p;
      p.n = args.grad_in[0].size();
      p.value = (from_output_ ? args.out : args.in)[0].as<T>();
      p.from_output = from_output_;
      p.dy = args.grad_out[0].as<T>();
      p.dx = args.grad_in[0].as<T>();
      p.act = act_;
      exec.kernels<T>().elementwise.activation_backward(exec.context(), p);
    });
  }
  BackwardUses backward_uses() const override { return from_output_ ? BackwardUses{0, 1} : BackwardUses{1, 0}; }
  bool can_run_in_place() const override { return true; }
  uint32_t halves() const override { return kInForward | kInBackward | kOnDevice; }

 private:
  Activation act_;
  bool from_output_ = false, has_alpha_ = false;
};

struct UnaryName {
  Unary fn;
  const char* name;
};
constexpr UnaryName kUnary[] = {{Unary::kNeg, "neg"},
                                {Unary::kAbs, "abs"},
                                {Unary::kSign, "sign"},
                                {Unary::kSquare, "square"},
                                {Unary::kSqrt, "sqrt"},
                                {Unary::kRsqrt, "rsqrt"},
                                {Unary::kReciprocal, "reciprocal"},
                                {Unary::kExp, "exp"},
                                {Unary::kExpm1, "expm1"},
                                {Unary::kLog, "log"},
                                {Unary::kLog1p, "log1p"},
                                {Unary::kSin, "sin"},
                                {Unary::kCos, "cos"},
                                {Unary::kErf, "erf"},
                                {Unary::kFloor, "floor"},
                                {Unary::kCeil, "ceil"},
                                {Unary::kRound, "round"}};
static_assert(std::size(kUnary) == static_cast<size_t>(Unary::kCount));

class UnaryOp final : public Op {
 public:
  UnaryOp(const UnaryName& f, const Json& attrs) : fn_(f.fn), name_(f.name) { AttrReader(name_, attrs).done(); }

  std::string_view name() const override { return name_; }
  Json attrs() const override { return Json(Json::Object{}); }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(name_, in, 1, 1);
    check_float(name_, "x", in[0]);
    return {{in[0]}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_real(args.in[0].dtype, name_, "x", [&]<class T>() {
      UnaryParams<T> p;
      p.n = args.in[0].size();
      p.x = args.in[0].as<T>();
      p.y = args.out[0].as<T>();
      p.fn = fn_;
      exec.kernels<T>().elementwise.unary(exec.context(), p);
    });
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_in[0]) return;
    if (!args.grad_out[0]) return zero_tensor(exec, args.grad_in[0]);
    dispatch_real(args.grad_in[0].dtype, name_, "x", [&]<class T>() {
      UnaryBackwardParams<T> p;
      p.n = args.grad_in[0].size();
      if (unary_grad_from_output(fn_)) p.value = args.out[0].as<T>();
      if (unary_grad_from_input(fn_)) p.value = args.in[0].as<T>();
      p.dy = args.grad_out[0].as<T>();
      p.dx = args.grad_in[0].as<T>();
      p.fn = fn_;
      exec.kernels<T>().elementwise.unary_backward(exec.context(), p);
    });
  }
  BackwardUses backward_uses() const override {
    return {unary_grad_from_input(fn_) ? 1u : 0u, unary_grad_from_output(fn_) ? 1u : 0u};
  }
  bool can_run_in_place() const override { return true; }
  uint32_t halves() const override { return kInForward | kInBackward | kOnDevice; }

 private:
  Unary fn_;
  const char* name_;
};

// y = min(max(x, min), max). Attributes: min, max; either may be left out. The gradient passes where min <= x <= max.
class ClipOp final : public Op {
 public:
  explicit ClipOp(const Json& attrs) {
    AttrReader a("clip", attrs);
    if (a.has("min")) low_ = a.get_double("min", 0);
    if (a.has("max")) high_ = a.get_double("max", 0);
    a.done();
    if (std::isnan(low_) || std::isnan(high_)) fail_value("clip", "min and max", "numbers", "nan");
    if (low_ > high_) {
      fail_value("clip", "min", "at most max = " + std::to_string(high_), std::to_string(low_));
    }
  }

  std::string_view name() const override { return "clip"; }
  Json attrs() const override {
    Json a(Json::Object{});
    if (std::isfinite(low_)) a.set("min", low_);
    if (std::isfinite(high_)) a.set("max", high_);
    return a;
  }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count("clip", in, 1, 1);
    check_float("clip", "x", in[0]);
    return {{in[0]}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_real(args.in[0].dtype, "clip", "x", [&]<class T>() {
      exec.kernels<T>().elementwise.clip(exec.context(), params<T>(args.in[0], args.out[0]));
    });
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_in[0]) return;
    if (!args.grad_out[0]) return zero_tensor(exec, args.grad_in[0]);
    dispatch_real(args.grad_in[0].dtype, "clip", "x", [&]<class T>() {
      ClipParams<T> p = params<T>(args.in[0], args.grad_in[0]);
      p.dy = args.grad_out[0].as<T>();
      exec.kernels<T>().elementwise.clip_backward(exec.context(), p);
    });
  }
  BackwardUses backward_uses() const override { return {1, 0}; }
  bool can_run_in_place() const override { return true; }
  uint32_t halves() const override { return kInForward | kInBackward | kOnDevice; }

 private:
  template <class T>
  ClipParams<T> params(const TensorView& x, const TensorView& y) const {
    ClipParams<T> p;
    p.n = x.size();
    p.x = x.as<T>();
    p.y = y.as<T>();
    p.low = static_cast<Real<T>>(low_);
    p.high = static_cast<Real<T>>(high_);
    return p;
  }
  double low_ = -std::numeric_limits<double>::infinity(), high_ = std::numeric_limits<double>::infinity();
};

// Two float inputs of one dtype that broadcast.
Shape infer_pair(const char* op, std::span<const TensorSpec> in) {
  check_count(op, in, 2, 2);
  check_float(op, "a", in[0]);
  check_same_dtype(op, "b", in[1], in[0].dtype);
  return broadcast_shape(op, in);
}

struct BinaryName {
  Binary fn;
  const char* name;
};
constexpr BinaryName kBinary[] = {{Binary::kAdd, "add"}, {Binary::kSub, "sub"},         {Binary::kMul, "mul"},
                                  {Binary::kDiv, "div"}, {Binary::kMaximum, "maximum"}, {Binary::kMinimum, "minimum"},
                                  {Binary::kPow, "pow"}};
static_assert(std::size(kBinary) == static_cast<size_t>(Binary::kCount));

class BinaryOp final : public Op {
 public:
  BinaryOp(const BinaryName& f, const Json& attrs) : fn_(f.fn), name_(f.name) { AttrReader(name_, attrs).done(); }

  std::string_view name() const override { return name_; }
  Json attrs() const override { return Json(Json::Object{}); }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    const Shape out = infer_pair(name_, in);
    return {{{in[0].dtype, out}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_real(args.in[0].dtype, name_, "a", [&]<class T>() {
      BinaryParams<T> p;
      p.dims = collapse(args.out[0].shape, std::array{args.in[0].shape, args.in[1].shape});
      p.a = args.in[0].as<T>();
      p.b = args.in[1].as<T>();
      p.y = args.out[0].as<T>();
      p.fn = fn_;
      exec.kernels<T>().elementwise.binary(exec.context(), p);
    });
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_out[0]) {
      for (const TensorView& g : args.grad_in)
        if (g) zero_tensor(exec, g);
      return;
    }
    dispatch_real(args.grad_out[0].dtype, name_, "a", [&]<class T>() {
      BinaryBackwardParams<T> p;
      p.dims = collapse(args.grad_out[0].shape, std::array{args.in[0].shape, args.in[1].shape});
      p.a = args.in[0].as<T>();
      p.b = args.in[1].as<T>();
      p.y = args.out[0].as<T>();
      p.dy = args.grad_out[0].as<T>();
      p.da = args.grad_in[0].as<T>();
      p.db = args.grad_in[1].as<T>();
      p.fn = fn_;
      const ElementwiseKernels<T>& k = exec.kernels<T>().elementwise;
      k.binary_backward(exec.context(k.binary_backward_workspace(p, num_threads())), p);
    });
  }
  BackwardUses backward_uses() const override {
    switch (fn_) {
      case Binary::kAdd:
      case Binary::kSub:
        return {0, 0};
      case Binary::kPow:
        return {3, 1};
      default:
        return {3, 0};
    }
  }
  bool can_run_in_place() const override { return true; }
  uint32_t halves() const override { return kInForward | kInBackward | kOnDevice; }

 private:
  Binary fn_;
  const char* name_;
};

struct CompareName {
  Compare fn;
  const char* name;
};
constexpr CompareName kCompare[] = {{Compare::kEqual, "equal"},     {Compare::kNotEqual, "not_equal"},
                                    {Compare::kLess, "less"},       {Compare::kLessEqual, "less_equal"},
                                    {Compare::kGreater, "greater"}, {Compare::kGreaterEqual, "greater_equal"}};
static_assert(std::size(kCompare) == static_cast<size_t>(Compare::kCount));

// uint8: 1 where the comparison holds, else 0.
class CompareOp final : public Op {
 public:
  CompareOp(const CompareName& f, const Json& attrs) : fn_(f.fn), name_(f.name) { AttrReader(name_, attrs).done(); }

  std::string_view name() const override { return name_; }
  Json attrs() const override { return Json(Json::Object{}); }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    return {{{DType::kU8, infer_pair(name_, in)}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_real(args.in[0].dtype, name_, "a", [&]<class T>() {
      CompareParams<T> p;
      p.dims = collapse(args.out[0].shape, std::array{args.in[0].shape, args.in[1].shape});
      p.a = args.in[0].as<T>();
      p.b = args.in[1].as<T>();
      p.y = args.out[0].as<uint8_t>();
      p.fn = fn_;
      exec.kernels<T>().elementwise.compare(exec.context(), p);
    });
  }
  bool differentiable(int) const override { return false; }
  uint32_t halves() const override { return kInForward | kOnDevice; }
  BackwardUses backward_uses() const override { return {0, 0}; }

 private:
  Compare fn_;
  const char* name_;
};

// y = condition ? a : b; the condition is uint8, anything but 0 is true.
class WhereOp final : public Op {
 public:
  explicit WhereOp(const Json& attrs) { AttrReader("where", attrs).done(); }

  std::string_view name() const override { return "where"; }
  Json attrs() const override { return Json(Json::Object{}); }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count("where", in, 3, 3);
    if (in[0].dtype != DType::kU8) fail_type("where", "condition", "uint8", dtype_name(in[0].dtype));
    check_float("where", "a", in[1]);
    check_same_dtype("where", "b", in[2], in[1].dtype);
    return {{{in[1].dtype, broadcast_shape("where", in)}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_real(args.in[1].dtype, "where", "a", [&]<class T>() {
      WhereParams<T> p = params<T>(args.out[0].shape, args.in);
      p.a = args.in[1].as<T>();
      p.b = args.in[2].as<T>();
      p.y = args.out[0].as<T>();
      exec.kernels<T>().elementwise.where(exec.context(), p);
    });
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_out[0]) {
      for (const TensorView& g : args.grad_in)
        if (g) zero_tensor(exec, g);
      return;
    }
    dispatch_real(args.grad_out[0].dtype, "where", "a", [&]<class T>() {
      WhereParams<T> p = params<T>(args.grad_out[0].shape, args.in);
      p.dy = args.grad_out[0].as<T>();
      p.da = args.grad_in[1].as<T>();
      p.db = args.grad_in[2].as<T>();
      const ElementwiseKernels<T>& k = exec.kernels<T>().elementwise;
      k.where_backward(exec.context(k.where_backward_workspace(p, num_threads())), p);
    });
  }
  bool differentiable(int input) const override { return input > 0; }
  uint32_t halves() const override { return kInForward | kInBackward | kOnDevice; }
  BackwardUses backward_uses() const override { return {1, 0}; }

 private:
  template <class T>
  static WhereParams<T> params(const Shape& out, std::span<const TensorView> in) {
    WhereParams<T> p;
    p.dims = collapse(out, std::array{in[0].shape, in[1].shape, in[2].shape});
    p.condition = in[0].as<uint8_t>();
    return p;
  }
};

template <class OpT>
OpPtr make(const Json& attrs) {
  return std::make_shared<OpT>(attrs);
}
}  // namespace

void register_elementwise(OpRegistry& r) {
  r.add("activation", make<ActivationOp>);
  add_named<UnaryOp, kUnary>(r);
  r.add("clip", make<ClipOp>);
  add_named<BinaryOp, kBinary>(r);
  add_named<CompareOp, kCompare>(r);
  r.add("where", make<WhereOp>);
}

}  // namespace lamella
