// Backward pooling. Bound by memory: gradients and tap numbers are read from it once, the input's gradient is written
// once. Nobody adds to what another thread has written, so that every sum has one order.
//
// Windows that tile the input, as 2 x 2 with stride 2 do: a thread takes 16 bytes of an output's channels and writes
// all inputs of its window. Others: a thread takes 16 bytes of an input's channels and gathers from the outputs that
// see it, in their order. Whole images: a thread keeps its channels' gradients and writes pixel after pixel.
#include "kernels/cuda/pool_windows.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

// ---- what an input gets from an output -----------------------------------------------------------------------------
//
// add(sum, seen, tap, scale): of the output's gradient, for the tap of its window at which the input stands; -1:
// nothing.

// The gradient where the output's maximum stands at the input's tap.
template <class S, class Index>
struct MaxRoute {
  using Stored = S;
  using T = Real<S>;
  const S* grad_out;
  const Index* argmax;

  template <int V>
  struct Seen {
    Group<S, V> g;
    Group<Index, V> arg;
  };
  template <int V>
  __device__ Seen<V> load(int64_t at) const {
    return {load_group<V>(grad_out + at), load_group<V>(argmax + at)};
  }
  template <int V>
  __device__ Seen<V> nothing() const {
    return {same<S, V>(S{}), same<Index, V>(Index(0))};
  }
  template <class I>
  __device__ T scale(const Axis<I>&, I) const {
    return T(1);
  }
  template <int V>
  __device__ void add(Group<T, V>& sum, const Seen<V>& seen, int tap, T) const {
#pragma unroll
    for (int k = 0; k < V; ++k) sum.v[k] += static_cast<int>(seen.arg.v[k]) == tap ? widened(seen.g.v[k]) : T(0);
  }
  MaxRoute behind(int64_t elements) const { return {grad_out + elements, argmax + elements}; }
};

// A share of the gradient, whatever the tap. The share is the product of those of the axes.
template <class S>
struct MeanRoute {
  using Stored = S;
  using T = Real<S>;
  const S* grad_out;
  bool include_pad;
  T fixed;  // > 0: the whole share

  template <int V>
  struct Seen {
    Group<S, V> g;
  };
  template <int V>
  __device__ Seen<V> load(int64_t at) const {
    return {load_group<V>(grad_out + at)};
  }
  template <int V>
  __device__ Seen<V> nothing() const {
    return {same<S, V>(S{})};
  }
  template <class I>
  __device__ T scale(const Axis<I>& a, I o) const {
    return fixed > 0 ? T(1) : T(1) / static_cast<T>(a.divisor_of(a.window_of(o), include_pad));
  }
  template <int V>
  __device__ void add(Group<T, V>& sum, const Seen<V>& seen, int tap, T scale) const {
    if (tap < 0) return;
#pragma unroll
    for (int k = 0; k < V; ++k) sum.v[k] = fma(widened(seen.g.v[k]), fixed > 0 ? fixed : scale, sum.v[k]);
  }
  MeanRoute behind(int64_t elements) const { return {grad_out + elements, include_pad, fixed}; }
};

template <class S, class I>
struct BackwardJob {
  Axis<I> h, w;
  I c, items;
  DividerOf<I> by_groups, by_width, by_height;  // of the inputs, or of the windows that tile them
  S* grad_in;

  BackwardJob(const PoolShape& s, int64_t images, int group, int64_t height, int64_t width, S* to)
      : h(s.h),
        w(s.w),
        c(static_cast<I>(s.c)),
        items(static_cast<I>(images * height * width * (s.c / group))),
        by_groups(s.c / group),
        by_width(width),
        by_height(height),
        grad_in(to) {}
};

// ---- windows that tile the input -----------------------------------------------------------------------------------

bool tiles_input(const PoolShape& s) {
  for (const PoolAxis* a : {&s.h, &s.w}) {
    if (a->adaptive || a->stride != a->window || a->dilation != 1 || a->pad_lo != 0) return false;
  }
  return s.taps() <= 16;
}

// kWindow > 0: of kWindow x kWindow taps. Inputs behind the last window get zeros: a window that is none takes them.
template <class Route, int V, int kWindow, class I, class S = typename Route::Stored>
__global__ void __launch_bounds__(256) spread_windows(Route route, const __grid_constant__ BackwardJob<S, I> job) {
  using T = typename Route::T;
  const I step = static_cast<I>(thread_count());
  const I rows = kWindow > 0 ? I(kWindow) : job.h.window, cols = kWindow > 0 ? I(kWindow) : job.w.window;
  for (I i = static_cast<I>(thread_number()); i < job.items; i += step) {
    const I window = job.by_groups(i), ch = job.by_groups.rest(i, window) * V;
    const I line = job.by_width(window), ow = job.by_width.rest(window, line);
    const I n = job.by_height(line), oh = job.by_height.rest(line, n);
    const bool real = oh < job.h.out && ow < job.w.out;
    const auto seen = real ? route.template load<V>(((n * job.h.out + oh) * job.w.out + ow) * job.c + ch)
                           : route.template nothing<V>();
    const T scale = real ? route.scale(job.h, oh) * route.scale(job.w, ow) : T(0);
    const I row = oh * rows, col = ow * cols;
    S* to = job.grad_in + (((n * job.h.in + row) * job.w.in + col) * job.c + ch);
#pragma unroll
    for (I a = 0; a < rows; ++a) {
#pragma unroll
      for (I b = 0; b < cols; ++b) {
        if (row + a >= job.h.in || col + b >= job.w.in) continue;
        Group<T, V> v = same<T, V>(T(0));
        if (real) route.template add<V>(v, seen, static_cast<int>(a * cols + b), scale);
        store_rounded<V>(to + (a * job.w.in + b) * job.c, v);
      }
    }
  }
}

// ---- any windows ---------------------------------------------------------------------------------------------------

// kMost > 0: no input is seen by more than kMost outputs along an axis; their loads are under way at once.
template <class Route, int V, int kMost, class I, class S = typename Route::Stored>
__global__ void __launch_bounds__(256) gather_windows(Route route, const __grid_constant__ BackwardJob<S, I> job) {
  using T = typename Route::T;
  const I step = static_cast<I>(thread_count());
  for (I i = static_cast<I>(thread_number()); i < job.items; i += step) {
    const I pixel = job.by_groups(i), ch = job.by_groups.rest(i, pixel) * V;
    const I line = job.by_width(pixel), iw = job.by_width.rest(pixel, line);
    const I n = job.by_height(line), ih = job.by_height.rest(line, n);
    const I oh0 = job.h.first_output(ih), oh1 = job.h.last_output(ih);
    const I ow0 = job.w.first_output(iw), ow1 = job.w.last_output(iw);
    Group<T, V> sum = same<T, V>(T(0));
    if constexpr (kMost > 0) {
      // Outputs that do not exist are replaced by others, whose tap is -1: loads without conditions are all under way
      // at once.
      I rows[kMost], cols[kMost], row_at[kMost], col_at[kMost];
      T row_scale[kMost], col_scale[kMost];
#pragma unroll
      for (int k = 0; k < kMost; ++k) {
        const I oh = clamp<I>(oh0 + k, 0, job.h.out - 1), ow = clamp<I>(ow0 + k, 0, job.w.out - 1);
        rows[k] = oh0 + k < oh1 ? job.h.tap_at(oh, ih) : I(-1);
        cols[k] = ow0 + k < ow1 ? job.w.tap_at(ow, iw) : I(-1);
        row_scale[k] = route.scale(job.h, oh);
        col_scale[k] = route.scale(job.w, ow);
        row_at[k] = (n * job.h.out + oh) * job.w.out * job.c + ch;
        col_at[k] = ow * job.c;
      }
      typename Route::template Seen<V> seen[kMost * kMost];
#pragma unroll
      for (int a = 0; a < kMost; ++a) {
#pragma unroll
        for (int b = 0; b < kMost; ++b) seen[a * kMost + b] = route.template load<V>(row_at[a] + col_at[b]);
      }
#pragma unroll
      for (int a = 0; a < kMost; ++a) {
#pragma unroll
        for (int b = 0; b < kMost; ++b) {
          const I tap = rows[a] < 0 || cols[b] < 0 ? I(-1) : rows[a] * job.w.window + cols[b];
          route.template add<V>(sum, seen[a * kMost + b], static_cast<int>(tap), row_scale[a] * col_scale[b]);
        }
      }
    } else {
      for (I oh = oh0; oh < oh1; ++oh) {
        const I row = job.h.tap_at(oh, ih);
        if (row < 0) continue;
        const T scale = route.scale(job.h, oh);
#pragma unroll 4
        for (I ow = ow0; ow < ow1; ++ow) {
          const I col = job.w.tap_at(ow, iw);
          if (col < 0) continue;
          const auto seen = route.template load<V>(((n * job.h.out + oh) * job.w.out + ow) * job.c + ch);
          route.template add<V>(sum, seen, static_cast<int>(row * job.w.window + col), scale * route.scale(job.w, ow));
        }
      }
    }
    store_rounded<V>(job.grad_in + (pixel * job.c + ch), sum);
  }
}

// ---- whole images --------------------------------------------------------------------------------------------------

template <class Route, int V, class S = typename Route::Stored>
__global__ void __launch_bounds__(kBlockThreads)
    spread_images(Route route, Real<S> scale, S* grad_in, int64_t c, int64_t pixels, int64_t segments, int64_t tiles,
                  int lanes, int rows) {
  using T = Real<S>;
  const int thread = static_cast<int>(threadIdx.x), y = thread / lanes, lane = thread - y * lanes;
  const int64_t block = blockIdx.x;
  const int64_t tile = block % tiles, part = block / tiles, segment = part % segments, n = part / segments;
  const int64_t ch = (tile * lanes + lane) * V;
  if (ch >= c) return;
  const auto seen = route.template load<V>(n * c + ch);
  const int64_t begin = segment * rows * kRowsPerThread;
  const int64_t end = begin + rows * kRowsPerThread < pixels ? begin + rows * kRowsPerThread : pixels;
  S* to = grad_in + n * pixels * c + ch;
#pragma unroll 4
  for (int64_t r = begin + y; r < end; r += rows) {
    Group<T, V> v = same<T, V>(T(0));
    route.template add<V>(v, seen, static_cast<int>(r), scale);
    store_rounded<V>(to + r * c, v);
  }
}

// ---- the table's functions -----------------------------------------------------------------------------------------

template <class Route, int V, class S = typename Route::Stored>
void spread_over_images(const Context& ctx, const PoolShape& s, const Route& route, Real<S> scale, S* grad_in) {
  const TileShape tile(s.c, V);
  const int64_t pixels = s.h.in * s.w.in, segments = ceil_div(pixels, tile.rows * kRowsPerThread);
  launch(ctx, spread_images<Route, V>, {dim3(static_cast<unsigned>(s.n * segments * tile.tiles)), dim3(tile.threads())},
         route, scale, grad_in, s.c, pixels, segments, tile.tiles, tile.lanes, tile.rows);
}

template <class Route, int V, int kMost, class I, class S = typename Route::Stored>
void gather(const Context& ctx, const PoolShape& s, int64_t images, const Route& route, S* grad_in) {
  const BackwardJob<S, I> job(s, images, V, s.h.in, s.w.in, grad_in);
  launch(ctx, gather_windows<Route, V, kMost, I>, flat(job.items), route, job);
}

// kFewTaps: tap numbers fit a byte, else only what comes with large windows is needed, as for 16-bit numbers that lie
// anywhere.
template <class Route, int V, bool kFewTaps, class S = typename Route::Stored>
void scatter_or_gather(const Context& ctx, const PoolShape& s, const Route& all, S* grad_in) {
  constexpr bool kUnrolled = kFewTaps && (V > 1 || !kIsHalf<S>);
  const int64_t rows = most_outputs(s.h), cols = most_outputs(s.w), most = rows > cols ? rows : cols;
  const bool done = in_narrow_parts(s, [&](int64_t first, int64_t images) {
    const Route route = all.behind(first * output_elements(s));
    S* to = grad_in + first * input_elements(s);
    if constexpr (kUnrolled) {
      if (tiles_input(s)) {
        const BackwardJob<S, int> job(s, images, V, ceil_div(s.h.in, s.h.window), ceil_div(s.w.in, s.w.window), to);
        const bool two = s.h.window == 2 && s.w.window == 2;
        return launch(ctx, two ? spread_windows<Route, V, 2, int> : spread_windows<Route, V, 0, int>, flat(job.items),
                      route, job);
      }
      if (most <= 2) return gather<Route, V, 2, int>(ctx, s, images, route, to);
      if (most == 3) return gather<Route, V, 3, int>(ctx, s, images, route, to);
    }
    gather<Route, V, 0, int>(ctx, s, images, route, to);
  });
  if (!done) gather<Route, 1, 0, int64_t>(ctx, s, s.n, all, grad_in);
}

template <bool kFewTaps, class Route, class S = typename Route::Stored>
void backward(const Context& ctx, const PoolShape& s, const Route& route, Real<S> scale, S* grad_in, bool pack) {
  if (s.global()) {
    if (pack) return spread_over_images<Route, kPack<S>>(ctx, s, route, scale, grad_in);
    return spread_over_images<Route, 1>(ctx, s, route, scale, grad_in);
  }
  if (pack) return scatter_or_gather<Route, kPack<S>, kFewTaps>(ctx, s, route, grad_in);
  scatter_or_gather<Route, 1, kFewTaps>(ctx, s, route, grad_in);
}

template <class T>
size_t max_backward_workspace(const MaxPoolBackwardParams<T>&, int) {
  return 0;
}
template <class T>
void max_backward(const Context& ctx, const MaxPoolBackwardParams<T>& p) {
  const PoolShape& s = p.shape;
  if (s.n * s.c == 0) return;
  const bool pack = packs(s.c, p.grad_out, p.grad_in, p.argmax, s.wide_argmax());
  if (s.wide_argmax()) {
    const MaxRoute<T, int> route{p.grad_out, static_cast<const int*>(p.argmax)};
    return backward<false>(ctx, s, route, Real<T>(1), p.grad_in, pack);
  }
  const MaxRoute<T, uint8_t> route{p.grad_out, static_cast<const uint8_t*>(p.argmax)};
  backward<true>(ctx, s, route, Real<T>(1), p.grad_in, pack);
}

template <class T>
size_t avg_backward_workspace(const AvgPoolParams<T>&, int) {
  return 0;
}
template <class T>
void avg_backward(const Context& ctx, const AvgPoolParams<T>& p) {
  const PoolShape& s = p.shape;
  if (s.n * s.c == 0) return;
  using R = Real<T>;
  const R fixed = p.divisor > 0 ? R(1) / static_cast<R>(p.divisor) : R(0);
  // Of whole images: see divisor_of.
  const R rows = static_cast<R>(s.h.in), cols = static_cast<R>(s.w.in);
  const MeanRoute<T> route{p.x, p.count_include_pad, fixed};
  backward<true>(ctx, s, route, (R(1) / rows) * (R(1) / cols), p.y, packs<T>(s.c, p.x, p.y, nullptr, false));
}

template <class T>
void fill_backward(PoolKernels<T>& k) {
  k.max_backward_workspace = max_backward_workspace<T>;
  k.max_backward = max_backward<T>;
  k.avg_backward_workspace = avg_backward_workspace<T>;
  k.avg_backward = avg_backward<T>;
}

}  // namespace

void fill_pool_backward(PoolKernels<float>& k) { fill_backward(k); }
void fill_pool_backward(PoolKernels<double>& k) { fill_backward(k); }
void fill_pool_backward(PoolKernels<f16>& k) { fill_backward(k); }
void fill_pool_backward(PoolKernels<bf16>& k) { fill_backward(k); }

}  // namespace lamella::cuda
