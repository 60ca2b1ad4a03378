// The gradient to data of a stride of 1 as an implicit matrix product on the matrix units.
#include "kernels/cuda/conv_igemm.h"

namespace lamella::cuda {

void launch_igemm_data_mma(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                           const IgemmArgs<float>& a) {
  with_mma_tile(plan, packed, LaunchIgemm<Way::kData>{ctx, grid}, a);
}

}  // namespace lamella::cuda
