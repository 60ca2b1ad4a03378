// What all attention kernels are made of: a block of 128 threads has a tile of rows x 64 scores (or of their
// transpose), each thread kRows x 4 of them.
//
//   tile_product     scores = a b^T over the depth of both, from rows that arrive in shared memory in chunks
//   tile_accumulate  out += tile * b, the tile standing in shared memory
//
// All in single (or double) precision on the ordinary units: a thread does 32 multiplications for 12 elements it loads.
#pragma once

#include "kernels/attention.h"
#include "kernels/cuda/device.h"

namespace lamella::cuda {
namespace {

constexpr int kTileThreads = 128, kAcross = 16, kDown = kTileThreads / kAcross;
constexpr int kTileColumns = 4 * kAcross;
constexpr int kChunkPacks = 8, kChunkRow = kChunkPacks + 1;  // of 16 bytes; odd, against bank conflicts
constexpr int kDeepRows = 16;                                // of b in tile_accumulate

// Rows of one head. aligned: they are whole packs on 16 bytes.
template <class T>
struct TileRows {
  const T* data;
  int64_t row;
  bool aligned;
};

template <class T, int kRows>
struct TileShape {
  static constexpr int kTall = kRows * kDown;  // rows of the tile
  static constexpr int kLine =
      kTileColumns + 16 / static_cast<int>(sizeof(T));  // elements of a row of the tile in shared memory
};

// Shared memory: two stages of chunks of both operands; the tile; two stages of rows of b.
template <class T, int kRows, int kWide>
struct TileMemory {
  Pack<T> a[2][TileShape<T, kRows>::kTall * kChunkRow];
  Pack<T> b[2][kTileColumns * kChunkRow];
  alignas(16) T tile[TileShape<T, kRows>::kTall * TileShape<T, kRows>::kLine];
  alignas(16) T deep[2][kDeepRows * kWide];
};

// The place of the thread: rows kRows*down() + i, columns 4*across() + j.
__device__ __forceinline__ int across() { return static_cast<int>(threadIdx.x) % kAcross; }
__device__ __forceinline__ int down() { return static_cast<int>(threadIdx.x) / kAcross; }

// Rows [0, n) of `rows`, packs from q0 on, to shared memory; row r at place (r % kEach) * (kTall / kEach) + r / kEach,
// so that threads side by side, whose rows lie kEach apart, read neighbouring places.
template <class T, int kTall, int kEach>
__device__ __forceinline__ void tile_fetch(const TileRows<T>& rows, int n, int depth, int q0, Pack<T>* to) {
  constexpr int V = Pack<T>::kSize;
  for (int e = static_cast<int>(threadIdx.x); e < n * kChunkPacks; e += kTileThreads) {
    const int r = e / kChunkPacks, q = e % kChunkPacks, k = (q0 + q) * V;
    if (k >= depth) continue;
    const T* from = rows.data + r * rows.row + k;
    Pack<T>* pack = to + ((r % kEach) * (kTall / kEach) + r / kEach) * kChunkRow + q;
    if (rows.aligned) {
      copy_async<16>(pack, from);
    } else {
#pragma unroll
      for (int v = 0; v < V; ++v)
        copy_async<sizeof(T)>(&pack->v[v], from + (k + v < depth ? v : 0),
                              k + v < depth ? static_cast<int>(sizeof(T)) : 0);
    }
  }
}

// score[i][j] = sum over k of a[row i][k] * b[column j][k]; na, nb: how many rows there are. What lies beyond them is
// not defined. All threads call it.
template <class T, int kRows, class Memory>
__device__ __forceinline__ void tile_product(Memory& m, const TileRows<T>& a, int na, const TileRows<T>& b, int nb,
                                             int depth, T (&score)[kRows][4]) {
  constexpr int V = Pack<T>::kSize, kTall = kRows * kDown;
  const int packs = (depth + V - 1) / V, chunks = (packs + kChunkPacks - 1) / kChunkPacks;
  const int x = across(), y = down();
  const bool used = kRows * y < na && 4 * x < nb;
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) score[i][j] = T(0);
  const auto fetch = [&](int chunk) {
    if (chunk < chunks) {
      tile_fetch<T, kTall, kRows>(a, na, depth, chunk * kChunkPacks, m.a[chunk % 2]);
      tile_fetch<T, kTileColumns, 4>(b, nb, depth, chunk * kChunkPacks, m.b[chunk % 2]);
    }
    copy_async_commit();
  };
  fetch(0);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    fetch(chunk + 1);
    copy_async_wait<1>();
    __syncthreads();
    const Pack<T>* a_at = m.a[chunk % 2] + y * kChunkRow;
    const Pack<T>* b_at = m.b[chunk % 2] + x * kChunkRow;
    const int n = used ? min(kChunkPacks, packs - chunk * kChunkPacks) : 0;
#pragma unroll 2
    for (int q = 0; q < n; ++q) {
      Pack<T> bv[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) bv[j] = b_at[j * kAcross * kChunkRow + q];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const Pack<T> av = a_at[i * kDown * kChunkRow + q];
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int v = 0; v < V; ++v) score[i][j] = fma(av.v[v], bv[j].v[v], score[i][j]);
      }
    }
    __syncthreads();
  }
}

// The thread's columns of kWide: kPer in a run, kWide / (16 * kPer) runs.
template <int kWide>
struct TileOut {
  static constexpr int kPer = kWide / kAcross < 4 ? kWide / kAcross : 4;
  static constexpr int kRuns = kWide / (kAcross * kPer);
  static constexpr int kCount = kPer * kRuns;
  static __device__ __forceinline__ int column(int c) {
    return c / kPer * (kAcross * kPer) + across() * kPer + c % kPer;
  }
};

// The thread's part of the tile, to shared memory; what does not count must be 0.
template <class T, int kRows, class Memory>
__device__ __forceinline__ void tile_store(Memory& m, const T (&v)[kRows][4]) {
  constexpr int kLine = TileShape<T, kRows>::kLine;
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) m.tile[(down() * kRows + i) * kLine + 4 * across() + j] = v[i][j];
}

// out[i][c] += sum over the tile's first nb columns k of tile[row i][k] * b[k][first + column(c)], of `width` columns
// at most. All threads call it, after all of them have stored their part of the tile.
template <class T, int kRows, int kWide, class Memory>
__device__ __forceinline__ void tile_accumulate(Memory& m, int na, const TileRows<T>& b, int nb, int first, int width,
                                                T (&out)[kRows][TileOut<kWide>::kCount]) {
  using Out = TileOut<kWide>;
  constexpr int V = Pack<T>::kSize, kLine = TileShape<T, kRows>::kLine, kPacks = kWide / V;
  const int steps = (nb + kDeepRows - 1) / kDeepRows;
  const bool used = kRows * down() < na && Out::column(0) < width;
  const auto fetch = [&](int step) {
    if (step < steps)
      for (int e = static_cast<int>(threadIdx.x); e < kDeepRows * kPacks; e += kTileThreads) {
        const int r = e / kPacks, c = e % kPacks * V, k = step * kDeepRows + r;
        if (c >= width) continue;
        // Rows beyond the last are zeros, as what they are multiplied with.
        const T* from = b.data + min(k, nb - 1) * b.row + first + c;
        T* to = m.deep[step % 2] + r * kWide + c;
        if (b.aligned) {
          copy_async<16>(to, from, k < nb ? 16 : 0);
        } else {
#pragma unroll
          for (int v = 0; v < V; ++v) {
            const bool inside = k < nb && c + v < width;
            copy_async<sizeof(T)>(to + v, from + (c + v < width ? v : 0), inside ? static_cast<int>(sizeof(T)) : 0);
          }
        }
      }
    copy_async_commit();
  };
  fetch(0);
  for (int step = 0; step < steps; ++step) {
    fetch(step + 1);
    copy_async_wait<1>();
    __syncthreads();
    const T* deep = m.deep[step % 2];
    const T* tile = m.tile + down() * kRows * kLine + step * kDeepRows;
    const int n = used ? min(kDeepRows, nb - step * kDeepRows) : 0;
    for (int k = 0; k < n; k += 4) {
      T bv[4][Out::kCount];
#pragma unroll
      for (int d = 0; d < 4; ++d)
#pragma unroll
        for (int c = 0; c < Out::kCount; ++c) bv[d][c] = deep[(k + d) * kWide + Out::column(c)];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        T av[4];
#pragma unroll
        for (int d = 0; d < 4; ++d) av[d] = tile[i * kLine + k + d];
#pragma unroll
        for (int c = 0; c < Out::kCount; ++c)
#pragma unroll
          for (int d = 0; d < 4; ++d) out[i][c] = fma(av[d], bv[d][c], out[i][c]);
      }
    }
    __syncthreads();
  }
}

// ---- masks and dropout ----------------------------------------------------------------------------------------------

template <class T>
struct Operand {
  const T* data;
  int64_t batch, head, row;
  bool aligned;

  __device__ __forceinline__ TileRows<T> rows(int64_t b, int64_t h, int64_t first) const {
    return {data + b * batch + h * head + first * row, row, aligned};
  }
};
template <class T, class U>
Operand<T> operand(const AttentionArray<U>& a, int64_t width) {
  constexpr int64_t V = Pack<T>::kSize;
  return {a.data, a.batch, a.head, a.row, aligned16(a.data) && (a.batch | a.head | a.row | width) % V == 0};
}

template <class T>
__device__ __forceinline__ int64_t weight_row(const AttentionParams<T>& p, int64_t b, int64_t h, int64_t query) {
  return (b * p.heads + h) * p.l + query;
}

// Words first .. first + kCount of the stream.
template <int kCount>
__device__ __forceinline__ void stream_words(const PhiloxKey& key, int64_t first, uint32_t (&words)[kCount]) {
  static_assert(kCount % 4 == 0);
  uint32_t w[kCount + 4];
  const auto block = static_cast<uint64_t>(first) / 4;
  const int skip = static_cast<int>(first % 4);
#pragma unroll
  for (int i = 0; i < kCount / 4; ++i) philox4x32(key, block + static_cast<uint64_t>(i), w + 4 * i);
  if (skip != 0) philox4x32(key, block + kCount / 4, w + kCount);
  // No index that is known only at run time: the words stay in registers.
  if (skip & 1) {
#pragma unroll
    for (int i = 0; i < kCount + 3; ++i) w[i] = w[i + 1];
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) words[i] = skip & 2 ? w[i + 2] : w[i];
}

// What is known of a thread's pairs of queries and keys before their scores are: a bit for each, 4*i + j of row i and
// column j. Rows are queries and columns keys, or (kKeysDown) the other way. One number instead of 32, while the
// product needs the registers.
template <class T, int kRows, bool kKeysDown>
__device__ __forceinline__ unsigned visible_pairs(const AttentionParams<T>& p, int64_t b, int64_t h, int64_t query0,
                                                  int64_t key0) {
  constexpr int kQueries = kKeysDown ? 4 : kRows, kKeys = kKeysDown ? kRows : 4;
  constexpr unsigned kAll = kRows == 8 ? ~0u : (1u << 4 * kRows) - 1;
  const uint8_t* const bytes = p.mask.bytes ? static_cast<const uint8_t*>(p.mask.data) : nullptr;
  const bool inside = query0 + kQueries <= p.l && key0 + kKeys <= p.s;
  if (inside && bytes == nullptr && p.key_mask == nullptr && (!p.causal || key0 + kKeys - 1 <= query0)) return kAll;
  unsigned bits = 0;
#pragma unroll 1
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t query = query0 + (kKeysDown ? j : i), key = key0 + (kKeysDown ? i : j);
      bool on = query < p.l && key < p.s && !(p.causal && key > query);
      if (on && bytes != nullptr)
        on = bytes[b * p.mask.batch + h * p.mask.head + query * p.mask.row + key * p.mask.column] != 0;
      if (on && p.key_mask != nullptr) on = p.key_mask[b * p.s + key] != 0;
      if (on) bits |= 1u << (4 * i + j);
    }
  return bits;
}

// Which of them the dropout's stream keeps.
template <class T, int kRows, bool kKeysDown>
__device__ __forceinline__ unsigned kept_pairs(const AttentionParams<T>& p, const PhiloxKey& key, int64_t b, int64_t h,
                                               int64_t query0, int64_t key0) {
  if (!p.dropout) return ~0u;
  constexpr int kLines = kKeysDown ? 4 : kRows, kEach = kKeysDown ? kRows : 4;
  unsigned bits = 0;
#pragma unroll 1
  for (int i = 0; i < kLines; ++i) {
    uint32_t words[kEach];
    stream_words(key, weight_row(p, b, h, query0 + i) * p.s + key0, words);
#pragma unroll
    for (int j = 0; j < kEach; ++j)
      if (words[j] >= p.threshold) bits |= 1u << (kKeysDown ? 4 * j + i : 4 * i + j);
  }
  return bits;
}

// Products to scores, of the pairs that are visible.
template <class T, int kRows, bool kKeysDown>
__device__ __forceinline__ void scale_scores(const AttentionParams<T>& p, int64_t b, int64_t h, int64_t query0,
                                             int64_t key0, unsigned visible, T (&w)[kRows][4]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) w[i][j] *= p.scale;
  if (p.mask.data == nullptr || p.mask.bytes) return;
  const int64_t down = kKeysDown ? p.mask.column : p.mask.row, right = kKeysDown ? p.mask.row : p.mask.column;
  const T* at = static_cast<const T*>(p.mask.data) + b * p.mask.batch + h * p.mask.head + query0 * p.mask.row +
                key0 * p.mask.column;
#pragma unroll
  for (int i = 0; i < kRows; ++i, at += down)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (visible >> (4 * i + j) & 1) w[i][j] += at[j * right];
}

}  // namespace
}  // namespace lamella::cuda
