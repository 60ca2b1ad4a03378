// What shape.cu and shape_cast.cu have of each other, and others of them.
#pragma once

#include "kernels/shape.h"

namespace lamella::cuda {

void cast(const Context& ctx, const CastParams& p);
// Between any two addresses.
void copy_bytes(const Context& ctx, void* dst, const void* src, int64_t bytes);

}  // namespace lamella::cuda
