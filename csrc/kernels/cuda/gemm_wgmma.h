// Large products on Hopper's matrix units (compute capability 9.0), whose warps in groups of four read both factors
// from shared memory, where the copy engine puts them.
//
// Off unless the environment has LAMELLA_CUDA_WGMMA=1.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/gemm.h"

namespace lamella::cuda {

// Whether it is switched on, the device has it, and the product is large enough to pay for a pass over its factors.
bool gemm_wgmma_suits(const GemmParams<float>& p);
size_t gemm_wgmma_workspace(const GemmParams<float>& p);
// False where the driver refuses: nothing has been launched then.
bool gemm_wgmma(const Context& ctx, const GemmParams<float>& p, bool bf16);

}  // namespace lamella::cuda
