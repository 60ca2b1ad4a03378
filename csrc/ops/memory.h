// Filling and copying whole tensors on the device of an Exec: zero gradients, ops that pass their input on.
#pragma once

#include "ops/exec.h"

namespace lamella {

inline void zero_tensor(Exec& exec, const TensorView& t) {
  if (t) exec.zero(t.data, t.spec().bytes());
}

inline void copy_tensor(Exec& exec, const TensorView& from, const TensorView& to) {
  exec.copy(to.data, from.data, from.spec().bytes(), CopyKind::kOnDevice);
}

}  // namespace lamella
