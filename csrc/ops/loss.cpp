#include "ops/loss.h"

#include "ops/registry.h"

namespace lamella {
namespace {

struct ReductionName {
  const char* name;
  Reduction reduction;
};
constexpr ReductionName kReductions[] = {{"none", Reduction::kNone},
                                         {"sum", Reduction::kSum},
                                         {"mean", Reduction::kMean},
                                         {"weighted_mean", Reduction::kWeightedMean}};

}  // namespace

Reduction reduction_from_name(const char* op, const std::string& name) {
  for (const ReductionName& r : kReductions)
    if (name == r.name) return r.reduction;
  fail_value(op, "reduction", "'none', 'sum', 'mean' or 'weighted_mean'", "'" + name + "'");
}

const char* reduction_name(Reduction reduction) {
  for (const ReductionName& r : kReductions)
    if (r.reduction == reduction) return r.name;
  return "?";
}

double number_between(AttrReader& a, const char* op, const char* key, double fallback, double low, double high) {
  const double v = a.get_double(key, fallback);
  if (!(v >= low && v <= high)) {
    fail_value(op, key, "a number in [" + Json(low).dump() + ", " + Json(high).dump() + "]", std::to_string(v));
  }
  return v;
}

int64_t weight_group(const char* op, const char* argument, const TensorSpec& weight, const Shape& values) {
  const Shape& w = weight.shape;
  int same = 0;
  while (same < w.rank() && same < values.rank() && w[same] == values[same]) ++same;
  for (int i = same; i < w.rank(); ++i) {
    if (w[i] != 1) fail_value(op, argument, "shape " + values.str() + " or its leading axes", w.str());
  }
  int64_t group = 1;
  for (int i = same; i < values.rank(); ++i) group *= values[i];
  return group;
}

void check_labels(Exec& exec, const char* op, const TensorView& labels, const LabelRule& rule) {
  IndexCheckParams p;
  p.index = index_list(labels);
  p.limit = rule.classes;
  p.has_allowed = rule.has_ignore;
  p.allowed = rule.ignore_index;
  p.op = op;
  p.argument = "labels";
  const int64_t bad = first_bad_index(exec, p, exec.kernels<float>().loss.check_labels);
  if (bad < 0) return;
  const int64_t label = index_at(p.index, bad);
  fail_value(op, "labels",
             "class numbers in [0, " + std::to_string(rule.classes) + ")" +
                 (rule.has_ignore ? " or ignore_index " + std::to_string(rule.ignore_index) : ""),
             "label " + std::to_string(label) + " in row " + std::to_string(bad) + " (there are " +
                 std::to_string(rule.classes) + " classes)");
}

void check_label_shape(const char* op, const TensorSpec& labels, const Shape& values) {
  if (labels.shape == values) return;
  Shape column = values;
  if (column.rank() < Shape::kMaxRank) column.push_back(1);
  if (!(labels.shape == column)) fail_value(op, "labels", "shape " + values.str(), labels.shape.str());
}

Shape leading_shape(const Shape& s) {
  Shape r;
  for (int i = 0; i + 1 < s.rank(); ++i) r.push_back(s[i]);
  return r;
}

void register_loss(OpRegistry& r) {
  register_cross_entropy(r);
  register_element_losses(r);
  register_accuracy(r);
  register_counts(r);
  register_ctc(r);
}

}  // namespace lamella
