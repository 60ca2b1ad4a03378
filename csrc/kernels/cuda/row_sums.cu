// Each row of the table is written once, by threads that read the gradients of its places and nothing else: places are
// sorted by row first (index_sort.h), which costs little beside the gradients. Rows that many places picked (frequent
// words) would keep few threads busy for long; a block per 32 of their columns brings their gradients to shared memory,
// 128 at a time and the next while one warp adds up.
#include "kernels/cuda/fast_div.h"
#include "kernels/cuda/index_sort.h"
#include "kernels/cuda/row_sums.h"
#include "kernels/row_sums.h"

namespace lamella::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kLong = 128;     // places of a row, from which it is summed by blocks
constexpr int64_t kMostOuter = 8;  // slices, beyond which there are threads enough
constexpr int kColumns = 32, kStage = 128;

// start[r]: the first place of row r in the sorted list; start[rows]: the end.
template <class K>
__global__ void __launch_bounds__(kThreads) find_starts(const K* sorted_row, int64_t n, int64_t rows, K* start) {
  for (int64_t r = thread_number(); r <= rows; r += thread_count()) {
    int64_t low = 0, high = n;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (static_cast<int64_t>(sorted_row[middle]) < r) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    start[r] = static_cast<K>(low);
  }
}

template <class T>
struct One {
  T v;
  __device__ void add(const One& o) { v += o.v; }
};
template <class T>
struct Packed : Pack<T> {
  __device__ void add(const Packed& o) {
#pragma unroll
    for (int k = 0; k < Pack<T>::kSize; ++k) this->v[k] += o.v[k];
  }
};

// `width` units to a row.
template <class U, class K, class Div, class N>
__global__ void __launch_bounds__(kThreads)
    sum_short(const U* __restrict__ from, U* __restrict__ to, const K* __restrict__ start, const K* __restrict__ place,
              int64_t n, int64_t width, Div by_width, Div by_rows, N total, int64_t most) {
  constexpr int kInFlight = 4;
  const int64_t at = thread_number();
  if (at >= static_cast<int64_t>(total)) return;
  N i = static_cast<N>(at);
  const auto column = by_width.split(i);
  const auto row = by_rows.split(i);
  int64_t k = static_cast<int64_t>(start[row]);
  const int64_t end = static_cast<int64_t>(start[row + 1]);
  if (end - k > most) return;
  const U* const slice = from + static_cast<int64_t>(i) * n * width + column;
  U sum = {};
  for (; k + kInFlight <= end; k += kInFlight) {
    U v[kInFlight];
#pragma unroll
    for (int l = 0; l < kInFlight; ++l) v[l] = slice[static_cast<int64_t>(place[k + l]) * width];
#pragma unroll
    for (int l = 0; l < kInFlight; ++l) sum.add(v[l]);
  }
  for (; k < end; ++k) sum.add(slice[static_cast<int64_t>(place[k]) * width]);
  to[at] = sum;
}

// Looks at every kLong-th of the sorted places: a long row has one of them, and is summed at the first. Grid: places
// times groups of columns, slices.
template <class T, class K>
__global__ void __launch_bounds__(kThreads)
    sum_long(const T* __restrict__ from, T* __restrict__ to, const K* __restrict__ start, Sorted<K> sorted, int64_t n,
             int64_t rows, int64_t inner, unsigned groups) {
  constexpr int kWarps = kThreads / 32, kPerWarp = kStage / kWarps;
  __shared__ T stage[kStage][kColumns];
  const int64_t looked_at = static_cast<int64_t>(blockIdx.x / groups) * kLong;
  const auto row = static_cast<int64_t>(sorted.row[looked_at]);
  if (row >= rows) return;
  const auto begin = static_cast<int64_t>(start[row]), end = static_cast<int64_t>(start[row + 1]);
  if (end - begin <= kLong || looked_at - begin >= kLong) return;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t column = static_cast<int64_t>(blockIdx.x % groups) * kColumns + lane, slice = blockIdx.y;
  const bool inside = column < inner;
  from += slice * n * inner + column;
  T v[kPerWarp];
  const auto load = [&](int64_t base) {
    const int64_t mine = base + warp * kPerWarp + lane % kPerWarp;
    const K place = mine < end ? sorted.place[mine] : K(0);
#pragma unroll
    for (int l = 0; l < kPerWarp; ++l) {
      const auto p = static_cast<int64_t>(__shfl_sync(~0u, place, l));
      v[l] = inside && base + warp * kPerWarp + l < end ? from[p * inner] : T(0);
    }
  };
  T sum = 0;
  load(begin);
  for (int64_t base = begin; base < end; base += kStage) {
#pragma unroll
    for (int l = 0; l < kPerWarp; ++l) stage[warp * kPerWarp + l][lane] = v[l];
    __syncthreads();
    if (base + kStage < end) load(base + kStage);
    if (warp == 0) {
      const int count = end - base < kStage ? static_cast<int>(end - base) : kStage;
#pragma unroll 16
      for (int l = 0; l < count; ++l) sum += stage[l][lane];
    }
    __syncthreads();
  }
  if (warp == 0 && inside) to[(slice * rows + row) * inner + column] = sum;
}

// ---- memory ---------------------------------------------------------------------------------------------------------

template <class K>
struct Space {
  SortSpace<K> sort;
  K* start;

  Space(void* memory, const RowSumsWorkspace& w) {
    using W = RowSumsWorkspace;
    const auto part = [&](W::Part i) { return reinterpret_cast<K*>(static_cast<char*>(memory) + w.offset[i]); };
    sort.a = {part(W::kRowA), part(W::kPlaceA)};
    sort.b = {part(W::kRowB), part(W::kPlaceB)};
    sort.counts = part(W::kCounts);
    sort.totals = part(W::kTotals);
    start = part(W::kStart);
  }
};

template <class T, class U, class K>
void sum_units(const Context& ctx, const RowSums<T>& p, const Space<K>& space, const Sorted<K>& sorted, int64_t width,
               int64_t most) {
  const int64_t n = p.index.n, total = p.outer * p.rows * width;
  const U* from = reinterpret_cast<const U*>(p.grad_out);
  U* to = reinterpret_cast<U*>(p.grad_in);
  const Launch each = {dim3(static_cast<unsigned>(ceil_div(total, kThreads))), dim3(kThreads)};
  if (total < int64_t{1} << 31) {
    launch(ctx, sum_short<U, K, FastDiv, uint32_t>, each, from, to, static_cast<const K*>(space.start),
           static_cast<const K*>(sorted.place), n, width, FastDiv(width), FastDiv(p.rows), static_cast<uint32_t>(total),
           most);
  } else {
    launch(ctx, sum_short<U, K, WideDiv, int64_t>, each, from, to, static_cast<const K*>(space.start),
           static_cast<const K*>(sorted.place), n, width, WideDiv(width), WideDiv(p.rows), total, most);
  }
}

template <class K, class T>
void sum_keys(const Context& ctx, const RowSums<T>& p, const RowSumsWorkspace& workspace) {
  const int64_t n = p.index.n;
  const Space<K> space(ctx.workspace, workspace);
  const Sorted<K> sorted = p.index.i32 != nullptr
                               ? sort_indices(ctx, Unsorted<K, int32_t>{p.index.i32, p.rows, p.padding}, n, space.sort)
                               : sort_indices(ctx, Unsorted<K, int64_t>{p.index.i64, p.rows, p.padding}, n, space.sort);
  launch(ctx, find_starts<K>, flat(p.rows + 1, kThreads), static_cast<const K*>(sorted.row), n, p.rows, space.start);
  const bool split = n > kLong && p.outer <= kMostOuter;
  const int64_t most = split ? kLong : n;
  if (p.inner % Pack<T>::kSize == 0 && aligned16(p.grad_out) && aligned16(p.grad_in)) {
    sum_units<T, Packed<T>>(ctx, p, space, sorted, p.inner / Pack<T>::kSize, most);
  } else {
    sum_units<T, One<T>>(ctx, p, space, sorted, p.inner, most);
  }
  if (!split) return;
  const int64_t groups = ceil_div(p.inner, kColumns);
  launch(ctx, sum_long<T, K>,
         {dim3(static_cast<unsigned>(ceil_div(n, kLong) * groups), static_cast<unsigned>(p.outer)), dim3(kThreads)},
         p.grad_out, p.grad_in, static_cast<const K*>(space.start), sorted, n, p.rows, p.inner,
         static_cast<unsigned>(groups));
}

template <class T>
void sum_any(const Context& ctx, const RowSums<T>& p) {
  if (p.outer * p.rows * p.inner == 0) return;
  const RowSumsWorkspace workspace(p.index.n, p.rows);
  if (workspace.wide) {
    sum_keys<uint64_t>(ctx, p, workspace);
  } else {
    sum_keys<uint32_t>(ctx, p, workspace);
  }
}

}  // namespace

void sum_rows(const Context& ctx, const RowSums<float>& p) { sum_any(ctx, p); }
void sum_rows(const Context& ctx, const RowSums<double>& p) { sum_any(ctx, p); }

}  // namespace lamella::cuda
