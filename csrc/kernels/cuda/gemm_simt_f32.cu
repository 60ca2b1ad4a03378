#include "kernels/cuda/gemm_blocks.h"

namespace lamella::cuda {

void launch_simt(const Context& ctx, SimtShape shape, const GemmProblem<float>& g) {
  switch (shape) {
    case SimtShape::k16x32:
      return launch_tile<SimtTile<float, 16, 32, 16, 4, 4>, 16, true>(ctx, g);
    case SimtShape::k32x32:
      return launch_tile<SimtTile<float, 32, 32, 16, 4, 4>, 8, false>(ctx, g);
    case SimtShape::k64x64:
      return launch_tile<SimtTile<float, 64, 64, 16, 8, 4>, 4, true>(ctx, g);
    case SimtShape::k128x64:
      return launch_tile<SimtTile<float, 128, 64, 16, 8, 8>, 3, false>(ctx, g);
    case SimtShape::k128x128:
      return launch_tile<SimtTile<float, 128, 128, 16, 8, 8>, 2, false>(ctx, g);
  }
}

}  // namespace lamella::cuda
