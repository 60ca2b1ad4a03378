#include "kernels/cuda/gemm_blocks.h"

namespace lamella::cuda {

void launch_simt(const Context& ctx, SimtShape shape, const GemmProblem<double>& g) {
  if (shape == SimtShape::k16x32) return launch_tile<SimtTile<double, 16, 32, 16, 4, 4>, 8, true>(ctx, g);
  launch_tile<SimtTile<double, 64, 64, 16, 8, 4>, 2, true>(ctx, g);
}

}  // namespace lamella::cuda
