// The part of the shape kernels that stands in shape_cast.cu.
#pragma once

#include "kernels/shape.h"

namespace lamella::cuda {

void cast(const Context& ctx, const CastParams& p);

}  // namespace lamella::cuda
