// Losses with their reductions, their gradients, and the counts behind accuracy.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"
#include "kernels/index_check.h"

namespace lamella {

enum class Reduction : int32_t {
  kNone,
  kSum,
  kMean,         // sum / number of values (of rows that are not ignored); 0 where there are none
  kWeightedMean  // sum / sum of the values' weights; NaN where that is 0
};

// Where a loss goes. values: one per row or element, for kNone; total: the scalar, else. norm: what the sum was
// multiplied with, kept for backward (nullptr: not wanted).
template <class T>
struct LossResult {
  Reduction reduction = Reduction::kMean;
  T* values = nullptr;
  T* total = nullptr;
  T* norm = nullptr;
};

// The gradient with respect to what LossResult holds: grad[i] for kNone, else grad[0] * norm[0].
template <class T>
struct LossSeed {
  Reduction reduction = Reduction::kMean;
  const T* grad = nullptr;
  const T* norm = nullptr;
};

enum class ClassScores : int32_t {
  kLogits,    // softmax included
  kLogProbs,  // sum to one after exp
  kProbs      // divided by their sum and clipped to [epsilon, 1 - epsilon] first
};

// Row r loses  sample_weight[r] * sum_c class_weight[c] * t[r, c] * -log p[r, c].
// t comes from labels (1 at the label) or from targets, and is smoothed to (1 - smoothing) * t + smoothing / classes.
// A row whose label is ignore_index counts for nothing. The row's weight in kWeightedMean is its sample weight, times
// the label's class weight where there are labels.
template <class T>
struct CrossEntropyParams {
  ClassScores scores = ClassScores::kLogits;
  int64_t rows = 0, classes = 0;
  const T* x = nullptr;        // (rows, classes)
  IndexList labels;            // checked before; or
  const T* targets = nullptr;  // (rows, classes)
  const T* class_weight = nullptr;
  const T* sample_weight = nullptr;  // one per `group` rows
  int64_t group = 1;
  double smoothing = 0;
  double epsilon = 0;  // kProbs only
  bool has_ignore = false;
  int64_t ignore_index = 0;
  // Per row, kept for backward (nullptr: not wanted): the largest logit and 1 / sum of exp(x - it), or 1 / sum of
  // probabilities in the second place.
  T* stats = nullptr;  // (rows, 2)
  LossResult<T> result;
};

template <class T>
struct CrossEntropyGradParams {
  CrossEntropyParams<T> forward;  // its result is not read
  LossSeed<T> seed;
  T* grad = nullptr;  // (rows, classes)
};

// Losses of single elements, x the prediction and t the target.
enum class ElementLoss : int32_t {
  kSquared,          // (x - t)^2
  kAbsolute,         // |x - t|
  kHuber,            // delta: d^2/2 inside, delta * (|d| - delta/2) outside
  kSmoothL1,         // delta = beta: d^2 / (2 beta) inside, |d| - beta/2 outside
  kLogCosh,          // log(cosh(x - t))
  kBceLogits,        // t weighted by pos_weight, smoothed to t * (1 - smoothing) + smoothing / 2
  kBce,              // x clipped to [epsilon, 1 - epsilon]; epsilon 0: logarithms are cut at -100 instead
  kPoisson,          // x - t * log(x + epsilon)
  kKlDiv,            // t * log(t / x), both clipped to [epsilon, 1]
  kKlDivLogProbs,    // t * (log(t) - x), 0 for t = 0
  kHinge,            // max(0, 1 - t * x)
  kSquaredHinge,     // its square
  kAbsolutePercent,  // 100 * |x - t| / max(|t|, epsilon)
  kSquaredLog,       // (log(1 + x) - log(1 + t))^2, both at least epsilon
  kCount
};

template <class T>
struct ElementLossParams {
  ElementLoss loss = ElementLoss::kSquared;
  int64_t n = 0;  // elements
  // The length of the last axis. row_mean: the values of kNone are means over a row, and the sum of kSum is the sum of
  // those.
  int64_t cols = 1;
  bool row_mean = false;
  const T* x = nullptr;
  const T* target = nullptr;
  const T* weight = nullptr;  // one per `group` elements; group is 1 or a multiple of cols
  int64_t group = 1;
  const T* pos_weight = nullptr;
  int64_t pos_cols = 1;  // one pos_weight for all, or `cols` of them
  double delta = 1, smoothing = 0, epsilon = 0;
  LossResult<T> result;
};

template <class T>
struct ElementLossGradParams {
  ElementLossParams<T> forward;  // its result is not read
  LossSeed<T> seed;
  T* grad = nullptr;
};

// How many rows are right, weighted, and the sum of the weights.
template <class T>
struct AccuracyParams {
  enum class Kind : int32_t {
    kLabels,  // the label is among the k largest (k == 1: is the first largest) of its row
    kOneHot,  // the same with the target row's first largest for a label
    kBinary   // x > threshold equals target, element by element
  };
  Kind kind = Kind::kLabels;
  int64_t rows = 0, classes = 1;
  const T* x = nullptr;
  IndexList labels;            // kLabels; those out of range are wrong
  const T* targets = nullptr;  // else
  const T* weight = nullptr;   // one per `group` rows
  int64_t group = 1;
  int64_t k = 1;
  double threshold = 0.5;
  bool has_ignore = false;
  int64_t ignore_index = 0;
  float* correct = nullptr;
  float* total = nullptr;
};

template <class T>
struct LossKernels {
  IndexCheckFn check_labels = nullptr;
  size_t (*cross_entropy_workspace)(const CrossEntropyParams<T>&, int threads) = nullptr;
  void (*cross_entropy)(const Context&, const CrossEntropyParams<T>&) = nullptr;
  void (*cross_entropy_grad)(const Context&, const CrossEntropyGradParams<T>&) = nullptr;
  size_t (*element_loss_workspace)(const ElementLossParams<T>&, int threads) = nullptr;
  void (*element_loss)(const Context&, const ElementLossParams<T>&) = nullptr;
  void (*element_loss_grad)(const Context&, const ElementLossGradParams<T>&) = nullptr;
  size_t (*accuracy_workspace)(const AccuracyParams<T>&, int threads) = nullptr;
  void (*accuracy)(const Context&, const AccuracyParams<T>&) = nullptr;
};

}  // namespace lamella
