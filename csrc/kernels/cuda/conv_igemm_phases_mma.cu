// The gradient to data of any stride, phase by phase, as an implicit matrix product on the matrix units.
#include "kernels/cuda/conv_igemm.h"

namespace lamella::cuda {

void launch_igemm_phases_mma(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                             const IgemmArgs<float>& a) {
  with_mma_tile(plan, packed, LaunchIgemm<Way::kPhases>{ctx, grid}, a);
}

}  // namespace lamella::cuda
