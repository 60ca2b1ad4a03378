// Forward, with a pooling by 2x2 along, as an implicit matrix product on the matrix units.
#include "kernels/cuda/conv_igemm.h"

namespace lamella::cuda {

void launch_igemm_pool_mma(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                           const IgemmArgs<float>& a) {
  with_mma_tile(plan, packed, LaunchIgemm<Way::kPool>{ctx, grid}, a);
}

}  // namespace lamella::cuda
