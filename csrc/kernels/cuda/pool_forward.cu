// Forward pooling. Bound by memory: every input is read from it once (windows that overlap find it in a cache), every
// output is written once.
//
// A thread folds the window of 16 bytes of an output's channels; windows up to 3 x 3 have all their loads under way at
// once. Where windows are large and outputs few, whole images among them, a block's threads share the taps of a tile of
// channels; whole images are cut into segments, whose results are folded in a second pass.
#include "kernels/cuda/pool_fold.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

// Whether blocks share windows. Depends on one image, not on how many there are: so do the roundings.
bool by_blocks(const PoolShape& s, int group) {
  constexpr int64_t kManyTaps = 64, kVeryManyTaps = 4096, kManyItems = 4096;
  if (s.global() || s.taps() >= kVeryManyTaps) return true;
  return s.taps() >= kManyTaps && output_elements(s) / group < kManyItems;
}

// ---- a thread per output -------------------------------------------------------------------------------------------

template <class S, class I>
struct ForwardJob {
  Axis<I> h, w;
  I c, items;  // items: of V channels of an output
  DividerOf<I> by_groups, by_ow, by_oh;
  const S* x;
  PoolOut<S> out;
  bool include_pad;
  I fixed;  // > 0: the divisor

  ForwardJob(const PoolShape& s, int64_t images, int group, const S* from, const PoolOut<S>& to, const Divide& divide)
      : h(s.h),
        w(s.w),
        c(static_cast<I>(s.c)),
        items(static_cast<I>(images * output_elements(s) / group)),
        by_groups(s.c / group),
        by_ow(s.w.out),
        by_oh(s.h.out),
        x(from),
        out(to),
        include_pad(divide.include_pad),
        fixed(static_cast<I>(divide.fixed)) {}
};

// kWindow > 0: of at most kWindow x kWindow taps.
template <class Fold, int kWindow, class I, class S = typename Fold::Stored>
__global__ void __launch_bounds__(256) pool_windows(const __grid_constant__ ForwardJob<S, I> job) {
  using T = typename Fold::T;
  constexpr int V = Fold::V;
  const I step = static_cast<I>(thread_count());
  for (I i = static_cast<I>(thread_number()); i < job.items; i += step) {
    const I pixel = job.by_groups(i), ch = job.by_groups.rest(i, pixel) * V;
    const I line = job.by_ow(pixel), ow = job.by_ow.rest(pixel, line);
    const I n = job.by_oh(line), oh = job.by_oh.rest(line, n);
    const Window<I> wh = job.h.window_of(oh), ww = job.w.window_of(ow);
    const I row_size = job.w.in * job.c, row_step = job.h.dilation * row_size, col_step = job.w.dilation * job.c;
    // Of tap (0, 0), which may lie outside: an offset, no pointer.
    const I first = (n * job.h.in + wh.start) * row_size + ww.start * job.c + ch;
    Fold fold;
    fold.begin(static_cast<int>(wh.lo * job.w.window + ww.lo));
    if constexpr (kWindow > 0) {
      // What lies outside is replaced by the nearest tap inside, which is in a cache: loads without conditions are all
      // under way at once.
      I rows[kWindow], cols[kWindow];
#pragma unroll
      for (int k = 0; k < kWindow; ++k) {
        rows[k] = clamp<I>(k, wh.lo, wh.hi - 1) * row_step;
        cols[k] = clamp<I>(k, ww.lo, ww.hi - 1) * col_step;
      }
      Group<S, V> v[kWindow * kWindow];
#pragma unroll
      for (int a = 0; a < kWindow; ++a) {
#pragma unroll
        for (int b = 0; b < kWindow; ++b) v[a * kWindow + b] = load_group<V>(job.x + (first + rows[a] + cols[b]));
      }
#pragma unroll
      for (int a = 0; a < kWindow; ++a) {
#pragma unroll
        for (int b = 0; b < kWindow; ++b) {
          const bool outside = a < wh.lo || a >= wh.hi || b < ww.lo || b >= ww.hi;
          fold.add(outside ? same<T, V>(Fold::kNothing) : widened(v[a * kWindow + b]),
                   a * static_cast<int>(job.w.window) + b);
        }
        fold.end_row();
      }
    } else {
      for (I a = wh.lo; a < wh.hi; ++a) {
        const I row = first + a * row_step;
#pragma unroll 4
        for (I b = ww.lo; b < ww.hi; ++b) {
          fold.add(widened(load_group<V>(job.x + (row + b * col_step))), static_cast<int>(a * job.w.window + b));
        }
        fold.end_row();
      }
    }
    const I divisor =
        job.fixed > 0 ? job.fixed : job.h.divisor_of(wh, job.include_pad) * job.w.divisor_of(ww, job.include_pad);
    job.out.put(static_cast<int64_t>(pixel) * job.c + ch, fold, static_cast<T>(divisor));
  }
}

template <class Fold, int kWindow, class I, class S = typename Fold::Stored>
void run_threads(const Context& ctx, const PoolShape& s, int64_t images, const S* x, const PoolOut<S>& out,
                 const Divide& divide) {
  const ForwardJob<S, I> job(s, images, Fold::V, x, out, divide);
  launch(ctx, pool_windows<Fold, kWindow, I>, flat(job.items), job);
}

// There are no kernels for small windows of 16-bit numbers that lie anywhere.
template <template <class, int> class Fold, int V, class S>
void pool_by_threads(const Context& ctx, const PoolShape& s, const S* x, const PoolOut<S>& out, const Divide& divide) {
  constexpr bool kUnrolled = V > 1 || !kIsHalf<S>;
  const int64_t window = s.h.window > s.w.window ? s.h.window : s.w.window;
  const bool done = in_narrow_parts(s, [&](int64_t first, int64_t images) {
    const S* from = x + first * input_elements(s);
    PoolOut<S> to = out;
    to.y += first * output_elements(s);
    to.argmax = static_cast<char*>(out.argmax) + first * output_elements(s) * (out.wide ? 4 : 1);
    if constexpr (kUnrolled) {
      if (window <= 2) return run_threads<Fold<S, V>, 2, int>(ctx, s, images, from, to, divide);
      if (window == 3) return run_threads<Fold<S, V>, 3, int>(ctx, s, images, from, to, divide);
    }
    run_threads<Fold<S, V>, 0, int>(ctx, s, images, from, to, divide);
  });
  if (!done) run_threads<Fold<S, 1>, 0, int64_t>(ctx, s, s.n, x, out, divide);
}

// ---- a block per output --------------------------------------------------------------------------------------------

template <class S>
struct BlockJob {
  const S* x = nullptr;
  const Real<S>* results = nullptr;  // second pass: instead of x, results of the first, from these taps
  const int* taps = nullptr;
  Axis<int64_t> h, w;
  int64_t c = 0, tiles = 0;
  int lanes = 0, rows = 0;
  int64_t segments = 1, segment = 0;  // segments of so many taps
  bool whole = false;                 // the taps are an image's pixels, `count` of them, one behind the other
  int64_t count = 0;
  bool last = true;
  PoolOut<S> out{};
  bool include_pad = false;
  int64_t fixed = 0;
  Real<S>* partial = nullptr;  // [output, segment, c] where this is not the last pass
  int* partial_taps = nullptr;

  explicit BlockJob(const PoolShape& s) : h(s.h), w(s.w), c(s.c) {}
};

template <class Fold, class S = typename Fold::Stored>
__global__ void __launch_bounds__(kBlockThreads) pool_blocks(const __grid_constant__ BlockJob<S> job) {
  using T = typename Fold::T;
  constexpr int V = Fold::V;
  __shared__ Group<T, V> values[kBlockThreads];
  __shared__ Group<int, V> places[kBlockThreads];
  const int thread = static_cast<int>(threadIdx.x), y = thread / job.lanes, lane = thread - y * job.lanes;
  const int64_t block = blockIdx.x;
  const int64_t tile = block % job.tiles, part = block / job.tiles;  // part: [output, segment]
  const int64_t segment = part % job.segments, output = part / job.segments;
  const int64_t ch = (tile * job.lanes + lane) * V;
  const bool mine = ch < job.c;

  const S* from = job.x + ch;
  int64_t taps = job.count, cols = 1, number = 0, row_step = 0, col_step = job.c, divisor = job.fixed;
  if (job.whole) {
    from += output * job.count * job.c;
  } else {
    const int64_t line = output / job.w.out, ow = output - line * job.w.out;
    const int64_t n = line / job.h.out, oh = line - n * job.h.out;
    const Window<int64_t> wh = job.h.window_of(oh), ww = job.w.window_of(ow);
    cols = ww.hi - ww.lo;
    taps = (wh.hi - wh.lo) * cols;
    number = wh.lo * job.w.window + ww.lo;
    row_step = job.h.dilation * job.w.in * job.c;
    col_step = job.w.dilation * job.c;
    from += (n * job.h.in + wh.start) * job.w.in * job.c + ww.start * job.c + wh.lo * row_step + ww.lo * col_step;
    if (job.fixed == 0) divisor = job.h.divisor_of(wh, job.include_pad) * job.w.divisor_of(ww, job.include_pad);
  }
  const int64_t begin = segment * job.segment, end = begin + job.segment < taps ? begin + job.segment : taps;
  const auto row_of = [&](int64_t t) {
    return t < kNoTap && cols < kNoTap ? static_cast<int>(t) / static_cast<int>(cols) : t / cols;
  };
  // Where tap t lies, and its number in the window.
  const auto offset = [&](int64_t t) {
    if (job.whole) return t * job.c;
    const int64_t row = row_of(t);
    return row * row_step + (t - row * cols) * col_step;
  };
  const auto number_of = [&](int64_t t) {
    if (job.whole) return static_cast<int>(t);
    const int64_t row = row_of(t);
    return static_cast<int>(number + row * job.w.window + (t - row * cols));
  };

  Fold fold;
  int64_t t = begin + y;
  fold.begin(t < end && job.results == nullptr ? number_of(t) : kNoTap);
  if (mine && job.results == nullptr) {
    constexpr int kAhead = 8;
    for (; t + (kAhead - 1) * job.rows < end; t += kAhead * job.rows) {
      Group<S, V> v[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) v[k] = load_group<V>(from + offset(t + k * job.rows));
#pragma unroll
      for (int k = 0; k < kAhead; ++k) fold.add(widened(v[k]), Fold::kArg ? number_of(t + k * job.rows) : 0);
      fold.end_row();
    }
    for (; t < end; t += job.rows) fold.add(widened(load_group<V>(from + offset(t))), Fold::kArg ? number_of(t) : 0);
    fold.end_row();
  } else if (mine) {
    const T* results = job.results + (output * job.count * job.c + ch);
    const int* numbers = job.taps + (output * job.count * job.c + ch);
#pragma unroll 4
    for (; t < end; t += job.rows) {
      fold.merge(load_group<V>(results + t * job.c), Fold::kArg ? load_group<V>(numbers + t * job.c) : same<int, V>(0));
    }
  }

  // A tree over the block's rows.
  values[thread] = fold.value();
  if constexpr (Fold::kArg) places[thread] = fold.taps();
  int half = 1;
  while (2 * half < job.rows) half *= 2;
  for (; half > 0; half /= 2) {
    __syncthreads();
    if (y < half && y + half < job.rows) {
      const int other = thread + half * job.lanes;
      fold.merge(values[other], Fold::kArg ? places[other] : same<int, V>(0));
      values[thread] = fold.value();
      if constexpr (Fold::kArg) places[thread] = fold.taps();
    }
  }
  if (y != 0 || !mine) return;
  if (job.last) return job.out.put(output * job.c + ch, fold, static_cast<T>(divisor));
  store_group<V>(job.partial + part * job.c + ch, fold.value());
  if constexpr (Fold::kArg) store_group<V>(job.partial_taps + part * job.c + ch, fold.taps());
}

// Whole images: how their pixels are cut into segments. Depends on the image alone.
struct Segments {
  int64_t pixels, segment, count;
  Segments(const PoolShape& s, int rows) {
    pixels = s.h.in * s.w.in;
    segment = rows * kRowsPerThread;
    count = ceil_div(pixels, segment);
  }
};
constexpr int64_t round_up_256(int64_t bytes) { return (bytes + 255) / 256 * 256; }

// For either width of the groups: it follows from the pointers.
template <class S>
size_t global_workspace(const PoolShape& s, bool argmax) {
  if (!s.global()) return 0;
  int64_t count = Segments(s, TileShape(s.c, 1).rows).count;
  if (s.c % kPack<S> == 0) {
    const int64_t other = Segments(s, TileShape(s.c, kPack<S>).rows).count;
    count = count > other ? count : other;
  }
  if (count == 1) return 0;
  const int64_t partials = s.n * count * s.c;
  return static_cast<size_t>(round_up_256(partials * static_cast<int64_t>(sizeof(Real<S>))) +
                             (argmax ? partials * 4 : 0));
}

template <class Fold, class S = typename Fold::Stored>
void pool_by_blocks(const Context& ctx, const PoolShape& s, const S* x, const PoolOut<S>& out, const Divide& divide) {
  using T = typename Fold::T;
  const TileShape tile(s.c, Fold::V);
  BlockJob<S> job(s);
  job.x = x;
  job.tiles = tile.tiles;
  job.lanes = tile.lanes;
  job.rows = tile.rows;
  job.out = out;
  job.include_pad = divide.include_pad;
  job.fixed = divide.fixed;
  const int64_t outputs = s.n * s.h.out * s.w.out;
  const dim3 threads(tile.threads());
  const auto run = [&] {
    launch(ctx, pool_blocks<Fold>, {dim3(static_cast<unsigned>(outputs * job.segments * tile.tiles)), threads}, job);
  };
  if (!s.global()) {
    job.segment = s.taps();
    return run();
  }
  const Segments cut(s, tile.rows);
  if (job.fixed == 0) job.fixed = cut.pixels;
  job.whole = true;
  job.count = cut.pixels;
  job.segment = cut.segment;
  if (cut.count > 1) {
    job.segments = cut.count;
    job.last = false;
    job.partial = static_cast<T*>(ctx.workspace);
    job.partial_taps = reinterpret_cast<int*>(static_cast<char*>(ctx.workspace) +
                                              round_up_256(s.n * cut.count * s.c * static_cast<int64_t>(sizeof(T))));
    run();
    job.results = job.partial;
    job.taps = job.partial_taps;
    job.count = job.segment = cut.count;
    job.segments = 1;
    job.last = true;
  }
  run();
}

// ---- the table's functions -----------------------------------------------------------------------------------------

template <template <class, int> class Fold, class S>
void pool(const Context& ctx, const PoolShape& s, const S* x, S* y, void* argmax, const Divide& divide) {
  if (s.n * s.c == 0) return;
  const PoolOut<S> out{y, argmax, s.wide_argmax()};
  const bool pack = packs(s.c, x, y, argmax, out.wide);
  if (by_blocks(s, pack ? kPack<S> : 1)) {
    if (pack) return pool_by_blocks<Fold<S, kPack<S>>>(ctx, s, x, out, divide);
    return pool_by_blocks<Fold<S, 1>>(ctx, s, x, out, divide);
  }
  if (pack) return pool_by_threads<Fold, kPack<S>>(ctx, s, x, out, divide);
  pool_by_threads<Fold, 1>(ctx, s, x, out, divide);
}

template <class T>
size_t max_forward_workspace(const MaxPoolParams<T>& p, int) {
  return global_workspace<T>(p.shape, p.argmax != nullptr);
}
template <class T>
void max_forward(const Context& ctx, const MaxPoolParams<T>& p) {
  if (p.argmax == nullptr) return pool<MaxFold>(ctx, p.shape, p.x, p.y, nullptr, {});
  pool<ArgMaxFold>(ctx, p.shape, p.x, p.y, p.argmax, {});
}

template <class T>
size_t avg_forward_workspace(const AvgPoolParams<T>& p, int) {
  return global_workspace<T>(p.shape, false);
}
template <class T>
void avg_forward(const Context& ctx, const AvgPoolParams<T>& p) {
  pool<MeanFold>(ctx, p.shape, p.x, p.y, nullptr, {p.count_include_pad, p.divisor});
}

template <class T>
void fill_forward(PoolKernels<T>& k) {
  k.max_forward_workspace = max_forward_workspace<T>;
  k.max_forward = max_forward<T>;
  k.avg_forward_workspace = avg_forward_workspace<T>;
  k.avg_forward = avg_forward<T>;
}

}  // namespace

void fill_pool_forward(PoolKernels<float>& k) { fill_forward(k); }
void fill_pool_forward(PoolKernels<double>& k) { fill_forward(k); }
void fill_pool_forward(PoolKernels<f16>& k) { fill_forward(k); }
void fill_pool_forward(PoolKernels<bf16>& k) { fill_forward(k); }

}  // namespace lamella::cuda
