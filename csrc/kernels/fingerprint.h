// A fingerprint of memory, to see whether weights have changed since something was computed from them.
#pragma once

#include <cstdint>

#include "kernels/context.h"

namespace lamella {

template <class T>
struct FingerprintKernels {
  // Memory that differs in one 8-byte word always differs in its fingerprint; any other two agree by a chance of 2^-64.
  // It is no protection against somebody who looks for two that agree. It holds for one process: levels of ISA differ.
  uint64_t (*fingerprint)(const Context&, const void* data, int64_t bytes) = nullptr;
};

}  // namespace lamella
