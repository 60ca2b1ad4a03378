// The gradient to data as an implicit matrix product.
#include "kernels/cuda/conv_igemm.h"

namespace lamella::cuda {

void launch_igemm_data(const Context& ctx, ConvTile tile, bool packed, dim3 grid, const IgemmArgs<float>& a) {
  launch_igemm_tile<false, false>(ctx, tile, packed, grid, a);
}
void launch_igemm_data(const Context& ctx, ConvTile tile, bool packed, dim3 grid, const IgemmArgs<double>& a) {
  launch_igemm_tile<false, false>(ctx, tile, packed, grid, a);
}

}  // namespace lamella::cuda
