// Arrays of 16-bit floats, which most kernels do not know.
#pragma once

#include "ops/op.h"

namespace lamella {

// op.infer() with rules for 16-bit floats: results are of the type that all floating inputs share, float32 where they
// differ, and the first input's where the op says so. What is saved for backward stays float32 unless the op says
// otherwise.
Signature infer_halves(const Op& op, std::span<const TensorSpec> in, bool training);

}  // namespace lamella
