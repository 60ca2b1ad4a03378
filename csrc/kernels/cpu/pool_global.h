// Pooling over whole images: (n, h*w, c) to (n, c). Images are cut into segments of rows, fixed by their size; the
// partial results of an image's segments are merged in order.
#pragma once

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pool_windows.h"
#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr int64_t kGlobalSegment = 65536;  // elements
constexpr int64_t kGlobalBlock = 64;       // rows that are added up before they go to the total

LAMELLA_INLINE int64_t global_rows(const PoolShape& s) { return s.h.in * s.w.in; }
LAMELLA_INLINE int64_t global_segment_rows(const PoolShape& s) {
  return larger(1, smaller(global_rows(s), kGlobalSegment / larger(1, s.c)));
}
LAMELLA_INLINE int64_t global_segments(const PoolShape& s) {
  const int64_t rows = global_segment_rows(s);
  return (global_rows(s) + rows - 1) / rows;
}
template <class T>
size_t global_workspace(const PoolShape& s, bool argmax) {
  const size_t partial = sizeof(T) + (argmax ? sizeof(typename IntOf<T>::type) : 0);
  return partial * static_cast<size_t>(s.n * global_segments(s) * s.c);
}

// One result of a segment.
template <class T>
struct Partial {
  T value;
  typename IntOf<T>::type row;
};

template <class T>
struct GlobalMean {
  using Real = T;
  static constexpr bool kArg = false;
  Vec<T> total, block;
  LAMELLA_INLINE void begin(IVec<T>) { total = block = Vec<T>::zero(); }
  LAMELLA_INLINE void add(Vec<T> v, IVec<T>) { block = block + v; }
  LAMELLA_INLINE void end_block() {
    total = total + block;
    block = Vec<T>::zero();
  }
  LAMELLA_INLINE Vec<T> value() const { return total; }
  LAMELLA_INLINE IVec<T> row() const { return IVec<T>(0); }
  static LAMELLA_INLINE void merge(Partial<T>& a, Partial<T> b) { a.value += b.value; }
  static LAMELLA_INLINE T finish(T v, int64_t divisor) { return v / static_cast<T>(divisor); }
};

template <class T, bool kArg_>
struct GlobalMax {
  using Real = T;
  static constexpr bool kArg = kArg_;
  Vec<T> m;
  IVec<T> where;
  LAMELLA_INLINE void begin(IVec<T> row) {
    m = Vec<T>(-static_cast<T>(__builtin_inf()));
    where = row;
  }
  LAMELLA_INLINE void add(Vec<T> v, IVec<T> row) {
    if constexpr (kArg) {
      const Mask<T> take = gt(v, m) | is_nan(v);
      m = select(take, v, m);
      where = select(take, row, where);
    } else {
      m = select(is_nan(m), m, max(m, v));
    }
  }
  LAMELLA_INLINE void end_block() {}
  LAMELLA_INLINE Vec<T> value() const { return m; }
  LAMELLA_INLINE IVec<T> row() const { return where; }
  // The first of equal rows, the last of NaN: the same rule as in one scan.
  static LAMELLA_INLINE void merge(Partial<T>& a, Partial<T> b) {
    const bool nan_a = a.value != a.value, nan_b = b.value != b.value;
    const bool take = nan_b ? (!nan_a || b.row > a.row) : (b.value > a.value || (b.value == a.value && b.row < a.row));
    if (take) a = b;
  }
  static LAMELLA_INLINE T finish(T v, int64_t) { return v; }
};

// Rows [begin, end) of an image whose pixels fill at least a vector; `done(ch, lanes, acc)` takes the results.
template <class G, int U, class T, class Done>
LAMELLA_INLINE void global_columns(const T* x, int64_t begin, int64_t end, int64_t c, int64_t ch, int64_t lanes,
                                   const Done& done) {
  using I = typename IntOf<T>::type;
  constexpr int W = Vec<T>::W;
  G acc[U];
  for (int u = 0; u < U; ++u) acc[u].begin(IVec<T>(static_cast<I>(begin)));
  const IVec<T> one(1);
  IVec<T> row(static_cast<I>(begin));
  for (int64_t r = begin; r < end;) {
    const int64_t stop = smaller(end, r + kGlobalBlock);
    for (; r < stop; ++r) {
      const T* p = x + r * c + ch;
      for (int u = 0; u < U; ++u) acc[u].add(lanes < W ? Vec<T>::load(p, lanes) : Vec<T>::load(p + u * W), row);
      row = row + one;
    }
    for (int u = 0; u < U; ++u) acc[u].end_block();
  }
  for (int u = 0; u < U; ++u) done(ch + u * W, lanes, acc[u]);
}

// The same for narrow pixels, W / c of them in a vector; out[c] gets the result.
template <class G, class T>
LAMELLA_INLINE void global_narrow(const T* x, int64_t begin, int64_t end, int64_t c, Partial<T>* out) {
  using I = typename IntOf<T>::type;
  constexpr int W = Vec<T>::W;
  constexpr int U = 4;
  const int64_t pixels = W / c, lanes = pixels * c;
  I pixel[W];
  for (int64_t l = 0; l < W; ++l) pixel[l] = static_cast<I>(begin + l / c);
  const IVec<T> step(static_cast<I>(pixels));
  IVec<T> row = IVec<T>::load(pixel);
  G acc[U];
  for (int u = 0; u < U; ++u) {
    acc[u].begin(row);
    row = row + step;
  }
  row = IVec<T>::load(pixel);
  const int64_t stop = end * c;
  int64_t at = begin * c, vectors = 0;
  while (at + (U - 1) * lanes + W <= stop) {
    for (int u = 0; u < U; ++u, at += lanes) {
      acc[u].add(Vec<T>::load(x + at), row);
      row = row + step;
    }
    vectors += U;
    if (vectors % (U * kGlobalBlock) == 0)
      for (int u = 0; u < U; ++u) acc[u].end_block();
  }
  const int used = vectors > 0 ? U : 1;
  for (; at + W <= stop; at += lanes, ++vectors) {
    acc[0].add(Vec<T>::load(x + at), row);
    row = row + step;
  }
  int64_t r = begin;
  if (vectors == 0) {
    for (int64_t ch = 0; ch < c; ++ch) out[ch] = {x[begin * c + ch], static_cast<I>(begin)};
    r = begin + 1;
  }
  for (int u = 0; u < used && vectors > 0; ++u) {
    acc[u].end_block();
    T value[W];
    I where[W];
    acc[u].value().store(value);
    acc[u].row().store(where);
    for (int64_t l = 0; l < lanes; ++l) {
      if (u == 0 && l < c) {
        out[l] = {value[l], where[l]};
      } else {
        G::merge(out[l % c], {value[l], where[l]});
      }
    }
  }
  for (r = larger(r, begin + vectors * pixels); r < end; ++r)
    for (int64_t ch = 0; ch < c; ++ch) G::merge(out[ch], {x[r * c + ch], static_cast<I>(r)});
}

template <class G, class T = typename G::Real>
void global_pool(const Context& ctx, const PoolShape& s, const T* x, T* y, void* argmax, int64_t divisor) {
  using I = typename IntOf<T>::type;
  constexpr int W = Vec<T>::W;
  const int64_t c = s.c, rows = global_rows(s), segment = global_segment_rows(s), segments = global_segments(s);
  if (s.n * c == 0) return;
  T* values = static_cast<T*>(ctx.workspace);  // [n, segments, c]
  I* where = reinterpret_cast<I*>(values + s.n * segments * c);
  const bool wide = s.wide_argmax();
  // The result of channel ch of image n.
  const auto put = [&](int64_t n, int64_t ch, Partial<T> p) {
    y[n * c + ch] = G::finish(p.value, divisor);
    if constexpr (G::kArg) {
      if (wide) {
        static_cast<int32_t*>(argmax)[n * c + ch] = static_cast<int32_t>(p.row);
      } else {
        static_cast<uint8_t*>(argmax)[n * c + ch] = static_cast<uint8_t>(p.row);
      }
    }
  };
  // Tiles of 4 vectors of channels are work items of their own when there are few images.
  const int64_t tile = 4 * W, tiles = c < W ? 1 : (c + tile - 1) / tile;
  const int64_t items = s.n * segments * tiles;
  const int64_t per_chunk = larger(1, grain(0.15) / (segment * smaller(c, tile)));
  parallel_range(ctx, items, per_chunk, [&](int64_t from, int64_t to, int) {
    for (int64_t item = from; item < to; ++item) {
      const int64_t part = item / tiles, t = item % tiles;
      const int64_t begin = part % segments * segment, end = smaller(rows, begin + segment);
      const T* image = x + part / segments * rows * c;
      T* value = values + part * c;
      I* row = where + part * c;
      if (c < W) {
        Partial<T> out[W] = {};
        global_narrow<G>(image, begin, end, c, out);
        for (int64_t ch = 0; ch < c; ++ch) {
          value[ch] = out[ch].value;
          if constexpr (G::kArg) row[ch] = out[ch].row;
        }
        continue;
      }
      const auto keep = [&](int64_t ch, int64_t lanes, const G& acc) {
        acc.value().store(value + ch, lanes);
        if constexpr (G::kArg) {
          I idx[W];
          acc.row().store(idx);
          for (int64_t l = 0; l < lanes; ++l) row[ch + l] = idx[l];
        }
      };
      const int64_t stop = smaller(c, (t + 1) * tile);
      int64_t ch = t * tile;
      if (ch + 4 * W <= stop) {
        global_columns<G, 4>(image, begin, end, c, ch, W, keep);
        continue;
      }
      for (; ch + W <= stop; ch += W) global_columns<G, 1>(image, begin, end, c, ch, W, keep);
      if (ch < stop) global_columns<G, 1>(image, begin, end, c, ch, stop - ch, keep);
    }
  });
  parallel_range(ctx, s.n * c, grain(2.0 * static_cast<double>(segments)), [&](int64_t from, int64_t to, int) {
    for (int64_t i = from; i < to; ++i) {
      const int64_t n = i / c, ch = i % c;
      const auto part = [&](int64_t k) {
        const int64_t at = (n * segments + k) * c + ch;
        return Partial<T>{values[at], G::kArg ? where[at] : I(0)};
      };
      Partial<T> p = part(0);
      for (int64_t k = 1; k < segments; ++k) G::merge(p, part(k));
      put(n, ch, p);
    }
  });
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
