// Mean and variance in one pass over memory: a block's mean first, then the deviations from it while the block is in
// the cache. Blocks, cut by the shape alone, are put together in double and in order.
#include "kernels/cpu/reduce_inl.h"
#include "kernels/cpu/reduce_parts.h"

namespace lamella::LAMELLA_NS {
namespace {

// Of one block: its mean as it comes out of one sum; the sum of what is left, which a large mean swallows; and the sum
// of squares around that mean.
template <class T>
struct Moments {
  T mean, rest, square;
};
// One of each per block and column.
template <class T>
struct MomentArrays {
  T* mean;
  T* rest;
  T* square;
};

template <class T>
LAMELLA_INLINE T known(T rest, T mean) {
  return mean - mean == 0 ? rest : T(0);  // around an infinite mean nothing is left to add; the squares are NaN
}

// Adds the deviations of n contiguous elements and their squares: halves, until no accumulator takes more than 32.
template <class T>
LAMELLA_NOINLINE void add_deviations(const T* p, int64_t n, Moments<T>& m) {
  using V = Vec<T>;
  constexpr int W = V::W;
  if (n > 32 * 4 * W) {
    const int64_t half = n / 2 / (4 * W) * (4 * W);
    Moments<T> low{m.mean, 0, 0}, high = low;
    add_deviations(p, half, low);
    add_deviations(p + half, n - half, high);
    m.rest += low.rest + high.rest;
    m.square += low.square + high.square;
    return;
  }
  const V mean(m.mean);
  V rest[4], square[4];
#pragma GCC unroll 4
  for (int u = 0; u < 4; ++u) rest[u] = square[u] = V::zero();
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) {
      const V d = V::load(p + i + u * W) - mean;
      rest[u] = rest[u] + d;
      square[u] = fma(d, d, square[u]);
    }
  }
  for (; i < n; i += W) {
    V d = V::load(p + i, n - i) - mean;
    if (n - i < W) {
      T lanes[W] = {};
      d.store(lanes, n - i);
      d = V::load(lanes);
    }
    rest[0] = rest[0] + d;
    square[0] = fma(d, d, square[0]);
  }
  m.rest += sum((rest[0] + rest[1]) + (rest[2] + rest[3]));
  m.square += sum((square[0] + square[1]) + (square[2] + square[3]));
}

template <int N>
struct Count {
  static constexpr int value = N;
};

// The same down the columns of `rows` rows, four vectors of columns at a time.
template <class T>
LAMELLA_NOINLINE void add_row_deviations(const T* p, int64_t ld, int64_t rows, int64_t cols, const T* mean, T* rest,
                                         T* square) {
  using V = Vec<T>;
  constexpr int W = V::W;
  const auto strip = [&](int64_t j, int64_t lanes, auto count) {
    constexpr int U = decltype(count)::value;
    V m[U];
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) m[u] = V::load(mean + j + u * W, lanes);
    for (int64_t first = 0; first < rows; first += 32) {
      const int64_t end = first + 32 < rows ? first + 32 : rows;
      V a[U], b[U];
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) a[u] = b[u] = V::zero();
      const T* q = p + first * ld + j;
      for (int64_t r = first; r < end; ++r, q += ld) {
#pragma GCC unroll 4
        for (int u = 0; u < U; ++u) {
          const V d = V::load(q + u * W, lanes) - m[u];
          a[u] = a[u] + d;
          b[u] = fma(d, d, b[u]);
        }
      }
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) {
        (V::load(rest + j + u * W, lanes) + a[u]).store(rest + j + u * W, lanes);
        (V::load(square + j + u * W, lanes) + b[u]).store(square + j + u * W, lanes);
      }
    }
  };
  int64_t j = 0;
  for (; j + 4 * W <= cols; j += 4 * W) strip(j, W, Count<4>());
  for (; j < cols; j += W) strip(j, cols - j < W ? cols - j : W, Count<1>());
}

// f(first element, rows) for the runs of neighbouring rows that block `b` of output row `o` is made of.
template <class F>
LAMELLA_INLINE void for_runs(const ReducePlan& plan, int64_t o, int64_t b, int64_t col, const F& f) {
  const int64_t base = plan.kept_offset(o) + col;
  const int64_t run_max = plan.reduced_rank > 0 ? plan.reduced_dims[plan.reduced_rank - 1] : 1;
  int64_t row = b * plan.group;
  const int64_t end = row + plan.group < plan.segments ? row + plan.group : plan.segments;
  while (row < end) {
    const int64_t at = row % run_max;
    const int64_t run = run_max - at < end - row ? run_max - at : end - row;
    f(base + plan.reduced_offset(row), run);
    row += run;
  }
}

// Elements that are reduced to each result of block b.
LAMELLA_INLINE int64_t block_elements(const ReducePlan& plan, int64_t b) {
  if (plan.piece > 0) {
    const int64_t at = b % plan.pieces * plan.piece;
    return plan.piece < plan.inner - at ? plan.piece : plan.inner - at;
  }
  const int64_t left = plan.segments - b * plan.group;
  return (plan.group < left ? plan.group : left) * (plan.last_kept ? 1 : plan.inner);
}

template <class T>
LAMELLA_INLINE void column_moments(const ReducePlan& plan, const T* x, int64_t o, int64_t b, int64_t col, int64_t cols,
                                   const MomentArrays<T>& to) {
  alignas(64) T mean[kReduceCols], rest[kReduceCols], square[kReduceCols];
  // Narrow rows lie side by side while they are neighbours in memory.
  const int64_t fold = cols == plan.inner ? fold_rows<T>(cols) : 1, width = fold * cols;
  for (int64_t j = 0; j < width; ++j) mean[j] = rest[j] = square[j] = 0;
  const auto each = [&](const auto& f) {
    for_runs(plan, o, b, col, [&](int64_t begin, int64_t rows) {
      const int64_t left = rows % fold;
      if (rows >= fold) f(x + begin, fold * plan.inner, rows / fold, width);
      if (left > 0) f(x + begin + (rows - left) * plan.inner, 0, 1, left * cols);
    });
  };
  const auto add_up = [&](T* v) {
    for (int64_t f = 1; f < fold; ++f)
      for (int64_t j = 0; j < cols; ++j) v[j] += v[f * cols + j];
  };
  each([&](const T* p, int64_t ld, int64_t rows, int64_t w) { reduce_rows<SumOf>(p, ld, rows, w, mean); });
  add_up(mean);
  const T n = static_cast<T>(block_elements(plan, b));
  for (int64_t j = 0; j < cols; ++j) mean[j] /= n;
  for (int64_t j = cols; j < width; ++j) mean[j] = mean[j - cols];
  each(
      [&](const T* p, int64_t ld, int64_t rows, int64_t w) { add_row_deviations(p, ld, rows, w, mean, rest, square); });
  add_up(rest);
  add_up(square);
  for (int64_t j = 0; j < cols; ++j) {
    to.mean[j] = mean[j];
    to.rest[j] = known(rest[j], mean[j]);
    to.square[j] = square[j];
  }
}

template <class T>
LAMELLA_INLINE Moments<T> row_moments(const ReducePlan& plan, const T* x, int64_t o, int64_t b) {
  const T* p = x + plan.kept_offset(o);
  int64_t first = b * plan.group, end = first + plan.group < plan.segments ? first + plan.group : plan.segments;
  int64_t length = plan.inner;
  if (plan.piece > 0) {
    first = b / plan.pieces;
    end = first + 1;
    length = block_elements(plan, b);
    p += b % plan.pieces * plan.piece;
  }
  Moments<T> m{0, 0, 0};
  for (int64_t s = first; s < end; ++s) m.mean += reduce_run<SumOf>(p + plan.reduced_offset(s), length);
  m.mean /= static_cast<T>((end - first) * length);
  for (int64_t s = first; s < end; ++s) add_deviations(p + plan.reduced_offset(s), length, m);
  m.rest = known(m.rest, m.mean);
  return m;
}

// The moments of `cols` columns over all blocks, which lie `stride` apart.
template <class T>
LAMELLA_NOINLINE void finish_moments(const ReducePlan& plan, const MomentArrays<T>& from, int64_t stride, int64_t cols,
                                     const VarParams<T>& p, double divisor, int64_t at) {
  double mean[kReduceCols], square[kReduceCols];
  for (int64_t j = 0; j < cols; ++j) mean[j] = square[j] = 0;
  double count = 0;
  for (int64_t b = 0; b < plan.blocks; ++b) {
    const double n = static_cast<double>(block_elements(plan, b)), all = count + n;
    const double inverse = 1 / n, old_part = count / all, new_part = n / all, spread = count * n / all;
    const T* m = from.mean + b * stride;
    const T* r = from.rest + b * stride;
    const T* s = from.square + b * stride;
    for (int64_t j = 0; j < cols; ++j) {
      const double rest = static_cast<double>(r[j]) * inverse;
      const double block_mean = static_cast<double>(m[j]) + rest;
      const double around = static_cast<double>(s[j]) - rest * rest * n;
      const double apart = count > 0 ? block_mean - mean[j] : 0;
      square[j] += (around < 0 ? 0 : around) + apart * apart * spread;
      mean[j] = count > 0 ? mean[j] * old_part + block_mean * new_part : block_mean;
    }
    count = all;
  }
  for (int64_t j = 0; j < cols; ++j) {
    const double var = square[j] / divisor;
    p.mean[at + j] = static_cast<T>(mean[j]);
    p.var[at + j] = static_cast<T>(p.root ? __builtin_sqrt(var) : var);
  }
}

LAMELLA_INLINE int64_t moment_count(const ReducePlan& plan) {
  return plan.empty ? 0 : plan.outputs * plan.blocks * (plan.last_kept ? plan.inner : 1);
}

template <class T>
size_t var_workspace(const VarParams<T>& p, int) {
  return 3 * static_cast<size_t>(moment_count(ReducePlan(p.dims))) * sizeof(T);
}

template <class T>
void var(const Context& ctx, const VarParams<T>& p) {
  constexpr double kNs = 0.3 * (sizeof(T) / 4);
  const ReducePlan plan(p.dims);
  const int64_t width = plan.last_kept ? plan.inner : 1;
  if (plan.outputs * width == 0) return;
  double n = 1;
  for (int i = 0; i < p.dims.rank; ++i)
    if (p.dims.reduced[i]) n *= static_cast<double>(p.dims.dims[i]);
  const double divisor = n > p.ddof ? n - p.ddof : 0;
  if (plan.empty) {
    for (int64_t i = 0; i < plan.outputs * width; ++i) {
      p.mean[i] = static_cast<T>(0 / n);
      p.var[i] = static_cast<T>(0 / divisor);
    }
    return;
  }
  const int64_t total = moment_count(plan);
  T* w = static_cast<T*>(ctx.workspace);
  const MomentArrays<T> all{w, w + total, w + 2 * total};
  const auto from = [&](int64_t i) { return MomentArrays<T>{all.mean + i, all.rest + i, all.square + i}; };
  const int64_t tiles = plan.last_kept ? (plan.inner + kReduceCols - 1) / kReduceCols : 1;
  const auto tile_cols = [&](int64_t col) { return width - col < kReduceCols ? width - col : kReduceCols; };

  const int64_t work = plan.piece > 0 ? plan.piece : plan.group * (plan.last_kept ? tile_cols(0) : plan.inner);
  parallel_range(ctx, plan.outputs * plan.blocks * tiles, (grain(kNs) + work - 1) / work,
                 [&](int64_t begin, int64_t end, int) {
                   for (int64_t t = begin; t < end; ++t) {
                     const int64_t col = t % tiles * kReduceCols, b = t / tiles % plan.blocks;
                     const int64_t o = t / tiles / plan.blocks;
                     const MomentArrays<T> to = from((o * plan.blocks + b) * width + col);
                     if (plan.last_kept) {
                       column_moments(plan, p.x, o, b, col, tile_cols(col), to);
                     } else {
                       const Moments<T> m = row_moments(plan, p.x, o, b);
                       *to.mean = m.mean;
                       *to.rest = m.rest;
                       *to.square = m.square;
                     }
                   }
                 });
  const int64_t combine = plan.blocks * tile_cols(0);
  parallel_range(ctx, plan.outputs * tiles, (grain(2) + combine - 1) / combine, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t o = t / tiles, col = t % tiles * kReduceCols;
      finish_moments(plan, from(o * plan.blocks * width + col), width, tile_cols(col), p, divisor, o * width + col);
    }
  });
}

template <class T>
void fill_part(ReduceKernels<T>& k) {
  k.var_workspace = var_workspace<T>;
  k.var = var<T>;
}

}  // namespace

void fill_var(ReduceKernels<float>& k) { fill_part(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_var(ReduceKernels<double>& k) { fill_part(k); }
#endif

}  // namespace lamella::LAMELLA_NS
