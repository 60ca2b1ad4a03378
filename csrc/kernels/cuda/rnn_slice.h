// The product of a persistent recurrent kernel: a block keeps its columns of the recurrent weights in shared memory for
// the whole sequence, and multiplies with them, at every step, the rows of a state (or of the gates' gradients) that
// all blocks have written.
//
// out[row][col] = sum over k of a[row][k] * w[col][k]. The depth is cut into packs of 16 bytes (two at a time, on
// matrix units), dealt out in turn to groups of lanes, each of which adds its products in order of k; then the groups'
// sums are added in order. That order is a function of the depth alone: how rows and columns are cut into blocks and
// tiles changes no bit.
#pragma once

#include "kernels/cuda/mma.h"
#include "kernels/cuda/rnn_common.h"

namespace lamella::cuda {
namespace {

constexpr int kSliceThreads = 256, kSliceWarps = kSliceThreads / 32;
constexpr int kSliceStages = 3;             // of rows on their way from L2
constexpr int kSlicePacks = 32;             // of a row in a stage
constexpr int kStageRow = kSlicePacks + 1;  // odd: rows one below the other stand in different banks
constexpr int kTileColumns = 4;

// On ordinary units a lane has a tile of tile_rows x 4 outputs, and the lanes of a group stand lanes_down x
// lanes_across. On matrix units (mma_across > 0) a warp has mma_down x mma_across tiles of 8 rows and 16 columns.
struct SliceShape {
  int rows = 0, columns = 0;         // of a block, at most
  int depth = 0, packs = 0, ld = 0;  // of the sums, the same in packs, packs from a column of w to the next
  int tile_rows = 0, lanes_down = 0, lanes_across = 0;
  int mma_down = 0, mma_across = 0, terms = 0;
  bool aligned = false;  // rows of a are whole packs, and so is what lies between them

  __host__ __device__ int block_rows() const { return mma_across > 0 ? 8 * mma_down : tile_rows * lanes_down; }
  __host__ __device__ int block_columns() const {
    return mma_across > 0 ? 16 * mma_across : kTileColumns * lanes_across;
  }
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

// A warp's part of a block of outputs: add() the products of `packs` packs with the rows of a stage and the columns of
// w, of which there are n and m; finish() writes the warp's sums. What lies beyond the edges is computed from what lies
// at them, and nobody reads it.
template <class T, int kLanes, int kTileRows>
struct SimtTile {
  T acc[kTileRows][kTileColumns];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int r = 0; r < kTileRows; ++r)
#pragma unroll
      for (int c = 0; c < kTileColumns; ++c) acc[r][c] = T(0);
  }
  __device__ __forceinline__ void add(const SliceShape& f, const Pack<T>* stage, const Pack<T>* w, int n, int m,
                                      int packs) {
    constexpr int kSlices = kSliceThreads / kLanes;
    const int slice = static_cast<int>(threadIdx.x) / kLanes, place = static_cast<int>(threadIdx.x) % kLanes;
    const int down = place % f.lanes_down, across = place / f.lanes_down;
    if (down >= n || across >= m) return;
    const Pack<T>* a_at[kTileRows];
    const Pack<T>* w_at[kTileColumns];
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) a_at[r] = stage + min(down + r * f.lanes_down, n - 1) * kStageRow;
#pragma unroll
    for (int c = 0; c < kTileColumns; ++c) w_at[c] = w + min(across + c * f.lanes_across, m - 1) * f.ld;
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
          for (int v = 0; v < Pack<T>::kSize; ++v) acc[r][c] = fma(av.v[v], wv[c].v[v], acc[r][c]);
      }
    }
  }
  __device__ __forceinline__ void finish(const SliceShape& f, T* to) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int down = lane % kLanes % f.lanes_down, across = lane % kLanes / f.lanes_down;
#pragma unroll
    for (int r = 0; r < kTileRows; ++r)
#pragma unroll
      for (int c = 0; c < kTileColumns; ++c) {
#pragma unroll
        for (int d = kLanes; d < 32; d *= 2) acc[r][c] += __shfl_xor_sync(~0u, acc[r][c], d);
        if (lane < kLanes) to[(down + r * f.lanes_down) * f.block_columns() + across + c * f.lanes_across] = acc[r][c];
      }
  }
};

// Columns of w are the matrix units' rows, for there are more of them. Terms: 1, factors of tf32; or 3, factors of two
// parts each that leave an error of 2^-21 or so, that of float32's own sums (but infinities become NaN).
template <int kDown, int kAcross>
struct MmaTile {
  float acc[kAcross][kDown][4];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int c = 0; c < kAcross; ++c)
#pragma unroll
      for (int r = 0; r < kDown; ++r)
#pragma unroll
        for (int i = 0; i < 4; ++i) acc[c][r][i] = 0.0f;
  }
  template <int kTerms, int kCount>
  static __device__ __forceinline__ void split(uint32_t (&high)[kCount], uint32_t (&low)[kCount]) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float v = __uint_as_float(high[i]);
      high[i] = to_tf32(v);
      if constexpr (kTerms == 3) low[i] = to_tf32(v - __uint_as_float(high[i]));
    }
  }
  __device__ __forceinline__ void add(const SliceShape& f, const Pack<float>* stage, const Pack<float>* w, int n, int m,
                                      int packs) {
    if (f.terms == 3) {
      multiply<3>(f, stage, w, n, m, packs);
    } else {
      multiply<1>(f, stage, w, n, m, packs);
    }
  }
  template <int kTerms>
  __device__ __forceinline__ void multiply(const SliceShape& f, const Pack<float>* stage, const Pack<float>* w, int n,
                                           int m, int packs) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    // Of matrix_load: lane 8 i + r names row r of the i-th matrix.
    const int i = lane / 8, r0 = lane % 8;
    const Pack<float>* w_at[kAcross];
    const Pack<float>* a_at[(kDown + 1) / 2];
#pragma unroll
    for (int c = 0; c < kAcross; ++c) w_at[c] = w + min(c * 16 + i % 2 * 8 + r0, m - 1) * f.ld + i / 2;
#pragma unroll
    for (int r = 0; r < (kDown + 1) / 2; ++r) a_at[r] = stage + min(r * 16 + i / 2 * 8 + r0, n - 1) * kStageRow + i % 2;
    for (int q = 2 * warp; q < packs; q += 2 * kSliceWarps) {
      uint32_t a_high[(kDown + 1) / 2][4], a_low[(kDown + 1) / 2][4];
#pragma unroll
      for (int r = 0; r < (kDown + 1) / 2; ++r) {
        matrix_load<false>(a_high[r], a_at[r] + q);
        split<kTerms>(a_high[r], a_low[r]);
      }
#pragma unroll
      for (int c = 0; c < kAcross; ++c) {
        uint32_t w_high[4], w_low[4];
        matrix_load<false>(w_high, w_at[c] + q);
        split<kTerms>(w_high, w_low);
#pragma unroll
        for (int r = 0; r < kDown; ++r) {
          const uint32_t high[2] = {a_high[r / 2][r % 2 * 2], a_high[r / 2][r % 2 * 2 + 1]};
          if constexpr (kTerms == 3) {
            const uint32_t low[2] = {a_low[r / 2][r % 2 * 2], a_low[r / 2][r % 2 * 2 + 1]};
            Tf32::mma(acc[c][r], w_low, high);
            Tf32::mma(acc[c][r], w_high, low);
          }
          Tf32::mma(acc[c][r], w_high, high);
        }
      }
    }
  }
  __device__ __forceinline__ void finish(const SliceShape& f, float* to) {
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int c = 0; c < kAcross; ++c)
#pragma unroll
      for (int r = 0; r < kDown; ++r)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          to[(r * 8 + 2 * t + i % 2) * f.block_columns() + c * 16 + i / 2 * 8 + g] = acc[c][r][i];
  }
};

// sum[r * f.columns + c] for the block's `rows` x `columns`; a: its first row. All threads call it; sums are there for
// all of them when it returns, and copies that were under way before have arrived.
template <class Tile, class T>
__device__ __forceinline__ void slice_product(const SliceShape& f, int rows, int columns, const Pack<T>* w, const T* a,
                                              int64_t lda, Pack<T>* stages, T* partial, T* sum) {
  constexpr int V = Pack<T>::kSize;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
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
          copy_async<16>(pack, from + (k < f.depth ? k : 0), k < f.depth ? 16 : 0);
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
  Tile tile;
  for (int i = 0, block = 0, chunk = 0; i < total; ++i) {
    copy_async_wait<kSliceStages - 2>();
    __syncthreads();
    fetch(i + kSliceStages - 1);
    const int r0 = block / column_blocks * block_rows, c0 = block % column_blocks * block_columns;
    const int n = min(block_rows, rows - r0), m = min(block_columns, columns - c0);
    if (chunk == 0) tile.clear();
    tile.add(f, stages + static_cast<int64_t>(i % kSliceStages) * block_rows * kStageRow,
             w + c0 * f.ld + chunk * kSlicePacks, n, m, min(kSlicePacks, f.packs - chunk * kSlicePacks));
    if (++chunk < chunks) continue;
    chunk = 0;
    ++block;
    tile.finish(f, partial + warp * block_rows * block_columns);
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

// How float32 is multiplied: where matrix units have eight times the rate of the others, three of their products are
// less than one of float32.
enum class SliceUnits { kOrdinary, kThreeTerms, kOneTerm };
template <class T>
SliceUnits slice_units(const Context& ctx) {
  if (sizeof(T) != sizeof(float) || ctx.strict) return SliceUnits::kOrdinary;
  if (ctx.tf32 || ctx.bf16) return SliceUnits::kOneTerm;
  return device_limits().capability % 10 == 0 ? SliceUnits::kThreeTerms : SliceUnits::kOrdinary;
}

// columns: of the product, per unit; unit_elements, cell_elements: of shared memory, per unit, and per unit and row.
// What it weighs are clocks of a step: loads from shared memory, of which the product has more than multiplications,
// and rows from L2; and, for comparison, the launches of a step and its weights' way from L2.
template <class T>
SlicePlan plan_slices(const RnnParams<T>& p, SliceUnits kind, int lanes, int64_t depth, int64_t columns,
                      int64_t unit_elements, int64_t cell_elements) {
  constexpr int64_t V = Pack<T>::kSize;
  const DeviceLimits& device = device_limits();
  const int64_t blocks = device.multiprocessors / p.directions;
  const bool matrix = kind != SliceUnits::kOrdinary;
  const int64_t packs = round_up(ceil_div(depth, V), matrix ? 2 : 1), slices = kSliceThreads / lanes;
  const int terms = kind == SliceUnits::kThreeTerms ? 3 : 1;
  SlicePlan best;
  const double weights = static_cast<double>(depth * columns * p.h * p.directions), size = sizeof(T);
  double best_clocks = 8000 + weights * size / 2000 +
                       weights * static_cast<double>(p.n) * size / 4 /
                           ((kind == SliceUnits::kOneTerm ? 400.0 : 90.0) * device.multiprocessors);
  if (p.n == 0 || blocks == 0 || p.h > (1 << 20) || packs * V * columns > (1 << 24)) return best;
  const auto consider = [&](SliceShape f, int64_t units, int64_t unit_blocks, int64_t groups, double per_block) {
    const int64_t rows = f.rows;
    const int64_t shared = (f.weights_size<T>() + f.stages_size<T>() + f.partial_size() + units * unit_elements +
                            rows * units * (columns + cell_elements)) *
                               static_cast<int64_t>(sizeof(T)) +
                           round_up(rows, 4) * 4;
    if (shared > device.shared_bytes) return;
    const int64_t column_blocks = ceil_div(f.columns, f.block_columns());
    const double products = static_cast<double>(ceil_div(rows, f.block_rows()) * column_blocks);
    const double read = static_cast<double>(rows * column_blocks * packs * 16);
    const double from_l2 = read / 32 + read * static_cast<double>(unit_blocks * groups * p.directions) / 3000;
    const double product = products * per_block;
    const double clocks = (product > from_l2 ? product : from_l2) + products * 300 +
                          (unit_blocks > 1 ? 1500 + 4.0 * static_cast<double>(unit_blocks) : 0) +
                          static_cast<double>(rows * units) * 0.5;
    if (clocks >= best_clocks) return;
    best_clocks = clocks;
    best = {true, static_cast<int>(units), static_cast<int>(unit_blocks), static_cast<int>(groups), f, shared};
  };
  for (int64_t wanted = 1;; wanted *= 2) {
    const bool last = wanted >= least(blocks, p.n);
    if (last) wanted = least(blocks, p.n);
    const int64_t rows = ceil_div(p.n, wanted), groups = ceil_div(p.n, rows);
    const int64_t units = ceil_div(p.h, least(p.h, blocks / groups)), unit_blocks = ceil_div(p.h, units);
    SliceShape f;
    f.rows = static_cast<int>(rows);
    f.columns = static_cast<int>(units * columns);
    f.depth = static_cast<int>(depth);
    f.packs = static_cast<int>(packs);
    f.ld = static_cast<int>(packs | 1);  // odd, as kStageRow
    f.aligned = depth % V == 0 && p.h % V == 0;
    if (rows <= kMostSliceRows && matrix) {
      constexpr int kTiles[][2] = {{1, 1}, {1, 4}, {2, 2}, {4, 1}, {4, 2}};
      for (const auto& tile : kTiles) {
        f.mma_down = tile[0];
        f.mma_across = tile[1];
        f.terms = terms;
        const double steps = static_cast<double>(ceil_div(packs, 2 * kSliceWarps)) * kSliceWarps;
        const double loads = 4.0 * (tile[1] + (tile[0] + 1) / 2), products = 2.0 * terms * tile[0] * tile[1];
        const double clocks = loads > products ? loads : products;
        consider(f, units, unit_blocks, groups, steps * (clocks > 8 ? clocks : 8));
      }
    }
    if (rows <= kMostSliceRows && !matrix) {
      constexpr int kTileRows[] = {1, 4, 8};
      for (const int tile_rows : kTileRows)
        for (int down = 1; down <= lanes; down *= 2) {
          f.tile_rows = tile_rows;
          f.lanes_down = down;
          f.lanes_across = lanes / down;
          if (down > 1 && f.block_rows() >= 2 * rows) continue;
          consider(f, units, unit_blocks, groups,
                   static_cast<double>(ceil_div(packs, slices)) * (tile_rows + kTileColumns) * 4 * kSliceWarps);
        }
    }
    if (last) break;
  }
  return best;
}

// Calls f with a tile (a value of its type) that is what the plan has chosen.
template <class T, int kLanes, class F>
void with_tile(const SliceShape& s, const F& f) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (s.mma_down == 1 && s.mma_across == 1) return f(MmaTile<1, 1>{});
    if (s.mma_down == 1) return f(MmaTile<1, 4>{});
    if (s.mma_down == 2) return f(MmaTile<2, 2>{});
    if (s.mma_down == 4 && s.mma_across == 1) return f(MmaTile<4, 1>{});
    if (s.mma_down == 4) return f(MmaTile<4, 2>{});
  }
  if (s.tile_rows == 1) return f(SimtTile<T, kLanes, 1>{});
  if (s.tile_rows == 4) return f(SimtTile<T, kLanes, 4>{});
  f(SimtTile<T, kLanes, 8>{});
}

}  // namespace
}  // namespace lamella::cuda
