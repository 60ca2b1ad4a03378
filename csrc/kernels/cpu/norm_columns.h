// Column sums of (rows, c) matrices of any width at full vector speed. Narrow matrices are read as wider ones: `copies`
// consecutive rows make one row, whose columns are folded together at the end.
#pragma once

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

// How the rows of one image are cut. Everything follows from rows, c and the vector's width.
struct ColumnPlan {
  int64_t rows, c;
  int64_t copies;      // rows in a wide row
  int64_t width;       // copies * c
  int64_t wide_rows;   // rows / copies; the rest of the rows are taken one by one
  int64_t chunk_rows;  // wide rows in a chunk
  int64_t chunks;      // 0 when there are no rows
  int64_t tile;        // columns in a work item
  int64_t tiles;

  int64_t chunk_begin(int64_t k) const { return k * chunk_rows; }
  int64_t chunk_end(int64_t k) const { return k + 1 < chunks ? (k + 1) * chunk_rows : wide_rows; }
  int64_t rest_begin() const { return wide_rows * copies; }  // in rows
};

template <class T>
LAMELLA_INLINE ColumnPlan plan_columns(int64_t rows, int64_t c) {
  constexpr int64_t W = Vec<T>::W;
  constexpr int64_t kWidth = 64, kElements = 32768, kTile = 512;
  if (c == 0) return {};
  int64_t copies = 1;
  if (c < kWidth) {
    int64_t gcd = W;  // W is a power of two
    while (c % gcd != 0) gcd /= 2;
    const int64_t whole = W / gcd;  // rows until a row begins at a vector's first lane again
    copies = whole * ((kWidth + whole * c - 1) / (whole * c));
    if (rows < 8 * copies) copies = 1;
  }
  ColumnPlan p{};
  p.rows = rows;
  p.c = c;
  p.copies = copies;
  p.width = copies * c;
  p.wide_rows = rows / copies;
  p.tile = p.width < kTile ? p.width : kTile;
  p.tiles = (p.width + kTile - 1) / kTile;
  p.chunk_rows = kElements / p.tile < 16 ? 16 : kElements / p.tile;
  p.chunks = (p.wide_rows + p.chunk_rows - 1) / p.chunk_rows;
  return p;
}

// body(first column, lanes, VectorCount<U>) for vectors that cover columns [begin, end): U whole ones, or one.
template <int V>
struct VectorCount {
  static constexpr int value = V;
};
template <class T, int Most, class Body>
LAMELLA_INLINE void for_vectors(int64_t begin, int64_t end, const Body& body) {
  constexpr int64_t W = Vec<T>::W;
  int64_t j = begin;
  for (; j + Most * W <= end; j += Most * W) body(j, W, VectorCount<Most>());
  for (; j + W <= end; j += W) body(j, W, VectorCount<1>());
  if (j < end) body(j, end - j, VectorCount<1>());
}

template <class T>
LAMELLA_INLINE Vec<T> load_lanes(const T* p, int64_t lanes) {
  return lanes < Vec<T>::W ? Vec<T>::load(p, lanes) : Vec<T>::load(p);
}
template <class T>
LAMELLA_INLINE void store_lanes(Vec<T> v, T* p, int64_t lanes) {
  if (lanes < Vec<T>::W) return v.store(p, lanes);
  v.store(p);
}

// Columns [begin, end) of `rows` wide rows: their mean as it comes out of one sum; the sum of what is left, which a
// large mean swallows; and the sum of squares around that mean. Two passes: the second finds the chunk in the cache.
template <class T>
LAMELLA_NOINLINE void column_moments(const T* x, int64_t rows, int64_t width, int64_t begin, int64_t end, T* mean,
                                     T* residue, T* squares) {
  const Vec<T> scale(T(1) / static_cast<T>(rows));
  for_vectors<T, 4>(begin, end, [&](int64_t j, int64_t lanes, auto count) {
    constexpr int U = decltype(count)::value;
    constexpr int W = Vec<T>::W;
    Vec<T> sum[U], rest[U], square[U];
    for (int u = 0; u < U; ++u) sum[u] = rest[u] = square[u] = Vec<T>::zero();
    for (int64_t r = 0; r < rows; ++r)
      for (int u = 0; u < U; ++u) sum[u] = sum[u] + load_lanes(x + r * width + j + u * W, lanes);
    for (int u = 0; u < U; ++u) sum[u] = sum[u] * scale;
    for (int64_t r = 0; r < rows; ++r) {
      for (int u = 0; u < U; ++u) {
        const Vec<T> d = load_lanes(x + r * width + j + u * W, lanes) - sum[u];
        rest[u] = rest[u] + d;
        square[u] = fma(d, d, square[u]);
      }
    }
    for (int u = 0; u < U; ++u) {
      store_lanes(sum[u], mean + j + u * W, lanes);
      store_lanes(rest[u], residue + j + u * W, lanes);
      store_lanes(square[u], squares + j + u * W, lanes);
    }
  });
}

// Sums of g and of g * (x - mean) down columns [begin, end); `relu`: g counts where y > 0.
template <class T, bool kRelu>
LAMELLA_NOINLINE void column_products(const T* g, const T* x, const T* y, const T* mean, int64_t rows, int64_t width,
                                      int64_t begin, int64_t end, T* sums, T* products) {
  for_vectors<T, 4>(begin, end, [&](int64_t j, int64_t lanes, auto count) {
    constexpr int U = decltype(count)::value;
    constexpr int W = Vec<T>::W;
    Vec<T> center[U], sum[U], product[U];
    for (int u = 0; u < U; ++u) {
      center[u] = load_lanes(mean + j + u * W, lanes);
      sum[u] = product[u] = Vec<T>::zero();
    }
    for (int64_t r = 0; r < rows; ++r) {
      for (int u = 0; u < U; ++u) {
        const int64_t at = r * width + j + u * W;
        Vec<T> v = load_lanes(g + at, lanes);
        if constexpr (kRelu) v = select(gt(load_lanes(y + at, lanes), Vec<T>::zero()), v, Vec<T>::zero());
        sum[u] = sum[u] + v;
        product[u] = fma(v, load_lanes(x + at, lanes) - center[u], product[u]);
      }
    }
    for (int u = 0; u < U; ++u) {
      store_lanes(sum[u], sums + j + u * W, lanes);
      store_lanes(product[u], products + j + u * W, lanes);
    }
  });
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
