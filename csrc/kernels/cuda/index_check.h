// Index lists on the device.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/index_check.h"

namespace lamella::cuda {

__device__ inline int64_t index_at(const IndexList& list, int64_t i) {
  return list.i32 != nullptr ? list.i32[i] : list.i64[i];
}

// Every family's check: launches a kernel that leaves what it finds in the backend's IndexError.
void check_indices(const Context& ctx, const IndexCheckParams& p);

}  // namespace lamella::cuda
