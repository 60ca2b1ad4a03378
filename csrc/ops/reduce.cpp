// Ops: sum, mean, max, min, prod, sum_squares, norm (the L2 norm), var, std over any set of axes; argmax, argmin.
#include <array>
#include <utility>

#include "base/thread_pool.h"
#include "ops/broadcast.h"
#include "ops/memory.h"
#include "ops/named_ops.h"
#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

// Attributes axes (absent: all) and keepdims.
struct Axes {
  std::optional<std::vector<int64_t>> axes;
  bool keepdims = false;

  explicit Axes(AttrReader& a) {
    if (a.has("axes")) axes = a.get_ints("axes", {});
    keepdims = a.get_bool("keepdims", false);
  }
  void save(Json& to) const {
    if (axes) {
      Json::Array list;
      for (const int64_t axis : *axes) list.emplace_back(axis);
      to.set("axes", std::move(list));
    }
    to.set("keepdims", keepdims);
  }
  std::vector<bool> reduced(const char* op, const Shape& shape) const { return reduced_axes(op, shape, axes); }
  Shape shape(const char* op, const Shape& in) const { return reduced_shape(in, reduced(op, in), keepdims); }
  ReduceDims dims(const char* op, const Shape& in) const { return collapse(in, reduced(op, in)); }
};

struct ReduceName {
  Reduce fn;
  const char* name;
};
constexpr ReduceName kReduce[] = {{Reduce::kSum, "sum"},  {Reduce::kMean, "mean"}, {Reduce::kMax, "max"},
                                  {Reduce::kMin, "min"},  {Reduce::kProd, "prod"}, {Reduce::kSumSquares, "sum_squares"},
                                  {Reduce::kNorm, "norm"}};
static_assert(std::size(kReduce) == static_cast<size_t>(Reduce::kCount));

class ReduceOp final : public Op {
 public:
  ReduceOp(const ReduceName& f, const Json& attrs) : ReduceOp(f, AttrReader(f.name, attrs)) {}

  std::string_view name() const override { return name_; }
  Json attrs() const override {
    Json a(Json::Object{});
    axes_.save(a);
    return a;
  }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(name_, in, 1, 1);
    check_float(name_, "x", in[0]);
    const Shape out = axes_.shape(name_, in[0].shape);
    if (extremum() && in[0].shape.size() == 0 && out.size() != 0) {
      fail_value(name_, "x", "at least one element to choose from", in[0].shape.str());
    }
    return {{{in[0].dtype, out}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, name_, "x", [&]<class T>() {
      ReduceParams<T> p;
      p.dims = axes_.dims(name_, args.in[0].shape);
      p.x = args.in[0].as<T>();
      p.y = args.out[0].as<T>();
      p.fn = fn_;
      const ReduceKernels<T>& k = exec.kernels<T>().reduce;
      k.reduce(exec.context(k.reduce_workspace(p, num_threads())), p);
    });
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_in[0]) return;
    if (!args.grad_out[0]) return zero_tensor(exec, args.grad_in[0]);
    dispatch_float(args.grad_in[0].dtype, name_, "x", [&]<class T>() {
      ReduceBackwardParams<T> p;
      p.dims = axes_.dims(name_, args.grad_in[0].shape);
      p.x = args.in[0].as<T>();
      p.y = args.out[0].as<T>();
      p.dy = args.grad_out[0].as<T>();
      p.dx = args.grad_in[0].as<T>();
      p.fn = fn_;
      const ReduceKernels<T>& k = exec.kernels<T>().reduce;
      k.reduce_backward(exec.context(k.reduce_backward_workspace(p, num_threads())), p);
    });
  }
  BackwardUses backward_uses() const override {
    if (fn_ == Reduce::kSum || fn_ == Reduce::kMean) return {0, 0};
    return {1, fn_ == Reduce::kSumSquares || fn_ == Reduce::kProd ? 0u : 1u};
  }

 private:
  ReduceOp(const ReduceName& f, AttrReader a) : fn_(f.fn), name_(f.name), axes_(a) { a.done(); }
  bool extremum() const { return fn_ == Reduce::kMax || fn_ == Reduce::kMin; }

  Reduce fn_;
  const char* name_;
  Axes axes_;
};

struct VarName {
  bool root;
  const char* name;
};
constexpr VarName kVar[] = {{false, "var"}, {true, "std"}};

// Attributes axes, keepdims, ddof (taken off the count in the denominator). Saves the mean.
class VarOp final : public Op {
 public:
  VarOp(const VarName& f, const Json& attrs) : VarOp(f, AttrReader(f.name, attrs)) {}

  std::string_view name() const override { return name_; }
  Json attrs() const override {
    Json a(Json::Object{});
    axes_.save(a);
    a.set("ddof", ddof_);
    return a;
  }
  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    check_count(name_, in, 1, 1);
    check_float(name_, "x", in[0]);
    const TensorSpec out{in[0].dtype, axes_.shape(name_, in[0].shape)};
    return {{out}, training ? std::vector<TensorSpec>{out} : std::vector<TensorSpec>{}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, name_, "x", [&]<class T>() {
      VarParams<T> p = params<T>(args.in[0].shape);
      p.x = args.in[0].as<T>();
      p.var = args.out[0].as<T>();
      const ReduceKernels<T>& k = exec.kernels<T>().reduce;
      const size_t partials = (k.var_workspace(p, num_threads()) + 63) / 64 * 64;
      const bool keep = !args.saved.empty();
      const Context ctx = exec.context(partials + (keep ? 0 : static_cast<size_t>(args.out[0].spec().bytes())));
      p.mean = keep ? args.saved[0].as<T>() : reinterpret_cast<T*>(static_cast<char*>(ctx.workspace) + partials);
      k.var(ctx, p);
    });
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_in[0]) return;
    if (!args.grad_out[0]) return zero_tensor(exec, args.grad_in[0]);
    dispatch_float(args.grad_in[0].dtype, name_, "x", [&]<class T>() {
      VarParams<T> p = params<T>(args.grad_in[0].shape);
      p.x = args.in[0].as<T>();
      p.mean = args.saved[0].as<T>();
      p.var = args.out[0].as<T>();
      p.dy = args.grad_out[0].as<T>();
      p.dx = args.grad_in[0].as<T>();
      exec.kernels<T>().reduce.var_backward(exec.context(), p);
    });
  }
  BackwardUses backward_uses() const override { return {1, root_ ? 1u : 0u}; }

 private:
  VarOp(const VarName& f, AttrReader a) : root_(f.root), name_(f.name), axes_(a), ddof_(a.get_double("ddof", 0)) {
    a.done();
    if (!(ddof_ >= 0)) fail_value(name_, "ddof", "at least 0", std::to_string(ddof_));
  }
  template <class T>
  VarParams<T> params(const Shape& shape) const {
    VarParams<T> p;
    p.dims = axes_.dims(name_, shape);
    p.ddof = ddof_;
    p.root = root_;
    return p;
  }

  bool root_;
  const char* name_;
  Axes axes_;
  double ddof_;
};

struct ArgName {
  bool largest;
  const char* name;
};
constexpr ArgName kArg[] = {{true, "argmax"}, {false, "argmin"}};

// int64 indices. Attributes: axis (absent: over all elements in order), keepdims.
class ArgOp final : public Op {
 public:
  ArgOp(const ArgName& f, const Json& attrs) : largest_(f.largest), name_(f.name) {
    AttrReader a(name_, attrs);
    if (a.has("axis")) axis_ = a.get_int("axis", 0);
    keepdims_ = a.get_bool("keepdims", false);
    a.done();
  }

  std::string_view name() const override { return name_; }
  Json attrs() const override {
    Json a(Json::Object{});
    if (axis_) a.set("axis", *axis_);
    a.set("keepdims", keepdims_);
    return a;
  }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(name_, in, 1, 1);
    check_float(name_, "x", in[0]);
    const Shape& x = in[0].shape;
    std::optional<std::vector<int64_t>> axes;
    if (axis_) {
      if (*axis_ < -x.rank() || *axis_ >= x.rank()) {
        fail_value(name_, "axis", "an axis of an array of shape " + x.str(), std::to_string(*axis_));
      }
      axes = {*axis_};
    }
    const Shape out = reduced_shape(x, reduced_axes(name_, x, axes), keepdims_);
    if (x.size() == 0 && out.size() != 0) {
      fail_value(name_, "x", "at least one element to choose from", x.str());
    }
    // Kernels count the positions in the integers that go with float32.
    if (axis_ && x.size() != 0 && x[static_cast<int>(*axis_)] > INT32_MAX) {
      fail_value(name_, "x", "at most 2^31 - 1 elements along the axis", x.str());
    }
    return {{{DType::kI64, out}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, name_, "x", [&]<class T>() {
      const Shape& x = args.in[0].shape;
      ArgParams<T> p;
      p.length = x.size();
      if (axis_) {
        const int axis = static_cast<int>(*axis_ < 0 ? *axis_ + x.rank() : *axis_);
        p.length = x[axis];
        for (int i = 0; i < axis; ++i) p.outer *= x[i];
        for (int i = axis + 1; i < x.rank(); ++i) p.inner *= x[i];
      }
      p.x = args.in[0].as<T>();
      p.y = args.out[0].as<int64_t>();
      p.largest = largest_;
      const ReduceKernels<T>& k = exec.kernels<T>().reduce;
      k.arg(exec.context(k.arg_workspace(p, num_threads())), p);
    });
  }
  bool differentiable(int) const override { return false; }
  BackwardUses backward_uses() const override { return {0, 0}; }

 private:
  bool largest_;
  const char* name_;
  std::optional<int64_t> axis_;
  bool keepdims_ = false;
};

}  // namespace

void register_reduce(OpRegistry& r) {
  add_named<ReduceOp, kReduce>(r);
  add_named<VarOp, kVar>(r);
  add_named<ArgOp, kArg>(r);
}

}  // namespace lamella
