// What the loss ops share: reductions by name, weights that stand for whole groups, labels checked before use.
#pragma once

#include "ops/index_list.h"
#include "ops/op.h"

namespace lamella {

Reduction reduction_from_name(const char* op, const std::string& name);
const char* reduction_name(Reduction r);

// The attribute `key`, a number in [low, high] (NaN refused).
double number_between(AttrReader& a, const char* op, const char* key, double fallback, double low, double high);

// Weights may have the shape of the values, or of some of their leading axes (ones behind those count as left out):
// returns how many values each weight stands for.
int64_t weight_group(const char* op, const char* argument, const TensorSpec& weight, const Shape& values);

// The values of labels must be class numbers, or ignore_index where there is one; throws naming the first that is not.
struct LabelRule {
  int64_t classes = 0;
  bool has_ignore = false;
  int64_t ignore_index = 0;
};
void check_labels(Exec& exec, const char* op, const TensorView& labels, const LabelRule& rule);

// Labels: int32 or int64 of the shape `values`, or with one more axis of length 1.
void check_label_shape(const char* op, const TensorSpec& labels, const Shape& values);

// Without the last axis.
Shape leading_shape(const Shape& s);

// Input i, or none where it is left out.
inline TensorView optional_input(std::span<const TensorView> in, size_t i) {
  return i < in.size() ? in[i] : TensorView();
}
inline bool has_input(std::span<const TensorSpec> in, size_t i) { return i < in.size() && !absent(in[i]); }

void register_cross_entropy(OpRegistry& r);
void register_element_losses(OpRegistry& r);
void register_accuracy(OpRegistry& r);
void register_counts(OpRegistry& r);
void register_ctc(OpRegistry& r);

}  // namespace lamella
