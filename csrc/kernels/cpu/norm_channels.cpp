// Batch, group and instance norm over (n, rows, c). Statistics: chunks of rows in float, their results put together in
// double and in order. Then one pass writes the output.
#include "kernels/cpu/norm_columns.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

LAMELLA_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
LAMELLA_INLINE size_t lines_of(size_t bytes) { return (bytes + 63) / 64 * 64; }

constexpr int64_t kBlock = 64;  // channels that are put together at a time

// Images are work items where there are enough of them: statistics and output of one then meet in the cache.
LAMELLA_INLINE bool image_by_image(int64_t n, int64_t image) { return n >= 8 || (n > 1 && image <= 16384); }

// Hands out pieces of workspace.
struct Pieces {
  char* at;
  template <class U>
  U* take(int64_t count) {
    U* p = reinterpret_cast<U*>(at);
    at += lines_of(sizeof(U) * static_cast<size_t>(count));
    return p;
  }
};

// Runs stats(image, chunk, tile), finish(image, first group, last group), apply(image, first wide row, last) in order.
template <class T, class Stats, class Finish, class Apply>
LAMELLA_INLINE void run_stages(const Context& ctx, const ColumnPlan& plan, int64_t n, int64_t groups, bool has_stats,
                               bool has_apply, const Stats& stats, const Finish& finish, const Apply& apply) {
  const int64_t image = plan.rows * plan.c;
  const int64_t chunks = has_stats ? plan.chunks * plan.tiles : 0;
  const int64_t chunk_elements = plan.chunk_rows * plan.tile;
  const int64_t chunks_at_once = 1 + grain(0.15) / (chunk_elements < image ? chunk_elements : image + 1);
  if (image_by_image(n, image)) {
    parallel_range(ctx, n, 1 + grain(0.3) / (image + 64), [&](int64_t from, int64_t to, int) {
      for (int64_t i = from; i < to; ++i) {
        for (int64_t k = 0; k < chunks; ++k) stats(i, k / plan.tiles, k % plan.tiles);
        finish(i, 0, groups);
        if (has_apply) apply(i, 0, plan.wide_rows);
      }
      stream_fence();
    });
    return;
  }
  parallel_range(ctx, n * chunks, chunks_at_once, [&](int64_t from, int64_t to, int) {
    for (int64_t k = from; k < to; ++k) stats(k / chunks, k % chunks / plan.tiles, k % plan.tiles);
  });
  // Groups together hold about kBlock channels.
  const int64_t per_item = 1 + kBlock * groups / (plan.c + 1);
  const int64_t items = (groups + per_item - 1) / per_item;
  parallel_range(ctx, n * items, 1 + 4096 / (kBlock * (plan.chunks * plan.copies + 1)),
                 [&](int64_t from, int64_t to, int) {
                   for (int64_t k = from; k < to; ++k) {
                     const int64_t g = k % items * per_item;
                     finish(k / items, g, least(groups, g + per_item));
                   }
                 });
  if (!has_apply) return;
  const int64_t rows = 1 + grain(0.15) / plan.width;
  const int64_t pieces = plan.wide_rows > 0 ? (plan.wide_rows + rows - 1) / rows : 1;
  parallel_for(ctx, n * pieces, [&](int64_t k, int) {
    const int64_t begin = k % pieces * rows;
    apply(k / pieces, begin, least(plan.wide_rows, begin + rows));
    stream_fence();
  });
}

template <class T>
bool streams_out(const ColumnPlan& plan, int64_t n, const T* out) {
  return n * plan.rows * plan.c * static_cast<int64_t>(sizeof(T)) >= kStreamBytes && plan.width % Vec<T>::W == 0 &&
         plan.rows * plan.c % Vec<T>::W == 0 && vector_aligned(out);
}

// ---- forward -------------------------------------------------------------------------------------------------------

template <class T>
struct Forward {
  const ChannelNormParams<T>& p;
  ColumnPlan plan;
  T* parts;        // [n, chunks, 3, width]: mean, residue, squares
  double* mean;    // [n, c]
  double* square;  // [n, c] sum of squares around the mean, then the variance
  T* center;       // [n, width]: y = (x - center) * scale + shift
  T* scale;
  T* shift;
  bool stream;

  static size_t bytes(const ChannelNormParams<T>& p, const ColumnPlan& plan) {
    const int64_t chunks = p.given_mean ? 0 : plan.chunks;
    return lines_of(sizeof(T) * static_cast<size_t>(p.n * chunks * 3 * plan.width)) +
           2 * lines_of(sizeof(double) * static_cast<size_t>(p.n * p.c)) +
           3 * lines_of(sizeof(T) * static_cast<size_t>(p.n * plan.width));
  }
  Forward(const Context& ctx, const ChannelNormParams<T>& params, const ColumnPlan& columns)
      : p(params), plan(columns) {
    Pieces pieces{static_cast<char*>(ctx.workspace)};
    parts = pieces.take<T>(p.n * (p.given_mean ? 0 : plan.chunks) * 3 * plan.width);
    mean = pieces.take<double>(p.n * p.c);
    square = pieces.take<double>(p.n * p.c);
    center = pieces.take<T>(p.n * plan.width);
    scale = pieces.take<T>(p.n * plan.width);
    shift = pieces.take<T>(p.n * plan.width);
    stream = streams_out(plan, p.n, p.y);
  }

  const T* image(int64_t i) const { return p.x + i * p.rows * p.c; }
  T* part(int64_t i, int64_t k, int64_t which) const {
    return parts + ((i * plan.chunks + k) * 3 + which) * plan.width;
  }

  void stats(int64_t i, int64_t k, int64_t tile) const {
    const int64_t begin = tile * plan.tile;
    column_moments(image(i) + plan.chunk_begin(k) * plan.width, plan.chunk_end(k) - plan.chunk_begin(k), plan.width,
                   begin, least(plan.width, begin + plan.tile), part(i, k, 0), part(i, k, 1), part(i, k, 2));
  }

  // Mean and sum of squares of channels [c0, c1).
  LAMELLA_NOINLINE void channels(int64_t i, int64_t c0, int64_t c1) const {
    const int64_t count = c1 - c0;
    const double rows = static_cast<double>(p.rows);
    double m[kBlock] = {}, s[kBlock] = {};
    for (int64_t k = 0; k < plan.chunks; ++k) {
      const double size = static_cast<double>(plan.chunk_end(k) - plan.chunk_begin(k));
      for (int64_t t = 0; t < plan.copies; ++t) {
        const T* a = part(i, k, 0) + t * p.c + c0;
        const T* r = part(i, k, 1) + t * p.c + c0;
        for (int64_t j = 0; j < count; ++j) m[j] += size * static_cast<double>(a[j]) + static_cast<double>(r[j]);
      }
    }
    for (int64_t q = plan.rest_begin(); q < p.rows; ++q)
      for (int64_t j = 0; j < count; ++j) m[j] += static_cast<double>(image(i)[q * p.c + c0 + j]);
    for (int64_t j = 0; j < count; ++j) m[j] /= rows;
    for (int64_t k = 0; k < plan.chunks; ++k) {
      const double size = static_cast<double>(plan.chunk_end(k) - plan.chunk_begin(k));
      for (int64_t t = 0; t < plan.copies; ++t) {
        const T* a = part(i, k, 0) + t * p.c + c0;
        const T* r = part(i, k, 1) + t * p.c + c0;
        const T* b = part(i, k, 2) + t * p.c + c0;
        for (int64_t j = 0; j < count; ++j) {
          // Around the chunk's mean, moved to the mean of all.
          const double d = static_cast<double>(a[j]) - m[j];
          s[j] += static_cast<double>(b[j]) + d * (2 * static_cast<double>(r[j]) + size * d);
        }
      }
    }
    for (int64_t q = plan.rest_begin(); q < p.rows; ++q) {
      for (int64_t j = 0; j < count; ++j) {
        const double d = static_cast<double>(image(i)[q * p.c + c0 + j]) - m[j];
        s[j] += d * d;
      }
    }
    for (int64_t j = 0; j < count; ++j) {
      mean[i * p.c + c0 + j] = m[j];
      square[i * p.c + c0 + j] = s[j];
    }
  }

  // Statistics and coefficients of groups [g0, g1).
  void finish(int64_t i, int64_t g0, int64_t g1) const {
    const int64_t in_group = p.c / p.groups;
    if (p.given_mean == nullptr)
      for (int64_t c0 = g0 * in_group; c0 < g1 * in_group; c0 += kBlock)
        channels(i, c0, least(g1 * in_group, c0 + kBlock));
    for (int64_t g = g0; g < g1; ++g) {
      const double* cm = mean + i * p.c + g * in_group;
      const double* cs = square + i * p.c + g * in_group;
      const double rows = static_cast<double>(p.rows), count = rows * static_cast<double>(in_group);
      double m = 0, s = 0;
      if (p.given_mean) {
        m = static_cast<double>(p.given_mean[g]);
        s = static_cast<double>(p.given_var[g]);
      } else if (p.rows > 0) {
        for (int64_t j = 0; j < in_group; ++j) m += cm[j];
        m /= static_cast<double>(in_group);
        for (int64_t j = 0; j < in_group; ++j) s += cs[j] + rows * (cm[j] - m) * (cm[j] - m);
        if (p.running_mean) {
          const double var = s / (p.unbiased_running_var ? count - 1 : count);
          p.running_mean[g] =
              static_cast<T>(p.momentum * static_cast<double>(p.running_mean[g]) + (1 - p.momentum) * m);
          p.running_var[g] =
              static_cast<T>(p.momentum * static_cast<double>(p.running_var[g]) + (1 - p.momentum) * var);
        }
        s /= count;
      }
      const double inv = 1 / __builtin_sqrt(s + p.eps);
      const T hi = static_cast<T>(m);
      if (p.mean) p.mean[i * p.groups + g] = hi;
      if (p.inv_std) p.inv_std[i * p.groups + g] = static_cast<T>(inv);
      for (int64_t ch = g * in_group; ch < (g + 1) * in_group; ++ch) {
        // What T cannot hold of the mean goes into the shift.
        const double a = inv * (p.gamma ? static_cast<double>(p.gamma[ch]) : 1.0);
        const double b = (p.beta ? static_cast<double>(p.beta[ch]) : 0.0) - (m - static_cast<double>(hi)) * a;
        for (int64_t t = 0; t < plan.copies; ++t) {
          const int64_t at = i * plan.width + t * p.c + ch;
          center[at] = hi;
          scale[at] = static_cast<T>(a);
          shift[at] = static_cast<T>(b);
        }
      }
    }
  }

  template <bool kRelu>
  LAMELLA_INLINE void line(int64_t i, int64_t at, int64_t columns) const {
    const T* ce = center + i * plan.width;
    const T* sc = scale + i * plan.width;
    const T* sh = shift + i * plan.width;
    const T* x = p.x + at;
    T* y = p.y + at;
    for_vectors<T, 4>(0, columns, [&](int64_t j, int64_t lanes, auto count) {
      constexpr int U = decltype(count)::value;
      constexpr int W = Vec<T>::W;
      for (int u = 0; u < U; ++u) {
        const int64_t f = j + u * W;
        Vec<T> v = fma(load_lanes(x + f, lanes) - load_lanes(ce + f, lanes), load_lanes(sc + f, lanes),
                       load_lanes(sh + f, lanes));
        if constexpr (kRelu) v = max(Vec<T>::zero(), v);
        if (lanes < W) {
          v.store(y + f, lanes);
        } else if (stream) {
          v.stream(y + f);
        } else {
          v.store(y + f);
        }
      }
    });
  }

  template <bool kRelu>
  LAMELLA_NOINLINE void lines(int64_t i, int64_t begin, int64_t end) const {
    const int64_t base = i * p.rows * p.c;
    for (int64_t r = begin; r < end; ++r) line<kRelu>(i, base + r * plan.width, plan.width);
    if (end == plan.wide_rows) line<kRelu>(i, base + end * plan.width, (p.rows - plan.rest_begin()) * p.c);
  }
  void apply(int64_t i, int64_t begin, int64_t end) const {
    if (p.relu) return lines<true>(i, begin, end);
    lines<false>(i, begin, end);
  }
};

template <class T>
size_t channel_norm_workspace(const ChannelNormParams<T>& p, int) {
  return Forward<T>::bytes(p, plan_columns<T>(p.rows, p.c));
}

template <class T>
void channel_norm(const Context& ctx, const ChannelNormParams<T>& p) {
  if (p.n * p.c == 0) return;
  const Forward<T> f(ctx, p, plan_columns<T>(p.rows, p.c));
  run_stages<T>(
      ctx, f.plan, p.n, p.groups, p.given_mean == nullptr, true,
      [&](int64_t i, int64_t k, int64_t tile) { f.stats(i, k, tile); },
      [&](int64_t i, int64_t g0, int64_t g1) { f.finish(i, g0, g1); },
      [&](int64_t i, int64_t begin, int64_t end) { f.apply(i, begin, end); });
}

// ---- backward ------------------------------------------------------------------------------------------------------

// With z = (x - mean) * inv_std over the `count` elements of a group, a = sum(gamma * g), b = sum(gamma * g * z):
// grad_in = inv_std * (gamma * g - a / count - z * b / count).
template <class T>
struct Backward {
  const ChannelNormBackwardParams<T>& p;
  ColumnPlan plan;
  bool sums;        // anything but grad_in with constant statistics needs them
  T* parts;         // [n, chunks, 2, width]: sums of g, of g * (x - mean)
  double* sum;      // [n, c]
  double* product;  // [n, c] sum of g * z
  T* center;        // [n, width]: grad_in = gain * g + slope * (x - center) + shift
  T* gain;
  T* slope;
  T* shift;
  bool stream;

  static size_t bytes(const ChannelNormBackwardParams<T>& p, const ColumnPlan& plan) {
    return lines_of(sizeof(T) * static_cast<size_t>(p.n * plan.chunks * 2 * plan.width)) +
           2 * lines_of(sizeof(double) * static_cast<size_t>(p.n * p.c)) +
           4 * lines_of(sizeof(T) * static_cast<size_t>(p.n * plan.width));
  }
  Backward(const Context& ctx, const ChannelNormBackwardParams<T>& params, const ColumnPlan& columns)
      : p(params), plan(columns), sums(!p.constant || p.grad_gamma || p.grad_beta) {
    Pieces pieces{static_cast<char*>(ctx.workspace)};
    parts = pieces.take<T>(p.n * plan.chunks * 2 * plan.width);
    sum = pieces.take<double>(p.n * p.c);
    product = pieces.take<double>(p.n * p.c);
    center = pieces.take<T>(p.n * plan.width);
    gain = pieces.take<T>(p.n * plan.width);
    slope = pieces.take<T>(p.n * plan.width);
    shift = pieces.take<T>(p.n * plan.width);
    stream = p.grad_in != nullptr && streams_out(plan, p.n, p.grad_in);
  }

  T* part(int64_t i, int64_t k, int64_t which) const {
    return parts + ((i * plan.chunks + k) * 2 + which) * plan.width;
  }

  // The means, before anything else: the sums need them along whole wide rows.
  void centers() const {
    const int64_t in_group = p.c / p.groups;
    for (int64_t i = 0; i < p.n; ++i)
      for (int64_t j = 0; j < plan.width; ++j) center[i * plan.width + j] = p.mean[i * p.groups + j % p.c / in_group];
  }

  void stats(int64_t i, int64_t k, int64_t tile) const {
    const int64_t begin = tile * plan.tile, end = least(plan.width, begin + plan.tile);
    const int64_t at = i * p.rows * p.c + plan.chunk_begin(k) * plan.width;
    const int64_t rows = plan.chunk_end(k) - plan.chunk_begin(k);
    const T* ce = center + i * plan.width;
    if (p.relu) {
      column_products<T, true>(p.grad_out + at, p.x + at, p.y + at, ce, rows, plan.width, begin, end, part(i, k, 0),
                               part(i, k, 1));
    } else {
      column_products<T, false>(p.grad_out + at, p.x + at, nullptr, ce, rows, plan.width, begin, end, part(i, k, 0),
                                part(i, k, 1));
    }
  }

  LAMELLA_NOINLINE void channels(int64_t i, int64_t c0, int64_t c1) const {
    const int64_t count = c1 - c0, in_group = p.c / p.groups, base = i * p.rows * p.c;
    double a[kBlock] = {}, b[kBlock] = {};
    for (int64_t k = 0; k < plan.chunks; ++k) {
      for (int64_t t = 0; t < plan.copies; ++t) {
        const T* pa = part(i, k, 0) + t * p.c + c0;
        const T* pb = part(i, k, 1) + t * p.c + c0;
        for (int64_t j = 0; j < count; ++j) {
          a[j] += static_cast<double>(pa[j]);
          b[j] += static_cast<double>(pb[j]);
        }
      }
    }
    for (int64_t q = plan.rest_begin(); q < p.rows; ++q) {
      for (int64_t j = 0; j < count; ++j) {
        const int64_t at = base + q * p.c + c0 + j;
        if (p.relu && !(p.y[at] > 0)) continue;
        const double g = static_cast<double>(p.grad_out[at]);
        a[j] += g;
        b[j] += g * static_cast<double>(p.x[at] - p.mean[i * p.groups + (c0 + j) / in_group]);
      }
    }
    for (int64_t j = 0; j < count; ++j) {
      sum[i * p.c + c0 + j] = a[j];
      product[i * p.c + c0 + j] = b[j] * static_cast<double>(p.inv_std[i * p.groups + (c0 + j) / in_group]);
    }
  }

  void finish(int64_t i, int64_t g0, int64_t g1) const {
    const int64_t in_group = p.c / p.groups;
    if (sums)
      for (int64_t c0 = g0 * in_group; c0 < g1 * in_group; c0 += kBlock)
        channels(i, c0, least(g1 * in_group, c0 + kBlock));
    if (p.grad_in == nullptr) return;
    for (int64_t g = g0; g < g1; ++g) {
      const double inv = static_cast<double>(p.inv_std[i * p.groups + g]);
      const double count = static_cast<double>(p.rows * in_group);
      double a = 0, b = 0;
      if (!p.constant && p.rows > 0) {
        for (int64_t ch = g * in_group; ch < (g + 1) * in_group; ++ch) {
          const double gamma = p.gamma ? static_cast<double>(p.gamma[ch]) : 1.0;
          a += gamma * sum[i * p.c + ch];
          b += gamma * product[i * p.c + ch];
        }
        a /= count;
        b /= count;
      }
      for (int64_t ch = g * in_group; ch < (g + 1) * in_group; ++ch) {
        const double gamma = p.gamma ? static_cast<double>(p.gamma[ch]) : 1.0;
        for (int64_t t = 0; t < plan.copies; ++t) {
          const int64_t at = i * plan.width + t * p.c + ch;
          gain[at] = static_cast<T>(inv * gamma);
          slope[at] = static_cast<T>(-inv * inv * b);
          shift[at] = static_cast<T>(-inv * a);
        }
      }
    }
  }

  template <bool kRelu, bool kConstant>
  LAMELLA_INLINE void line(int64_t i, int64_t at, int64_t columns) const {
    const int64_t base = i * plan.width;
    for_vectors<T, 4>(0, columns, [&](int64_t j, int64_t lanes, auto vectors) {
      constexpr int U = decltype(vectors)::value;
      constexpr int W = Vec<T>::W;
      for (int u = 0; u < U; ++u) {
        const int64_t f = at + j + u * W, q = base + j + u * W;
        Vec<T> g = load_lanes(p.grad_out + f, lanes);
        if constexpr (kRelu) g = select(gt(load_lanes(p.y + f, lanes), Vec<T>::zero()), g, Vec<T>::zero());
        Vec<T> v = g * load_lanes(gain + q, lanes);
        if constexpr (!kConstant) {
          v = v + load_lanes(shift + q, lanes);
          v = fma(load_lanes(p.x + f, lanes) - load_lanes(center + q, lanes), load_lanes(slope + q, lanes), v);
        }
        if (lanes < W) {
          v.store(p.grad_in + f, lanes);
        } else if (stream) {
          v.stream(p.grad_in + f);
        } else {
          v.store(p.grad_in + f);
        }
      }
    });
  }

  template <bool kRelu, bool kConstant>
  LAMELLA_NOINLINE void lines(int64_t i, int64_t begin, int64_t end) const {
    const int64_t base = i * p.rows * p.c;
    for (int64_t r = begin; r < end; ++r) line<kRelu, kConstant>(i, base + r * plan.width, plan.width);
    if (end == plan.wide_rows) line<kRelu, kConstant>(i, base + end * plan.width, (p.rows - plan.rest_begin()) * p.c);
  }
  void apply(int64_t i, int64_t begin, int64_t end) const {
    if (p.relu) return p.constant ? lines<true, true>(i, begin, end) : lines<true, false>(i, begin, end);
    return p.constant ? lines<false, true>(i, begin, end) : lines<false, false>(i, begin, end);
  }

  // Over the images, in order.
  void parameters() const {
    for (int64_t ch = 0; ch < p.c; ++ch) {
      double a = 0, b = 0;
      for (int64_t i = 0; i < p.n; ++i) {
        a += sum[i * p.c + ch];
        b += product[i * p.c + ch];
      }
      if (p.grad_beta) p.grad_beta[ch] = static_cast<T>(a);
      if (p.grad_gamma) p.grad_gamma[ch] = static_cast<T>(b);
    }
  }
};

template <class T>
size_t channel_norm_backward_workspace(const ChannelNormBackwardParams<T>& p, int) {
  return Backward<T>::bytes(p, plan_columns<T>(p.rows, p.c));
}

template <class T>
void channel_norm_backward(const Context& ctx, const ChannelNormBackwardParams<T>& p) {
  if (p.c == 0) return;
  const Backward<T> b(ctx, p, plan_columns<T>(p.rows, p.c));
  b.centers();
  run_stages<T>(
      ctx, b.plan, p.n, p.groups, b.sums, p.grad_in != nullptr,
      [&](int64_t i, int64_t k, int64_t tile) { b.stats(i, k, tile); },
      [&](int64_t i, int64_t g0, int64_t g1) { b.finish(i, g0, g1); },
      [&](int64_t i, int64_t begin, int64_t end) { b.apply(i, begin, end); });
  if (p.grad_gamma || p.grad_beta) b.parameters();
}

template <class T>
void fill_channels(NormKernels<T>& k) {
  k.channel_norm_workspace = channel_norm_workspace<T>;
  k.channel_norm = channel_norm<T>;
  k.channel_norm_backward_workspace = channel_norm_backward_workspace<T>;
  k.channel_norm_backward = channel_norm_backward<T>;
}

}  // namespace

void fill_channel_norm(NormKernels<float>& k) { fill_channels(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_channel_norm(NormKernels<double>& k) { fill_channels(k); }
#endif

}  // namespace lamella::LAMELLA_NS
