// Products of rounded factors on Hopper's matrix units (compute capability 9.0), whose warps in groups of four read
// both factors from shared memory, where the copy engine puts them.
//
// Off unless the environment has LAMELLA_CUDA_WGMMA=1.
#pragma once

#include "kernels/cuda/gemm_rounded.h"

namespace lamella::cuda {

// Whether it is switched on and the device and its driver have it.
bool gemm_wgmma_ready();
// False where the driver refuses: nothing has been launched then.
bool gemm_wgmma(const Context& ctx, const Factor<uint32_t>& a, const Factor<uint32_t>& b, const RoundedProduct& g,
                int64_t batch);
bool gemm_wgmma(const Context& ctx, const Factor<uint16_t>& a, const Factor<uint16_t>& b, const RoundedProduct& g,
                int64_t batch);

}  // namespace lamella::cuda
