// The reduction engine: a contiguous iteration space, some of its dimensions reduced, by a monoid, over values that are
// either an array or computed block by block from several (Walk). Work is cut into blocks by the shape alone; a block's
// partial result is formed with many accumulators, and partial results are combined pairwise.
#pragma once

#include "kernels/cpu/lane_fold.h"
#include "kernels/cpu/map_inl.h"
#include "kernels/reduce.h"

namespace lamella::LAMELLA_NS {
namespace {

// A monoid: its identity, and combine() of two values or lane by lane. lift() is what an element counts as, and Partial
// the monoid of partial results. kLight: an instruction or two per vector.
struct SumOf {
  using Partial = SumOf;
  static constexpr bool kLight = true;
  template <class T>
  static constexpr T identity() {
    return T(0);
  }
  template <class V>
  static LAMELLA_INLINE V combine(V a, V b) {
    return a + b;
  }
  template <class V>
  static LAMELLA_INLINE V lift(V a) {
    return a;
  }
  template <class T>
  static LAMELLA_INLINE T lanes(Vec<T> v) {
    return sum(v);
  }
};
struct SumSquaresOf : SumOf {
  template <class V>
  static LAMELLA_INLINE V lift(V a) {
    return a * a;
  }
};
struct ProductOf {
  using Partial = ProductOf;
  static constexpr bool kLight = false;
  template <class T>
  static constexpr T identity() {
    return T(1);
  }
  template <class V>
  static LAMELLA_INLINE V combine(V a, V b) {
    return a * b;
  }
  template <class V>
  static LAMELLA_INLINE V lift(V a) {
    return a;
  }
  template <class T>
  static LAMELLA_INLINE T lanes(Vec<T> v) {
    return fold_lanes(v, [](Vec<T> a, Vec<T> b) { return a * b; });
  }
};
// NaN wins, as in NumPy.
struct MaxOf {
  using Partial = MaxOf;
  static constexpr bool kLight = false;
  template <class T>
  static constexpr T identity() {
    return static_cast<T>(-__builtin_inff());
  }
  template <class T>
  static LAMELLA_INLINE Vec<T> combine(Vec<T> a, Vec<T> b) {
    return select(is_nan(a), a, max(a, b));
  }
  static LAMELLA_INLINE float combine(float a, float b) { return (a > b) | (a != a) ? a : b; }
  static LAMELLA_INLINE double combine(double a, double b) { return (a > b) | (a != a) ? a : b; }
  template <class V>
  static LAMELLA_INLINE V lift(V a) {
    return a;
  }
  template <class T>
  static LAMELLA_INLINE T lanes(Vec<T> v) {
    return fold_lanes(v, [](Vec<T> a, Vec<T> b) { return combine(a, b); });
  }
};
struct MinOf {
  using Partial = MinOf;
  static constexpr bool kLight = false;
  template <class T>
  static constexpr T identity() {
    return static_cast<T>(__builtin_inff());
  }
  template <class T>
  static LAMELLA_INLINE Vec<T> combine(Vec<T> a, Vec<T> b) {
    return select(is_nan(a), a, min(a, b));
  }
  static LAMELLA_INLINE float combine(float a, float b) { return (a < b) | (a != a) ? a : b; }
  static LAMELLA_INLINE double combine(double a, double b) { return (a < b) | (a != a) ? a : b; }
  template <class V>
  static LAMELLA_INLINE V lift(V a) {
    return a;
  }
  template <class T>
  static LAMELLA_INLINE T lanes(Vec<T> v) {
    return fold_lanes(v, [](Vec<T> a, Vec<T> b) { return combine(a, b); });
  }
};

constexpr int64_t kReduceBuffer = 4096;        // elements that a computed source gives at a time
constexpr int64_t kReduceCols = 512;           // columns accumulated together: eight rows of them fill the buffer
constexpr int64_t kFarBytes = 8 << 20;         // arrays from this size on are likely to come from memory
constexpr int64_t kRowBlock = 4096;            // contiguous elements of one partial result
constexpr int64_t kFarRowElements = 10 << 20;  // likewise, where rows from L3 are better left to the hardware
constexpr int64_t kColBlock = 32768;           // elements of one partial row
constexpr int kStripVecs = 8;                  // vectors of columns that are accumulated in registers

template <class T>
struct ArraySource {
  const T* x;
  static constexpr double kNs = 0.2;
  static constexpr bool kDirect = true;
  // From memory, rows are read in longer runs; their sums still stay in L1.
  static constexpr int64_t kFarCols = 16384 / sizeof(T);
  LAMELLA_INLINE const T* get(int64_t begin, int64_t, T*) const { return x + begin; }
};

// How a total becomes the result.
struct Finish {
  double divisor = 1;
  bool root = false;
  template <class T>
  LAMELLA_INLINE T operator()(T total) const {
    if (divisor != 1) total = static_cast<T>(total / divisor);
    if (root) total = sizeof(T) == 4 ? T(__builtin_sqrtf(static_cast<float>(total))) : T(__builtin_sqrt(total));
    return total;
  }
};

// What the first n < W elements count as, and the identity in the lanes beyond.
template <class Op, class T>
LAMELLA_INLINE Vec<T> lift_rest(const T* p, int64_t n) {
  using I = typename IntOf<T>::type;
  constexpr I lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Mask<T> there = gt(IVec<T>(static_cast<I>(n)), IVec<T>::load(lane));
  return select(there, Op::lift(Vec<T>::load(p, n)), Vec<T>(Op::template identity<T>()));
}

// Reduces n contiguous elements: halves, until no accumulator takes more than 32 terms in a row. kFar: what lies 4 KiB
// ahead is asked for. The loads of light operations run so far ahead of the additions that the prefetchers of the
// hardware do not keep up; from L3 or with heavier operations they do, and are only in the way of one another.
template <class Op, bool kFar = false, class T>
LAMELLA_NOINLINE T reduce_run(const T* p, int64_t n) {
  using V = Vec<T>;
  constexpr int W = V::W;
  if (n > 32 * 8 * W) {
    const int64_t half = n / 2 / (8 * W) * (8 * W);
    return Op::combine(reduce_run<Op, kFar>(p, half), reduce_run<Op, kFar>(p + half, n - half));
  }
  int64_t i = 0;
  V total(Op::template identity<T>());
  if (n >= 8 * W) {
    V a[8];
#pragma GCC unroll 8
    for (int u = 0; u < 8; ++u) a[u] = Op::lift(V::load(p + u * W));
    for (i = 8 * W; i + 8 * W <= n; i += 8 * W) {
      if constexpr (kFar) {
#pragma GCC unroll 8
        for (int b = 0; b < 8 * W * static_cast<int>(sizeof(T)); b += 64)
          __builtin_prefetch(reinterpret_cast<const char*>(p + i) + 4096 + b, 0, 2);
      }
#pragma GCC unroll 8
      for (int u = 0; u < 8; ++u) a[u] = Op::combine(a[u], Op::lift(V::load(p + i + u * W)));
    }
#pragma GCC unroll 7
    for (int u = 0; u < 7; ++u) {
      if (i + W > n) break;
      a[u] = Op::combine(a[u], Op::lift(V::load(p + i)));
      i += W;
    }
    for (int u = 0; u < 4; ++u) a[u] = Op::combine(a[u], a[u + 4]);
    total = Op::combine(Op::combine(a[0], a[2]), Op::combine(a[1], a[3]));
  }
  for (; i + W <= n; i += W) total = Op::combine(total, Op::lift(V::load(p + i)));
  if (i < n) total = Op::combine(total, lift_rest<Op>(p + i, n - i));
  return Op::lanes(total);
}

// acc[j] = acc[j] op (the `rows` rows of p at j), for U vectors of columns (the last of `lanes`), 32 rows in a row.
template <class Op, int U, class T>
LAMELLA_INLINE void reduce_strip(const T* p, int64_t ld, int64_t rows, int64_t lanes, T* acc) {
  using V = Vec<T>;
  constexpr int W = V::W;
  const auto load = [&](const T* q, int u) { return u < U - 1 ? V::load(q + u * W) : V::load(q + u * W, lanes); };
  for (int64_t r = 0; r < rows; r += 32) {
    const int64_t n = rows - r < 32 ? rows - r : 32;
    V a[U];
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) a[u] = Op::lift(load(p, u));
    p += ld;
    for (int64_t k = 1; k < n; ++k, p += ld) {
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) a[u] = Op::combine(a[u], Op::lift(load(p, u)));
    }
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) {
      const V y = Op::combine(load(acc, u), a[u]);
      u < U - 1 ? y.store(acc + u * W) : y.store(acc + u * W, lanes);
    }
  }
}

// acc[j] = acc[j] op (the `rows` rows of p at j). Rows of up to eight vectors are walked one after the other with
// accumulators in registers; wider ones are taken eight at a time, in a tree. kFar: the next eight are asked for, as
// the prefetchers of the hardware follow eight short runs badly.
template <class Op, bool kFar = false, class T>
LAMELLA_NOINLINE void reduce_rows(const T* p, int64_t ld, int64_t rows, int64_t cols, T* acc) {
  using V = Vec<T>;
  constexpr int W = V::W;
  if (cols <= kStripVecs * W && rows > 0) {
    const int64_t vecs = (cols + W - 1) / W, lanes = cols - (vecs - 1) * W;
    switch (vecs) {
      case 1:
        return reduce_strip<Op, 1>(p, ld, rows, lanes, acc);
      case 2:
        return reduce_strip<Op, 2>(p, ld, rows, lanes, acc);
      case 3:
        return reduce_strip<Op, 3>(p, ld, rows, lanes, acc);
      case 4:
        return reduce_strip<Op, 4>(p, ld, rows, lanes, acc);
      case 5:
        return reduce_strip<Op, 5>(p, ld, rows, lanes, acc);
      case 6:
        return reduce_strip<Op, 6>(p, ld, rows, lanes, acc);
      case 7:
        return reduce_strip<Op, 7>(p, ld, rows, lanes, acc);
      default:
        return reduce_strip<Op, 8>(p, ld, rows, lanes, acc);
    }
  }
  int64_t r = 0;
  const auto at = [](const T* q, int64_t lanes) { return Op::lift(V::load(q, lanes)); };
  for (; r + 8 <= rows; r += 8, p += 8 * ld) {
    const auto tree = [&](const T* q, int64_t lanes) {
      if constexpr (kFar)
        for (int u = 8; u < 16; ++u) __builtin_prefetch(q + u * ld, 0, 2);
      const V a = Op::combine(at(q, lanes), at(q + ld, lanes));
      const V b = Op::combine(at(q + 2 * ld, lanes), at(q + 3 * ld, lanes));
      const V c = Op::combine(at(q + 4 * ld, lanes), at(q + 5 * ld, lanes));
      const V d = Op::combine(at(q + 6 * ld, lanes), at(q + 7 * ld, lanes));
      return Op::combine(Op::combine(a, b), Op::combine(c, d));
    };
    int64_t j = 0;
    for (; j + W <= cols; j += W) Op::combine(V::load(acc + j), tree(p + j, W)).store(acc + j);
    if (j < cols) Op::combine(V::load(acc + j, cols - j), tree(p + j, cols - j)).store(acc + j, cols - j);
  }
  for (; r < rows; ++r, p += ld) {
    int64_t j = 0;
    for (; j + W <= cols; j += W) Op::combine(V::load(acc + j), at(p + j, W)).store(acc + j);
    if (j < cols) Op::combine(V::load(acc + j, cols - j), at(p + j, cols - j)).store(acc + j, cols - j);
  }
}

// How many neighbouring narrow rows of `cols` elements are reduced side by side: whole vectors, about a strip of them.
template <class T>
LAMELLA_INLINE int64_t fold_rows(int64_t cols) {
  constexpr int64_t W = Vec<T>::W, kMost = kStripVecs * W;
  if (2 * cols > kMost) return 1;
  int64_t whole = W;  // rows until one begins at a vector's first lane again
  while (whole > 1 && cols * (whole / 2) % W == 0) whole /= 2;
  return whole * cols <= kMost ? kMost / (whole * cols) * whole : kMost / cols;
}

// The shape of the work, from the dimensions alone.
struct ReducePlan {
  // Kept and reduced dimensions other than the last, outermost first, with their strides in the flat order.
  int kept_rank = 0, reduced_rank = 0;
  int64_t kept_dims[ReduceDims::kMaxRank], kept_strides[ReduceDims::kMaxRank];
  int64_t reduced_dims[ReduceDims::kMaxRank], reduced_strides[ReduceDims::kMaxRank];
  bool last_kept = false;
  int64_t inner = 1;     // length of the last dimension
  int64_t outputs = 1;   // product of kept_dims
  int64_t segments = 1;  // product of reduced_dims
  // Last reduced: `blocks` partial results per output, each of `group` segments or of one `piece` of a segment.
  // Last kept: `blocks` partial rows per output row, each of `group` rows.
  int64_t blocks = 1, group = 1, piece = 0, pieces = 1;
  bool empty = false;

  explicit ReducePlan(const ReduceDims& d) {
    int64_t stride = 1;
    int last = d.rank - 1;
    if (d.rank > 0) {
      inner = d.dims[last];
      last_kept = !d.reduced[last];
      stride = inner;
    } else {
      last_kept = true;
    }
    for (int i = last - 1; i >= 0; --i) {
      if (d.reduced[i]) {
        ++reduced_rank;
        segments *= d.dims[i];
      } else {
        ++kept_rank;
        outputs *= d.dims[i];
      }
    }
    int k = kept_rank, r = reduced_rank;
    for (int i = last - 1; i >= 0; --i) {
      if (d.reduced[i]) {
        reduced_dims[--r] = d.dims[i];
        reduced_strides[r] = stride;
      } else {
        kept_dims[--k] = d.dims[i];
        kept_strides[k] = stride;
      }
      stride *= d.dims[i];
    }
    empty = segments == 0 || (!last_kept && inner == 0);
    if (empty || outputs == 0 || inner == 0) return;
    if (last_kept) {
      const int64_t width = inner < kReduceCols ? inner : kReduceCols;
      group = kColBlock / width;
      if (group > segments) group = segments;
      blocks = (segments + group - 1) / group;
    } else if (inner > kRowBlock) {
      piece = kRowBlock;
      pieces = (inner + piece - 1) / piece;
      blocks = segments * pieces;
    } else {
      group = kRowBlock / inner;
      if (group > segments) group = segments;
      blocks = (segments + group - 1) / group;
    }
  }
  size_t partials() const { return blocks == 1 ? 0 : static_cast<size_t>(outputs * blocks * (last_kept ? inner : 1)); }

  static int64_t offset(int64_t index, int rank, const int64_t* dims, const int64_t* strides) {
    int64_t o = 0;
    for (int i = rank - 1; i >= 0; --i) {
      o += index % dims[i] * strides[i];
      index /= dims[i];
    }
    return o;
  }
  int64_t kept_offset(int64_t index) const { return offset(index, kept_rank, kept_dims, kept_strides); }
  int64_t reduced_offset(int64_t index) const { return offset(index, reduced_rank, reduced_dims, reduced_strides); }
};

template <class T>
size_t reduce_workspace_bytes(const ReduceDims& d) {
  return ReducePlan(d).partials() * sizeof(T);
}

// Partial row `b` of output row `o`, columns [col, col + cols).
template <class Op, class T, class Source>
LAMELLA_INLINE void column_block(const ReducePlan& plan, const Source& source, int64_t o, int64_t b, int64_t col,
                                 int64_t cols, bool far, T* buffer, T* to) {
  alignas(64) T acc[Source::kFarCols];
  const int64_t base = plan.kept_offset(o) + col;
  int64_t row = b * plan.group;
  const int64_t end = row + plan.group < plan.segments ? row + plan.group : plan.segments;
  const bool whole = cols == plan.inner;
  // Narrow rows are summed `fold` side by side while they are neighbours in memory, and added up at the end.
  const int64_t fold = whole ? fold_rows<T>(cols) : 1;
  const int64_t width = fold * cols;
  for (int64_t j = 0; j < width; ++j) acc[j] = Op::template identity<T>();
  // Rows of the innermost reduced dimension follow one another: dimensions alternate, so nothing lies between.
  const int64_t run_max = plan.reduced_rank > 0 ? plan.reduced_dims[plan.reduced_rank - 1] : 1;
  while (row < end) {
    const int64_t at = row % run_max;
    const int64_t run = run_max - at < end - row ? run_max - at : end - row;
    const int64_t begin = base + plan.reduced_offset(row);
    row += run;
    if (Source::kDirect || whole) {
      // A computed source gives as many whole rows as fit the buffer.
      const int64_t step = Source::kDirect ? run : (kReduceBuffer / width) * fold;
      for (int64_t r = 0; r < run; r += step) {
        const int64_t rows = step < run - r ? step : run - r;
        const T* p = source.get(begin + r * plan.inner, rows * cols, buffer);
        const auto add = far ? reduce_rows<Op, true, T> : reduce_rows<Op, false, T>;
        add(p, whole ? width : plan.inner, rows / fold, width, acc);
        const int64_t rest = rows % fold;
        if (rest > 0) reduce_rows<Op>(p + (rows - rest) * cols, 0, 1, rest * cols, acc);
      }
    } else {
      for (int64_t r = 0; r < run; r += 8) {
        const int64_t rows = run - r < 8 ? run - r : 8;
        for (int64_t i = 0; i < rows; ++i) source.get(begin + (r + i) * plan.inner, cols, buffer + i * cols);
        reduce_rows<Op>(buffer, cols, rows, cols, acc);
      }
    }
  }
  for (int64_t f = 1; f < fold; ++f)
    for (int64_t j = 0; j < cols; ++j) acc[j] = Op::combine(acc[j], acc[f * cols + j]);
  for (int64_t j = 0; j < cols; ++j) to[j] = acc[j];
}

template <class Op, class T, class Source>
LAMELLA_INLINE T contiguous(const Source& source, int64_t begin, int64_t n, bool far, T* buffer) {
  if constexpr (Source::kDirect && Op::kLight)
    if (far) return reduce_run<Op, true>(source.get(begin, n, buffer), n);
  if constexpr (Source::kDirect) return reduce_run<Op>(source.get(begin, n, buffer), n);
  T total = Op::template identity<T>();
  for (int64_t i = 0; i < n; i += kReduceBuffer) {
    const int64_t len = n - i < kReduceBuffer ? n - i : kReduceBuffer;
    total = Op::combine(total, reduce_run<Op>(source.get(begin + i, len, buffer), len));
  }
  return total;
}

// Partial result `b` of output `o`.
template <class Op, class T, class Source>
LAMELLA_INLINE T row_block(const ReducePlan& plan, const Source& source, int64_t o, int64_t b, T* buffer) {
  const int64_t base = plan.kept_offset(o);
  // Runs of some pages, of an array that no cache holds.
  const bool far = plan.inner >= kRowBlock && plan.outputs * plan.segments * plan.inner >= kFarRowElements;
  if (plan.piece > 0) {
    const int64_t at = b % plan.pieces * plan.piece;
    const int64_t len = plan.piece < plan.inner - at ? plan.piece : plan.inner - at;
    return contiguous<Op>(source, base + plan.reduced_offset(b / plan.pieces) + at, len, far, buffer);
  }
  T total = Op::template identity<T>();
  int64_t s = b * plan.group;
  const int64_t end = s + plan.group < plan.segments ? s + plan.group : plan.segments;
  for (; s < end; ++s)
    total = Op::combine(total, contiguous<Op>(source, base + plan.reduced_offset(s), plan.inner, far, buffer));
  return total;
}

// y is contiguous over the kept dimensions; `workspace` holds reduce_workspace_bytes().
template <class Op, class T, class Source>
LAMELLA_NOINLINE void reduce_all(const Context& ctx, const ReduceDims& dims, const Source& source, T* y, T* workspace,
                                 Finish finish) {
  const ReducePlan plan(dims);
  const int64_t width = plan.last_kept ? plan.inner : 1;
  if (plan.outputs * width == 0) return;
  if (plan.empty) {
    for (int64_t i = 0; i < plan.outputs * width; ++i) y[i] = finish(Op::template identity<T>());
    return;
  }
  const bool single = plan.blocks == 1;
  T* partial = single ? y : workspace;
  const double ns = Source::kNs * (sizeof(T) / 4);

  if (plan.last_kept) {
    const bool far = Source::kDirect && plan.outputs * plan.segments * plan.inner * int64_t{sizeof(T)} >= kFarBytes;
    const int64_t tile = far ? Source::kFarCols : kReduceCols;
    const int64_t cols_max = plan.inner < tile ? plan.inner : tile;
    const int64_t col_blocks = (plan.inner + tile - 1) / tile;
    const int64_t work = plan.group * cols_max;
    const int64_t tasks = plan.outputs * plan.blocks * col_blocks;
    parallel_range(ctx, tasks, (grain(ns) + work - 1) / work, [&](int64_t begin, int64_t end, int) {
      alignas(64) T buffer[Source::kDirect ? 1 : kReduceBuffer];
      for (int64_t t = begin; t < end; ++t) {
        const int64_t c = t % col_blocks, b = t / col_blocks % plan.blocks;
        const int64_t o = t / col_blocks / plan.blocks;
        const int64_t col = c * tile;
        const int64_t cols = plan.inner - col < tile ? plan.inner - col : tile;
        T* to = partial + (o * plan.blocks + b) * plan.inner + col;
        column_block<Op>(plan, source, o, b, col, cols, far, buffer, to);
        if (single)
          for (int64_t j = 0; j < cols; ++j) to[j] = finish(to[j]);
      }
    });
    if (single) return;
    const int64_t pieces = (plan.inner + kReduceCols - 1) / kReduceCols;
    const int64_t combine = plan.blocks * (cols_max < kReduceCols ? cols_max : kReduceCols);
    const int64_t step = (grain(ns) + combine - 1) / combine;
    parallel_range(ctx, plan.outputs * pieces, step, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t o = t / pieces, col = t % pieces * kReduceCols;
        const int64_t cols = plan.inner - col < kReduceCols ? plan.inner - col : kReduceCols;
        T* p = partial + o * plan.blocks * plan.inner + col;
        for (int64_t s = 1; s < plan.blocks; s *= 2)
          for (int64_t b = 0; b + s < plan.blocks; b += 2 * s)
            reduce_rows<typename Op::Partial>(p + (b + s) * plan.inner, 0, 1, cols, p + b * plan.inner);
        T* to = y + o * plan.inner + col;
        for (int64_t j = 0; j < cols; ++j) to[j] = finish(p[j]);
      }
    });
    return;
  }

  const int64_t work = plan.piece > 0 ? plan.piece : plan.group * plan.inner;
  // Short rows that follow one another: a computed source gives many at a time.
  const bool adjacent = plan.kept_rank <= 1 && plan.segments == 1 && plan.inner <= kReduceBuffer / 2;
  parallel_range(ctx, plan.outputs * plan.blocks, (grain(ns) + work - 1) / work, [&](int64_t begin, int64_t end, int) {
    alignas(64) T buffer[Source::kDirect ? 1 : kReduceBuffer];
    if (adjacent) {
      const int64_t rows = Source::kDirect ? end - begin : kReduceBuffer / plan.inner;
      for (int64_t t = begin; t < end; t += rows) {
        const int64_t n = end - t < rows ? end - t : rows;
        const T* p = source.get(t * plan.inner, n * plan.inner, buffer);
        for (int64_t i = 0; i < n; ++i) y[t + i] = finish(reduce_run<Op>(p + i * plan.inner, plan.inner));
      }
      return;
    }
    for (int64_t t = begin; t < end; ++t) {
      const T total = row_block<Op>(plan, source, t / plan.blocks, t % plan.blocks, buffer);
      partial[t] = single ? finish(total) : total;
    }
  });
  if (single) return;
  parallel_range(ctx, plan.outputs, grain(ns * plan.blocks), [&](int64_t begin, int64_t end, int) {
    for (int64_t o = begin; o < end; ++o) {
      T* p = partial + o * plan.blocks;
      for (int64_t s = 1; s < plan.blocks; s *= 2)
        for (int64_t b = 0; b + s < plan.blocks; b += 2 * s) p[b] = Op::combine(p[b], p[b + s]);
      y[o] = finish(p[0]);
    }
  });
}

// Marks the dimensions that operand k is broadcast over; true if there are any.
LAMELLA_INLINE bool broadcast_over(const BroadcastDims& dims, int k, bool* reduced) {
  bool any = false;
  for (int i = 0; i < dims.rank; ++i) any |= reduced[i] = dims.strides[k][i] == 0;
  return any;
}

// The same dimensions with neighbours that are both kept or both reduced taken as one.
LAMELLA_INLINE ReduceDims reduce_dims(const BroadcastDims& dims, const bool* reduced) {
  ReduceDims r;
  for (int i = 0; i < dims.rank; ++i) {
    if (r.rank > 0 && r.reduced[r.rank - 1] == reduced[i]) {
      r.dims[r.rank - 1] *= dims.dims[i];
    } else {
      r.dims[r.rank] = dims.dims[i];
      r.reduced[r.rank++] = reduced[i];
    }
  }
  return r;
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
