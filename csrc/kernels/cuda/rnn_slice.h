// The product of a persistent recurrent kernel: a block keeps its columns of the recurrent weights in shared memory for
// the whole sequence, and multiplies with them, at every step, the rows of a state (or of the gates' gradients) that
// all blocks have written.
//
// out[row][col] = sum over k of a[row][k] * w[col][k]. The depth is cut into packs of 16 bytes, dealt out in turn to
// `kSlices` groups of lanes, each of which adds its products in order of k; then the groups' sums are added in order.
// That order is a function of the depth alone: how rows and columns are cut into blocks and tiles changes no bit.
#pragma once

#include "kernels/cuda/rnn_common.h"

namespace lamella::cuda {
namespace {

constexpr int kSliceThreads = 256, kSliceWarps = kSliceThreads / 32;
constexpr int kSliceStages = 3;             // of rows on their way from L2
constexpr int kSlicePacks = 32;             // of a row in a stage
constexpr int kStageRow = kSlicePacks + 1;  // odd: rows one below the other stand in different banks
constexpr int kTileColumns = 4;

// A lane has a tile of tile_rows x 4 outputs; the kLanes lanes of a group stand lanes_down x lanes_across.
struct SliceShape {
  int rows = 0, columns = 0;         // of a block, at most
  int depth = 0, packs = 0, ld = 0;  // of the sums, the same in packs, packs from a column of w to the next
  int tile_rows = 0, lanes_down = 0, lanes_across = 0;
  bool aligned = false;  // rows of a are whole packs, and so is what lies between them

  __host__ __device__ int block_rows() const { return tile_rows * lanes_down; }
  __host__ __device__ int block_columns() const { return kTileColumns * lanes_across; }
  // Elements of shared memory: weights, stages and the groups' sums.
  template <class T>
  __host__ __device__ int64_t weights_size() const {
    return static_cast<int64_t>(columns) * ld * Pack<T>::kSize;
  }
  template <class T>
  __host__ __device__ int64_t stages_size() const {
    return static_cast<int64_t>(kSliceStages) * block_rows() * kStageRow * Pack<T>::kSize;
  }
  __host__ __device__ int64_t partial_size() const {
    return static_cast<int64_t>(kSliceWarps) * block_rows() * block_columns();
  }
};

// sum[r * f.columns + c] for the block's `rows` x `columns`; a: its first row. All threads call it; sums are there for
// all of them when it returns, and copies that were under way before have arrived.
template <class T, int kLanes, int kTileRows>
__device__ __forceinline__ void slice_product(const SliceShape& f, int rows, int columns, const Pack<T>* w, const T* a,
                                              int64_t lda, Pack<T>* stages, T* partial, T* sum) {
  constexpr int V = Pack<T>::kSize, kSlices = kSliceThreads / kLanes;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int slice = thread / kLanes, place = thread % kLanes;
  const int down = place % f.lanes_down, across = place / f.lanes_down;
  const int block_rows = f.block_rows(), block_columns = f.block_columns();
  const int chunks = (f.packs + kSlicePacks - 1) / kSlicePacks;
  const int column_blocks = (columns + block_columns - 1) / block_columns;
  const int total = (rows + block_rows - 1) / block_rows * column_blocks * chunks;
  const bool aligned = f.aligned && reinterpret_cast<uintptr_t>(a) % 16 == 0;

  const auto fetch = [&](int i) {
    if (i < total) {
      const int block = i / chunks, q0 = (i - block * chunks) * kSlicePacks;
      const int r0 = block / column_blocks * block_rows, n = min(block_rows, rows - r0);
      const int packs = min(kSlicePacks, f.packs - q0);
      Pack<T>* to = stages + static_cast<int64_t>(i % kSliceStages) * block_rows * kStageRow;
      for (int e = thread; e < n * kSlicePacks; e += kSliceThreads) {
        const int r = e / kSlicePacks, q = e % kSlicePacks;
        if (q >= packs) continue;
        const T* from = a + (r0 + r) * lda;
        const int k = (q0 + q) * V;
        Pack<T>* pack = to + r * kStageRow + q;
        if (aligned) {
          copy_async<16>(pack, from + k);
        } else {
#pragma unroll
          for (int v = 0; v < V; ++v) {
            const bool inside = k + v < f.depth;
            copy_async<sizeof(T)>(&pack->v[v], from + (inside ? k + v : 0), inside ? static_cast<int>(sizeof(T)) : 0);
          }
        }
      }
    }
    copy_async_commit();
  };

#pragma unroll
  for (int i = 0; i < kSliceStages - 1; ++i) fetch(i);
  T acc[kTileRows][kTileColumns];
  for (int i = 0, block = 0, chunk = 0; i < total; ++i) {
    copy_async_wait<kSliceStages - 2>();
    __syncthreads();
    fetch(i + kSliceStages - 1);
    const int r0 = block / column_blocks * block_rows, c0 = block % column_blocks * block_columns;
    const int n = min(block_rows, rows - r0), m = min(block_columns, columns - c0);
    if (chunk == 0) {
#pragma unroll
      for (int r = 0; r < kTileRows; ++r)
#pragma unroll
        for (int c = 0; c < kTileColumns; ++c) acc[r][c] = T(0);
    }
    if (down < n && across < m) {
      // What lies beyond the edges is computed from what lies at them, and is not stored.
      const Pack<T>* stage = stages + static_cast<int64_t>(i % kSliceStages) * block_rows * kStageRow;
      const Pack<T>* a_at[kTileRows];
      const Pack<T>* w_at[kTileColumns];
#pragma unroll
      for (int r = 0; r < kTileRows; ++r) a_at[r] = stage + min(down + r * f.lanes_down, n - 1) * kStageRow;
#pragma unroll
      for (int c = 0; c < kTileColumns; ++c)
        w_at[c] = w + (c0 + min(across + c * f.lanes_across, m - 1)) * f.ld + chunk * kSlicePacks;
      const int packs = min(kSlicePacks, f.packs - chunk * kSlicePacks);
      for (int q = slice; q < packs; q += kSlices) {
        Pack<T> wv[kTileColumns];
#pragma unroll
        for (int c = 0; c < kTileColumns; ++c) wv[c] = w_at[c][q];
#pragma unroll
        for (int r = 0; r < kTileRows; ++r) {
          const Pack<T> av = a_at[r][q];
#pragma unroll
          for (int c = 0; c < kTileColumns; ++c)
#pragma unroll
            for (int v = 0; v < V; ++v) acc[r][c] = fma(av.v[v], wv[c].v[v], acc[r][c]);
        }
      }
    }
    if (++chunk < chunks) continue;
    chunk = 0;
    ++block;
    // The groups of a warp, then the warps.
#pragma unroll
    for (int r = 0; r < kTileRows; ++r)
#pragma unroll
      for (int c = 0; c < kTileColumns; ++c)
#pragma unroll
        for (int d = kLanes; d < 32; d *= 2) acc[r][c] += __shfl_xor_sync(~0u, acc[r][c], d);
    if (lane < kLanes) {
      T* to = partial + warp * block_rows * block_columns;
#pragma unroll
      for (int r = 0; r < kTileRows; ++r)
#pragma unroll
        for (int c = 0; c < kTileColumns; ++c)
          to[(down + r * f.lanes_down) * block_columns + across + c * f.lanes_across] = acc[r][c];
    }
    __syncthreads();
    for (int e = thread; e < n * m; e += kSliceThreads) {
      const int r = e / m, c = e - r * m;
      const T* from = partial + r * block_columns + c;
      T v[kSliceWarps];
#pragma unroll
      for (int k = 0; k < kSliceWarps; ++k) v[k] = from[k * block_rows * block_columns];
      sum[(r0 + r) * f.columns + c0 + c] = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
    }
  }
  copy_async_wait<0>();
  __syncthreads();
}

// ---- who computes what ----------------------------------------------------------------------------------------------

// Blocks of a persistent kernel: `groups` of rows of the batch, each shared out among unit_blocks blocks, which wait
// for each other after each step.
struct SlicePlan {
  bool fits = false;
  int units = 0, unit_blocks = 0, groups = 0;
  SliceShape shape;
  int64_t shared_bytes = 0;
};

constexpr int64_t kMostSliceRows = 128;

// columns: of the product, per unit; unit_elements, cell_elements: of shared memory, per unit, and per unit and row.
// What it weighs are clocks of a step: loads from shared memory, of which the product has more than multiplications,
// and rows from L2; and, for comparison, the launches of a step and its weights' way from L2.
template <class T>
SlicePlan plan_slices(const RnnParams<T>& p, int lanes, int64_t depth, int64_t columns, int64_t unit_elements,
                      int64_t cell_elements) {
  constexpr int64_t V = Pack<T>::kSize;
  const DeviceLimits& device = device_limits();
  const int64_t blocks = device.multiprocessors / p.directions;
  const int64_t packs = ceil_div(depth, V), slices = kSliceThreads / lanes;
  SlicePlan best;
  const double weights = static_cast<double>(depth * columns * p.h * p.directions), size = sizeof(T);
  double best_clocks =
      8000 + weights * size / 2000 + weights * static_cast<double>(p.n) * size / 4 / (90.0 * device.multiprocessors);
  if (p.n == 0 || blocks == 0 || p.h > (1 << 20) || packs * V * columns > (1 << 24)) return best;
  for (int64_t wanted = 1;; wanted *= 2) {
    const bool last = wanted >= least(blocks, p.n);
    if (last) wanted = least(blocks, p.n);
    const int64_t rows = ceil_div(p.n, wanted), groups = ceil_div(p.n, rows);
    const int64_t units = ceil_div(p.h, least(p.h, blocks / groups)), unit_blocks = ceil_div(p.h, units);
    for (int tile_rows = 1; tile_rows <= 8 && rows <= kMostSliceRows; tile_rows += tile_rows == 1 ? 3 : 4)
      for (int down = 1; down <= lanes; down *= 2) {
        SliceShape f;
        f.rows = static_cast<int>(rows);
        f.columns = static_cast<int>(units * columns);
        f.depth = static_cast<int>(depth);
        f.packs = static_cast<int>(packs);
        f.ld = static_cast<int>(packs | 1);  // odd, as kStageRow
        f.tile_rows = tile_rows;
        f.lanes_down = down;
        f.lanes_across = lanes / down;
        f.aligned = depth % V == 0 && p.h % V == 0;
        if (down > 1 && f.block_rows() >= 2 * rows) continue;
        const int64_t shared = (f.weights_size<T>() + f.stages_size<T>() + f.partial_size() + units * unit_elements +
                                rows * units * (columns + cell_elements)) *
                                   static_cast<int64_t>(sizeof(T)) +
                               round_up(rows, 4) * 4;
        if (shared > device.shared_bytes) continue;
        const int64_t row_blocks = ceil_div(rows, f.block_rows()),
                      column_blocks = ceil_div(f.columns, f.block_columns());
        const double product = static_cast<double>(row_blocks * column_blocks * ceil_div(packs, slices)) *
                               (tile_rows + kTileColumns) * 4 * kSliceWarps;
        const double read = static_cast<double>(rows * column_blocks * packs * 16);
        const double from_l2 = read / 32 + read * static_cast<double>(unit_blocks * groups * p.directions) / 3000;
        const double clocks = (product > from_l2 ? product : from_l2) +
                              static_cast<double>(row_blocks * column_blocks) * 300 +
                              (unit_blocks > 1 ? 1500 + 4.0 * static_cast<double>(unit_blocks) : 0) +
                              static_cast<double>(rows * units) * 0.5;
        if (clocks >= best_clocks) continue;
        best_clocks = clocks;
        best = {true, static_cast<int>(units), static_cast<int>(unit_blocks), static_cast<int>(groups), f, shared};
      }
    if (last) break;
  }
  return best;
}

}  // namespace
}  // namespace lamella::cuda
