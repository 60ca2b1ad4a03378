// Fills: random_uniform, random_normal, random_truncated_normal, random_bernoulli, random_permutation. They have no
// inputs and draw whether or not the model is in training. Each forward takes one stream of the Exec's generator, or
// the stream that the attribute `key` = [seed, stream] names.
#include <cmath>

#include "ops/noise.h"
#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

enum class Fill { kUniform, kNormal, kTruncatedNormal, kBernoulli };

struct FillInfo {
  Fill fill;
  const char* name;
  const char* first;  // its two numbers
  const char* second;
  double first_default, second_default;
};
constexpr FillInfo kFills[] = {{Fill::kUniform, "random_uniform", "low", "high", 0, 1},
                               {Fill::kNormal, "random_normal", "mean", "std", 0, 1},
                               {Fill::kTruncatedNormal, "random_truncated_normal", "mean", "std", 0, 1},
                               {Fill::kBernoulli, "random_bernoulli", "p", nullptr, 0.5, 0}};

struct FillSettings {
  TensorSpec spec;
  double first = 0, second = 0;
  double low = 0, high = 0;  // bounds of the truncated normal
  KeyAttr key;
};

class FillOp final : public Op {
 public:
  FillOp(const FillInfo& info, const FillSettings& s) : info_(info), s_(s) {}

  static OpPtr make(const FillInfo& info, const Json& attrs) {
    const char* op = info.name;
    AttrReader a(op, attrs);
    FillSettings s;
    s.spec.dtype = dtype_from_name(a.get_string("dtype", "float32"));
    if (!is_float(s.spec.dtype)) fail_type(op, "dtype", "float32 or float64", dtype_name(s.spec.dtype));
    for (int64_t d : a.get_ints("shape", {})) {
      if (d < 0) fail_value(op, "shape", "no negative numbers", std::to_string(d));
      s.spec.shape.push_back(d);
    }
    s.first = finite(a, op, info.first, info.first_default);
    if (info.second) s.second = finite(a, op, info.second, info.second_default);
    if (info.fill == Fill::kUniform && !(s.first <= s.second)) {
      fail_value(op, "low, high", "low <= high", std::to_string(s.first) + " and " + std::to_string(s.second));
    }
    if (info.fill == Fill::kBernoulli && !(s.first >= 0 && s.first <= 1)) {
      fail_value(op, "p", "a probability", std::to_string(s.first));
    }
    if ((info.fill == Fill::kNormal || info.fill == Fill::kTruncatedNormal) && s.second < 0) {
      fail_value(op, "std", "a number >= 0", std::to_string(s.second));
    }
    if (info.fill == Fill::kTruncatedNormal) {
      s.low = finite(a, op, "low", s.first - 2 * s.second);
      s.high = finite(a, op, "high", s.first + 2 * s.second);
      if (!(s.low < s.high || (s.second == 0 && s.low <= s.high))) {
        fail_value(op, "low, high", "low < high", std::to_string(s.low) + " and " + std::to_string(s.high));
      }
    }
    s.key.read(a, op);
    a.done();
    return std::make_shared<FillOp>(info, s);
  }

  std::string_view name() const override { return info_.name; }

  Json attrs() const override {
    Json::Array shape;
    for (int64_t d : s_.spec.shape) shape.emplace_back(d);
    Json a = Json::Object{{"shape", std::move(shape)}, {"dtype", dtype_name(s_.spec.dtype)}, {info_.first, s_.first}};
    if (info_.second) a.set(info_.second, s_.second);
    if (info_.fill == Fill::kTruncatedNormal) a.set("low", s_.low).set("high", s_.high);
    s_.key.write(a);
    return a;
  }

  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(info_.name, in, 0, 0);
    return {{s_.spec}, {}};
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    const PhiloxKey key = s_.key.take(exec);
    dispatch_float(s_.spec.dtype, info_.name, "dtype", [&]<class T>() {
      const RandomKernels<T>& k = exec.kernels<T>().random;
      const Context ctx = exec.context();
      T* y = args.out[0].as<T>();
      const int64_t n = s_.spec.shape.size();
      switch (info_.fill) {
        case Fill::kUniform:
          return k.uniform(ctx, uniform<T>(key, n, y));
        case Fill::kNormal: {
          NormalParams<T> p;
          p.key = key;
          p.n = n;
          p.mean = static_cast<T>(s_.first);
          p.std = static_cast<T>(s_.second);
          p.y = y;
          return k.normal(ctx, p);
        }
        case Fill::kTruncatedNormal:
          return k.truncated_normal(ctx, truncated<T>(key, n, y));
        case Fill::kBernoulli: {
          BernoulliParams<T> p;
          p.key = key;
          p.n = n;
          p.all_ones = probability_threshold(s_.first, p.threshold);
          p.y = y;
          return k.bernoulli(ctx, p);
        }
      }
    });
  }

 private:
  static double finite(AttrReader& a, const char* op, const char* key, double fallback) {
    const double v = a.get_double(key, fallback);
    if (!std::isfinite(v)) fail_value(op, key, "a finite number", std::to_string(v));
    return v;
  }

  template <class T>
  UniformParams<T> uniform(PhiloxKey key, int64_t n, T* y) const {
    UniformParams<T> p;
    p.key = key;
    p.n = n;
    p.low = static_cast<T>(s_.first);
    p.range = static_cast<T>(s_.second - s_.first);
    const T high = static_cast<T>(s_.second);
    p.high = s_.first < s_.second ? std::nextafter(high, p.low) : high;
    p.y = y;
    return p;
  }

  template <class T>
  TruncatedNormalParams<T> truncated(PhiloxKey key, int64_t n, T* y) const {
    TruncatedNormalParams<T> p;
    p.key = key;
    p.n = n;
    p.mean = static_cast<T>(s_.first);
    p.std = static_cast<T>(s_.second);
    if (s_.second > 0) {
      p.from = (s_.low - s_.first) / s_.second;
      p.to = (s_.high - s_.first) / s_.second;
    }
    p.erf_from = std::erf(p.from * 0.70710678118654752440);
    p.erf_to = std::erf(p.to * 0.70710678118654752440);
    p.y = y;
    return p;
  }

  const FillInfo& info_;
  FillSettings s_;
};

class PermutationOp final : public Op {
 public:
  PermutationOp(int64_t n, const KeyAttr& key) : n_(n), key_(key) {}

  static OpPtr make(const Json& attrs) {
    AttrReader a(kName, attrs);
    const int64_t n = a.get_int("n", 0);
    if (n < 0 || n >= int64_t{1} << 32) fail_value(kName, "n", "0 <= n < 2^32", std::to_string(n));
    KeyAttr key;
    key.read(a, kName);
    a.done();
    return std::make_shared<PermutationOp>(n, key);
  }

  std::string_view name() const override { return kName; }
  Json attrs() const override {
    Json a = Json::Object{{"n", n_}};
    key_.write(a);
    return a;
  }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(kName, in, 0, 0);
    return {{{DType::kI64, Shape{n_}}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    const PermutationParams p{key_.take(exec), n_, args.out[0].as<int64_t>()};
    exec.kernels<float>().random.permutation(exec.context(), p);
  }

 private:
  static constexpr const char* kName = "random_permutation";
  int64_t n_;
  KeyAttr key_;
};

}  // namespace

void KeyAttr::read(AttrReader& a, const char* op) {
  seeded = a.has("seed");
  if (seeded) seed = static_cast<uint64_t>(a.get_int("seed", 0));
  given = a.has("key");
  if (!given) return;
  if (seeded) fail_value(op, "seed", "none beside key", std::to_string(seed));
  const std::vector<int64_t> v = a.get_ints("key", {});
  if (v.size() != 2) fail_value(op, "key", "[seed, stream]", std::to_string(v.size()) + " numbers");
  key = {static_cast<uint64_t>(v[0]), static_cast<uint64_t>(v[1])};
}

void KeyAttr::write(Json& a) const {
  if (seeded) a.set("seed", static_cast<int64_t>(seed));
  if (!given) return;
  a.set("key", Json::Array{static_cast<int64_t>(key.seed), static_cast<int64_t>(key.stream)});
}

bool probability_threshold(double p, uint32_t& threshold) {
  const double words = std::nearbyint(p * 0x1p32);
  threshold = words < 0x1p32 ? static_cast<uint32_t>(words) : 0;
  return words >= 0x1p32;
}

void register_random(OpRegistry& r) {
  r.add("random_uniform", [](const Json& a) { return FillOp::make(kFills[0], a); });
  r.add("random_normal", [](const Json& a) { return FillOp::make(kFills[1], a); });
  r.add("random_truncated_normal", [](const Json& a) { return FillOp::make(kFills[2], a); });
  r.add("random_bernoulli", [](const Json& a) { return FillOp::make(kFills[3], a); });
  r.add("random_permutation", PermutationOp::make);
  register_noise(r);
}

}  // namespace lamella
