// Gradients of picked rows: every row of a table sums the gradients of the places where it was picked, in the order of
// these places, so that the bits are those of one after the other.
#pragma once

#include "kernels/index_check.h"

namespace lamella::cuda {

// grad_out (outer, index.n, inner), grad_in (outer, rows, inner), which is overwritten. Indices out of range, and
// `padding` (where it is not negative), pick nothing.
template <class T>
struct RowSums {
  IndexList index;
  int64_t outer = 1, rows = 0, inner = 0;
  int64_t padding = -1;
  const T* grad_out = nullptr;
  T* grad_in = nullptr;
};

// The workspace is RowSumsWorkspace of kernels/row_sums.h.
void sum_rows(const Context& ctx, const RowSums<float>& p);
void sum_rows(const Context& ctx, const RowSums<double>& p);

}  // namespace lamella::cuda
