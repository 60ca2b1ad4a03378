// metric_threshold_counts and metric_confusion: what precision, recall, areas under curves, F scores and intersections
// over unions are made of. Counts are float64, so that a metric over many batches is made of exact sums.
#include "ops/loss.h"

namespace lamella {
namespace {

// Inputs: x, target of the same shape, thresholds (ascending), sample_weight?.
class ThresholdCountsOp final : public Op {
 public:
  enum : size_t { kX, kTarget, kThresholds, kWeight };
  static constexpr const char* kOp = "metric_threshold_counts";

  ThresholdCountsOp(int64_t k, int64_t column, bool per_label) : k_(k), column_(column), per_label_(per_label) {}

  static OpPtr make(const Json& attrs) {
    AttrReader a(kOp, attrs);
    const bool has_k = a.has("k"), has_column = a.has("column");
    const int64_t k = has_k ? a.get_int("k", 0) : 0, column = has_column ? a.get_int("column", 0) : -1;
    const bool per_label = a.get_bool("per_label", false);
    a.done();
    if (has_k && k < 1) fail_value(kOp, "k", "at least 1", std::to_string(k));
    if (has_column && column < 0) fail_value(kOp, "column", "at least 0", std::to_string(column));
    return std::make_shared<ThresholdCountsOp>(k, column, per_label);
  }

  std::string_view name() const override { return kOp; }
  Json attrs() const override {
    Json a = Json::Object{{"per_label", per_label_}};
    if (k_ > 0) a.set("k", k_);
    if (column_ >= 0) a.set("column", column_);
    return a;
  }

  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(kOp, in, 3, 4);
    const TensorSpec& x = in[kX];
    check_float(kOp, "x", x);
    check_same_dtype(kOp, "target", in[kTarget], x.dtype);
    if (!(in[kTarget].shape == x.shape)) fail_value(kOp, "target", "shape " + x.shape.str(), in[kTarget].shape.str());
    check_same_dtype(kOp, "thresholds", in[kThresholds], x.dtype);
    check_rank(kOp, "thresholds", in[kThresholds], 1);
    const int64_t cols = columns(x.shape);
    if (column_ >= cols) {
      fail_value(kOp, "column", "one of the " + std::to_string(cols) + " columns of x", std::to_string(column_));
    }
    if (has_input(in, kWeight)) {
      check_same_dtype(kOp, "sample_weight", in[kWeight], x.dtype);
      weight_group(kOp, "sample_weight", in[kWeight], x.shape);
    }
    Shape counts{2, in[kThresholds].shape[0] + 1};
    if (per_label_) counts.push_back(cols);
    return {{{DType::kF64, counts}}, {}};
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    const TensorView& x = args.in[kX];
    dispatch_float(x.dtype, kOp, "x", [&]<class T>() {
      ThresholdCountsParams<T> p;
      p.cols = columns(x.shape);
      p.rows = p.cols > 0 ? x.size() / p.cols : 0;
      p.x = x.as<const T>();
      p.target = args.in[kTarget].as<const T>();
      p.thresholds = args.in[kThresholds].as<const T>();
      p.threshold_count = args.in[kThresholds].size();
      if (const TensorView w = optional_input(args.in, kWeight)) {
        p.weight = w.as<const T>();
        p.group = weight_group(kOp, "sample_weight", w.spec(), x.shape);
      }
      p.k = k_;
      p.column = column_;
      p.per_label = per_label_;
      p.counts = args.out[0].as<double>();
      const CountKernels<T>& k = exec.kernels<T>().counts;
      k.threshold_counts(exec.context(k.threshold_counts_workspace(p, exec.context().threads)), p);
    });
  }

  bool differentiable(int) const override { return false; }

 private:
  static int64_t columns(const Shape& s) { return s.rank() > 0 ? s[-1] : 1; }

  int64_t k_, column_;
  bool per_label_;
};

// Inputs: labels, predictions of the same shape, sample_weight?.
class ConfusionOp final : public Op {
 public:
  enum : size_t { kLabels, kPredictions, kWeight };
  static constexpr const char* kOp = "metric_confusion";

  ConfusionOp(int64_t classes, bool has_ignore, int64_t ignore_index)
      : classes_(classes), has_ignore_(has_ignore), ignore_index_(ignore_index) {}

  static OpPtr make(const Json& attrs) {
    AttrReader a(kOp, attrs);
    const int64_t classes = a.get_int("classes", 0);
    const bool has_ignore = a.has("ignore_index");
    const int64_t ignore_index = has_ignore ? a.get_int("ignore_index", 0) : 0;
    a.done();
    if (classes < 1 || classes > kMostClasses) {
      fail_value(kOp, "classes", "a number in [1, " + std::to_string(kMostClasses) + "]", std::to_string(classes));
    }
    return std::make_shared<ConfusionOp>(classes, has_ignore, ignore_index);
  }

  std::string_view name() const override { return kOp; }
  Json attrs() const override {
    Json a = Json::Object{{"classes", classes_}};
    if (has_ignore_) a.set("ignore_index", ignore_index_);
    return a;
  }

  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(kOp, in, 2, 3);
    for (size_t i : {kLabels, kPredictions}) {
      const char* argument = i == kLabels ? "labels" : "predictions";
      if (!is_index(in[i].dtype)) fail_type(kOp, argument, "int32 or int64", dtype_name(in[i].dtype));
    }
    if (!(in[kPredictions].shape == in[kLabels].shape)) {
      fail_value(kOp, "predictions", "shape " + in[kLabels].shape.str(), in[kPredictions].shape.str());
    }
    if (has_input(in, kWeight)) {
      check_float(kOp, "sample_weight", in[kWeight]);
      weight_group(kOp, "sample_weight", in[kWeight], in[kLabels].shape);
    }
    return {{{DType::kF64, {classes_, classes_}}}, {}};
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    check_labels(exec, kOp, args.in[kLabels], {classes_, has_ignore_, ignore_index_});
    check_labels(exec, kOp, args.in[kPredictions], {classes_, false, 0});
    const TensorView weight = optional_input(args.in, kWeight);
    dispatch_float(weight ? weight.dtype : DType::kF32, kOp, "sample_weight", [&]<class T>() {
      ConfusionParams<T> p;
      p.labels = index_list(args.in[kLabels]);
      p.predictions = index_list(args.in[kPredictions]);
      p.n = p.labels.n;
      p.classes = classes_;
      if (weight) {
        p.weight = weight.as<const T>();
        p.group = weight_group(kOp, "sample_weight", weight.spec(), args.in[kLabels].shape);
      }
      p.has_ignore = has_ignore_;
      p.ignore_index = ignore_index_;
      p.counts = args.out[0].as<double>();
      const CountKernels<T>& k = exec.kernels<T>().counts;
      k.confusion(exec.context(k.confusion_workspace(p, exec.context().threads)), p);
    });
  }

  bool differentiable(int) const override { return false; }

 private:
  static constexpr int64_t kMostClasses = 1 << 15;

  int64_t classes_;
  bool has_ignore_;
  int64_t ignore_index_;
};

}  // namespace

void register_counts(OpRegistry& r) {
  r.add(ThresholdCountsOp::kOp, ThresholdCountsOp::make);
  r.add(ConfusionOp::kOp, ConfusionOp::make);
}

}  // namespace lamella
