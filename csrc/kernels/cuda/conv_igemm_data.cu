// The gradient to data of a stride of 1 as an implicit matrix product.
#include "kernels/cuda/conv_igemm.h"

namespace lamella::cuda {

void launch_igemm_data(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                       const IgemmArgs<float>& a) {
  with_simt_tile(plan.tile, packed, LaunchIgemm<Way::kData>{ctx, grid}, a, float{});
}
void launch_igemm_data(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                       const IgemmArgs<double>& a) {
  with_simt_tile(plan.tile, packed, LaunchIgemm<Way::kData>{ctx, grid}, a, double{});
}

}  // namespace lamella::cuda
