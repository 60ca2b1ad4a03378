// Index tensors as kernels take them.
#pragma once

#include "base/tensor.h"
#include "kernels/index_check.h"

namespace lamella {

inline bool is_index(DType t) { return t == DType::kI32 || t == DType::kI64; }

inline IndexList index_list(const TensorView& v) {
  IndexList l;
  l.n = v.size();
  if (v.dtype == DType::kI32)
    l.i32 = v.as<const int32_t>();
  else
    l.i64 = v.as<const int64_t>();
  return l;
}

inline int64_t index_at(const IndexList& l, int64_t i) { return l.i32 ? l.i32[i] : l.i64[i]; }

}  // namespace lamella
