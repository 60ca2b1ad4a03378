#include "ops/broadcast.h"

#include <algorithm>
#include <string>

namespace lamella {

Shape broadcast_shape(const char* op, std::span<const TensorSpec> in) {
  int rank = 0;
  for (const TensorSpec& s : in) rank = std::max(rank, s.shape.rank());
  Shape out;
  for (int i = 0; i < rank; ++i) {
    int64_t dim = 1;
    for (const TensorSpec& s : in) {
      const int at = i - (rank - s.shape.rank());
      if (at < 0 || s.shape[at] == 1 || s.shape[at] == dim) continue;
      if (dim != 1) {
        std::string got;
        for (const TensorSpec& t : in) got += (got.empty() ? "" : " and ") + t.shape.str();
        fail_value(op, "inputs", "shapes that broadcast (equal or 1 in every dimension, from the last)", got);
      }
      dim = s.shape[at];
    }
    out.push_back(dim);
  }
  return out;
}

BroadcastDims collapse(const Shape& out, std::span<const Shape> operands) {
  BroadcastDims d;
  const int count = static_cast<int>(operands.size());
  int64_t next[BroadcastDims::kMaxOperands];  // each operand's own contiguous stride
  std::fill_n(next, count, int64_t{1});
  // From the last dimension outwards; d is filled back to front and turned round at the end.
  for (int i = out.rank() - 1; i >= 0; --i) {
    int64_t stride[BroadcastDims::kMaxOperands];
    for (int k = 0; k < count; ++k) {
      const int at = i - (out.rank() - operands[k].rank());
      const int64_t dim = at < 0 ? 1 : operands[k][at];
      stride[k] = dim == 1 ? 0 : next[k];
      next[k] *= dim;
    }
    if (out[i] == 1) continue;
    bool merge = d.rank > 0;
    for (int k = 0; k < count && merge; ++k) merge = stride[k] == d.strides[k][d.rank - 1] * d.dims[d.rank - 1];
    if (merge) {
      d.dims[d.rank - 1] *= out[i];
      continue;
    }
    d.dims[d.rank] = out[i];
    for (int k = 0; k < count; ++k) d.strides[k][d.rank] = stride[k];
    ++d.rank;
  }
  std::reverse(d.dims, d.dims + d.rank);
  for (int k = 0; k < count; ++k) std::reverse(d.strides[k], d.strides[k] + d.rank);
  return d;
}

std::vector<bool> reduced_axes(const char* op, const Shape& shape, const std::optional<std::vector<int64_t>>& axes) {
  const int rank = shape.rank();
  std::vector<bool> reduced(static_cast<size_t>(rank), !axes.has_value());
  if (!axes.has_value()) return reduced;
  for (const int64_t axis : *axes) {
    if (axis < -rank || axis >= rank) {
      fail_value(op, "axes", "axes of an array of shape " + shape.str(), std::to_string(axis));
    }
    const size_t at = static_cast<size_t>(axis < 0 ? axis + rank : axis);
    if (reduced[at]) fail_value(op, "axes", "every axis once", std::to_string(axis) + " twice");
    reduced[at] = true;
  }
  return reduced;
}

Shape reduced_shape(const Shape& shape, const std::vector<bool>& reduced, bool keepdims) {
  Shape out;
  for (int i = 0; i < shape.rank(); ++i) {
    if (!reduced[static_cast<size_t>(i)]) {
      out.push_back(shape[i]);
    } else if (keepdims) {
      out.push_back(1);
    }
  }
  return out;
}

ReduceDims collapse(const Shape& shape, const std::vector<bool>& reduced) {
  ReduceDims d;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == 1) continue;
    const bool r = reduced[static_cast<size_t>(i)];
    if (d.rank > 0 && d.reduced[d.rank - 1] == r) {
      d.dims[d.rank - 1] *= shape[i];
    } else {
      d.dims[d.rank] = shape[i];
      d.reduced[d.rank++] = r;
    }
  }
  return d;
}

}  // namespace lamella
