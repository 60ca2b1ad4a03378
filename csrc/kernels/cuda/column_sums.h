// Sums over the rows of a matrix: gradients of biases. One pass over memory, and a second launch over parts in the
// workspace where the matrix is large; see sum_map.h.
#pragma once

#include "kernels/cuda/sum_map.h"

namespace lamella::cuda {
namespace {

inline SumDims column_sum_dims(int64_t rows, int64_t columns) {
  SumDims s;
  s.dims.rank = 2;
  s.dims.dims[0] = rows;
  s.dims.dims[1] = columns;
  s.dims.strides[0][0] = columns;
  s.dims.strides[0][1] = 1;
  s.reduced[0] = true;
  if (columns == 1) {
    // Then neighbours are summed.
    s.dims.rank = 1;
    s.dims.strides[0][0] = 1;
  }
  return s;
}

template <class T>
size_t column_sums_workspace(int64_t rows, int64_t columns) {
  return sum_map_workspace<T>(column_sum_dims(rows, columns));
}

// out[c] = sum over r of x[r * columns + c], or that much more.
template <class T>
void column_sums(const Context& ctx, const T* x, int64_t rows, int64_t columns, T* out, void* workspace,
                 bool add = false) {
  const auto f = on<T>(Itself<Real<T>>());
  SumSpace<std::remove_const_t<decltype(f)>> s;
  static_cast<SumDims&>(s) = column_sum_dims(rows, columns);
  s.in[0] = x;
  sum_map(ctx, f, s, out, workspace, add);
}

}  // namespace
}  // namespace lamella::cuda
