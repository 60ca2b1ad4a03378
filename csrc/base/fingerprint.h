// A fingerprint of memory, to see whether weights have changed since something was computed from them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace lamella {

// Memory that differs in one 8-byte word always differs in its fingerprint; any other two agree by a chance of 2^-64.
// It is no protection against somebody who looks for two that agree.
uint64_t fingerprint(const Context& ctx, const void* data, int64_t bytes);

}  // namespace lamella
