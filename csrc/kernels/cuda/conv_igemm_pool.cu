// Forward, with a pooling by 2x2 along, as an implicit matrix product.
#include "kernels/cuda/conv_igemm.h"

namespace lamella::cuda {

void launch_igemm_pool(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                       const IgemmArgs<float>& a) {
  with_simt_tile(plan.tile, packed, LaunchIgemm<Way::kPool>{ctx, grid}, a, float{});
}
void launch_igemm_pool(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                       const IgemmArgs<double>& a) {
  with_simt_tile(plan.tile, packed, LaunchIgemm<Way::kPool>{ctx, grid}, a, double{});
}

}  // namespace lamella::cuda
