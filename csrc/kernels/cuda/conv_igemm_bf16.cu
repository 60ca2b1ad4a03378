// Implicit matrix products of bf16 arrays.
#include "kernels/cuda/conv_igemm.h"

namespace lamella::cuda {

void launch_igemm_forward_mma(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                              const IgemmArgs<bf16>& a) {
  with_half_tile<bf16>(plan, packed, LaunchIgemm<Way::kForward>{ctx, grid}, a);
}
void launch_igemm_pool_mma(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                           const IgemmArgs<bf16>& a) {
  with_half_tile<bf16>(plan, packed, LaunchIgemm<Way::kPool>{ctx, grid}, a);
}
void launch_igemm_data_mma(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                           const IgemmArgs<bf16>& a) {
  with_half_tile<bf16>(plan, packed, LaunchIgemm<Way::kData>{ctx, grid}, a);
}
void launch_igemm_phases_mma(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                             const IgemmArgs<bf16>& a) {
  with_half_tile<bf16>(plan, packed, LaunchIgemm<Way::kPhases>{ctx, grid}, a);
}

}  // namespace lamella::cuda
