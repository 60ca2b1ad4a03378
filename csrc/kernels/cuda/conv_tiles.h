// The tiles that implicit matrix products are compiled for; plan_conv_tiles knows which there are.
#pragma once

#include "kernels/cuda/conv_igemm_plan.h"
#include "kernels/cuda/gemm_tile_mma.h"
#include "kernels/cuda/gemm_tile_simt.h"

namespace lamella::cuda {
namespace {

// Each calls launcher.go<Tile, kPacked, kLeastBlocks>(args), kLeastBlocks being how many blocks a multiprocessor is to
// hold.
template <class Launcher, class Args>
void with_simt_tile(ConvTile tile, bool packed, const Launcher& l, const Args& a, float) {
  using Narrow = SimtTile<float, 128, 32, 16, 8, 4>;
  using Middle = SimtTile<float, 128, 64, 16, 8, 8>;
  using Small = SimtTile<float, 32, 32, 16, 4, 4>;
  if (!packed) {
    if (tile == ConvTile::k128x32) return l.template go<Narrow, false, 4>(a);
    if (tile == ConvTile::k128x64) return l.template go<Middle, false, 3>(a);
    return l.template go<Small, false, 8>(a);
  }
  switch (tile) {
    case ConvTile::k32x32:
      return l.template go<Small, true, 8>(a);
    case ConvTile::k64x64:
      return l.template go<SimtTile<float, 64, 64, 16, 8, 4>, true, 4>(a);
    case ConvTile::k128x32:
      return l.template go<Narrow, true, 4>(a);
    case ConvTile::k128x64:
      return l.template go<Middle, true, 3>(a);
    case ConvTile::k128x128:
      return l.template go<SimtTile<float, 128, 128, 16, 8, 8>, true, 1>(a);
  }
}
template <class Launcher, class Args>
void with_simt_tile(ConvTile tile, bool, const Launcher& l, const Args& a, double) {
  if (tile == ConvTile::k64x64) return l.template go<SimtTile<double, 64, 64, 16, 8, 4>, false, 2>(a);
  l.template go<SimtTile<double, 32, 32, 16, 4, 4>, false, 4>(a);
}

template <class Kind, class Launcher, class Args>
void with_mma_tile(ConvTile tile, bool packed, const Launcher& l, const Args& a) {
  using Middle = MmaTile<Kind, 128, 64, 32, 64, 32>;
  if (!packed) return l.template go<Middle, false, 2>(a);
  if (tile == ConvTile::k128x128) return l.template go<MmaTile<Kind, 128, 128, 32, 64, 32>, true, 1>(a);
  if (tile == ConvTile::k128x64) return l.template go<Middle, true, 2>(a);
  l.template go<MmaTile<Kind, 64, 64, 32, 32, 32>, true, 3>(a);
}
template <class Launcher, class Args>
void with_mma_tile(const ConvTilePlan& plan, bool packed, const Launcher& l, const Args& a) {
  if (plan.units == ConvUnits::kBf16) return with_mma_tile<Bf16>(plan.tile, packed, l, a);
  with_mma_tile<Tf32>(plan.tile, packed, l, a);
}
// For arrays of 16-bit floats.
template <class T, class Launcher, class Args>
void with_half_tile(const ConvTilePlan& plan, bool packed, const Launcher& l, const Args& a) {
  with_mma_tile<typename KindOf<T>::type>(plan.tile, packed, l, a);
}

}  // namespace
}  // namespace lamella::cuda
