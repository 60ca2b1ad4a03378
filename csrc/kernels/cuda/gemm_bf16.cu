#include "kernels/cuda/gemm_blocks.h"
#include "kernels/cuda/gemm_tile_mma.h"

namespace lamella::cuda {

void launch_bf16(const Context& ctx, MmaShape shape, const GemmProblem<float>& g) {
  if (shape == MmaShape::k64x64) return launch_tile<MmaTile<Bf16, 64, 64, 32, 32, 32>, 3, true>(ctx, g);
  launch_tile<MmaTile<Bf16, 128, 128, 32, 64, 32>, 1, false>(ctx, g);
}

}  // namespace lamella::cuda
