// NumPy's broadcasting and axis rules, and the collapsed iteration spaces that the kernels walk.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/tensor.h"
#include "kernels/elementwise.h"
#include "kernels/reduce.h"

namespace lamella {

// The shape that all broadcast to; throws Error(kValue) naming the op and the shapes.
Shape broadcast_shape(const char* op, std::span<const TensorSpec> in);

// The iteration space `out` with one operand per shape (each broadcasts to `out`): dimensions of 1 dropped, neighbours
// that all operands walk as one merged.
BroadcastDims collapse(const Shape& out, std::span<const Shape> operands);

// Which axes are reduced: all where `axes` is absent. Throws on axes that are out of range or repeated.
std::vector<bool> reduced_axes(const char* op, const Shape& shape, const std::optional<std::vector<int64_t>>& axes);
Shape reduced_shape(const Shape& shape, const std::vector<bool>& reduced, bool keepdims);
ReduceDims collapse(const Shape& shape, const std::vector<bool>& reduced);

}  // namespace lamella
