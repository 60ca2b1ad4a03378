// The gradient to weights as an implicit matrix product.
#include "kernels/cuda/conv_igemm_weight.h"

namespace lamella::cuda {

void launch_igemm_weight(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                         const IgemmWeightArgs<float>& a) {
  with_simt_tile(plan.tile, packed, LaunchIgemmWeight{ctx, grid}, a, float{});
}
void launch_igemm_weight(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                         const IgemmWeightArgs<double>& a) {
  with_simt_tile(plan.tile, packed, LaunchIgemmWeight{ctx, grid}, a, double{});
}

}  // namespace lamella::cuda
