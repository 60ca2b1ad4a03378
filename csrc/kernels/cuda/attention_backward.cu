// Attention, backward. The weights are made again from the rows' statistics, three times:
//
//   row_dots       of each query, the sum of its weights times their gradients
//   back_queries   dq: a block has some queries and goes through the keys; also the scores' gradients, where the mask
//                  wants them
//   back_keys      dk and dv: a block has some keys and goes through the queries, all of it transposed
//
// so that each gradient has one owner, who adds it up in order.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_tile.h"

namespace lamella::cuda {
namespace {

constexpr int kRows = 8;
constexpr int kTall = TileShape<float, kRows>::kTall;

template <class T>
struct BackwardArgs {
  AttentionBackwardParams<T> b;
  Operand<T> q, k, v, dout;
  T* dots;     // (n, heads, l)
  T* dscores;  // of heads [head0, ...), l x s each; or nullptr
  int64_t head0;
  int tiles, parts;
};

// From the products q k^T and dout v^T of a tile the weights and their gradients; both are 0 where a query does not see
// a key.
template <class T, bool kKeysDown>
__device__ __forceinline__ void weights_again(const AttentionBackwardParams<T>& g, int64_t b, int64_t h, int64_t query0,
                                              int64_t key0, unsigned visible, unsigned kept, T (&w)[kRows][4],
                                              T (&d)[kRows][4]) {
  const AttentionParams<T>& p = g.f;
  scale_scores<T, kRows, kKeysDown>(p, b, h, query0, key0, visible, w);
  const auto row_of = [&](int line) { return weight_row(p, b, h, min(query0 + line, p.l - 1)); };
  const auto weigh = [&](int i, int j, T top, T factor) {
    w[i][j] = visible >> (4 * i + j) & 1 ? exp(w[i][j] - top) * factor : T(0);
  };
  if constexpr (kKeysDown) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const T* const stats = p.stats + 2 * row_of(j);
      const T top = stats[0], factor = stats[1];
#pragma unroll
      for (int i = 0; i < kRows; ++i) weigh(i, j, top, factor);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const T* const stats = p.stats + 2 * row_of(i);
      const T top = stats[0], factor = stats[1];
#pragma unroll
      for (int j = 0; j < 4; ++j) weigh(i, j, top, factor);
    }
  }
  const auto add_given = [&] {
    const int64_t down = kKeysDown ? 1 : p.s, right = kKeysDown ? p.s : 1;
    const T* at = g.dweights + weight_row(p, b, h, query0) * p.s + key0;
#pragma unroll
    for (int i = 0; i < kRows; ++i, at += down)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (visible >> (4 * i + j) & 1) d[i][j] += at[j * right];
  };
  if (g.dweights != nullptr && p.weights_dropped) add_given();
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const unsigned bit = 1u << (4 * i + j);
      if (p.dropout) d[i][j] = kept & bit ? d[i][j] * p.keep : T(0);
      if ((visible & bit) == 0) d[i][j] = T(0);
    }
  if (g.dweights != nullptr && !p.weights_dropped) add_given();
}

// Both products of a tile whose rows are queries, and what becomes of them.
template <class T, class Memory>
__device__ __forceinline__ unsigned query_tile(Memory& m, const BackwardArgs<T>& a, const PhiloxKey& key, int64_t b,
                                               int64_t h, int64_t q0, int rows, int64_t k0, int columns,
                                               T (&w)[kRows][4], T (&d)[kRows][4]) {
  const AttentionParams<T>& p = a.b.f;
  const int64_t query0 = q0 + down() * kRows, key0 = k0 + 4 * across();
  const unsigned visible = visible_pairs<T, kRows, false>(p, b, h, query0, key0);
  const unsigned kept = kept_pairs<T, kRows, false>(p, key, b, h, query0, key0);
  tile_product<T, kRows>(m, a.q.rows(b, h, q0), rows, a.k.rows(b, h, k0), columns, static_cast<int>(p.e), w);
  const bool has = a.dout.data != nullptr;
  tile_product<T, kRows>(m, has ? a.dout.rows(b, h, q0) : TileRows<T>{}, rows, has ? a.v.rows(b, h, k0) : TileRows<T>{},
                         columns, has ? static_cast<int>(p.ev) : 0, d);
  weights_again<T, false>(a.b, b, h, query0, key0, visible, kept, w, d);
  return visible;
}

template <class T>
__global__ void __launch_bounds__(kTileThreads) row_dots(const __grid_constant__ BackwardArgs<T> a) {
  using Memory = TileMemory<T, kRows, kAcross>;
  Memory& m = *dynamic_shared<Memory>();
  const AttentionParams<T>& p = a.b.f;
  const int64_t job = blockIdx.x, head = job / a.tiles, b = head / p.heads, h = head % p.heads;
  const int64_t q0 = (a.tiles - 1 - job % a.tiles) * kTall, query0 = q0 + down() * kRows;
  const int rows = static_cast<int>(min(static_cast<int64_t>(kTall), p.l - q0));
  const int64_t seen = p.causal ? min(p.s, q0 + rows) : p.s;
  const PhiloxKey key = p.dropout ? at_step(p.key) : p.key;
  T sum[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) sum[i] = T(0);
  for (int64_t k0 = 0; k0 < seen; k0 += kTileColumns) {
    T w[kRows][4], d[kRows][4];
    query_tile(m, a, key, b, h, q0, rows, k0, static_cast<int>(min(static_cast<int64_t>(kTileColumns), seen - k0)), w,
               d);
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) sum[i] += w[i][j] * d[i][j];
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int d = 1; d < kAcross; d *= 2) sum[i] += __shfl_xor_sync(~0u, sum[i], d);
    if (across() == 0 && query0 + i < p.l) a.dots[weight_row(p, b, h, query0 + i)] = sum[i];
  }
}

template <class T, int kWide>
__global__ void __launch_bounds__(kTileThreads) back_queries(const __grid_constant__ BackwardArgs<T> a) {
  using Out = TileOut<kWide>;
  using Memory = TileMemory<T, kRows, kWide>;
  Memory& m = *dynamic_shared<Memory>();
  const AttentionParams<T>& p = a.b.f;
  const int64_t block = blockIdx.x, job = block / a.parts, head = a.head0 + job / a.tiles;
  const int part = static_cast<int>(block - job * a.parts);
  const int64_t b = head / p.heads, h = head % p.heads;
  const int64_t q0 = (a.tiles - 1 - job % a.tiles) * kTall, query0 = q0 + down() * kRows;
  const int rows = static_cast<int>(min(static_cast<int64_t>(kTall), p.l - q0));
  const bool keeps = a.dscores != nullptr && part == 0;
  const int64_t seen = p.causal && !keeps ? min(p.s, q0 + rows) : p.s;
  const int first = part * kWide;
  const int width = a.b.dq.data == nullptr ? 0 : static_cast<int>(min(static_cast<int64_t>(kWide), p.e - first));
  const PhiloxKey key = p.dropout ? at_step(p.key) : p.key;
  T out[kRows][Out::kCount];
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int c = 0; c < Out::kCount; ++c) out[i][c] = T(0);
  for (int64_t k0 = 0; k0 < seen; k0 += kTileColumns) {
    const int columns = static_cast<int>(min(static_cast<int64_t>(kTileColumns), seen - k0));
    const int64_t key0 = k0 + 4 * across();
    T w[kRows][4], d[kRows][4];
    const unsigned visible = query_tile(m, a, key, b, h, q0, rows, k0, columns, w, d);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const T dot = a.dots[weight_row(p, b, h, min(query0 + i, p.l - 1))];
#pragma unroll
      for (int j = 0; j < 4; ++j) w[i][j] = visible >> (4 * i + j) & 1 ? w[i][j] * (d[i][j] - dot) : T(0);
    }
    if (keeps) {
      T* to = a.dscores + ((head - a.head0) * p.l + query0) * p.s + key0;
#pragma unroll
      for (int i = 0; i < kRows; ++i, to += p.s)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (query0 + i < p.l && key0 + j < p.s) to[j] = w[i][j];
    }
    if (width <= 0) continue;
    tile_store<T, kRows>(m, w);
    __syncthreads();
    tile_accumulate<T, kRows, kWide>(m, rows, a.k.rows(b, h, k0), columns, first, width, out);
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (query0 + i >= p.l) continue;
    T* const to = a.b.dq.data + b * a.b.dq.batch + h * a.b.dq.head + (query0 + i) * a.b.dq.row + first;
#pragma unroll
    for (int c = 0; c < Out::kCount; ++c)
      if (Out::column(c) < width) to[Out::column(c)] = p.scale * out[i][c];
  }
}

// Rows of the tile are keys, its columns queries.
template <class T, int kWide>
__global__ void __launch_bounds__(kTileThreads) back_keys(const __grid_constant__ BackwardArgs<T> a) {
  using Out = TileOut<kWide>;
  using Memory = TileMemory<T, kRows, kWide>;
  Memory& m = *dynamic_shared<Memory>();
  const AttentionParams<T>& p = a.b.f;
  const int64_t block = blockIdx.x, job = block / a.parts, head = job / a.tiles;
  const int part = static_cast<int>(block - job * a.parts);
  const int64_t b = head / p.heads, h = head % p.heads;
  const int64_t k0 = job % a.tiles * kTall, key0 = k0 + down() * kRows;
  const int rows = static_cast<int>(min(static_cast<int64_t>(kTall), p.s - k0));
  const int first = part * kWide;
  const auto width_of = [&](const AttentionArray<T>& to, int64_t size) {
    return to.data == nullptr ? 0 : static_cast<int>(min(static_cast<int64_t>(kWide), size - first));
  };
  const bool has = a.dout.data != nullptr;
  const int width_k = width_of(a.b.dk, p.e), width_v = width_of(a.b.dv, p.ev);
  const PhiloxKey key = p.dropout ? at_step(p.key) : p.key;
  T dk[kRows][Out::kCount], dv[kRows][Out::kCount];
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int c = 0; c < Out::kCount; ++c) dk[i][c] = dv[i][c] = T(0);
  // Of a causal head, no query before a key sees it.
  for (int64_t q0 = p.causal ? k0 / kTileColumns * kTileColumns : 0; q0 < p.l; q0 += kTileColumns) {
    const int columns = static_cast<int>(min(static_cast<int64_t>(kTileColumns), p.l - q0));
    const int64_t query0 = q0 + 4 * across();
    const unsigned visible = visible_pairs<T, kRows, true>(p, b, h, query0, key0);
    const unsigned kept = kept_pairs<T, kRows, true>(p, key, b, h, query0, key0);
    T w[kRows][4], d[kRows][4];
    tile_product<T, kRows>(m, a.k.rows(b, h, k0), rows, a.q.rows(b, h, q0), columns, static_cast<int>(p.e), w);
    tile_product<T, kRows>(m, has ? a.v.rows(b, h, k0) : TileRows<T>{}, rows,
                           has ? a.dout.rows(b, h, q0) : TileRows<T>{}, columns, has ? static_cast<int>(p.ev) : 0, d);
    weights_again<T, true>(a.b, b, h, query0, key0, visible, kept, w, d);
    // w becomes what the values saw, d the scores' gradient.
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const T dot = a.dots == nullptr ? T(0) : a.dots[weight_row(p, b, h, min(query0 + j, p.l - 1))];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const unsigned bit = 1u << (4 * i + j);
        d[i][j] = visible & bit ? w[i][j] * (d[i][j] - dot) : T(0);
        if (p.dropout) w[i][j] = kept & bit ? w[i][j] * p.keep : T(0);
      }
    }
    if (has && width_v > 0) {
      tile_store<T, kRows>(m, w);
      __syncthreads();
      tile_accumulate<T, kRows, kWide>(m, rows, a.dout.rows(b, h, q0), columns, first, width_v, dv);
    }
    if (width_k > 0) {
      tile_store<T, kRows>(m, d);
      __syncthreads();
      tile_accumulate<T, kRows, kWide>(m, rows, a.q.rows(b, h, q0), columns, first, width_k, dk);
    }
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (key0 + i >= p.s) continue;
    T* const to_k = a.b.dk.data + b * a.b.dk.batch + h * a.b.dk.head + (key0 + i) * a.b.dk.row + first;
    T* const to_v = a.b.dv.data + b * a.b.dv.batch + h * a.b.dv.head + (key0 + i) * a.b.dv.row + first;
#pragma unroll
    for (int c = 0; c < Out::kCount; ++c) {
      if (Out::column(c) < width_k) to_k[Out::column(c)] = p.scale * dk[i][c];
      if (Out::column(c) < width_v) to_v[Out::column(c)] = dv[i][c];
    }
  }
}

// ---- the mask's gradient --------------------------------------------------------------------------------------------

// Heads whose scores' gradients are kept at once, and the sizes of the mask, 1 where it broadcasts.
struct MaskSums {
  int64_t head0, heads_here, n, heads, l, s;
  int64_t mn, mh, ml, ms;
};

// The terms of an element of the mask, among the heads at hand: from one or all in each direction. One warp has an
// element and adds them up in an order of their own.
template <class T>
__global__ void __launch_bounds__(256) sum_mask(MaskSums m, const T* dscores, T* dmask) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t elements = m.mn * m.mh * m.ml * m.ms, columns = m.ms == 1 ? m.s : 1, lines = m.ml == 1 ? m.l : 1;
  for (int64_t e = thread_number() / 32; e < elements; e += thread_count() / 32) {
    const int64_t j = e % m.ms, i = e / m.ms % m.ml, h = e / (m.ms * m.ml) % m.mh, b = e / (m.ms * m.ml * m.mh);
    T sum = 0;
    for (int64_t k = 0; k < m.heads_here; ++k) {
      const int64_t head = m.head0 + k;
      if ((m.mh > 1 && head % m.heads != h) || (m.mn > 1 && head / m.heads != b)) continue;
      const T* const from = dscores + (k * m.l + i) * m.s + j;
      if (columns > 1) {
        for (int64_t line = 0; line < lines; ++line)
          for (int64_t c = lane; c < columns; c += 32) sum += from[line * m.s + c];
      } else {
        for (int64_t line = lane; line < lines; line += 32) sum += from[line * m.s];
      }
    }
    sum = warp_sum(sum);
    if (lane == 0) dmask[e] += sum;
  }
}
// The same where only heads are summed over: neighbouring threads have neighbouring elements.
template <class T>
__global__ void __launch_bounds__(256) sum_mask_heads(MaskSums m, const T* dscores, T* dmask) {
  const int64_t plane = m.l * m.s, elements = m.mn * m.mh * plane;
  for (int64_t e = thread_number(); e < elements; e += thread_count()) {
    const int64_t at = e % plane, h = e / plane % m.mh, b = e / (plane * m.mh);
    T sum = 0;
    for (int64_t k = 0; k < m.heads_here; ++k) {
      const int64_t head = m.head0 + k;
      if ((m.mh > 1 && head % m.heads != h) || (m.mn > 1 && head / m.heads != b)) continue;
      sum += dscores[k * plane + at];
    }
    dmask[e] += sum;
  }
}

// ---- the host's side ------------------------------------------------------------------------------------------------

constexpr int64_t kMostScores = int64_t{1} << 26;  // that are kept for the mask's gradient at once

template <class T>
struct BackwardLayout {
  bool back = false;  // whether anybody wants the scores' gradients
  int64_t dots = 0, heads_at_once = 0;
  size_t bytes = 0;

  explicit BackwardLayout(const AttentionBackwardParams<T>& b) {
    const AttentionParams<T>& p = b.f;
    back = b.dq.data != nullptr || b.dk.data != nullptr || b.dmask != nullptr;
    if (back) dots = (p.n * p.heads * p.l + 63) / 64 * 64;
    const int64_t scores = p.l * p.s > 0 ? p.l * p.s : 1, heads = p.n * p.heads;
    heads_at_once = kMostScores / scores < 1 ? 1 : kMostScores / scores;
    if (heads_at_once > heads) heads_at_once = heads;
    bytes = static_cast<size_t>(dots + (b.dmask != nullptr ? heads_at_once * p.l * p.s : 0)) * sizeof(T);
  }
};

template <class T, int kWide>
void run_queries(const Context& ctx, BackwardArgs<T> a, int64_t heads) {
  const AttentionParams<T>& p = a.b.f;
  const int64_t width = a.b.dq.data == nullptr ? 0 : p.e;
  a.parts = static_cast<int>(ceil_div(width > 0 ? width : 1, kWide));
  launch(
      ctx, back_queries<T, kWide>,
      {dim3(static_cast<unsigned>(heads * a.tiles * a.parts)), dim3(kTileThreads), sizeof(TileMemory<T, kRows, kWide>)},
      a);
}
template <class T, int kWide>
void run_keys(const Context& ctx, BackwardArgs<T> a) {
  const AttentionParams<T>& p = a.b.f;
  const int64_t k = a.b.dk.data == nullptr ? 0 : p.e, v = a.b.dv.data == nullptr ? 0 : p.ev, width = k > v ? k : v;
  a.tiles = static_cast<int>(ceil_div(p.s, kTall));
  a.parts = static_cast<int>(ceil_div(width, kWide));
  launch(ctx, back_keys<T, kWide>,
         {dim3(static_cast<unsigned>(p.n * p.heads * a.tiles * a.parts)), dim3(kTileThreads),
          sizeof(TileMemory<T, kRows, kWide>)},
         a);
}

template <class T>
void mask_gradient(const Context& ctx, const BackwardArgs<T>& a, int64_t heads) {
  const AttentionParams<T>& p = a.b.f;
  const auto size = [](int64_t stride, int64_t whole) { return stride != 0 ? whole : 1; };
  const MaskSums m = {a.head0,
                      heads,
                      p.n,
                      p.heads,
                      p.l,
                      p.s,
                      size(p.mask.batch, p.n),
                      size(p.mask.head, p.heads),
                      size(p.mask.row, p.l),
                      size(p.mask.column, p.s)};
  const int64_t elements = m.mn * m.mh * m.ml * m.ms;
  if (m.ml == p.l && m.ms == p.s) {
    launch(ctx, sum_mask_heads<T>, flat(elements), m, a.dscores, a.b.dmask);
  } else {
    launch(ctx, sum_mask<T>, flat(elements * 32), m, a.dscores, a.b.dmask);
  }
}

template <class T>
void backward(const Context& ctx, const AttentionBackwardParams<T>& b) {
  const AttentionParams<T>& p = b.f;
  const int64_t heads = p.n * p.heads;
  const BackwardLayout<T> layout(b);
  BackwardArgs<T> a = {};
  a.b = b;
  a.q = operand<T>(p.q, p.e);
  a.k = operand<T>(p.k, p.e);
  a.v = operand<T>(p.v, p.ev);
  a.dout = operand<T>(b.dout, p.ev);
  a.tiles = static_cast<int>(ceil_div(p.l, kTall));
  if (layout.back) {
    a.dots = static_cast<T*>(ctx.workspace);
    launch(ctx, row_dots<T>,
           {dim3(static_cast<unsigned>(heads * a.tiles)), dim3(kTileThreads), sizeof(TileMemory<T, kRows, kAcross>)},
           a);
  }
  if ((b.dq.data != nullptr || b.dmask != nullptr) && heads * p.l > 0) {
    const int64_t step = b.dmask != nullptr ? layout.heads_at_once : heads;
    if (b.dmask != nullptr && p.s > 0) a.dscores = static_cast<T*>(ctx.workspace) + layout.dots;
    for (a.head0 = 0; a.head0 < heads; a.head0 += step) {
      const int64_t here = heads - a.head0 < step ? heads - a.head0 : step;
      if (p.e <= 32) {
        run_queries<T, 32>(ctx, a, here);
      } else if (p.e > 64 && sizeof(T) == sizeof(float)) {
        run_queries<T, sizeof(T) == sizeof(float) ? 128 : 64>(ctx, a, here);
      } else {
        run_queries<T, 64>(ctx, a, here);
      }
      if (a.dscores != nullptr) mask_gradient(ctx, a, here);
    }
  }
  const bool keys = b.dk.data != nullptr && p.e > 0, values = b.dv.data != nullptr && p.ev > 0;
  if ((!keys && !values) || heads * p.s == 0) return;
  if (p.e <= 32 && p.ev <= 32) {
    run_keys<T, 32>(ctx, a);
  } else {
    run_keys<T, 64>(ctx, a);
  }
}

}  // namespace

#define LAMELLA_ATTENTION(T)                                                                                           \
  size_t attention_backward_workspace(const AttentionBackwardParams<T>& b, int) { return BackwardLayout<T>(b).bytes; } \
  void attention_backward(const Context& ctx, const AttentionBackwardParams<T>& b) { backward(ctx, b); }
LAMELLA_ATTENTION(float)
LAMELLA_ATTENTION(double)

}  // namespace lamella::cuda
