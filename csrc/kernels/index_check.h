// Indices from user data (class labels, token ids, row numbers) are checked before a kernel follows them.
#pragma once

#include <cstdint>

#include "kernels/context.h"

namespace lamella {

// A list of int32 or int64 values; exactly one pointer is set, or neither for an empty list.
struct IndexList {
  const int32_t* i32 = nullptr;
  const int64_t* i64 = nullptr;
  int64_t n = 0;
};

// The position of the first index that is neither in [0, limit) nor `allowed` (where that is given); -1 if all are.
// Devices leave it at -1 and put what they find into Backend::index_error, under the names of op and argument: there,
// kernels that follow indices must pass over those out of range.
struct IndexCheckParams {
  IndexList index;
  int64_t limit = 0;
  bool has_allowed = false;
  int64_t allowed = 0;
  int64_t* first_bad = nullptr;
  const char* op = nullptr;  // both in memory that stays
  const char* argument = nullptr;
};

using IndexCheckFn = void (*)(const Context&, const IndexCheckParams&);

}  // namespace lamella
