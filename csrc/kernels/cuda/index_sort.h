// The places of a list of indices, sorted by index: a stable radix sort of 8 bits a pass.
//
// Up to 8,192 indices one block sorts alone, in one launch. More are cut into tiles of 4,096: a pass counts the digits
// of each tile, adds the counts up, and puts every tile's indices where they belong. Within a tile each warp has a
// stretch of its own and goes through it in order, 32 at a time.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/index_check.h"
#include "kernels/row_sums.h"

namespace lamella::cuda {
namespace {

constexpr int kDigits = RowSumsWorkspace::kDigits;
constexpr int kDigitBits = 8;
constexpr int kAloneThreads = 1024;
constexpr int64_t kAloneMost = 8192;
constexpr int kTileThreads = 256;
constexpr int kTileItems = RowSumsWorkspace::kTile;

// K: an unsigned type that holds the number of rows and of indices. Lists of n numbers.
template <class K>
struct Sorted {
  K* row;
  K* place;
};

// Indices as they come; those that pick nothing get the number behind the last row.
template <class K, class I>
struct Unsorted {
  const I* index;
  int64_t rows, padding;
  __device__ K row_of(int64_t i) const {
    const int64_t v = index[i];
    return static_cast<K>(v < 0 || v >= rows || v == padding ? rows : v);
  }
  __device__ K place_of(int64_t i) const { return static_cast<K>(i); }
};
template <class K>
struct Partly {
  const K* row;
  const K* place;
  __device__ K row_of(int64_t i) const { return row[i]; }
  __device__ K place_of(int64_t i) const { return place[i]; }
};

template <class K>
__device__ int digit_of(K row, int shift) {
  return static_cast<int>(row >> shift) & (kDigits - 1);
}

// The sum of what the threads before this one bring; `total` is the sum of all. scratch: 32 values, free again after
// the next barrier.
template <class V>
__device__ V block_exclusive_sum(V v, V* scratch, V& total) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  V sum = v;
  for (int d = 1; d < 32; d *= 2) {
    const V other = __shfl_up_sync(~0u, sum, static_cast<unsigned>(d));
    if (lane >= d) sum += other;
  }
  __syncthreads();
  if (lane == 31) scratch[warp] = sum;
  __syncthreads();
  V before = 0;
  total = 0;
  for (int w = 0; w < warps; ++w) {
    if (w < warp) before += scratch[w];
    total += scratch[w];
  }
  return before + sum - v;
}

template <class K, class From>
__device__ void count_digits(const From& from, int64_t begin, int64_t end, int64_t step, int shift, unsigned* counts) {
  for (int64_t i = begin; i < end; i += step) atomicAdd(&counts[digit_of<K>(from.row_of(i), shift)], 1u);
}

// A warp puts its stretch where `next` says, digit by digit, and keeps the order.
template <class K, class From>
__device__ void scatter_stretch(const From& from, int64_t begin, int64_t end, int shift, K* next, Sorted<K> to) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int64_t base = begin; base < end; base += 32) {
    const int64_t i = base + lane;
    const bool inside = i < end;
    const K row = inside ? from.row_of(i) : K(0), place = inside ? from.place_of(i) : K(0);
    const int digit = inside ? digit_of<K>(row, shift) : kDigits;
    const unsigned same = __match_any_sync(~0u, digit);
    const int rank = __popc(same & ((1u << lane) - 1));
    const K at = inside ? next[digit] + static_cast<K>(rank) : K(0);
    __syncwarp();
    if (inside && rank == 0) next[digit] += static_cast<K>(__popc(same));
    __syncwarp();
    if (inside) {
      to.row[at] = row;
      to.place[at] = place;
    }
  }
}

// ---- one block alone ------------------------------------------------------------------------------------------------

template <class K, class From>
__device__ void sort_pass_alone(const From& from, int64_t n, int shift, unsigned (*counts)[kDigits], K* next,
                                Sorted<K> to) {
  __shared__ unsigned scratch[32];
  constexpr int kWarps = kAloneThreads / 32;
  const int t = static_cast<int>(threadIdx.x), warp = t / 32, lane = t % 32;
  const int64_t stretch = ceil_div(ceil_div(n, kWarps), 32) * 32, begin = warp * stretch;
  const int64_t end = begin + stretch < n ? begin + stretch : n;
  for (int i = t; i < kWarps * kDigits; i += kAloneThreads) counts[i / kDigits][i % kDigits] = 0;
  __syncthreads();
  count_digits<K>(from, begin + lane, end, 32, shift, counts[warp]);
  __syncthreads();
  unsigned sum = 0, total;
  if (t < kDigits)
    for (int w = 0; w < kWarps; ++w) sum += counts[w][t];
  sum = block_exclusive_sum(sum, scratch, total);
  if (t < kDigits)
    for (int w = 0; w < kWarps; ++w) {
      next[w * kDigits + t] = static_cast<K>(sum);
      sum += counts[w][t];
    }
  __syncthreads();
  scatter_stretch<K>(from, begin, end, shift, next + warp * kDigits, to);
  __syncthreads();
}

// The result is in b after an odd number of passes, in a after an even one.
template <class K, class I>
__global__ void __launch_bounds__(kAloneThreads)
    sort_alone(Unsorted<K, I> from, int64_t n, int passes, Sorted<K> a, Sorted<K> b) {
  unsigned(*counts)[kDigits] = dynamic_shared<unsigned[kDigits]>();
  K* next = reinterpret_cast<K*>(counts + kAloneThreads / 32);
  sort_pass_alone<K>(from, n, 0, counts, next, b);
  for (int pass = 1; pass < passes; ++pass) {
    const bool odd = pass % 2 != 0;
    const Sorted<K> source = odd ? b : a;
    sort_pass_alone<K>(Partly<K>{source.row, source.place}, n, pass * kDigitBits, counts, next, odd ? a : b);
  }
}

// ---- many tiles -----------------------------------------------------------------------------------------------------

// counts[digit][tile].
template <class K, class From>
__global__ void __launch_bounds__(kTileThreads) count_tiles(From from, int64_t n, int shift, K* counts, int64_t tiles) {
  __shared__ unsigned count[kDigits];
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kTileItems;
  const int64_t end = begin + kTileItems < n ? begin + kTileItems : n;
  count[threadIdx.x] = 0;
  __syncthreads();
  count_digits<K>(from, begin + threadIdx.x, end, kTileThreads, shift, count);
  __syncthreads();
  counts[threadIdx.x * tiles + blockIdx.x] = static_cast<K>(count[threadIdx.x]);
}

// Each block adds up one digit's counts: what the tiles before have of it, and all of them.
template <class K>
__global__ void __launch_bounds__(kTileThreads) add_up_tiles(K* counts, K* totals, int64_t tiles) {
  __shared__ K scratch[32];
  K* const mine = counts + blockIdx.x * tiles;
  K before = 0;
  for (int64_t base = 0; base < tiles; base += kTileThreads) {
    const int64_t i = base + threadIdx.x;
    K all;
    const K sum = block_exclusive_sum(i < tiles ? mine[i] : K(0), scratch, all);
    if (i < tiles) mine[i] = before + sum;
    before += all;
    __syncthreads();
  }
  if (threadIdx.x == 0) totals[blockIdx.x] = before;
}

template <class K, class From>
__global__ void __launch_bounds__(kTileThreads)
    scatter_tiles(From from, int64_t n, int shift, const K* counts, const K* totals, int64_t tiles, Sorted<K> to) {
  static_assert(kTileThreads == kDigits);
  constexpr int kWarps = kTileThreads / 32, kStretch = kTileItems / kWarps;
  __shared__ unsigned count[kWarps][kDigits];
  __shared__ K next[kWarps][kDigits];
  __shared__ K scratch[32];
  const int t = static_cast<int>(threadIdx.x), warp = t / 32, lane = t % 32;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kTileItems + warp * kStretch;
  const int64_t end = begin + kStretch < n ? begin + kStretch : n;
  for (int w = 0; w < kWarps; ++w) count[w][t] = 0;
  __syncthreads();
  count_digits<K>(from, begin + lane, end, 32, shift, count[warp]);
  K all;
  K at = block_exclusive_sum(totals[t], scratch, all) + counts[t * tiles + blockIdx.x];
  __syncthreads();
  for (int w = 0; w < kWarps; ++w) {
    next[w][t] = at;
    at += static_cast<K>(count[w][t]);
  }
  __syncthreads();
  scatter_stretch<K>(from, begin, end, shift, next[warp], to);
}

// ---- the whole ------------------------------------------------------------------------------------------------------

inline int sort_passes(int64_t rows) {
  int bits = 1;
  while (bits < 63 && rows >> bits != 0) ++bits;
  return (bits + kDigitBits - 1) / kDigitBits;
}

template <class K>
struct SortSpace {
  Sorted<K> a, b;
  K* counts;  // of the tiles
  K* totals;
};

// Gives the list that holds the result.
template <class K, class I>
Sorted<K> sort_indices(const Context& ctx, const Unsorted<K, I>& from, int64_t n, const SortSpace<K>& space) {
  const int passes = sort_passes(from.rows);
  if (n <= kAloneMost) {
    constexpr size_t kShared = (kAloneThreads / 32) * kDigits * (sizeof(unsigned) + sizeof(K));
    if (n > 0)
      launch(ctx, sort_alone<K, I>, {dim3(1), dim3(kAloneThreads), kShared}, from, n, passes, space.a, space.b);
    return passes % 2 != 0 ? space.b : space.a;
  }
  const int64_t tiles = ceil_div(n, kTileItems);
  const dim3 grid(static_cast<unsigned>(tiles)), block(kTileThreads);
  const auto run = [&]<class From>(const From& source, int shift, Sorted<K> to) {
    launch(ctx, count_tiles<K, From>, {grid, block}, source, n, shift, space.counts, tiles);
    launch(ctx, add_up_tiles<K>, {dim3(kDigits), block}, space.counts, space.totals, tiles);
    launch(ctx, scatter_tiles<K, From>, {grid, block}, source, n, shift, static_cast<const K*>(space.counts),
           static_cast<const K*>(space.totals), tiles, to);
  };
  run(from, 0, space.b);
  for (int pass = 1; pass < passes; ++pass) {
    const bool odd = pass % 2 != 0;
    const Sorted<K> source = odd ? space.b : space.a;
    run(Partly<K>{source.row, source.place}, pass * kDigitBits, odd ? space.a : space.b);
  }
  return passes % 2 != 0 ? space.b : space.a;
}

}  // namespace
}  // namespace lamella::cuda
