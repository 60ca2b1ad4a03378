// metric_accuracy: the weighted number of right predictions and the sum of the weights, both float32 scalars, so that
// a metric over many batches is a ratio of sums.
#include "ops/loss.h"

namespace lamella {
namespace {

enum class Kind { kSparse, kCategorical, kBinary };
constexpr const char* kOp = "metric_accuracy";

struct Settings {
  Kind kind = Kind::kSparse;
  int64_t k = 1;
  double threshold = 0.5;
  bool has_ignore = false;
  int64_t ignore_index = 0;
};

// Inputs: x (..., classes), or (...) for binary; targets: labels (...) for sparse, else x's shape; sample_weight?.
class AccuracyOp final : public Op {
 public:
  enum : size_t { kX, kTarget, kWeight };

  explicit AccuracyOp(const Settings& s) : s_(s) {}

  static OpPtr make(const Json& attrs) {
    AttrReader a(kOp, attrs);
    Settings s;
    const std::string kind = a.get_string("kind", "sparse");
    if (kind == "sparse") {
      s.kind = Kind::kSparse;
      s.has_ignore = a.has("ignore_index");
      if (s.has_ignore) s.ignore_index = a.get_int("ignore_index", 0);
    } else if (kind == "categorical") {
      s.kind = Kind::kCategorical;
    } else if (kind == "binary") {
      s.kind = Kind::kBinary;
      s.threshold = a.get_double("threshold", 0.5);
    } else {
      fail_value(kOp, "kind", "'sparse', 'categorical' or 'binary'", "'" + kind + "'");
    }
    if (s.kind != Kind::kBinary) {
      s.k = a.get_int("k", 1);
      if (s.k < 1) fail_value(kOp, "k", "at least 1", std::to_string(s.k));
    }
    a.done();
    return std::make_shared<AccuracyOp>(s);
  }

  std::string_view name() const override { return kOp; }

  Json attrs() const override {
    Json a = Json::Object{};
    switch (s_.kind) {
      case Kind::kSparse:
        a.set("kind", "sparse").set("k", s_.k);
        if (s_.has_ignore) a.set("ignore_index", s_.ignore_index);
        break;
      case Kind::kCategorical:
        a.set("kind", "categorical").set("k", s_.k);
        break;
      case Kind::kBinary:
        a.set("kind", "binary").set("threshold", s_.threshold);
        break;
    }
    return a;
  }

  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(kOp, in, 2, 3);
    const TensorSpec &x = in[kX], &t = in[kTarget];
    check_float(kOp, "x", x);
    if (s_.kind != Kind::kBinary && (x.shape.rank() < 1 || (x.shape[-1] == 0 && x.shape.size() > 0))) {
      fail_value(kOp, "x", "at least one axis, the last for the classes", x.shape.str());
    }
    if (s_.kind == Kind::kSparse) {
      if (!is_index(t.dtype)) fail_type(kOp, "labels", "int32 or int64", dtype_name(t.dtype));
      check_label_shape(kOp, t, leading_shape(x.shape));
    } else {
      check_same_dtype(kOp, "targets", t, x.dtype);
      if (!(t.shape == x.shape)) fail_value(kOp, "targets", "shape " + x.shape.str(), t.shape.str());
    }
    if (has_input(in, kWeight)) {
      check_same_dtype(kOp, "sample_weight", in[kWeight], x.dtype);
      weight_group(kOp, "sample_weight", in[kWeight], rows(x.shape));
    }
    return {{{DType::kF32, {}}, {DType::kF32, {}}}, {}};
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    const TensorView &x = args.in[kX], &t = args.in[kTarget];
    if (s_.kind == Kind::kSparse) {
      check_labels(exec, kOp, t, {x.shape[-1], s_.has_ignore, s_.ignore_index});
    }
    dispatch_float(x.dtype, kOp, "x", [&]<class T>() {
      using P = AccuracyParams<T>;
      P p;
      p.kind = s_.kind == Kind::kSparse        ? P::Kind::kLabels
               : s_.kind == Kind::kCategorical ? P::Kind::kOneHot
                                               : P::Kind::kBinary;
      const Shape values = rows(x.shape);
      p.rows = values.size();
      p.classes = s_.kind == Kind::kBinary ? 1 : x.shape[-1];
      p.x = x.as<const T>();
      if (s_.kind == Kind::kSparse)
        p.labels = index_list(t);
      else
        p.targets = t.as<const T>();
      if (const TensorView w = optional_input(args.in, kWeight)) {
        p.weight = w.as<const T>();
        p.group = weight_group(kOp, "sample_weight", w.spec(), values);
      }
      p.k = s_.k;
      p.threshold = s_.threshold;
      p.has_ignore = s_.has_ignore;
      p.ignore_index = s_.ignore_index;
      p.correct = args.out[0].as<float>();
      p.total = args.out[1].as<float>();
      const LossKernels<T>& k = exec.kernels<T>().loss;
      k.accuracy(exec.context(k.accuracy_workspace(p, exec.context().threads)), p);
    });
  }

  bool differentiable(int) const override { return false; }

 private:
  Shape rows(const Shape& x) const { return s_.kind == Kind::kBinary ? x : leading_shape(x); }

  Settings s_;
};

}  // namespace

void register_accuracy(OpRegistry& r) { r.add(kOp, AccuracyOp::make); }

}  // namespace lamella
