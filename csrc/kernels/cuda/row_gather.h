// Rows picked by index: what batches, embeddings and gather have in common.
#pragma once

#include "kernels/index_check.h"

namespace lamella::cuda {

// Row k of slice o of dst (outer, count) is row index[k] of slice o of src (outer, rows); zeros where the index is
// out of range. Rows are dense, of row_bytes each, and lie at any address.
struct RowGather {
  const void* src = nullptr;
  void* dst = nullptr;
  IndexList index;  // of `count` rows
  int64_t outer = 1;
  int64_t rows = INT64_MAX;
  int64_t row_bytes = 0;
};

void gather_rows(const Context& ctx, const RowGather& g);
// src holds uint8, dst the same values as float32; outer is 1. Without an index, the first `count` rows.
void gather_rows_as_float(const Context& ctx, const RowGather& g);

}  // namespace lamella::cuda
