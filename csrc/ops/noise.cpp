// dropout, gaussian_noise, gaussian_dropout: active in training, identity else. Forward keeps its Philox key, two
// uint64 numbers, and backward draws the same mask or noise from it again. All can be given their key.
#include "ops/noise.h"

#include <cmath>

#include "ops/memory.h"
#include "ops/registry.h"

namespace lamella {
namespace {

class NoiseOp : public Op {
 public:
  explicit NoiseOp(const KeyAttr& key) : key_(key) {}

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    const char* op = name().data();
    check_count(op, in, 1, 1);
    check_float(op, "x", in[0]);
    check(in[0]);
    Signature sig;
    sig.outputs = {in[0]};
    if (training) {
      sig.saved = {saved_key_spec()};
      sig.saved_on_host = 1;
    }
    return sig;
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    if (!exec.training || !active()) return copy_tensor(exec, args.in[0], args.out[0]);
    const PhiloxKey key = key_.take(exec);
    if (!args.saved.empty()) save_key(key, args.saved[0]);
    apply(exec, key, args.in[0], args.out[0]);
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView& grad_in = args.grad_in[0];
    if (!grad_in) return;
    if (!args.grad_out[0]) return zero_tensor(exec, grad_in);
    if (args.saved.empty() || !active()) return copy_tensor(exec, args.grad_out[0], grad_in);
    apply_gradient(exec, saved_key(args.saved[0]), args.grad_out[0], grad_in);
  }

  BackwardUses backward_uses() const override { return {0, 0}; }
  bool can_run_in_place() const override { return true; }

 protected:
  virtual void check(const TensorSpec&) const {}
  virtual bool active() const = 0;
  virtual void apply(Exec& exec, PhiloxKey key, const TensorView& x, const TensorView& y) const = 0;
  // What is multiplied with forward is multiplied with backward.
  virtual void apply_gradient(Exec& exec, PhiloxKey key, const TensorView& g, const TensorView& grad_in) const {
    apply(exec, key, g, grad_in);
  }

  KeyAttr key_;
};

double read_rate(AttrReader& a, const char* op, double fallback, double most) {
  const double rate = a.get_double("rate", fallback);
  if (!(rate >= 0 && rate <= most)) {
    fail_value(op, "rate", most == 1.0 ? "a number in [0, 1]" : "a number in [0, 1)", std::to_string(rate));
  }
  return rate;
}

// noise_shape: one entry per axis, 1 where all elements along it share their fate, -1 (or the axis's length) where each
// has its own; the shared axes must be neighbours.
class DropoutOp final : public NoiseOp {
 public:
  DropoutOp(double rate, std::vector<int64_t> noise_shape, const KeyAttr& key)
      : NoiseOp(key), rate_(rate), noise_shape_(std::move(noise_shape)) {}

  static OpPtr make(const Json& attrs) {
    AttrReader a(kName, attrs);
    const double rate = read_rate(a, kName, 0.5, 1.0);
    std::vector<int64_t> noise_shape = a.get_ints("noise_shape", {});
    KeyAttr key;
    key.read(a, kName);
    a.done();
    return std::make_shared<DropoutOp>(rate, std::move(noise_shape), key);
  }

  std::string_view name() const override { return kName; }
  Json attrs() const override {
    Json a = Json::Object{{"rate", rate_}};
    if (!noise_shape_.empty()) {
      Json::Array shape;
      for (int64_t d : noise_shape_) shape.emplace_back(d);
      a.set("noise_shape", std::move(shape));
    }
    key_.write(a);
    return a;
  }

 protected:
  bool active() const override { return rate_ > 0; }

  void check(const TensorSpec& x) const override {
    if (noise_shape_.empty()) return;
    const int rank = x.shape.rank();
    if (static_cast<int>(noise_shape_.size()) != rank) {
      fail_value(kName, "noise_shape", std::to_string(rank) + " entries, one per axis of " + x.shape.str(),
                 std::to_string(noise_shape_.size()));
    }
    for (int i = 0; i < rank; ++i) {
      const int64_t d = noise_shape_[static_cast<size_t>(i)];
      if (d != 1 && d != -1 && d != x.shape[i]) {
        fail_value(kName, "noise_shape", "1, -1 or the axis's length in each entry (x is " + x.shape.str() + ")",
                   std::to_string(d) + " for axis " + std::to_string(i));
      }
    }
    const auto [first, last] = shared_axes(x.shape);
    for (int i = first; i < last; ++i) {
      if (!shared(x.shape, i) && x.shape[i] != 1) {
        throw Error(
            ErrorKind::kUnsupported, kName,
            "noise_shape: the axes with 1 must be neighbours, and axis " + std::to_string(i) + " stands between them");
      }
    }
  }

  void apply(Exec& exec, PhiloxKey key, const TensorView& x, const TensorView& y) const override {
    dispatch_float(x.dtype, kName, "x", [&]<class T>() {
      DropoutParams<T> p;
      p.key = key;
      const auto [first, last] = shared_axes(x.shape);
      for (int i = 0; i < x.shape.rank(); ++i) (i < first ? p.outer : i < last ? p.mid : p.inner) *= x.shape[i];
      p.keep_none = probability_threshold(rate_, p.threshold);
      p.scale = static_cast<T>(p.keep_none ? 0.0 : 1.0 / (1.0 - rate_));
      p.x = x.as<const T>();
      p.y = y.as<T>();
      exec.kernels<T>().random.dropout(exec.context(), p);
    });
  }

 private:
  bool shared(const Shape& s, int i) const { return noise_shape_[static_cast<size_t>(i)] == 1 && s[i] != 1; }
  // [first, last): the stretch from the first shared axis to the last; (0, 0) if there is none.
  std::pair<int, int> shared_axes(const Shape& s) const {
    int first = -1, last = -1;
    for (int i = 0; i < static_cast<int>(noise_shape_.size()); ++i) {
      if (!shared(s, i)) continue;
      if (first < 0) first = i;
      last = i + 1;
    }
    return first < 0 ? std::pair(0, 0) : std::pair(first, last);
  }

  static constexpr const char* kName = "dropout";
  double rate_;
  std::vector<int64_t> noise_shape_;
};

// gaussian_noise adds normal noise of deviation `stddev`; gaussian_dropout multiplies by normal noise of mean 1 and
// variance rate / (1 - rate).
class GaussianOp final : public NoiseOp {
 public:
  GaussianOp(bool multiply, double value, const KeyAttr& key) : NoiseOp(key), multiply_(multiply), value_(value) {}

  static OpPtr make(bool multiply, const Json& attrs) {
    const char* op = multiply ? kDropout : kNoise;
    AttrReader a(op, attrs);
    double value;
    if (multiply) {
      value = read_rate(a, op, 0.5, std::nextafter(1.0, 0.0));
    } else {
      value = a.get_double("stddev", 1.0);
      if (!(value >= 0 && std::isfinite(value))) fail_value(op, "stddev", "a number >= 0", std::to_string(value));
    }
    KeyAttr key;
    key.read(a, op);
    a.done();
    return std::make_shared<GaussianOp>(multiply, value, key);
  }

  std::string_view name() const override { return multiply_ ? kDropout : kNoise; }
  Json attrs() const override {
    Json a = Json::Object{{multiply_ ? "rate" : "stddev", value_}};
    key_.write(a);
    return a;
  }

 protected:
  bool active() const override { return value_ > 0; }

  void apply(Exec& exec, PhiloxKey key, const TensorView& x, const TensorView& y) const override {
    dispatch_float(x.dtype, name().data(), "x", [&]<class T>() {
      NormalParams<T> p;
      p.mode = multiply_ ? NormalParams<T>::Mode::kMultiply : NormalParams<T>::Mode::kAdd;
      p.key = key;
      p.n = x.size();
      p.std = static_cast<T>(multiply_ ? std::sqrt(value_ / (1.0 - value_)) : value_);
      p.x = x.as<const T>();
      p.y = y.as<T>();
      exec.kernels<T>().random.normal(exec.context(), p);
    });
  }
  void apply_gradient(Exec& exec, PhiloxKey key, const TensorView& g, const TensorView& grad_in) const override {
    multiply_ ? apply(exec, key, g, grad_in) : copy_tensor(exec, g, grad_in);
  }

 private:
  static constexpr const char* kNoise = "gaussian_noise";
  static constexpr const char* kDropout = "gaussian_dropout";
  bool multiply_;
  double value_;
};

}  // namespace

void register_noise(OpRegistry& r) {
  r.add("dropout", DropoutOp::make);
  r.add("gaussian_noise", [](const Json& a) { return GaussianOp::make(false, a); });
  r.add("gaussian_dropout", [](const Json& a) { return GaussianOp::make(true, a); });
}

}  // namespace lamella
