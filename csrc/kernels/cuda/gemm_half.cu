// Products of 16-bit floats, which the matrix units take as they are.
#include "kernels/cuda/gemm_blocks.h"
#include "kernels/cuda/gemm_tile_mma.h"

namespace lamella::cuda {
namespace {

template <class T>
void launch_typed(const Context& ctx, MmaShape shape, const GemmProblem<T>& g) {
  using Kind = typename KindOf<T>::type;
  if (shape == MmaShape::k64x64) return launch_tile<MmaTile<Kind, 64, 64, 32, 32, 32>, 3, true>(ctx, g);
  launch_tile<MmaTile<Kind, 128, 128, 32, 64, 32>, 1, false>(ctx, g);
}

}  // namespace

void launch_half(const Context& ctx, MmaShape shape, const GemmProblem<f16>& g) { launch_typed(ctx, shape, g); }
void launch_half(const Context& ctx, MmaShape shape, const GemmProblem<bf16>& g) { launch_typed(ctx, shape, g); }

}  // namespace lamella::cuda
