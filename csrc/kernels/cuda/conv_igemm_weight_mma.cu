// The gradient to weights as an implicit matrix product on the matrix units.
#include "kernels/cuda/conv_igemm_weight.h"

namespace lamella::cuda {

void launch_igemm_weight_mma(const Context& ctx, const ConvTilePlan& plan, bool packed, dim3 grid,
                             const IgemmWeightArgs<float>& a) {
  with_mma_tile(plan, packed, LaunchIgemmWeight{ctx, grid}, a);
}

}  // namespace lamella::cuda
