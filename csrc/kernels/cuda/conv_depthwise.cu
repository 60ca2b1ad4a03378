// Depthwise convolution (one input channel per group) each way. All of it is bound by memory: 2 kh kw operations per
// element against 8 bytes read and written. Channels lie across threads, in vectors of 16 bytes; weights and the pixels
// that neighbouring windows share stay in registers.
#include "kernels/cuda/activation.h"
#include "kernels/cuda/conv_geometry.h"
#include "kernels/cuda/conv_parts.h"
#include "kernels/cuda/fast_div.h"

namespace lamella::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostGrid = 65535;

unsigned grid_dim(int64_t wanted) { return static_cast<unsigned>(wanted < kMostGrid ? wanted : kMostGrid); }

template <class T, int V>
struct Act1 {
  Activation act;
  __device__ __forceinline__ Few<T, V> operator()(Few<T, V> v) const {
#pragma unroll
    for (int i = 0; i < V; ++i) v.v[i] = act_value(act, v.v[i]);
    return v;
  }
};

template <int V, class T>
__device__ __forceinline__ void multiply_add(Few<T, V>& sum, const Few<T, V>& a, const Few<T, V>& b) {
#pragma unroll
  for (int i = 0; i < V; ++i) sum.v[i] += a.v[i] * b.v[i];
}

// ---- forward and the gradient to data
// --------------------------------------------------------------------------------

// Any stride, dilation and multiplier: a thread has V channels of one destination pixel. Threads: x over channels, y
// over pixels of one phase; grid: pixels, channels, phases. With a multiplier V is 1.
template <class T, int V>
__global__ void __launch_bounds__(kThreads) gather(ConvView<int> v, ConvParams<T> p, int phases) {
  for (int phase = static_cast<int>(blockIdx.z); phase < phases; phase += static_cast<int>(gridDim.z)) {
    const ConvAxis<int> ay = v.h.axis(phase / v.w.phases), ax = v.w.axis(phase % v.w.phases);
    const int pixel = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
    if (pixel >= v.n * ay.count * ax.count) continue;
    const int j = pixel % ax.count, row = pixel / ax.count, i = row % ay.count, n = row / ay.count;
    const int64_t dst =
        (int64_t{n} * v.h.dst_size + ay.out0 + i * ay.out_step) * v.w.dst_size + ax.out0 + int64_t{j} * ax.out_step;
    const int sy0 = i * ay.src_step + ay.off0, sx0 = j * ax.src_step + ax.off0;
    const int step = static_cast<int>(gridDim.y * blockDim.x) * V;
    for (int o = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * V; o < v.dc; o += step) {
      const int g = V > 1 ? o : o / v.nc;
      const T* const weight = p.weight + (V > 1 ? o : g * v.w_group + (o - g * v.nc) * v.w_j);
      Few<T, V> sum = {};
      if (p.bias != nullptr) {
#pragma unroll
        for (int k = 0; k < V; ++k) sum.v[k] = p.bias[o + k];
      }
      for (int qy = 0; qy < ay.taps; ++qy) {
        const int sy = sy0 + qy * ay.off_step;
        if (sy < 0 || sy >= ay.src_size) continue;
        const int64_t source_row = (int64_t{n} * ay.src_size + sy) * ax.src_size;
        const int tap_row = (ay.tap0 + qy * ay.tap_step) * v.w.kernel + ax.tap0;
        for (int q = 0; q < ax.taps; ++q) {
          const int qx = ax.off_step > 0 ? q : ax.taps - 1 - q;  // from left to right, as `slide` does
          const int sx = sx0 + qx * ax.off_step;
          if (sx < 0 || sx >= ax.src_size) continue;
          const T* const src = p.src + (source_row + sx) * v.sc + int64_t{g} * v.kc;
          const T* const w = weight + (tap_row + qx * ax.tap_step) * v.w_tap;
          if constexpr (V > 1) {
            multiply_add<V>(sum, load_few<T, V>(src), load_few<T, V>(w));
          } else {
            for (int k = 0; k < v.kc; ++k) sum.v[0] += src[k] * w[k * v.w_k];
          }
        }
      }
      store_few<T, V>(p.dst + dst * v.dc + o, Act1<T, V>{p.act}(sum));
    }
  }
}

// Neighbouring windows of a row share their pixels: a thread has kOut of them, with kKernel taps at distance 1 and
// windows at distance kStride, and reads each pixel of a kernel row once. The kernel may stand mirrored (the gradient
// to data).
struct Mirror {
  int off;         // of the first pixel of window 0
  int tap0, step;  // its tap, and 1 or -1
};
template <class T, int V, int kKernel, int kStride, int kOut>
__global__ void __launch_bounds__(kThreads)
    slide(ConvView<int> v, ConvParams<T> p, Mirror m, FastDiv chunks_of_row, FastDiv rows_of_image, int chunks) {
  constexpr int kPixels = (kOut - 1) * kStride + kKernel;
  const ConvAxis<int> ay = v.h.axis(0);
  const int chunk = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  if (chunk >= chunks) return;
  auto image = static_cast<uint32_t>(chunk);
  const int j = static_cast<int>(chunks_of_row.split(image)) * kOut, row = static_cast<int>(image);
  const int i = static_cast<int>(rows_of_image.split(image)), n = static_cast<int>(image);
  const int width = v.w.src_size, x0 = j * kStride + m.off;
  const int step = static_cast<int>(gridDim.y * blockDim.x) * V;
  for (int o = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * V; o < v.dc; o += step) {
    Few<T, V> sum[kOut] = {};
    if (p.bias != nullptr) {
#pragma unroll
      for (int k = 0; k < V; ++k) {
        const T b = p.bias[o + k];
#pragma unroll
        for (int t = 0; t < kOut; ++t) sum[t].v[k] = b;
      }
    }
    for (int qy = 0; qy < ay.taps; ++qy) {
      const int sy = i * ay.src_step + ay.off0 + qy * ay.off_step;
      if (sy < 0 || sy >= ay.src_size) continue;
      const T* const src = p.src + ((int64_t{n} * ay.src_size + sy) * width + x0) * v.dc + o;
      const T* const weight = p.weight + int64_t{(ay.tap0 + qy * ay.tap_step) * kKernel + m.tap0} * v.dc + o;
      Few<T, V> w[kKernel];
#pragma unroll
      for (int s = 0; s < kKernel; ++s) w[s] = load_few<T, V>(weight + int64_t{s} * m.step * v.dc);
#pragma unroll
      for (int q = 0; q < kPixels; ++q) {
        Few<T, V> x = {};
        if (static_cast<unsigned>(x0 + q) < static_cast<unsigned>(width)) x = load_few<T, V>(src + int64_t{q} * v.dc);
#pragma unroll
        for (int t = 0; t < kOut; ++t) {
          const int s = q - t * kStride;
          if (s >= 0 && s < kKernel) multiply_add<V>(sum[t], x, w[s]);
        }
      }
    }
    T* const dst = p.dst + (int64_t{row} * v.w.dst_size + j) * v.dc + o;
#pragma unroll
    for (int t = 0; t < kOut; ++t) {
      if (j + t < v.w.dst_size) store_few<T, V>(dst + int64_t{t} * v.dc, Act1<T, V>{p.act}(sum[t]));
    }
  }
}

template <class T, int kKernel, int kStride>
void run_slide(const Context& ctx, const ConvView<int>& v, const ConvParams<T>& p) {
  constexpr int V = Pack<T>::kSize, kOut = kStride == 1 ? 4 : 2;
  const ConvAxis<int> ax = v.w.axis(0);
  const Mirror m = ax.off_step > 0 ? Mirror{ax.off0, 0, 1} : Mirror{ax.off0 - (kKernel - 1), kKernel - 1, -1};
  const int64_t row_chunks = ceil_div(v.w.dst_size, kOut), chunks = int64_t{v.n} * v.h.dst_size * row_chunks;
  const dim3 block = channel_block(v.dc / V, kThreads);
  const dim3 grid(static_cast<unsigned>(ceil_div(chunks, block.y)), grid_dim(ceil_div(v.dc / V, block.x)));
  launch(ctx, slide<T, V, kKernel, kStride, kOut>, {grid, block}, v, p, m, FastDiv(row_chunks), FastDiv(v.h.dst_size),
         static_cast<int>(chunks));
}

template <class T>
void run(const Context& ctx, ConvPass pass, const ConvParams<T>& p) {
  constexpr int V = Pack<T>::kSize;
  const ConvShape& s = p.shape;
  const ConvView<int> v = conv_view<int>(s, pass);
  if (v.n == 0) return;
  const bool packs = s.oc == s.c && s.c % V == 0 && aligned16(p.src) && aligned16(p.weight) && aligned16(p.dst);
  const int phases = v.h.phases * v.w.phases;
  const bool dense = phases == 1 && s.dilation_w == 1 && (pass == ConvPass::kForward || s.stride_w == 1);
  if (packs && dense && s.stride_w <= 2) {
    const bool two = s.stride_w == 2;
    if (s.kw == 3) return two ? run_slide<T, 3, 2>(ctx, v, p) : run_slide<T, 3, 1>(ctx, v, p);
    if (s.kw == 5) return two ? run_slide<T, 5, 2>(ctx, v, p) : run_slide<T, 5, 1>(ctx, v, p);
    if (s.kw == 7) return two ? run_slide<T, 7, 2>(ctx, v, p) : run_slide<T, 7, 1>(ctx, v, p);
  }
  const int64_t vectors = packs ? v.dc / V : v.dc;
  const dim3 block = channel_block(vectors, kThreads);
  const int64_t pixels = int64_t{v.n} * v.h.count(0) * v.w.count(0);  // no phase has more
  const dim3 grid(static_cast<unsigned>(ceil_div(pixels, block.y)), grid_dim(ceil_div(vectors, block.x)),
                  grid_dim(phases));
  if (packs)
    launch(ctx, gather<T, V>, {grid, block}, v, p, phases);
  else
    launch(ctx, gather<T, 1>, {grid, block}, v, p, phases);
}

// ---- the gradient to weights
// -----------------------------------------------------------------------------------------

// Rows of the output in segments of about 32 pixels; each is one thread's at a time. A thread has V channels and kTaps
// taps of one kernel row, whose pixels it slides along (kSlide: the distance of windows, at most kTaps), so that each
// is read once; kSlide = 0: one tap, read at any distance. Parts of the segments go to different blocks.
struct WeightPlan {
  int vector = 1, taps = 1, slide = 0;
  int tap_rows = 0;  // groups of taps
  int segments_of_row = 0, segment = 0;
  int64_t segments = 0;
  dim3 block;
  int64_t parts = 0, channel_blocks = 0;
};
template <class T>
WeightPlan weight_plan(const ConvShape& s) {
  constexpr int V = Pack<T>::kSize;
  WeightPlan r;
  r.vector = s.oc == s.c && s.c % V == 0 ? V : 1;
  if (r.vector > 1 && s.dilation_w == 1 && s.stride_w <= 2 && (s.kw == 3 || s.kw == 5)) {
    r.taps = static_cast<int>(s.kw);
    r.slide = static_cast<int>(s.stride_w);
  }
  r.tap_rows = static_cast<int>(s.kh * s.kw / r.taps);
  r.segments_of_row = static_cast<int>(ceil_div(s.ow, 32));
  r.segment = r.segments_of_row == 0 ? 0 : static_cast<int>(ceil_div(s.ow, r.segments_of_row));
  r.segments = s.n * s.oh * r.segments_of_row;
  r.block = channel_block(s.oc / r.vector, kThreads);
  r.channel_blocks = ceil_div(s.oc / r.vector, r.block.x);
  // Every thread has some segments, and there are enough blocks to fill a device.
  constexpr int64_t kSegmentsOfThread = 2, kBlocks = 2048, kMostParts = 256;
  const int64_t others = r.tap_rows * r.channel_blocks, wanted = ceil_div(r.segments, r.block.y * kSegmentsOfThread);
  int64_t most = ceil_div(kBlocks, others);
  if (most > kMostParts) most = kMostParts;
  r.parts = wanted < most ? wanted : most;
  return r;
}

template <class T, int V, int kTaps, int kSlide>
__global__ void __launch_bounds__(kThreads)
    weight_sums(ConvShape s, ConvWeightParams<T> p, WeightPlan plan, int per_part, T* sums) {
  __shared__ T shared[kThreads * V];
  const int channels = static_cast<int>(s.oc), multiplier = static_cast<int>(s.oc / s.c);
  const int h = static_cast<int>(s.h), w = static_cast<int>(s.w), oh = static_cast<int>(s.oh);
  const int ow = static_cast<int>(s.ow), c = static_cast<int>(s.c);
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y), width = static_cast<int>(blockDim.x);
  const int begin = static_cast<int>(blockIdx.x) * per_part;
  const int end = min(begin + per_part, static_cast<int>(plan.segments));
  const int64_t part = blockIdx.x * s.kh * s.kw;
  for (int tap_row = static_cast<int>(blockIdx.z); tap_row < plan.tap_rows; tap_row += static_cast<int>(gridDim.z)) {
    const int tap = tap_row * kTaps, kernel_w = static_cast<int>(s.kw);
    const int off_y = tap / kernel_w * static_cast<int>(s.dilation_h) - static_cast<int>(s.pad_top);
    const int off_x = tap % kernel_w * static_cast<int>(s.dilation_w) - static_cast<int>(s.pad_left);
    for (int first = static_cast<int>(blockIdx.y) * width * V; first < channels;
         first += static_cast<int>(gridDim.y) * width * V) {
      const int o = first + x * V, q = V > 1 ? o : o / multiplier;
      Few<T, V> sum[kTaps] = {};
      for (int job = begin + y; o < channels && job < end; job += static_cast<int>(blockDim.y)) {
        const int row = job / plan.segments_of_row, n = row / oh;
        const int j0 = (job - row * plan.segments_of_row) * plan.segment, j1 = min(j0 + plan.segment, ow);
        const int sy = (row - n * oh) * static_cast<int>(s.stride_h) + off_y;
        if (sy < 0 || sy >= h) continue;
        const T* const src = p.x + (int64_t{n} * h + sy) * w * c + q;
        const T* const dy = p.dy + int64_t{row} * ow * channels + o;
        const auto pixel = [&](int sx) {
          Few<T, V> v = {};
          if (static_cast<unsigned>(sx) < static_cast<unsigned>(w)) v = load_few<T, V>(src + int64_t{sx} * c);
          return v;
        };
        if constexpr (kSlide == 0) {
          const int stride = static_cast<int>(s.stride_w);
#pragma unroll 4
          for (int j = j0; j < j1; ++j) {
            multiply_add<V>(sum[0], pixel(j * stride + off_x), load_few<T, V>(dy + int64_t{j} * channels));
          }
        } else {
          Few<T, V> window[kTaps];
#pragma unroll
          for (int t = 0; t < kTaps - kSlide; ++t) window[t] = pixel(j0 * kSlide + off_x + t);
#pragma unroll 2
          for (int j = j0; j < j1; ++j) {
#pragma unroll
            for (int t = kTaps - kSlide; t < kTaps; ++t) window[t] = pixel(j * kSlide + off_x + t);
            const Few<T, V> d = load_few<T, V>(dy + int64_t{j} * channels);
#pragma unroll
            for (int t = 0; t < kTaps; ++t) multiply_add<V>(sum[t], window[t], d);
#pragma unroll
            for (int t = 0; t < kTaps - kSlide; ++t) window[t] = window[t + kSlide];
          }
        }
      }
#pragma unroll
      for (int t = 0; t < kTaps; ++t) {
#pragma unroll
        for (int i = 0; i < V; ++i) shared[(y * width + x) * V + i] = sum[t].v[i];
        __syncthreads();
        for (int half = static_cast<int>(blockDim.y) / 2; half > 0; half /= 2) {
          if (y < half)
#pragma unroll
            for (int i = 0; i < V; ++i) shared[(y * width + x) * V + i] += shared[((y + half) * width + x) * V + i];
          __syncthreads();
        }
        if (y == 0 && o < channels)
#pragma unroll
          for (int i = 0; i < V; ++i) sums[(part + tap + t) * channels + o + i] = shared[x * V + i];
        __syncthreads();
      }
    }
  }
}

template <class T>
size_t weight_workspace(const ConvShape& s) {
  const WeightPlan plan = weight_plan<T>(s);
  return plan.parts > 1 ? static_cast<size_t>(plan.parts * s.kh * s.kw * s.oc) * sizeof(T) : 0;
}

template <class T>
void run_weight(const Context& ctx, const ConvWeightParams<T>& p) {
  constexpr int V = Pack<T>::kSize;
  const ConvShape& s = p.shape;
  WeightPlan plan = weight_plan<T>(s);
  if (plan.parts == 0) return;
  T* const sums = plan.parts > 1 ? static_cast<T*>(ctx.workspace) : p.dweight;
  const auto per_part = static_cast<int>(ceil_div(plan.segments, plan.parts));
  const dim3 grid(static_cast<unsigned>(plan.parts), grid_dim(plan.channel_blocks), grid_dim(plan.tap_rows));
  const Launch l{grid, plan.block};
  const auto go = [&](auto kernel) { launch(ctx, kernel, l, s, p, plan, per_part, sums); };
  if (plan.vector == 1) {
    go(weight_sums<T, 1, 1, 0>);
  } else if (!aligned16(p.x) || !aligned16(p.dy)) {  // the same sums, cut in the same way
    plan.taps = 1;
    plan.tap_rows = static_cast<int>(s.kh * s.kw);
    go(weight_sums<T, 1, 1, 0>);
  } else if (plan.slide == 0) {
    go(weight_sums<T, V, 1, 0>);
  } else if (plan.taps == 3) {
    plan.slide == 1 ? go(weight_sums<T, V, 3, 1>) : go(weight_sums<T, V, 3, 2>);
  } else {
    plan.slide == 1 ? go(weight_sums<T, V, 5, 1>) : go(weight_sums<T, V, 5, 2>);
  }
  if (plan.parts > 1) sum_parts(ctx, sums, static_cast<int>(plan.parts), s.kh * s.kw * s.oc, p.dweight);
}

bool can_run_weight(const ConvShape& s) { return s.groups == s.c && s.c > 1 && small_enough(s); }
bool can_run(const ConvShape& s, ConvPass) { return can_run_weight(s); }
size_t workspace(const ConvShape&, ConvPass) { return 0; }

}  // namespace

template <class T>
ConvCandidate<T> conv_depthwise() {
  return {"depthwise", can_run, run<T>, workspace};
}
template <class T>
ConvWeightCandidate<T> conv_weight_depthwise() {
  return {"depthwise", can_run_weight, weight_workspace<T>, run_weight<T>};
}
template ConvCandidate<float> conv_depthwise();
template ConvCandidate<double> conv_depthwise();
template ConvWeightCandidate<float> conv_weight_depthwise();
template ConvWeightCandidate<double> conv_weight_depthwise();

}  // namespace lamella::cuda
