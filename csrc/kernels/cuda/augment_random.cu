// What is drawn for each image: matrices of warps, colours, rectangles. Image k draws from words 12 k ... 12 k + 11 of
// the stream; noise comes from words far behind them. All of these are bound by memory: colours read an image once, or
// twice where they need its mean (the second time from L2, while it fits).
#include "kernels/augment.h"
#include "kernels/cuda/channel_tiles.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/divider.h"
#include "kernels/cuda/normal.h"

namespace lamella::cuda {
namespace {

constexpr int kWordsPerImage = 12;
constexpr uint64_t kNoiseWords = uint64_t{1} << 48;

// The draws of one image, in double: they are few, and the same bits as on the CPU.
class Draws {
 public:
  __device__ Draws(PhiloxKey key, int64_t image) {
    key = at_step(key);
#pragma unroll
    for (int q = 0; q < kWordsPerImage / 4; ++q) {
      philox4x32(key, static_cast<uint64_t>(image) * (kWordsPerImage / 4) + static_cast<uint64_t>(q), words_ + 4 * q);
    }
  }
  __device__ double unit() { return static_cast<double>(words_[next_++]) * 0x1p-32; }  // [0, 1)
  __device__ double in(Range r) { return r.low + (r.high - r.low) * unit(); }
  __device__ int64_t below(int64_t n) { return static_cast<int64_t>(unit() * static_cast<double>(n)); }

 private:
  uint32_t words_[kWordsPerImage];
  int next_ = 0;
};

// ---- matrices ------------------------------------------------------------------------------------------------------

template <class T>
__global__ void __launch_bounds__(64) affine_matrices(const __grid_constant__ RandomAffineParams<T> p) {
  for (int64_t k = thread_number(); k < p.n; k += thread_count()) {
    Draws draw(p.key, k);
    T* m = p.matrix + 6 * k;
    const bool upside_down = draw.unit() < p.flip_h, mirrored = draw.unit() < p.flip_w;
    if (p.crop) {
      const double top = static_cast<double>(p.center ? (p.h - p.oh) / 2 : draw.below(p.h - p.oh + 1));
      const double left = static_cast<double>(p.center ? (p.w - p.ow) / 2 : draw.below(p.w - p.ow + 1));
      m[0] = mirrored ? T(-1) : T(1);
      m[1] = m[3] = T(0);
      m[2] = static_cast<T>(left + (mirrored ? static_cast<double>(p.ow - 1) : 0.0));
      m[4] = upside_down ? T(-1) : T(1);
      m[5] = static_cast<T>(top + (upside_down ? static_cast<double>(p.oh - 1) : 0.0));
      continue;
    }
    const double angle = draw.in(p.angle), zh = draw.in(p.zoom_h), own = draw.in(p.zoom_w);
    const double down = draw.in(p.shift_h) * static_cast<double>(p.h);
    const double right = draw.in(p.shift_w) * static_cast<double>(p.w);
    const double zw = p.same_zoom ? zh : own;
    const double cosine = cos(angle), sine = sin(angle);
    const double sy = upside_down ? -zh : zh, sx = mirrored ? -zw : zw;
    const double a = cosine * sx, b = -sine * sy, d = sine * sx, e = cosine * sy;
    const double oy = 0.5 * static_cast<double>(p.oh - 1), ox = 0.5 * static_cast<double>(p.ow - 1);
    m[0] = static_cast<T>(a);
    m[1] = static_cast<T>(b);
    m[2] = static_cast<T>(0.5 * static_cast<double>(p.w - 1) - right - (a * ox + b * oy));
    m[3] = static_cast<T>(d);
    m[4] = static_cast<T>(e);
    m[5] = static_cast<T>(0.5 * static_cast<double>(p.h - 1) - down - (d * ox + e * oy));
  }
}

template <class T>
void random_affine(const Context& ctx, const RandomAffineParams<T>& p) {
  launch(ctx, affine_matrices<T>, flat(p.n, 64), p);
}

// ---- colours -------------------------------------------------------------------------------------------------------

// A thread adds up to so many pixels in T, the rest is added in double.
constexpr int64_t kPixelsPerThread = 64;
constexpr int kPerBlock = 4096;

// How images are cut for their means: depends on the image alone.
template <class T>
struct Means {
  TileShape tile;
  int64_t segment, segments;
  explicit Means(const RandomColorParams<T>& p) : tile(p.c, 1) {
    segment = tile.rows * kPixelsPerThread;
    segments = ceil_div(p.pixels, segment);
  }
};
template <class T>
bool needs_mean(const RandomColorParams<T>& p) {
  return !(p.contrast.low == 1 && p.contrast.high == 1);
}
constexpr int64_t round_up_256(int64_t bytes) { return (bytes + 255) / 256 * 256; }

// The number that the sums and the result are made of.
template <class T>
__device__ T input(const RandomColorParams<T>& p, int64_t at) {
  const T v = p.x[at];
  if (p.result == nullptr) return v;
  const T r = p.result[at];
  return r > p.low && r < p.high ? v : T(0);
}

// partial[image, segment, c]: sums of a segment's pixels. See TileShape for the block.
template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    color_sums(const __grid_constant__ RandomColorParams<T> p, int lanes, int rows, int64_t tiles, int64_t segments,
               int64_t segment, double* partial) {
  __shared__ double sums[kBlockThreads];
  const int thread = static_cast<int>(threadIdx.x), y = thread / lanes, lane = thread - y * lanes;
  const int64_t block = blockIdx.x, tile = block % tiles, part = block / tiles;
  const int64_t image = part / segments, begin = part % segments * segment;
  const int64_t end = begin + segment < p.pixels ? begin + segment : p.pixels, ch = tile * lanes + lane;
  T sum = 0;
  if (ch < p.c) {
    const int64_t first = image * p.pixels * p.c + ch;
#pragma unroll 8
    for (int64_t i = begin + y; i < end; i += rows) sum += input(p, first + i * p.c);
  }
  double total = static_cast<double>(sum);
  sums[thread] = total;
  int half = 1;
  while (2 * half < rows) half *= 2;
  for (; half > 0; half /= 2) {
    __syncthreads();
    if (y < half && y + half < rows) {
      total += sums[thread + half * lanes];
      sums[thread] = total;
    }
  }
  if (y == 0 && ch < p.c) partial[part * p.c + ch] = total;
}

// shift[image, c]: what contrast and offset add. A block per image, a warp per channel.
template <class T>
__global__ void __launch_bounds__(256)
    color_shifts(const __grid_constant__ RandomColorParams<T> p, int64_t segments, const double* partial, T* shift) {
  __shared__ double shares[32];
  const bool back = p.result != nullptr;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int64_t k = blockIdx.x; k < p.n; k += gridDim.x) {
    Draws draw(p.key, k);
    const double gain = draw.in(p.gain), contrast = draw.in(p.contrast), offset = draw.in(p.offset);
    const double of_mean = gain * (1.0 - contrast), added = back ? 0.0 : offset;
    const auto share = [&](int64_t ch) {
      if (p.c != 3) return 1.0 / static_cast<double>(p.c);
      return ch == 0 ? 0.299 : ch == 1 ? 0.587 : 0.114;
    };
    double all = 0;
    for (int64_t ch = warp; ch < p.c; ch += 8) {
      double sum = 0;
      for (int64_t i = lane; i < segments; i += 32) sum += partial[(k * segments + i) * p.c + ch];
      const double mean = warp_sum(sum) / static_cast<double>(p.pixels);
      if (!p.gray && lane == 0) shift[k * p.c + ch] = static_cast<T>(of_mean * mean + added);
      // Forward mixes the channels' means with these shares; backward gives each its share of the sum.
      all += back ? mean : share(ch) * mean;
    }
    if (!p.gray) continue;
    all = block_sum(lane == 0 ? all : 0.0, shares);
    for (int64_t ch = threadIdx.x; ch < p.c; ch += blockDim.x) {
      shift[k * p.c + ch] = static_cast<T>(of_mean * (back ? share(ch) * all : all) + added);
    }
    __syncthreads();
  }
}

// shift nullptr: the offset.
template <class T, int V>
__global__ void __launch_bounds__(256)
    color_pixels(const __grid_constant__ RandomColorParams<T> p, int64_t chunks, Divider by_c, const T* shift) {
  __shared__ T drawn[2];
  const bool back = p.result != nullptr;
  const int64_t image = blockIdx.x / chunks, size = p.pixels * p.c, begin = blockIdx.x % chunks * kPerBlock;
  if (threadIdx.x == 0) {
    Draws draw(p.key, image);
    const double gain = draw.in(p.gain), contrast = draw.in(p.contrast), offset = draw.in(p.offset);
    drawn[0] = static_cast<T>(gain * contrast);
    drawn[1] = static_cast<T>(back ? 0.0 : offset);
  }
  __syncthreads();
  const T scale = drawn[0], offset = drawn[1];
  const int n = static_cast<int>(size - begin < kPerBlock ? size - begin : kPerBlock);
  const int c = static_cast<int>(p.c), first_ch = static_cast<int>(begin % p.c);
  const int64_t from = image * size + begin;
  if (shift != nullptr) shift += image * p.c;
  for (int i = static_cast<int>(threadIdx.x) * V; i < n; i += static_cast<int>(blockDim.x) * V) {
    T v[V];
    if constexpr (V == 1) {
      v[0] = input(p, from + i);
    } else {
      const Pack<T> x = load_pack(p.x + from + i);
#pragma unroll
      for (int e = 0; e < V; ++e) v[e] = x.v[e];
      if (back) {
        const Pack<T> r = load_pack(p.result + from + i);
#pragma unroll
        for (int e = 0; e < V; ++e) v[e] = r.v[e] > p.low && r.v[e] < p.high ? v[e] : T(0);
      }
    }
    int ch = by_c.rest(first_ch + i, by_c(first_ch + i));
#pragma unroll
    for (int e = 0; e < V; ++e) {
      T r = fma(v[e], scale, shift == nullptr ? offset : shift[ch]);
      if (!back) r = p.low > r ? p.low : p.high < r ? p.high : r;  // NaN stays NaN
      v[e] = r;
      if (++ch == c) ch = 0;
    }
    if constexpr (V == 1) {
      p.y[from + i] = v[0];
    } else {
      Pack<T> y;
#pragma unroll
      for (int e = 0; e < V; ++e) y.v[e] = v[e];
      store_pack(p.y + from + i, y);
    }
  }
}

template <class T>
size_t random_color_workspace(const RandomColorParams<T>& p, int) {
  if (!needs_mean(p) || p.n * p.pixels * p.c == 0) return 0;
  return static_cast<size_t>(round_up_256(p.n * Means<T>(p).segments * p.c * 8) +
                             p.n * p.c * static_cast<int64_t>(sizeof(T)));
}

template <class T>
void random_color(const Context& ctx, const RandomColorParams<T>& p) {
  constexpr int V = Pack<T>::kSize;
  const int64_t size = p.pixels * p.c;
  if (p.n * size == 0) return;
  T* shift = nullptr;
  if (needs_mean(p)) {
    const Means<T> means(p);
    double* partial = static_cast<double*>(ctx.workspace);
    shift = reinterpret_cast<T*>(static_cast<char*>(ctx.workspace) + round_up_256(p.n * means.segments * p.c * 8));
    const int64_t blocks = p.n * means.segments * means.tile.tiles;
    launch(ctx, color_sums<T>, {dim3(static_cast<unsigned>(blocks)), dim3(means.tile.threads())}, p, means.tile.lanes,
           means.tile.rows, means.tile.tiles, means.segments, means.segment, partial);
    launch(ctx, color_shifts<T>, flat(p.n * 256), p, means.segments, partial, shift);
  }
  const bool packed = size % V == 0 && aligned16(p.x) && aligned16(p.y) && (p.result == nullptr || aligned16(p.result));
  const int64_t chunks = ceil_div(size, kPerBlock);
  launch(ctx, packed ? color_pixels<T, V> : color_pixels<T, 1>, {dim3(static_cast<unsigned>(p.n * chunks)), dim3(256)},
         p, chunks, Divider(p.c), shift);
}

// ---- rectangles ----------------------------------------------------------------------------------------------------

// The values of some channels, in the kernel's arguments.
constexpr int kValueBytes = 2048;
template <class T>
struct Values {
  static constexpr int kMost = kValueBytes / static_cast<int>(sizeof(T));
  int first = 0, count = 0;  // channels; count 0: value[0] for all
  T value[kMost];
};

__device__ inline int64_t at_most(double v, int64_t n) {
  const int64_t i = static_cast<int64_t>(v);
  return i < n ? i : n;
}

// copies: pixels outside of the rectangles too.
template <class T>
__global__ void __launch_bounds__(256) erase(const __grid_constant__ RandomErasingParams<T> p, int64_t chunks,
                                             bool copies, bool packed, const __grid_constant__ Values<T> values) {
  constexpr int V = Pack<T>::kSize;
  __shared__ int64_t drawn[4];  // top, bottom, left, right; none: 0
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t image = blockIdx.x / chunks, row_size = p.w * p.c, size = p.h * row_size;
  const int64_t begin = blockIdx.x % chunks * kPerBlock, from = image * size + begin;
  const int n = static_cast<int>(size - begin < kPerBlock ? size - begin : kPerBlock);
  if (thread == 0) {
    Draws draw(p.key, image);
    const double probability = draw.in(p.probability);
    int64_t eh = 0, ew = 0, top = 0, left = 0;
    if (draw.unit() < probability) {
      double height, width;
      if (p.aspect.high > 0) {
        const double area = draw.in(p.area) * static_cast<double>(p.h) * static_cast<double>(p.w);
        const double ratio = exp(draw.in({log(p.aspect.low), log(p.aspect.high)}));
        height = sqrt(area * ratio);
        width = sqrt(area / ratio);
      } else {
        height = sqrt(draw.in(p.area)) * static_cast<double>(p.h);
        width = sqrt(draw.in(p.area)) * static_cast<double>(p.w);
      }
      eh = at_most(height + 0.5, p.h);
      ew = at_most(width + 0.5, p.w);
      top = draw.below(p.h - eh + 1);
      left = draw.below(p.w - ew + 1);
    }
    drawn[0] = top;
    drawn[1] = top + eh;
    drawn[2] = left;
    drawn[3] = left + ew;
  }
  __syncthreads();
  const int64_t top = drawn[0] * row_size, bottom = drawn[1] * row_size;  // elements of the image
  const int64_t left = drawn[2] * p.c, right = drawn[3] * p.c;            // of a row
  const bool touches = left < right && begin < bottom && begin + n > top;
  if (!touches) {
    if (!copies) return;
    const int whole = packed ? n / V * V : 0;
    for (int i = thread * V; i < whole; i += 256 * V) store_pack(p.y + from + i, load_pack(p.x + from + i));
    for (int i = whole + thread; i < n; i += 256) p.y[from + i] = p.x[from + i];
    return;
  }
  const PhiloxKey key = at_step(p.key);
  const bool narrow = row_size < (int64_t{1} << 30);
  const int64_t first = begin % row_size;
  for (int i = thread; i < n; i += 256) {
    const int64_t at = from + i, element = begin + i;
    const int64_t place = narrow
                              ? static_cast<int64_t>(static_cast<uint32_t>(first + i) % static_cast<uint32_t>(row_size))
                              : (first + i) % row_size;
    if (element < top || element >= bottom || place < left || place >= right) {
      if (copies) p.y[at] = p.x[at];
    } else if (p.noise > T(0)) {
      p.y[at] = p.noise * normal_number<T>(key, kNoiseWords, at);
    } else if (values.count == 0) {
      p.y[at] = values.value[0];
    } else {
      const int64_t ch =
          (narrow ? static_cast<int64_t>(static_cast<uint32_t>(place) % static_cast<uint32_t>(p.c)) : place % p.c) -
          values.first;
      if (ch >= 0 && ch < values.count) p.y[at] = values.value[ch];
    }
  }
}

template <class T>
void random_erasing(const Context& ctx, const RandomErasingParams<T>& p) {
  const int64_t size = p.h * p.w * p.c;
  if (p.n * size == 0) return;
  const bool packed = size % Pack<T>::kSize == 0 && aligned16(p.x) && aligned16(p.y);
  const int64_t chunks = ceil_div(size, kPerBlock);
  const Launch shape{dim3(static_cast<unsigned>(p.n * chunks)), dim3(256)};
  Values<T> values;
  if (p.noise > T(0) || p.values == 1) {
    values.value[0] = p.noise > T(0) ? T(0) : p.value[0];
    return launch(ctx, erase<T>, shape, p, chunks, p.y != p.x, packed, values);
  }
  for (int64_t first = 0; first < p.values; first += Values<T>::kMost) {
    values.first = static_cast<int>(first);
    values.count = static_cast<int>(p.values - first < Values<T>::kMost ? p.values - first : Values<T>::kMost);
    for (int i = 0; i < values.count; ++i) values.value[i] = p.value[first + i];
    launch(ctx, erase<T>, shape, p, chunks, first == 0 && p.y != p.x, packed, values);
  }
}

template <class T>
void fill_typed(AugmentKernels<T>& k) {
  k.random_affine = random_affine<T>;
  k.random_color_workspace = random_color_workspace<T>;
  k.random_color = random_color<T>;
  k.random_erasing = random_erasing<T>;
}

}  // namespace

void fill_random_images(AugmentKernels<float>& k) { fill_typed(k); }
void fill_random_images(AugmentKernels<double>& k) { fill_typed(k); }

}  // namespace lamella::cuda
