// Counts that metrics are made of: scores over thresholds, labels against predictions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"
#include "kernels/index_check.h"

namespace lamella {

// What scores exceed how many thresholds, counted apart for positive and negative targets: element (r, c) adds
// weight * target to counts[0][b][l] and weight * (1 - target) to counts[1][b][l], b being the number of thresholds
// below its score (0 for NaN), l its column, or 0.
template <class T>
struct ThresholdCountsParams {
  int64_t rows = 0, cols = 1;
  const T* x = nullptr;  // (rows, cols)
  const T* target = nullptr;
  const T* thresholds = nullptr;  // ascending
  int64_t threshold_count = 0;
  const T* weight = nullptr;  // one per `group` elements
  int64_t group = 1;
  int64_t k = 0;        // above 0: all but the k largest scores of a row (the first of equal ones) count as below all
  int64_t column = -1;  // from 0: only this one counts
  bool per_label = false;
  double* counts = nullptr;  // (2, threshold_count + 1, per_label ? cols : 1)
};

// counts[label][prediction] += weight.
template <class T>
struct ConfusionParams {
  int64_t n = 0, classes = 0;
  IndexList labels, predictions;  // checked before
  const T* weight = nullptr;      // one per `group` elements
  int64_t group = 1;
  bool has_ignore = false;  // elements with this label count for nothing
  int64_t ignore_index = 0;
  double* counts = nullptr;  // (classes, classes)
};

template <class T>
struct CountKernels {
  size_t (*threshold_counts_workspace)(const ThresholdCountsParams<T>&, int threads) = nullptr;
  void (*threshold_counts)(const Context&, const ThresholdCountsParams<T>&) = nullptr;
  size_t (*confusion_workspace)(const ConfusionParams<T>&, int threads) = nullptr;
  void (*confusion)(const Context&, const ConfusionParams<T>&) = nullptr;
};

}  // namespace lamella
