// Resizing images, bound by memory. Forward, a thread makes one pixel's unit of channels (16 bytes where the channels
// allow it) from at most four inputs, which its neighbours read too and the caches hold. Backward, it adds up what one
// input pixel went into: outputs in ascending order, rows first. Where that are many (an image that grows by far), one
// pass adds rows and a second one columns, so that there is work for the whole device.
//
// An output's place between two inputs is a fraction of whole numbers, so it is exact and needs no float64.
#include "kernels/cuda/device.h"
#include "kernels/cuda/fast_div.h"
#include "kernels/cuda/resample_parts.h"

namespace lamella::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMost32 = int64_t{1} << 31;
constexpr int64_t kManyOutputs = 64;  // of one input: two passes

template <class I>
struct DivOf;
template <>
struct DivOf<int32_t> {
  using Div = FastDiv;
  using U = uint32_t;
};
template <>
struct DivOf<int64_t> {
  using Div = WideDiv;
  using U = int64_t;
};

// Output o = (1 - part) * in[low] + part * in[low + 1].
template <class T, class I>
struct Source {
  I low;
  T part;
};

// Output o stands at (step * o + first) / parts, between 0 and in - 1.
template <class T, class I>
struct Axis {
  using Div = typename DivOf<I>::Div;
  using U = typename DivOf<I>::U;
  I in, out, step, first, parts;
  I behind;   // an output that stands at most this many parts before an input has a share of it
  T of_part;  // 1 / parts; 0 where outputs are all of the input before them
  Div by_parts, by_step;

  __device__ Source<T, I> source(I o) const {
    const I at = step * o + first;
    if (at <= 0) return {0, T(0)};
    const I low = static_cast<I>(by_parts.div(static_cast<U>(at)));
    if (low >= in - 1) return {in - 1, T(0)};
    return {low, static_cast<T>(at - low * parts) * of_part};
  }
  // The first output that stands at `part` or behind it.
  __device__ I first_from(I part) const {
    if (part <= first) return 0;
    const I o = static_cast<I>(by_step.div(static_cast<U>(part - first + step - 1)));
    return o < out ? o : out;
  }
};

// The outputs that input i went into and its weight in each: f(o, weight), in ascending order.
template <class T, class I, class F>
__device__ void for_each_use(const Axis<T, I>& axis, I i, const F& f) {
  const I begin = i == 0 ? 0 : axis.first_from(i * axis.parts - axis.behind);
  const I end = i == axis.in - 1 ? axis.out : axis.first_from((i + 1) * axis.parts);
  for (I o = begin; o < end; ++o) {
    I t = axis.step * o + axis.first - i * axis.parts;
    if ((i == 0 && t < 0) || (i == axis.in - 1 && t > 0)) t = 0;
    f(o, t < 0 ? static_cast<T>(t + axis.parts) * axis.of_part : T(1) - static_cast<T>(t) * axis.of_part);
  }
}

template <class T, class I>
Axis<T, I> make_axis(Resize mode, int64_t in, int64_t out) {
  int64_t step = in, first = 0, parts = out;
  if (mode == Resize::kBilinear) {
    step = 2 * in;
    first = in - out;
    parts = 2 * out;
  } else if (mode == Resize::kBilinearAlignCorners) {
    step = in - 1;
    parts = out - 1;
  }
  if (parts < 1) parts = 1;
  const bool nearest = mode == Resize::kNearest;
  Axis<T, I> a;
  a.in = static_cast<I>(in);
  a.out = static_cast<I>(out);
  a.step = static_cast<I>(step);
  a.first = static_cast<I>(first);
  a.parts = static_cast<I>(parts);
  a.by_parts = typename DivOf<I>::Div(parts);
  a.by_step = typename DivOf<I>::Div(step > 0 ? step : 1);
  a.behind = static_cast<I>(nearest ? 0 : parts - 1);
  a.of_part = nearest ? T(0) : T(1) / static_cast<T>(parts);
  return a;
}

// One element or a pack of neighbouring channels.
template <class T, int N>
struct Unit;
template <class T>
struct Unit<T, 1> {
  static constexpr int kSize = 1;
  T v[1];
};
template <class T, int N>
struct Unit : Pack<T> {};

template <class U, class T>
__device__ U blend(const U& a, const U& b, T part) {
  U r;
#pragma unroll
  for (int k = 0; k < U::kSize; ++k) r.v[k] = fma(b.v[k], part, a.v[k] * (T(1) - part));
  return r;
}
template <class U, class T>
__device__ void add_weighted(U& sum, const U& a, T weight) {
#pragma unroll
  for (int k = 0; k < U::kSize; ++k) sum.v[k] = fma(a.v[k], weight, sum.v[k]);
}

// All of (n, h, w, c), with c in units.
template <class T, class I>
struct Grid {
  using Div = typename DivOf<I>::Div;
  Axis<T, I> rows, cols;
  I channels;
  Div by_channels, by_h, by_w;  // of the array that is written
  int64_t total;
};

template <class T, class U, class I>
__global__ void __launch_bounds__(kThreads) resize_kernel(const U* __restrict__ x, U* __restrict__ y, Grid<T, I> g) {
  const int64_t at = thread_number();
  if (at >= g.total) return;
  auto i = static_cast<typename DivOf<I>::U>(at);
  const I c = static_cast<I>(g.by_channels.split(i));
  const auto col = g.cols.source(static_cast<I>(g.by_w.split(i)));
  const auto row = g.rows.source(static_cast<I>(g.by_h.split(i)));
  const int64_t line = static_cast<int64_t>(g.cols.in) * g.channels;
  // With part 0 not a trace of the neighbour, not even its NaN.
  const auto mixed = [&](const U* p) { return row.part == T(0) ? *p : blend(*p, p[line], row.part); };
  const U* p =
      x + (static_cast<int64_t>(i) * g.rows.in + row.low) * line + static_cast<int64_t>(col.low) * g.channels + c;
  U v = mixed(p);
  if (col.part != T(0)) v = blend(v, mixed(p + g.channels), col.part);
  y[at] = v;
}

template <class T, class U, class I>
__global__ void __launch_bounds__(kThreads) resize_grad(const U* __restrict__ dy, U* __restrict__ dx, Grid<T, I> g) {
  const int64_t at = thread_number();
  if (at >= g.total) return;
  auto i = static_cast<typename DivOf<I>::U>(at);
  const I c = static_cast<I>(g.by_channels.split(i));
  const I col = static_cast<I>(g.by_w.split(i)), row = static_cast<I>(g.by_h.split(i));
  const int64_t line = static_cast<int64_t>(g.cols.out) * g.channels;
  const U* image = dy + static_cast<int64_t>(i) * g.rows.out * line + c;
  U sum = {};
  for_each_use(g.rows, row, [&](I o, T row_weight) {
    const U* p = image + o * line;
    for_each_use(g.cols, col, [&](I q, T weight) {
      add_weighted(sum, p[static_cast<int64_t>(q) * g.channels], row_weight * weight);
    });
  });
  dx[at] = sum;
}

// One axis: (outer, out, inner) to (outer, in, inner), inner in units.
template <class T, class U, class I>
__global__ void __launch_bounds__(kThreads)
    axis_grad(const U* __restrict__ from, U* __restrict__ to, Axis<T, I> axis, typename DivOf<I>::Div by_inner,
              typename DivOf<I>::Div by_in, int64_t inner, int64_t total) {
  const int64_t at = thread_number();
  if (at >= total) return;
  auto i = static_cast<typename DivOf<I>::U>(at);
  const int64_t j = static_cast<int64_t>(by_inner.split(i));
  const I k = static_cast<I>(by_in.split(i));
  const U* p = from + static_cast<int64_t>(i) * axis.out * inner + j;
  U sum = {};
  for_each_use(axis, k, [&](I o, T weight) { add_weighted(sum, p[o * inner], weight); });
  to[at] = sum;
}

Launch one_each(int64_t n) { return {dim3(static_cast<unsigned>(ceil_div(n, kThreads))), dim3(kThreads)}; }

template <class T>
bool two_passes(const ResizeParams<T>& p) {
  const int64_t rows = ceil_div(2 * p.oh, p.h), cols = ceil_div(2 * p.ow, p.w);
  return p.mode != Resize::kNearest ? rows * cols > kManyOutputs : rows * cols > 4 * kManyOutputs;
}

template <class T, class U, class I>
void run(const Context& ctx, const ResizeParams<T>& p, bool backward) {
  const int64_t channels = p.c / U::kSize;
  const auto rows = make_axis<T, I>(p.mode, p.h, p.oh), cols = make_axis<T, I>(p.mode, p.w, p.ow);
  const U* x = reinterpret_cast<const U*>(p.x);
  U* y = reinterpret_cast<U*>(p.y);
  using Div = typename DivOf<I>::Div;
  if (backward && two_passes(p)) {
    U* half = static_cast<U*>(ctx.workspace);  // (n, h, ow, c)
    const int64_t line = p.ow * channels, first = p.n * p.h * line, second = p.n * p.h * p.w * channels;
    launch(ctx, axis_grad<T, U, I>, one_each(first), x, half, rows, Div(line), Div(p.h), line, first);
    launch(ctx, axis_grad<T, U, I>, one_each(second), static_cast<const U*>(half), y, cols, Div(channels), Div(p.w),
           channels, second);
    return;
  }
  const int64_t h = backward ? p.h : p.oh, w = backward ? p.w : p.ow;
  Grid<T, I> g;
  g.rows = rows;
  g.cols = cols;
  g.channels = static_cast<I>(channels);
  g.by_channels = Div(channels);
  g.by_h = Div(h);
  g.by_w = Div(w);
  g.total = p.n * h * w * channels;
  launch(ctx, backward ? resize_grad<T, U, I> : resize_kernel<T, U, I>, one_each(g.total), x, y, g);
}

template <class T, class U>
void run(const Context& ctx, const ResizeParams<T>& p, bool backward) {
  const int64_t h = p.h > p.oh ? p.h : p.oh, w = p.w > p.ow ? p.w : p.ow;
  const bool narrow = p.n * h * w * p.c < kMost32 && 4 * h * h < kMost32 && 4 * w * w < kMost32;
  if (narrow) {
    run<T, U, int32_t>(ctx, p, backward);
  } else {
    run<T, U, int64_t>(ctx, p, backward);
  }
}

template <class T>
void run(const Context& ctx, const ResizeParams<T>& p, bool backward) {
  if (p.n * p.c * (backward ? p.h * p.w : p.oh * p.ow) == 0) return;
  if (p.c % Pack<T>::kSize == 0 && aligned16(p.x) && aligned16(p.y)) {
    run<T, Unit<T, Pack<T>::kSize>>(ctx, p, backward);
  } else {
    run<T, Unit<T, 1>>(ctx, p, backward);
  }
}

template <class T>
void resize(const Context& ctx, const ResizeParams<T>& p) {
  run(ctx, p, false);
}
template <class T>
void resize_backward(const Context& ctx, const ResizeParams<T>& p) {
  run(ctx, p, true);
}

template <class T>
size_t no_workspace(const ResizeParams<T>&, int) {
  return 0;
}
template <class T>
size_t resize_backward_workspace(const ResizeParams<T>& p, int) {
  return p.h * p.w > 0 && two_passes(p) ? sizeof(T) * static_cast<size_t>(p.n * p.h * p.ow * p.c) : 0;
}

template <class T>
void fill_kernels(ResampleKernels<T>& k) {
  k.resize_workspace = no_workspace<T>;
  k.resize = resize<T>;
  k.resize_backward_workspace = resize_backward_workspace<T>;
  k.resize_backward = resize_backward<T>;
}

}  // namespace

void fill_resize(ResampleKernels<float>& k) { fill_kernels(k); }
void fill_resize(ResampleKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
