// The kernel around a tile (SimtTile, MmaTile) for matrices, which several files compile for some tiles each.
#pragma once

#include "kernels/cuda/gemm_epilogue.h"
#include "kernels/cuda/gemm_problem.h"
#include "kernels/cuda/gemm_tile_simt.h"

namespace lamella::cuda {
namespace {

// Which part of a problem a block works on.
struct BlockJob {
  TilePlace tile;
  unsigned split;
  int64_t batch;
};
template <class T>
__device__ __forceinline__ BlockJob block_job(const GemmProblem<T>& g) {
  const unsigned tiles = g.tiles_m * g.tiles_n, rest = blockIdx.x / tiles;
  return {tile_place(blockIdx.x % tiles, g.tiles_m, g.tiles_n), rest % g.splits, rest / g.splits};
}

template <class T>
__device__ __forceinline__ PartEpilogue<T> block_epilogue(const GemmProblem<T>& g, const BlockJob& job) {
  return {{g.p.c + job.batch * g.p.batch_stride_c, g.p.ldc, g.p.alpha, g.p.beta, g.p.bias, g.p.act, g.packed_c},
          g.splits == 1 ? nullptr : g.partial + (job.batch * g.splits + job.split) * g.p.m * g.partial_ld,
          g.partial_ld};
}

template <bool kPacked, bool kAlongK, class T>
__device__ __forceinline__ auto matrix_loader(const T* base, int64_t row_stride, int64_t k_stride, int64_t rows,
                                              int64_t k_end, bool packed) {
  if constexpr (kPacked) {
    return PackedLoader<T, kAlongK>{base, kAlongK ? row_stride : k_stride, rows, k_end};
  } else {
    return MatrixLoader<T, kAlongK>{base, row_stride, k_stride, rows, k_end, packed};
  }
}

template <class Tile, class T, bool kAlongKA, bool kAlongKB, bool kPacked, int kLeastBlocks>
__global__ void __launch_bounds__(Tile::kThreads, kLeastBlocks) gemm_tiles(const __grid_constant__ GemmProblem<T> g) {
  const BlockJob job = block_job(g);
  const int64_t k_begin = job.split * g.split_length;
  const int64_t k_end = k_begin + g.split_length < g.p.k ? k_begin + g.split_length : g.p.k;
  const auto a = matrix_loader<kPacked, kAlongKA>(g.p.a + job.batch * g.p.batch_stride_a, g.p.rs_a, g.p.cs_a, g.p.m,
                                                  k_end, g.packed_a);
  const auto b = matrix_loader<kPacked, kAlongKB>(g.p.b + job.batch * g.p.batch_stride_b, g.p.cs_b, g.p.rs_b, g.p.n,
                                                  k_end, g.packed_b);
  Tile::run(a, b, int64_t{job.tile.row} * Tile::kBlockM, int64_t{job.tile.column} * Tile::kBlockN, k_begin, k_end,
            g.p.m, g.p.n, block_epilogue(g, job));
}

// As many members of the batch at once as a grid takes.
template <class T, class F>
void over_batch(const GemmProblem<T>& problem, const F& launch_blocks) {
  const int64_t each = int64_t{problem.tiles_m} * problem.tiles_n * problem.splits;
  const int64_t most = (int64_t{1} << 30) / each > 0 ? (int64_t{1} << 30) / each : 1;
  GemmProblem<T> g = problem;
  for (int64_t first = 0; first < problem.p.batch; first += most) {
    g.p.batch = problem.p.batch - first < most ? problem.p.batch - first : most;
    launch_blocks(g, static_cast<unsigned>(each * g.p.batch));
    g.p.a += most * g.p.batch_stride_a;
    g.p.b += most * g.p.batch_stride_b;
    g.p.c += most * g.p.batch_stride_c;
    g.partial += most * g.splits * g.p.m * g.partial_ld;
  }
}

template <class Tile, bool kAlongKA, bool kAlongKB, bool kPacked, int kLeastBlocks, class T>
void launch_blocks(const Context& ctx, const GemmProblem<T>& problem) {
  over_batch(problem, [&](const GemmProblem<T>& g, unsigned blocks) {
    launch(ctx, gemm_tiles<Tile, T, kAlongKA, kAlongKB, kPacked, kLeastBlocks>,
           Launch{dim3(blocks), dim3(Tile::kThreads), Tile::kSharedBytes}, g);
  });
}

template <class Tile, bool kAlongKA, bool kAlongKB, int kLeastBlocks, class T>
void launch_layout(const Context& ctx, const GemmProblem<T>& g) {
  // Worth kernels of their own where products are large.
  if constexpr (Tile::kBlockM == 128) {
    if (g.packed_a && g.packed_b) return launch_blocks<Tile, kAlongKA, kAlongKB, true, kLeastBlocks>(ctx, g);
  }
  launch_blocks<Tile, kAlongKA, kAlongKB, false, kLeastBlocks>(ctx, g);
}

// kOdd: whether the shape is there for A along m and B along k too, which hardly anybody has.
template <class Tile, int kLeastBlocks, bool kOdd, class T>
void launch_tile(const Context& ctx, const GemmProblem<T>& g) {
  if (g.along_k_a) {
    if (g.along_k_b) return launch_layout<Tile, true, true, kLeastBlocks>(ctx, g);
    return launch_layout<Tile, true, false, kLeastBlocks>(ctx, g);
  }
  if constexpr (kOdd) {
    if (g.along_k_b) return launch_layout<Tile, false, true, kLeastBlocks>(ctx, g);
  }
  launch_layout<Tile, false, false, kLeastBlocks>(ctx, g);
}

}  // namespace
}  // namespace lamella::cuda
