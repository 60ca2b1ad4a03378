// batch_norm, group_norm, instance_norm on (n, ..., c); layer_norm and rms_norm over the last axes.
#include "ops/memory.h"
#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

bool given(std::span<const TensorSpec> in, size_t i) { return i < in.size() && !absent(in[i]); }

template <class T>
T* data_of(std::span<const TensorView> views, size_t i) {
  return i < views.size() ? views[i].as<T>() : nullptr;
}

double read_eps(AttrReader& a, const char* op) {
  const double eps = a.get_double("eps", 1e-5);
  if (!(eps >= 0)) fail_value(op, "eps", "a number >= 0", std::to_string(eps));
  return eps;
}

// A parameter of the shape that the normalised part of x has.
void check_parameter(const char* op, const char* argument, std::span<const TensorSpec> in, size_t i,
                     const Shape& shape) {
  if (!given(in, i)) return;
  check_same_dtype(op, argument, in[i], in[0].dtype);
  if (!(in[i].shape == shape)) fail_value(op, argument, "shape " + shape.str(), in[i].shape.str());
}

void zero_gradients(Exec& exec, std::span<const TensorView> grad_in) {
  for (const TensorView& g : grad_in)
    if (g) zero_tensor(exec, g);
}

// ---- batch norm ----------------------------------------------------------------------------------------------------

// Inputs x (..., c), then (c) each and optional: gamma, beta, running_mean, running_var. The statistics are the batch's
// in training and wherever there are no running ones, else the running ones.
//   momentum              weight of the old value in the running statistics
//   unbiased_running_var  n / (n - 1) times the batch's variance goes into running_var
//   use_running_stats     also in training: frozen layers, gradients in evaluation mode
//   activation            "identity" or "relu"
class BatchNorm final : public Op {
 public:
  explicit BatchNorm(const Json& attrs) {
    AttrReader a(kName, attrs);
    eps_ = read_eps(a, kName);
    momentum_ = a.get_double("momentum", 0.99);
    if (!(momentum_ >= 0 && momentum_ <= 1)) {
      fail_value(kName, "momentum", "a number from 0 to 1", std::to_string(momentum_));
    }
    unbiased_ = a.get_bool("unbiased_running_var", false);
    use_running_ = a.get_bool("use_running_stats", false);
    const std::string act = a.get_string("activation", "identity");
    relu_ = act == "relu";
    if (!relu_ && act != "identity") fail_value(kName, "activation", "'identity' or 'relu'", "'" + act + "'");
    a.done();
  }

  std::string_view name() const override { return kName; }
  bool follows_first() const override { return true; }
  Json attrs() const override {
    return Json::Object{{"eps", eps_},
                        {"momentum", momentum_},
                        {"unbiased_running_var", unbiased_},
                        {"use_running_stats", use_running_},
                        {"activation", relu_ ? "relu" : "identity"}};
  }

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    check_count(kName, in, 1, 5);
    check_float(kName, "x", in[0]);
    if (in[0].shape.rank() < 2) fail_value(kName, "x", "a rank of at least 2: (n, ..., c)", in[0].shape.str());
    const Shape channels{in[0].shape[-1]};
    constexpr const char* kArguments[] = {"x", "gamma", "beta", "running_mean", "running_var"};
    for (size_t i = 1; i < 5; ++i) check_parameter(kName, kArguments[i], in, i, channels);
    if (given(in, 3) != given(in, 4)) {
      fail_value(kName, "running_mean, running_var", "both or neither",
                 given(in, 3) ? "the mean only" : "the variance only");
    }
    if (use_running_ && !given(in, 3)) {
      fail_value(kName, "use_running_stats", "running_mean and running_var among the inputs", "none");
    }
    const int64_t rows = channels[0] > 0 ? in[0].shape.size() / channels[0] : 0;
    if (training && !use_running_ && given(in, 3) && unbiased_ && rows == 1) {
      fail_value(kName, "x", "more than one value per channel for unbiased_running_var", in[0].shape.str());
    }
    Signature sig{{in[0]}, {}};
    if (training) sig.saved = {{in[0].dtype, channels}, {in[0].dtype, channels}};  // mean, inv_std
    return sig;
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, kName, "x", [&]<class T>() {
      const NormKernels<T>& k = exec.kernels<T>().norm;
      ChannelNormParams<T> p;
      set_sizes(p, args.in[0].shape);
      p.x = args.in[0].as<const T>();
      p.gamma = data_of<const T>(args.in, 1);
      p.beta = data_of<const T>(args.in, 2);
      p.y = args.out[0].as<T>();
      p.eps = eps_;
      p.relu = relu_;
      T* running_mean = data_of<T>(args.in, 3);
      T* running_var = data_of<T>(args.in, 4);
      if (running_mean != nullptr && (use_running_ || !exec.training)) {
        p.given_mean = running_mean;
        p.given_var = running_var;
      } else if (exec.training) {
        p.running_mean = running_mean;
        p.running_var = running_var;
        p.momentum = momentum_;
        p.unbiased_running_var = unbiased_;
      }
      p.mean = data_of<T>(args.saved, 0);
      p.inv_std = data_of<T>(args.saved, 1);
      k.channel_norm(exec.context(k.channel_norm_workspace(p, exec.context().threads)), p);
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_out[0]) return zero_gradients(exec, args.grad_in);
    dispatch_float(args.grad_out[0].dtype, kName, "x", [&]<class T>() {
      const NormKernels<T>& k = exec.kernels<T>().norm;
      ChannelNormBackwardParams<T> p;
      set_sizes(p, args.grad_out[0].shape);
      p.grad_out = args.grad_out[0].as<const T>();
      p.x = args.in[0].as<const T>();
      p.y = relu_ ? args.out[0].as<const T>() : nullptr;
      p.gamma = data_of<const T>(args.in, 1);
      p.mean = args.saved[0].as<const T>();
      p.inv_std = args.saved[1].as<const T>();
      p.relu = relu_;
      p.constant = use_running_;
      p.grad_in = args.grad_in[0].as<T>();
      p.grad_gamma = data_of<T>(args.grad_in, 1);
      p.grad_beta = data_of<T>(args.grad_in, 2);
      k.channel_norm_backward(exec.context(k.channel_norm_backward_workspace(p, exec.context().threads)), p);
    });
  }

  bool differentiable(int input) const override { return input < 3; }
  BackwardUses backward_uses() const override { return {0b11, relu_ ? 1u : 0u}; }
  uint32_t mutates() const override { return use_running_ ? 0 : 0b11000; }
  double flops(std::span<const TensorSpec> in) const override { return 6.0 * static_cast<double>(in[0].shape.size()); }

 private:
  static constexpr const char* kName = "batch_norm";

  template <class Params>
  static void set_sizes(Params& p, const Shape& x) {
    p.n = 1;
    p.c = p.groups = x[-1];
    p.rows = p.c > 0 ? x.size() / p.c : 0;
  }

  double eps_, momentum_;
  bool unbiased_, use_running_, relu_;
};

// ---- group and instance norm
// -------------------------------------------------------------------------------------------

// Inputs x (n, ..., c), gamma (c) and beta (c) optional. Statistics of each image over the middle axes and c / groups
// neighbouring channels; instance norm: over the middle axes alone.
class GroupNorm final : public Op {
 public:
  GroupNorm(bool instance, const Json& attrs) : instance_(instance) {
    const char* op = label();
    AttrReader a(op, attrs);
    eps_ = read_eps(a, op);
    if (!instance) {
      if (!a.has("groups")) fail_value(op, "groups", "a number of groups", "none");
      groups_ = a.get_int("groups", 0);
      if (groups_ < 1) fail_value(op, "groups", "at least 1", std::to_string(groups_));
    }
    a.done();
  }

  std::string_view name() const override { return label(); }
  bool follows_first() const override { return true; }
  Json attrs() const override {
    Json a = Json::Object{{"eps", eps_}};
    if (!instance_) a.set("groups", groups_);
    return a;
  }

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    const char* op = label();
    check_count(op, in, 1, 3);
    check_float(op, "x", in[0]);
    const int least = instance_ ? 3 : 2;
    if (in[0].shape.rank() < least) {
      fail_value(op, "x", "a rank of at least " + std::to_string(least) + ": (n, ..., c)", in[0].shape.str());
    }
    const Shape channels{in[0].shape[-1]};
    if (!instance_ && channels[0] % groups_ != 0) {
      fail_value(op, "groups", "a divisor of the " + std::to_string(channels[0]) + " channels",
                 std::to_string(groups_));
    }
    check_parameter(op, "gamma", in, 1, channels);
    check_parameter(op, "beta", in, 2, channels);
    Signature sig{{in[0]}, {}};
    const Shape stats{in[0].shape[0], instance_ ? channels[0] : groups_};
    if (training) sig.saved = {{in[0].dtype, stats}, {in[0].dtype, stats}};  // mean, inv_std
    return sig;
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, label(), "x", [&]<class T>() {
      const NormKernels<T>& k = exec.kernels<T>().norm;
      ChannelNormParams<T> p;
      set_sizes(p, args.in[0].shape);
      p.x = args.in[0].as<const T>();
      p.gamma = data_of<const T>(args.in, 1);
      p.beta = data_of<const T>(args.in, 2);
      p.y = args.out[0].as<T>();
      p.eps = eps_;
      p.mean = data_of<T>(args.saved, 0);
      p.inv_std = data_of<T>(args.saved, 1);
      k.channel_norm(exec.context(k.channel_norm_workspace(p, exec.context().threads)), p);
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_out[0]) return zero_gradients(exec, args.grad_in);
    dispatch_float(args.grad_out[0].dtype, label(), "x", [&]<class T>() {
      const NormKernels<T>& k = exec.kernels<T>().norm;
      ChannelNormBackwardParams<T> p;
      set_sizes(p, args.grad_out[0].shape);
      p.grad_out = args.grad_out[0].as<const T>();
      p.x = args.in[0].as<const T>();
      p.gamma = data_of<const T>(args.in, 1);
      p.mean = args.saved[0].as<const T>();
      p.inv_std = args.saved[1].as<const T>();
      p.grad_in = args.grad_in[0].as<T>();
      p.grad_gamma = data_of<T>(args.grad_in, 1);
      p.grad_beta = data_of<T>(args.grad_in, 2);
      k.channel_norm_backward(exec.context(k.channel_norm_backward_workspace(p, exec.context().threads)), p);
    });
  }

  BackwardUses backward_uses() const override { return {0b11, 0}; }
  double flops(std::span<const TensorSpec> in) const override { return 8.0 * static_cast<double>(in[0].shape.size()); }

 private:
  const char* label() const { return instance_ ? "instance_norm" : "group_norm"; }

  template <class Params>
  void set_sizes(Params& p, const Shape& x) const {
    p.n = x[0];
    p.c = x[-1];
    p.groups = instance_ ? p.c : groups_;
    p.rows = 1;
    for (int i = 1; i < x.rank() - 1; ++i) p.rows *= x[i];
  }

  bool instance_;
  double eps_;
  int64_t groups_ = 0;
};

// ---- layer and RMS norm
// --------------------------------------------------------------------------------------------------

// Inputs x, gamma optional, and for layer norm beta optional, each of the shape of x's last `axes` axes, over which the
// statistics are taken.
class RowNorm final : public Op {
 public:
  RowNorm(bool rms, const Json& attrs) : rms_(rms) {
    AttrReader a(label(), attrs);
    eps_ = read_eps(a, label());
    axes_ = a.get_int("axes", 1);
    if (axes_ < 1) fail_value(label(), "axes", "at least 1", std::to_string(axes_));
    a.done();
  }

  std::string_view name() const override { return label(); }
  bool follows_first() const override { return true; }
  Json attrs() const override { return Json::Object{{"eps", eps_}, {"axes", axes_}}; }

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    const char* op = label();
    check_count(op, in, 1, rms_ ? 2 : 3);
    check_float(op, "x", in[0]);
    const Shape& x = in[0].shape;
    if (x.rank() < axes_) {
      fail_value(op, "x", "a rank of at least " + std::to_string(axes_) + ", the number of axes", x.str());
    }
    Shape last, stats;
    for (int i = 0; i < x.rank(); ++i) (i < x.rank() - axes_ ? stats : last).push_back(x[i]);
    check_parameter(op, "gamma", in, 1, last);
    check_parameter(op, "beta", in, 2, last);
    Signature sig{{in[0]}, {}};
    if (training) {
      sig.saved = {{in[0].dtype, stats}};  // inv_std, mean
      if (!rms_) sig.saved.push_back({in[0].dtype, stats});
    }
    return sig;
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, label(), "x", [&]<class T>() {
      const NormKernels<T>& k = exec.kernels<T>().norm;
      RowNormParams<T> p;
      set_sizes(p, args.in[0].shape);
      p.x = args.in[0].as<const T>();
      p.gamma = data_of<const T>(args.in, 1);
      p.beta = data_of<const T>(args.in, 2);
      p.y = args.out[0].as<T>();
      p.eps = eps_;
      p.inv_std = data_of<T>(args.saved, 0);
      p.mean = data_of<T>(args.saved, 1);
      (rms_ ? k.rms_norm : k.layer_norm)(exec.context(), p);
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_out[0]) return zero_gradients(exec, args.grad_in);
    dispatch_float(args.grad_out[0].dtype, label(), "x", [&]<class T>() {
      const NormKernels<T>& k = exec.kernels<T>().norm;
      RowNormBackwardParams<T> p;
      set_sizes(p, args.grad_out[0].shape);
      p.grad_out = args.grad_out[0].as<const T>();
      p.x = args.in[0].as<const T>();
      p.gamma = data_of<const T>(args.in, 1);
      p.inv_std = args.saved[0].as<const T>();
      p.mean = data_of<const T>(args.saved, 1);
      p.grad_in = args.grad_in[0].as<T>();
      p.grad_gamma = data_of<T>(args.grad_in, 1);
      p.grad_beta = data_of<T>(args.grad_in, 2);
      const Context ctx = exec.context(k.row_norm_backward_workspace(p, exec.context().threads));
      (rms_ ? k.rms_norm_backward : k.layer_norm_backward)(ctx, p);
    });
  }

  BackwardUses backward_uses() const override { return {0b11, 0}; }
  double flops(std::span<const TensorSpec> in) const override { return 8.0 * static_cast<double>(in[0].shape.size()); }

 private:
  const char* label() const { return rms_ ? "rms_norm" : "layer_norm"; }

  template <class Params>
  void set_sizes(Params& p, const Shape& x) const {
    p.rows = p.d = 1;
    for (int i = 0; i < x.rank(); ++i) (i < x.rank() - axes_ ? p.rows : p.d) *= x[i];
  }

  bool rms_;
  double eps_;
  int64_t axes_;
};

}  // namespace

void register_norm(OpRegistry& r) {
  r.add("batch_norm", [](const Json& a) -> OpPtr { return std::make_shared<BatchNorm>(a); });
  r.add("group_norm", [](const Json& a) -> OpPtr { return std::make_shared<GroupNorm>(false, a); });
  r.add("instance_norm", [](const Json& a) -> OpPtr { return std::make_shared<GroupNorm>(true, a); });
  r.add("layer_norm", [](const Json& a) -> OpPtr { return std::make_shared<RowNorm>(false, a); });
  r.add("rms_norm", [](const Json& a) -> OpPtr { return std::make_shared<RowNorm>(true, a); });
}

}  // namespace lamella
