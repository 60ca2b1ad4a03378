// How an implicit matrix product is run: tiles and parts of its sums, by the shape alone.
#pragma once

#include "kernels/cuda/conv_geometry.h"
#include "kernels/cuda/fast_div.h"

namespace lamella::cuda {

enum class ConvTile : int32_t { k32x32, k64x64, k128x32, k128x64, k128x128 };

struct ConvTilePlan {
  ConvTile tile = ConvTile::k64x64;
  int64_t row_tiles = 0, column_tiles = 0;
  int64_t splits = 1, split_length = 0;  // of k; a multiple of 16
};

// For `products` products of m x n x k. wide: all tiles are there (else those of scalar loads, which have fewer);
// most_splits: 1 or a power of two.
ConvTilePlan plan_conv_tiles(int64_t m, int64_t n, int64_t k, int64_t products, bool is_float, bool wide,
                             int64_t most_splits);

template <class T>
struct IgemmArgs {
  ConvView<int> view;
  ConvParams<T> p;
  FastDiv channels;    // by the source channels of a group
  FastDiv taps_w;      // of the only phase, where there is one
  FastDiv row, image;  // likewise
  unsigned row_tiles = 0, column_tiles = 0;
  int splits = 1, split_length = 0;
  T* partial = nullptr;  // of splits: destinations one after the other
  bool packed_weight = false, packed_dst = false;
};
template <class T>
struct IgemmWeightArgs {
  ConvShape shape;
  const T* x = nullptr;
  const T* dy = nullptr;
  T* sums = nullptr;   // dweight, or one after the other those of the splits
  FastDiv row, image;  // by the columns and rows of y
  FastDiv channels, kernel_w;
  unsigned row_tiles = 0, column_tiles = 0;
  int split_length = 0;
  bool packed_dy = false, packed_sums = false;
};

// packed: 16-byte loads along the source's channels. Blocks: tiles, groups, phases or splits.
void launch_igemm_forward(const Context&, ConvTile, bool packed, dim3 grid, const IgemmArgs<float>&);
void launch_igemm_forward(const Context&, ConvTile, bool packed, dim3 grid, const IgemmArgs<double>&);
void launch_igemm_pool(const Context&, ConvTile, bool packed, dim3 grid, const IgemmArgs<float>&);
void launch_igemm_pool(const Context&, ConvTile, bool packed, dim3 grid, const IgemmArgs<double>&);
void launch_igemm_data(const Context&, ConvTile, bool packed, dim3 grid, const IgemmArgs<float>&);
void launch_igemm_data(const Context&, ConvTile, bool packed, dim3 grid, const IgemmArgs<double>&);
void launch_igemm_weight(const Context&, ConvTile, bool packed, dim3 grid, const IgemmWeightArgs<float>&);
void launch_igemm_weight(const Context&, ConvTile, bool packed, dim3 grid, const IgemmWeightArgs<double>&);

}  // namespace lamella::cuda
