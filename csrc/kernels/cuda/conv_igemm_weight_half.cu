// The gradient to weights as an implicit matrix product of 16-bit floats.
#include "kernels/cuda/conv_igemm_weight.h"

namespace lamella::cuda {

void launch_igemm_weight_mma(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                             const IgemmWeightArgs<f16>& a) {
  with_half_tile<f16>(plan, packed, LaunchIgemmWeight{ctx, grid}, a);
}
void launch_igemm_weight_mma(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                             const IgemmWeightArgs<bf16>& a) {
  with_half_tile<bf16>(plan, packed, LaunchIgemmWeight{ctx, grid}, a);
}

}  // namespace lamella::cuda
