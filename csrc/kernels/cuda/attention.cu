// Attention, forward: a block has some queries of one head and goes through the keys once, 64 at a time, with a running
// maximum and sum of each row (FlashAttention); scores never leave the chip. Weights, where they are wanted, are made
// again by a kernel of their own. Values wider than 128 (64) columns are shared out among blocks, each of which makes
// the scores for itself.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_tile.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

template <class T>
struct ForwardArgs {
  AttentionParams<T> p;
  Operand<T> q, k, v;
  T* stats;          // or nullptr
  int tiles, parts;  // of the queries of a head; of the values' columns
};

template <int kRows, class T>
__device__ __forceinline__ void drop(const AttentionParams<T>& p, unsigned kept, T (&w)[kRows][4]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) w[i][j] = kept >> (4 * i + j) & 1 ? w[i][j] * p.keep : T(0);
}

template <class T, int kRows, int kWide>
__global__ void __launch_bounds__(kTileThreads) attend(const __grid_constant__ ForwardArgs<T> a) {
  using Out = TileOut<kWide>;
  using Memory = TileMemory<T, kRows, kWide>;
  constexpr int kTall = TileShape<T, kRows>::kTall;
  Memory& m = *dynamic_shared<Memory>();
  const AttentionParams<T>& p = a.p;
  const int64_t block = blockIdx.x, job = block / a.parts, head = job / a.tiles;
  const int part = static_cast<int>(block - job * a.parts);
  const int64_t b = head / p.heads, h = head % p.heads;
  // The tiles that see most come first.
  const int64_t q0 = (a.tiles - 1 - job % a.tiles) * kTall;
  const int rows = static_cast<int>(min(static_cast<int64_t>(kTall), p.l - q0));
  const int64_t seen = p.causal ? min(p.s, q0 + rows) : p.s;
  const int first = part * kWide, width = static_cast<int>(min(static_cast<int64_t>(kWide), p.ev - first));
  const PhiloxKey key = p.dropout ? at_step(p.key) : p.key;
  const int64_t query0 = q0 + down() * kRows;

  T out[kRows][Out::kCount], top[kRows], sum[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    top[i] = T(-INFINITY);
    sum[i] = T(0);
#pragma unroll
    for (int c = 0; c < Out::kCount; ++c) out[i][c] = T(0);
  }
  for (int64_t k0 = 0; k0 < seen; k0 += kTileColumns) {
    const int columns = static_cast<int>(min(static_cast<int64_t>(kTileColumns), seen - k0));
    const int64_t key0 = k0 + 4 * across();
    const unsigned visible = visible_pairs<T, kRows, false>(p, b, h, query0, key0);
    const unsigned kept = kept_pairs<T, kRows, false>(p, key, b, h, query0, key0);
    T w[kRows][4];
    tile_product<T, kRows>(m, a.q.rows(b, h, q0), rows, a.k.rows(b, h, k0), columns, static_cast<int>(p.e), w);
    scale_scores<T, kRows, false>(p, b, h, query0, key0, visible, w);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      T most = top[i];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if ((visible >> (4 * i + j) & 1) == 0) w[i][j] = T(-INFINITY);
        most = nan_max(w[i][j], most);
      }
#pragma unroll
      for (int d = 1; d < kAcross; d *= 2) most = nan_max(most, __shfl_xor_sync(~0u, most, d));
      // A row that has seen no key yet keeps to finite numbers.
      const T shift = most == T(-INFINITY) ? T(0) : most;
      const T again = exp(top[i] - shift);
      top[i] = most;
      sum[i] *= again;
#pragma unroll
      for (int c = 0; c < Out::kCount; ++c) out[i][c] *= again;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        w[i][j] = visible >> (4 * i + j) & 1 ? exp(w[i][j] - shift) : T(0);
        sum[i] += w[i][j];
      }
    }
    if (p.dropout) drop(p, kept, w);
    if (width <= 0) continue;
    tile_store<T, kRows>(m, w);
    __syncthreads();
    tile_accumulate<T, kRows, kWide>(m, rows, a.v.rows(b, h, k0), columns, first, width, out);
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int d = 1; d < kAcross; d *= 2) sum[i] += __shfl_xor_sync(~0u, sum[i], d);
    const T factor = sum[i] == T(0) ? T(0) : T(1) / sum[i];
    if (query0 + i >= p.l) continue;
    T* const to = p.out.data + b * p.out.batch + h * p.out.head + (query0 + i) * p.out.row + first;
#pragma unroll
    for (int c = 0; c < Out::kCount; ++c)
      if (Out::column(c) < width) to[Out::column(c)] = out[i][c] * factor;
    if (a.stats != nullptr && part == 0 && across() == 0) {
      T* const stats = a.stats + 2 * weight_row(p, b, h, query0 + i);
      stats[0] = top[i] == T(-INFINITY) ? T(0) : top[i];
      stats[1] = factor;
    }
  }
}

constexpr int kPlainRows = 8;

// The weights themselves, from the rows' statistics: a block per tile.
template <class T>
__global__ void __launch_bounds__(kTileThreads) give_weights(const __grid_constant__ ForwardArgs<T> a) {
  using Memory = TileMemory<T, kPlainRows, kAcross>;
  constexpr int kTall = TileShape<T, kPlainRows>::kTall;
  Memory& m = *dynamic_shared<Memory>();
  const AttentionParams<T>& p = a.p;
  const int64_t across_tiles = (p.s + kTileColumns - 1) / kTileColumns;
  const int64_t block = blockIdx.x, job = block / across_tiles, head = job / a.tiles;
  const int64_t b = head / p.heads, h = head % p.heads;
  const int64_t q0 = job % a.tiles * kTall, k0 = block % across_tiles * kTileColumns;
  const int64_t query0 = q0 + down() * kPlainRows, key0 = k0 + 4 * across();
  const unsigned visible = visible_pairs<T, kPlainRows, false>(p, b, h, query0, key0);
  T w[kPlainRows][4];
  tile_product<T, kPlainRows>(m, a.q.rows(b, h, q0), static_cast<int>(min(static_cast<int64_t>(kTall), p.l - q0)),
                              a.k.rows(b, h, k0), static_cast<int>(min(static_cast<int64_t>(kTileColumns), p.s - k0)),
                              static_cast<int>(p.e), w);
  scale_scores<T, kPlainRows, false>(p, b, h, query0, key0, visible, w);
#pragma unroll
  for (int i = 0; i < kPlainRows; ++i) {
    const T* const stats = a.stats + 2 * weight_row(p, b, h, min(query0 + i, p.l - 1));
#pragma unroll
    for (int j = 0; j < 4; ++j) w[i][j] = visible >> (4 * i + j) & 1 ? exp(w[i][j] - stats[0]) * stats[1] : T(0);
  }
  if (p.dropout && p.weights_dropped)
    drop(p, kept_pairs<T, kPlainRows, false>(p, at_step(p.key), b, h, query0, key0), w);
#pragma unroll
  for (int i = 0; i < kPlainRows; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (query0 + i < p.l && key0 + j < p.s) p.weights[weight_row(p, b, h, query0 + i) * p.s + key0 + j] = w[i][j];
}

// ---- the host's side ------------------------------------------------------------------------------------------------

template <class T>
size_t workspace(const AttentionParams<T>& p, int) {
  return p.weights != nullptr && p.stats == nullptr ? static_cast<size_t>(2 * p.n * p.heads * p.l) * sizeof(T) : 0;
}

template <class T, int kRows, int kWide>
void run(const Context& ctx, ForwardArgs<T> a) {
  a.tiles = static_cast<int>(ceil_div(a.p.l, TileShape<T, kRows>::kTall));
  a.parts = static_cast<int>(ceil_div(a.p.ev > 0 ? a.p.ev : 1, kWide));
  const int64_t blocks = a.p.n * a.p.heads * a.tiles * a.parts;
  launch(ctx, attend<T, kRows, kWide>,
         {dim3(static_cast<unsigned>(blocks)), dim3(kTileThreads), sizeof(TileMemory<T, kRows, kWide>)}, a);
}
template <class T, int kRows>
void run_width(const Context& ctx, const ForwardArgs<T>& a) {
  if (a.p.ev <= 32) return run<T, kRows, 32>(ctx, a);
  if constexpr (sizeof(T) == sizeof(float)) {
    if (a.p.ev > 64) return run<T, kRows, 128>(ctx, a);
  }
  run<T, kRows, 64>(ctx, a);
}

template <class T>
void attention(const Context& ctx, const AttentionParams<T>& p) {
  if (p.n * p.heads * p.l == 0) return;
  ForwardArgs<T> a = {p, operand<T>(p.q, p.e), operand<T>(p.k, p.e), operand<T>(p.v, p.ev), p.stats, 0, 0};
  if (p.weights != nullptr && p.stats == nullptr) a.stats = static_cast<T*>(ctx.workspace);
  // Few queries: lower tiles, so that fewer rows of them stand empty.
  if (p.l <= 16) {
    run_width<T, 2>(ctx, a);
  } else {
    run_width<T, 8>(ctx, a);
  }
  if (p.weights == nullptr || p.s == 0) return;
  a.tiles = static_cast<int>(ceil_div(p.l, TileShape<T, kPlainRows>::kTall));
  const int64_t blocks = p.n * p.heads * a.tiles * ceil_div(p.s, kTileColumns);
  launch(ctx, give_weights<T>,
         {dim3(static_cast<unsigned>(blocks)), dim3(kTileThreads), sizeof(TileMemory<T, kPlainRows, kAcross>)}, a);
}

template <class T>
void fill_kernels(AttentionKernels<T>& k) {
  k.attention_workspace = workspace<T>;
  k.attention = attention<T>;
  k.attention_backward_workspace = attention_backward_workspace;
  k.attention_backward = attention_backward;
}

}  // namespace

void fill(AttentionKernels<float>& k) { fill_kernels(k); }
void fill(AttentionKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
