// How a 3x3 convolution is cut for Winograd's algorithm: tiles, the blocks that they are taken in, strides of buffers.
//
// Three schedules, chosen by the shape. Blocked: a task takes a block of tiles through all three stages, with
// everything but the weights in its own L2. Staged: for weights that only fit in L3 or beyond: each stage is shared out
// by itself, so that the weights are read once for many tiles. Few: for few tiles the weights are what costs; a task
// takes some destination channels, and transforms their weights (where that has not been done before) block by block in
// its own L2, never to memory.
#pragma once

#include "kernels/cpu/conv_winograd_inl.h"
#include "kernels/cpu/gemm_core.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T, class A>
struct WinogradPlan {
  static constexpr int kPoints = A::kPoints * A::kPoints;
  static constexpr int kKernels = A::kKernelPoints * A::kKernelPoints;  // points of one transformed kernel share it
  ConvView v;
  int64_t off_h, off_w;      // of a tile's first source row and column
  int64_t shift_h, shift_w;  // by which tiles begin before the first destination row and column
  int64_t tiles_h, tiles_w, tiles;
  int64_t k, n, n_pad;  // channels of source and destination; the latter in whole column panels
  bool staged, few;
  int64_t kc;       // source channels in one run of sums
  int64_t block;    // tiles taken through the stages together
  int64_t columns;  // destination channels taken through product and back-transform together
  // Transformed tiles [tile][point][k], products [tile][point][columns], so that a tile lies in few pages: row and
  // point strides in elements.
  int64_t ld_v, point_v, ld_m, point_m;
  int64_t point_u;  // of all weights
};

// The tiles along one axis of `size` destination pixels.
template <class A>
void place(ConvPass pass, int64_t pad, int64_t size, int64_t& off, int64_t& shift, int64_t& tiles) {
  shift = 0;
  if (pass == ConvPass::kForward) {
    off = -pad;
  } else if constexpr (requires { A::kMiddleFirst; }) {
    // Pixel x sees the middle tap where x + pad is odd.
    off = A::kMiddleFirst ? (pad - 1) / 2 : pad / 2 - 1;
    shift = A::kMiddleFirst ? 0 : pad % 2;
  } else {
    off = pad - 2;
  }
  tiles = ceil_div(size + shift, A::kOut);
}

template <class T, class A>
WinogradPlan<T, A> winograd_plan(const ConvShape& s, ConvPass pass) {
  constexpr int64_t kMR = kGemmMR<T>;
  WinogradPlan<T, A> p;
  constexpr int64_t points = WinogradPlan<T, A>::kPoints;
  p.v = conv_view(s, pass);
  place<A>(pass, s.pad_top, p.v.dh, p.off_h, p.shift_h, p.tiles_h);
  place<A>(pass, s.pad_left, p.v.dw, p.off_w, p.shift_w, p.tiles_w);
  p.tiles = p.v.n * p.tiles_h * p.tiles_w;
  p.k = p.v.kc;
  p.n = p.v.nc;
  p.n_pad = round_up(p.n, kGemmNR<T>);
  p.point_v = winograd_stride<T>(p.k);
  p.ld_v = winograd_stride<T>(points * p.point_v);

  constexpr int64_t size = sizeof(T);
  constexpr int64_t kBlockBytes = 384 << 10, kStagedBytes = 12 << 20, kWeightBytes = 6 << 20;
  const int64_t weights = WinogradPlan<T, A>::kKernels * p.k * p.n_pad * size;
  const int64_t per_tile = p.ld_v * size;
  // Sixteen blocks where there are that many panels of tiles: enough to share out, whoever the machine is.
  int64_t block = max64(1, kBlockBytes / per_tile / kMR) * kMR;
  block = min64(block, max64(1, p.tiles / (16 * kMR)) * kMR);
  p.staged = weights > kWeightBytes || p.tiles < 8 * kMR;
  if (p.staged) block = max64(kMR, kStagedBytes / (points * (p.k + p.n_pad) * size) / kMR * kMR);
  p.block = max64(1, ceil_div(p.tiles, ceil_div(max64(1, p.tiles), block)));
  p.kc = gemm_kc<T>(p.k);
  constexpr int64_t kFewTiles = 64, kFewWeightBytes = 320 << 10, kProductBytes = 160 << 10;
  p.few = p.tiles <= kFewTiles && p.n_pad > kGemmNR<T>;
  if (p.few) {
    p.staged = true;
    p.block = max64(1, p.tiles);
    const int64_t most = kFewWeightBytes / (WinogradPlan<T, A>::kKernels * kGemmNR<T> * size);
    p.kc = min64(p.k, round_up(ceil_div(p.k, ceil_div(p.k, most)), 8));
  }
  p.columns = p.few ? kGemmNR<T>
              : p.staged
                  ? p.n_pad
                  : min64(p.n_pad, max64(1, kProductBytes / (points * p.block * size) / kGemmNR<T>) * kGemmNR<T>);
  p.point_m = winograd_stride<T>(p.columns);
  p.ld_m = winograd_stride<T>(points * p.point_m);
  p.point_u = winograd_stride<T>(p.k * p.n_pad);
  return p;
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
