// How an implicit matrix product is run: tiles and parts of its sums, by the shape alone.
#pragma once

#include "base/half.h"
#include "kernels/cuda/conv_geometry.h"
#include "kernels/cuda/fast_div.h"

namespace lamella::cuda {

// What multiplies: the ordinary units, or the matrix units with factors rounded.
enum class ConvUnits : int32_t { kSimt, kTf32, kBf16 };

enum class ConvTile : int32_t { k32x32, k64x64, k128x32, k128x64, k128x128 };

struct ConvTilePlan {
  ConvUnits units = ConvUnits::kSimt;
  ConvTile tile = ConvTile::k64x64;
  int64_t row_tiles = 0, column_tiles = 0;
  int64_t splits = 1, split_length = 0;  // of k; a multiple of 32
};

// For `products` products of m x n x k. packed: loads of packs along the source's channels, for which there are more
// tiles; most_splits: 1 or a power of two.
struct ConvProblem {
  int64_t m, n, k, products;
  bool is_float, packed;
  int64_t most_splits;
};
ConvTilePlan plan_conv_tiles(const ConvProblem&, ConvUnits);

template <class T>
struct IgemmArgs {
  ConvView<int> view;
  ConvParams<T> p;
  FastDiv channels;    // by the source channels of a group
  FastDiv taps_w;      // where there are no phases
  FastDiv row, image;  // likewise
  unsigned row_tiles = 0, column_tiles = 0;
  int splits = 1, split_length = 0;
  Real<T>* partial = nullptr;  // of splits: destinations one after the other
  bool packed_weight = false, packed_dst = false;
};
template <class T>
struct IgemmWeightArgs {
  ConvShape shape;
  const T* x = nullptr;
  const T* dy = nullptr;
  T* dweight = nullptr;
  Real<T>* sums = nullptr;  // one after the other those of the splits, or nullptr
  FastDiv row, image;       // by the columns and rows of y
  FastDiv channels, kernel_w;
  unsigned row_tiles = 0, column_tiles = 0;
  int split_length = 0;
  bool packed_dy = false, packed_sums = false;
};

// Of the kernels that the plan names: `packed` or not. Blocks: tiles, groups, phases or splits.
#define LAMELLA_IGEMM(name, Args)                                                                                  \
  void launch_igemm_##name(const Context&, const ConvTilePlan&, bool packed, dim3 grid, const Args<float>&);       \
  void launch_igemm_##name(const Context&, const ConvTilePlan&, bool packed, dim3 grid, const Args<double>&);      \
  void launch_igemm_##name##_mma(const Context&, const ConvTilePlan&, bool packed, dim3 grid, const Args<float>&); \
  void launch_igemm_##name##_mma(const Context&, const ConvTilePlan&, bool packed, dim3 grid, const Args<f16>&);   \
  void launch_igemm_##name##_mma(const Context&, const ConvTilePlan&, bool packed, dim3 grid, const Args<bf16>&);

LAMELLA_IGEMM(forward, IgemmArgs)
LAMELLA_IGEMM(pool, IgemmArgs)
LAMELLA_IGEMM(data, IgemmArgs)    // of a stride of 1
LAMELLA_IGEMM(phases, IgemmArgs)  // of any stride
LAMELLA_IGEMM(weight, IgemmWeightArgs)

#undef LAMELLA_IGEMM

}  // namespace lamella::cuda
