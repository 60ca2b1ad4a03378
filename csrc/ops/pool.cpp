// max_pool1d/2d, avg_pool1d/2d, adaptive_{max,avg}_pool1d/2d, global_{max,avg}_pool on (n, ..., c).
//
//   window      [h, w] (1-D: [w]), or one integer for both
//   stride      likewise; default: the window
//   dilation    likewise; max only
//   padding     "valid", "same" (Keras' rule: ceil(in / stride) outputs, the odd element behind), or integers: one for
//   all
//               sides, [h, w], or [top, bottom, left, right] (1-D: [p] or [left, right])
//   ceil_mode   a last window that starts inside the input or its padding counts even if it sticks out
//   count_include_pad, divisor   average only: padding counts as zeros (not what sticks out), a fixed divisor
#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "ops/memory.h"
#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

std::string list_text(const std::vector<int64_t>& v) {
  std::string s = "[";
  for (size_t i = 0; i < v.size(); ++i) s += (i ? ", " : "") + std::to_string(v[i]);
  return s + "]";
}

Json list_json(const std::vector<int64_t>& v) {
  Json::Array a;
  for (int64_t i : v) a.emplace_back(i);
  return a;
}

// What an op of this file pools over, from its attributes; the sizes follow from an input's shape.
class Windows {
 public:
  virtual ~Windows() = default;
  virtual int rank() const = 0;  // of the input; 0: any from 3
  virtual PoolShape resolve(const char* op, const Shape& in) const = 0;
  virtual void write(Json& attrs) const = 0;
  virtual Shape output(const Shape& in, const PoolShape& s) const {
    return in.rank() == 3 ? Shape{s.n, s.w.out, s.c} : Shape{s.n, s.h.out, s.w.out, s.c};
  }
};

// `dims` values, from one for all or one each; each at least `least`.
std::vector<int64_t> per_axis(AttrReader& a, const std::string& op, const char* key, size_t dims,
                              std::vector<int64_t> fallback, int64_t least) {
  std::vector<int64_t> v = a.get_sizes(key, std::move(fallback));
  if (v.size() == 1) v.resize(dims, v[0]);
  if (v.size() != dims || std::any_of(v.begin(), v.end(), [&](int64_t x) { return x < least; })) {
    fail_value(op, key, "1 or " + std::to_string(dims) + " integers >= " + std::to_string(least), list_text(v));
  }
  return v;
}

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

class SlidingWindows final : public Windows {
 public:
  SlidingWindows(AttrReader& a, const std::string& op, size_t dims, bool max) : dims_(dims), max_(max) {
    if (!a.has("window")) fail_value(op, "window", "an integer or a list of integers", "none");
    window_ = per_axis(a, op, "window", dims, {}, 1);
    stride_ = per_axis(a, op, "stride", dims, window_, 1);
    dilation_ = max ? per_axis(a, op, "dilation", dims, {1}, 1) : std::vector<int64_t>(dims, 1);
    ceil_mode_ = a.get_bool("ceil_mode", false);
    read_padding(a, op);
    if (same_ && ceil_mode_) fail_value(op, "ceil_mode", "false with padding 'same', which rounds up itself", "true");
  }

  int rank() const override { return static_cast<int>(dims_) + 2; }

  PoolShape resolve(const char* op, const Shape& in) const override {
    PoolShape s;
    s.n = in[0];
    s.c = in[-1];
    if (dims_ == 2) s.h = axis(op, 0, in[1], "height");
    s.w = axis(op, dims_ - 1, in[-2], dims_ == 2 ? "width" : "length");
    return s;
  }

  void write(Json& attrs) const override {
    attrs.set("window", list_json(window_));
    attrs.set("stride", list_json(stride_));
    if (max_) attrs.set("dilation", list_json(dilation_));
    attrs.set("padding", same_ ? Json("same") : list_json(padding_));
    attrs.set("ceil_mode", ceil_mode_);
  }

 private:
  void read_padding(AttrReader& a, const std::string& op) {
    const Json* p = a.get("padding");
    padding_.assign(2 * dims_, 0);
    if (p == nullptr) return;
    const char* expected =
        dims_ == 2 ? "'valid', 'same', p, [h, w] or [top, bottom, left, right]" : "'valid', 'same', p or [left, right]";
    if (p->is_string()) {
      same_ = p->as_string() == "same";
      if (!same_ && p->as_string() != "valid") fail_value(op, "padding", expected, "'" + p->as_string() + "'");
      return;
    }
    const std::vector<int64_t> v = a.get_sizes("padding", {});
    if (v.size() == 2 * dims_) {
      padding_ = v;
    } else if (v.size() == 1 || v.size() == dims_) {
      for (size_t i = 0; i < padding_.size(); ++i) padding_[i] = v[v.size() == 1 ? 0 : i / 2];
    } else {
      fail_value(op, "padding", expected, list_text(v));
    }
    for (size_t i = 0; i < padding_.size(); ++i) {
      const int64_t extent = (window_[i / 2] - 1) * dilation_[i / 2] + 1;
      if (padding_[i] < 0 || padding_[i] >= extent) {
        fail_value(op, "padding", "values from 0 to less than the window, " + std::to_string(extent), list_text(v));
      }
    }
  }

  PoolAxis axis(const char* op, size_t d, int64_t in, const char* what) const {
    PoolAxis a;
    a.in = in;
    a.window = window_[d];
    a.stride = stride_[d];
    a.dilation = dilation_[d];
    const int64_t extent = (a.window - 1) * a.dilation + 1;
    if (same_) {
      a.out = (in + a.stride - 1) / a.stride;
      const int64_t pad = std::max<int64_t>((a.out - 1) * a.stride + extent - in, 0);
      a.pad_lo = pad / 2;
      a.pad_hi = pad - a.pad_lo;
    } else {
      a.pad_lo = padding_[2 * d];
      a.pad_hi = padding_[2 * d + 1];
      const int64_t room = in + a.pad_lo + a.pad_hi - extent;
      a.out = floor_div(room + (ceil_mode_ ? a.stride - 1 : 0), a.stride) + 1;
      if (ceil_mode_ && (a.out - 1) * a.stride >= in + a.pad_lo) --a.out;
    }
    if (in <= 0 || a.out <= 0) {
      fail_value(op, "x", std::string("a ") + what + " (with padding) of at least " + std::to_string(extent),
                 std::to_string(in + a.pad_lo + a.pad_hi));
    }
    if (a.dilation > 1) check_taps(op, a);
    return a;
  }

  // With dilation the taps of a window that starts in the padding may step over a short input altogether. Where the
  // windows start, modulo the dilation, repeats after `period` of them, and at most `in` of those places are good.
  static void check_taps(const char* op, const PoolAxis& a) {
    const int64_t period = a.dilation / std::gcd(a.stride, a.dilation);
    for (int64_t o = 0; o < std::min(a.out, period) && o * a.stride < a.pad_lo; ++o) {
      const int64_t first = (a.dilation - (a.pad_lo - o * a.stride) % a.dilation) % a.dilation;
      if (first >= a.in) {
        fail_value(op, "x", "an input that every window meets",
                   "size " + std::to_string(a.in) + ", which window " + std::to_string(o) + " steps over");
      }
    }
  }

  size_t dims_;
  bool max_;
  bool same_ = false, ceil_mode_ = false;
  std::vector<int64_t> window_, stride_, dilation_, padding_;
};

// PyTorch's bins: output o looks at [floor(o*in/out), ceil((o+1)*in/out)).
class AdaptiveWindows final : public Windows {
 public:
  AdaptiveWindows(AttrReader& a, const std::string& op, size_t dims) : dims_(dims) {
    if (!a.has("output_size")) fail_value(op, "output_size", "an integer or a list of integers", "none");
    size_ = per_axis(a, op, "output_size", dims, {}, -1);
    if (std::count(size_.begin(), size_.end(), 0) != 0) {
      fail_value(op, "output_size", "sizes of at least 1, or -1 for the input's", list_text(size_));
    }
  }

  int rank() const override { return static_cast<int>(dims_) + 2; }

  PoolShape resolve(const char* op, const Shape& in) const override {
    PoolShape s;
    s.n = in[0];
    s.c = in[-1];
    if (dims_ == 2) s.h = axis(op, 0, in[1]);
    s.w = axis(op, dims_ - 1, in[-2]);
    return s;
  }

  void write(Json& attrs) const override { attrs.set("output_size", list_json(size_)); }

 private:
  PoolAxis axis(const char* op, size_t d, int64_t in) const {
    if (in <= 0) fail_value(op, "x", "pooled axes of at least 1", std::to_string(in));
    PoolAxis a;
    a.in = in;
    a.out = size_[d] == -1 ? in : size_[d];
    const int64_t rest = in % a.out;
    if (rest == 0) {
      a.window = a.stride = in / a.out;
      return a;
    }
    a.adaptive = true;
    // The largest bin: one that starts inside an element touches one more, and two more unless they end together.
    a.window = in / a.out + (a.out % rest == 0 ? 1 : 2);
    return a;
  }

  size_t dims_;
  std::vector<int64_t> size_;
};

class WholeInput final : public Windows {
 public:
  explicit WholeInput(AttrReader& a) : keepdims_(a.get_bool("keepdims", false)) {}

  int rank() const override { return 0; }

  PoolShape resolve(const char* op, const Shape& in) const override {
    PoolShape s;
    s.n = in[0];
    s.c = in[-1];
    for (int i = 1; i < in.rank() - 2; ++i) s.h.in *= in[i];
    s.w.in = in[-2];
    if (s.h.in <= 0 || s.w.in <= 0) fail_value(op, "x", "pooled axes of at least 1", in.str());
    s.h.window = s.h.in;
    s.w.window = s.w.in;
    return s;
  }

  Shape output(const Shape& in, const PoolShape& s) const override {
    Shape out{s.n};
    for (int i = 1; keepdims_ && i < in.rank() - 1; ++i) out.push_back(1);
    out.push_back(s.c);
    return out;
  }

  void write(Json& attrs) const override { attrs.set("keepdims", keepdims_); }

 private:
  bool keepdims_;
};

class PoolOp : public Op {
 public:
  PoolOp(const char* name, std::unique_ptr<Windows> windows) : name_(name), windows_(std::move(windows)) {}

  std::string_view name() const override { return name_; }
  BackwardUses backward_uses() const override { return {0, 0}; }
  uint32_t halves() const override { return kInForward | kInBackward | kOnDevice; }

  double flops(std::span<const TensorSpec> in) const override {
    const PoolShape s = resolve(in[0].shape);
    return static_cast<double>(s.n * s.h.out * s.w.out * s.c) * static_cast<double>(s.taps());
  }

 protected:
  PoolShape resolve(const Shape& in) const { return windows_->resolve(name_, in); }

  Json windows_attrs() const {
    Json a = Json::Object{};
    windows_->write(a);
    return a;
  }

  // Backward counts the taps of a window and the pairs of windows and elements along an axis in 32 bits.
  TensorSpec check(std::span<const TensorSpec> in, bool training) const {
    check_count(name_, in, 1, 1);
    check_float(name_, "x", in[0]);
    const int rank = windows_->rank();
    if (rank != 0) check_rank(name_, "x", in[0], rank);
    if (in[0].shape.rank() < 3) fail_value(name_, "x", "a rank of at least 3: (n, ..., c)", in[0].shape.str());
    const PoolShape s = resolve(in[0].shape);
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
    for (const PoolAxis* a : {&s.h, &s.w}) {
      if (training && (s.taps() > kMost || a->out > kMost / std::min(a->window, a->in))) {
        fail_value(name_, "x", "windows of no more than " + std::to_string(kMost) + " elements together, to train",
                   std::to_string(a->out) + " of " + std::to_string(a->window));
      }
    }
    return {in[0].dtype, windows_->output(in[0].shape, s)};
  }

  const char* name_;
  std::unique_ptr<Windows> windows_;
};

class MaxPool final : public PoolOp {
 public:
  using PoolOp::PoolOp;

  Json attrs() const override { return windows_attrs(); }

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    const TensorSpec out = check(in, training);
    Signature sig{{out}, {}};
    if (training) sig.saved.push_back({resolve(in[0].shape).wide_argmax() ? DType::kI32 : DType::kU8, out.shape});
    return sig;
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    const TensorView& x = args.in[0];
    dispatch_real(x.dtype, name_, "x", [&]<class T>() {
      const PoolKernels<T>& k = exec.kernels<T>().pool;
      MaxPoolParams<T> p{resolve(x.shape), x.as<const T>(), args.out[0].as<T>(), nullptr};
      if (!args.saved.empty()) p.argmax = args.saved[0].data;
      k.max_forward(exec.context(k.max_forward_workspace(p, exec.context().threads)), p);
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView& grad_in = args.grad_in[0];
    if (!grad_in) return;
    if (!args.grad_out[0]) return zero_tensor(exec, grad_in);
    dispatch_real(grad_in.dtype, name_, "x", [&]<class T>() {
      const PoolKernels<T>& k = exec.kernels<T>().pool;
      const MaxPoolBackwardParams<T> p{resolve(grad_in.shape), args.grad_out[0].as<const T>(), args.saved[0].data,
                                       grad_in.as<T>()};
      k.max_backward(exec.context(k.max_backward_workspace(p, exec.context().threads)), p);
    });
  }
};

class AvgPool final : public PoolOp {
 public:
  AvgPool(const char* name, std::unique_ptr<Windows> windows, bool count_include_pad, int64_t divisor, bool sliding)
      : PoolOp(name, std::move(windows)), count_include_pad_(count_include_pad), divisor_(divisor), sliding_(sliding) {}

  Json attrs() const override {
    Json a = windows_attrs();
    if (sliding_) {
      a.set("count_include_pad", count_include_pad_);
      if (divisor_ > 0) a.set("divisor", divisor_);
    }
    return a;
  }

  Signature infer(std::span<const TensorSpec> in, bool training) const override { return {{check(in, training)}, {}}; }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    const TensorView& x = args.in[0];
    dispatch_real(x.dtype, name_, "x", [&]<class T>() {
      const PoolKernels<T>& k = exec.kernels<T>().pool;
      const AvgPoolParams<T> p{resolve(x.shape), x.as<const T>(), args.out[0].as<T>(), count_include_pad_, divisor_};
      k.avg_forward(exec.context(k.avg_forward_workspace(p, exec.context().threads)), p);
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView& grad_in = args.grad_in[0];
    if (!grad_in) return;
    if (!args.grad_out[0]) return zero_tensor(exec, grad_in);
    dispatch_real(grad_in.dtype, name_, "x", [&]<class T>() {
      const PoolKernels<T>& k = exec.kernels<T>().pool;
      const AvgPoolParams<T> p{resolve(grad_in.shape), args.grad_out[0].as<const T>(), grad_in.as<T>(),
                               count_include_pad_, divisor_};
      k.avg_backward(exec.context(k.avg_backward_workspace(p, exec.context().threads)), p);
    });
  }

 private:
  bool count_include_pad_;
  int64_t divisor_;
  bool sliding_;
};

OpPtr make_max(const char* name, size_t dims, const Json& attrs) {
  AttrReader a(name, attrs);
  auto windows = std::make_unique<SlidingWindows>(a, name, dims, true);
  a.done();
  return std::make_shared<MaxPool>(name, std::move(windows));
}

OpPtr make_avg(const char* name, size_t dims, const Json& attrs) {
  AttrReader a(name, attrs);
  auto windows = std::make_unique<SlidingWindows>(a, name, dims, false);
  const bool include_pad = a.get_bool("count_include_pad", false);
  const int64_t divisor = a.get_int("divisor", 0);
  if (a.has("divisor") && divisor < 1) fail_value(name, "divisor", "at least 1", std::to_string(divisor));
  a.done();
  return std::make_shared<AvgPool>(name, std::move(windows), include_pad, divisor, true);
}

OpPtr make_adaptive(const char* name, size_t dims, bool max, const Json& attrs) {
  AttrReader a(name, attrs);
  auto windows = std::make_unique<AdaptiveWindows>(a, name, dims);
  a.done();
  if (max) return std::make_shared<MaxPool>(name, std::move(windows));
  return std::make_shared<AvgPool>(name, std::move(windows), false, 0, false);
}

OpPtr make_global(const char* name, bool max, const Json& attrs) {
  AttrReader a(name, attrs);
  auto windows = std::make_unique<WholeInput>(a);
  a.done();
  if (max) return std::make_shared<MaxPool>(name, std::move(windows));
  return std::make_shared<AvgPool>(name, std::move(windows), false, 0, false);
}

}  // namespace

void register_pool(OpRegistry& r) {
  r.add("max_pool1d", [](const Json& a) { return make_max("max_pool1d", 1, a); });
  r.add("max_pool2d", [](const Json& a) { return make_max("max_pool2d", 2, a); });
  r.add("avg_pool1d", [](const Json& a) { return make_avg("avg_pool1d", 1, a); });
  r.add("avg_pool2d", [](const Json& a) { return make_avg("avg_pool2d", 2, a); });
  r.add("adaptive_max_pool1d", [](const Json& a) { return make_adaptive("adaptive_max_pool1d", 1, true, a); });
  r.add("adaptive_max_pool2d", [](const Json& a) { return make_adaptive("adaptive_max_pool2d", 2, true, a); });
  r.add("adaptive_avg_pool1d", [](const Json& a) { return make_adaptive("adaptive_avg_pool1d", 1, false, a); });
  r.add("adaptive_avg_pool2d", [](const Json& a) { return make_adaptive("adaptive_avg_pool2d", 2, false, a); });
  r.add("global_max_pool", [](const Json& a) { return make_global("global_max_pool", true, a); });
  r.add("global_avg_pool", [](const Json& a) { return make_global("global_avg_pool", false, a); });
}

}  // namespace lamella
