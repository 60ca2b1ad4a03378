// Forward as an implicit matrix product, with a pooling by 2x2 along.
#include "kernels/cuda/conv_igemm.h"

namespace lamella::cuda {

void launch_igemm_pool(const Context& ctx, ConvTile tile, bool packed, dim3 grid, const IgemmArgs<float>& a) {
  launch_igemm_tile<true, true>(ctx, tile, packed, grid, a);
}
void launch_igemm_pool(const Context& ctx, ConvTile tile, bool packed, dim3 grid, const IgemmArgs<double>& a) {
  launch_igemm_tile<true, true>(ctx, tile, packed, grid, a);
}

}  // namespace lamella::cuda
