// Sums of squares over many arrays at once: what clipping by norm needs.
#pragma once

#include <span>

#include "ops/exec.h"

namespace lamella {

// Fills in the sum of each array, all of them dense and of float type T, and returns the total.
template <class T>
double sum_squares(Exec& exec, std::span<SumSquaresArray> arrays) {
  const SumSquaresParams p{arrays.data(), static_cast<int64_t>(arrays.size())};
  const ReduceKernels<T>& k = exec.kernels<T>().reduce;
  k.sum_squares(exec.context(k.sum_squares_workspace(p, exec.context().threads)), p);
  double total = 0;
  for (const SumSquaresArray& a : arrays) total += a.sum;
  return total;
}

}  // namespace lamella
