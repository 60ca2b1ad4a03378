// Batches out of a data set: rows picked by index.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace lamella {

// Row r of dst is row indices[r] of src (or first + r where indices == nullptr).
struct GatherRowsParams {
  const void* src = nullptr;
  void* dst = nullptr;
  const int64_t* indices = nullptr;  // in range: the caller has checked
  int64_t first = 0;
  int64_t rows = 0;
  int64_t row_bytes = 0;     // of src
  bool u8_to_float = false;  // src holds uint8, dst the same values as float32
};

template <class T>
struct GatherKernels {
  void (*gather_rows)(const Context&, const GatherRowsParams&) = nullptr;
};

}  // namespace lamella
