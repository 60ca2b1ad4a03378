// Filling and copying whole tensors on the device of an Exec: zero gradients, ops that pass their input on.
#pragma once

#include <cstring>

#include "ops/exec.h"

namespace lamella {

inline void zero_tensor(Exec&, const TensorView& t) {
  if (const int64_t bytes = t.spec().bytes(); bytes > 0) std::memset(t.data, 0, static_cast<size_t>(bytes));
}

inline void copy_tensor(Exec&, const TensorView& from, const TensorView& to) {
  const int64_t bytes = from.spec().bytes();
  if (bytes > 0 && from.data != to.data) std::memcpy(to.data, from.data, static_cast<size_t>(bytes));
}

}  // namespace lamella
