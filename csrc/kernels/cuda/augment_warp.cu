// Affine warps. Forward, a thread takes an output pixel (16 bytes of it, where it has more channels): bound by memory,
// with some 60 operations per pixel for the coordinates.
//
// Backward, a block owns a tile of the input, whose sums it keeps in shared memory. It looks for the tiles of the
// output that may touch it, in their order, and adds their pixels' gradients in rounds: in each, of all that want to
// add to an input pixel the first may. The order of every sum is fixed, whatever the matrices are; gradients are read
// some 4 times, mostly from caches.
#include "kernels/augment.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/wide_divider.h"

namespace lamella::cuda {
namespace {

template <class T>
struct WarpShape {
  int h, w, c, oh, ow;
  Border border;
  T fill;

  explicit WarpShape(const WarpParams<T>& p)
      : h(static_cast<int>(p.h)),
        w(static_cast<int>(p.w)),
        c(static_cast<int>(p.c)),
        oh(static_cast<int>(p.oh)),
        ow(static_cast<int>(p.ow)),
        border(p.border),
        fill(p.fill) {}
};

// Where index i of an axis of n lies; -1 for the fill value.
__device__ inline int within(Border border, int i, int n) {
  if (i >= 0 && i < n) return i;
  switch (border) {
    case Border::kNearest:
      return i < 0 ? 0 : n - 1;
    case Border::kWrap: {
      const int m = i % n;
      return m < 0 ? m + n : m;
    }
    case Border::kReflect: {
      const int64_t period = 2 * static_cast<int64_t>(n);
      int64_t m = i % period;
      if (m < 0) m += period;
      return static_cast<int>(m < n ? m : period - 1 - m);
    }
    case Border::kConstant:
      break;
  }
  return -1;
}

template <class T>
__device__ T bounded(T v) {
  constexpr T kFar = T(1 << 30);
  v = v > -kFar ? v : -kFar;  // NaN too
  return v < kFar ? v : kFar;
}
template <class T>
__device__ int floor_of(T v) {
  const int i = static_cast<int>(v);
  return i - (v < static_cast<T>(i) ? 1 : 0);
}

// The rows and columns that an output pixel looks at, -1 for the fill value, and its weights: tap 2 a + b is at
// (row[a], col[b]). Without kBilinear only tap 0, of weight 1.
template <class T>
struct Taps {
  int row[2], col[2];
  T weight[4];
};

template <bool kBilinear, class T>
__device__ Taps<T> find_taps(const WarpShape<T>& s, const T* m, int i, int j) {
  const double half = kBilinear ? 0.0 : 0.5;
  const T col0 = static_cast<T>(static_cast<double>(m[1]) * i + static_cast<double>(m[2]) + half);
  const T row0 = static_cast<T>(static_cast<double>(m[4]) * i + static_cast<double>(m[5]) + half);
  const T col = bounded(m[0] * static_cast<T>(j) + col0), row = bounded(m[3] * static_cast<T>(j) + row0);
  const int x = floor_of(col), y = floor_of(row);
  Taps<T> t;
  t.row[0] = within(s.border, y, s.h);
  t.col[0] = within(s.border, x, s.w);
  if constexpr (kBilinear) {
    const T fx = col - static_cast<T>(x), fy = row - static_cast<T>(y);
    // Where nothing of a neighbour is wanted it may be NaN, infinite or beyond the border: it is not read, and the
    // pixel itself stands in its place with half of the weight.
    const T ux = fx > T(0) ? fx : T(0.5), uy = fy > T(0) ? fy : T(0.5);
    t.row[1] = fy > T(0) ? within(s.border, y + 1, s.h) : t.row[0];
    t.col[1] = fx > T(0) ? within(s.border, x + 1, s.w) : t.col[0];
    t.weight[0] = (T(1) - uy) * (T(1) - ux);
    t.weight[1] = (T(1) - uy) * ux;
    t.weight[2] = uy * (T(1) - ux);
    t.weight[3] = uy * ux;
  } else {
    t.weight[0] = T(1);
  }
  return t;
}

// ---- forward -------------------------------------------------------------------------------------------------------

template <class T, class I>
struct ForwardJob {
  WarpShape<T> s;
  I items;  // of V channels of an output pixel
  DividerOf<I> by_groups, by_ow, by_oh;
  const T *matrix, *x;
  T* y;

  ForwardJob(const WarpParams<T>& p, int64_t first, int64_t images, int group)
      : s(p),
        items(static_cast<I>(images * p.oh * p.ow * (p.c / group))),
        by_groups(p.c / group),
        by_ow(p.ow),
        by_oh(p.oh),
        matrix(p.matrix + 6 * first),
        x(p.x + first * p.h * p.w * p.c),
        y(p.y + first * p.oh * p.ow * p.c) {}
};

template <class T, int V, bool kPacked, bool kBilinear, class I>
__global__ void __launch_bounds__(256) warp_pixels(const __grid_constant__ ForwardJob<T, I> job) {
  const WarpShape<T>& s = job.s;
  const I step = static_cast<I>(thread_count());
  for (I item = static_cast<I>(thread_number()); item < job.items; item += step) {
    const I pixel = job.by_groups(item);
    const int ch = static_cast<int>(job.by_groups.rest(item, pixel)) * V;
    const I line = job.by_ow(pixel), k = job.by_oh(line);
    const Taps<T> t =
        find_taps<kBilinear>(s, job.matrix + 6 * static_cast<int64_t>(k), static_cast<int>(job.by_oh.rest(line, k)),
                             static_cast<int>(job.by_ow.rest(pixel, line)));
    const T* image = job.x + static_cast<int64_t>(k) * s.h * s.w * s.c + ch;
    constexpr int kTaps = kBilinear ? 4 : 1;
    T v[kTaps][V];
    bool inside[kTaps];
#pragma unroll
    for (int q = 0; q < kTaps; ++q) {
      const int row = t.row[q / 2], col = t.col[q % 2];
      inside[q] = row >= 0 && col >= 0;
      const T* from = image + (inside[q] ? (row * s.w + col) * s.c : 0);
      if constexpr (kPacked) {
        const Pack<T> pack = load_pack(from);
#pragma unroll
        for (int e = 0; e < V; ++e) v[q][e] = pack.v[e];
      } else {
#pragma unroll
        for (int e = 0; e < V; ++e) v[q][e] = from[e];
      }
    }
    T sum[V];
#pragma unroll
    for (int e = 0; e < V; ++e) {
      if constexpr (kBilinear) {
        sum[e] = 0;
#pragma unroll
        for (int q = 0; q < kTaps; ++q) sum[e] += t.weight[q] * (inside[q] ? v[q][e] : s.fill);
      } else {
        sum[e] = inside[0] ? v[0][e] : s.fill;
      }
    }
    T* to = job.y + (static_cast<int64_t>(pixel) * s.c + ch);
    if constexpr (kPacked) {
      Pack<T> pack;
#pragma unroll
      for (int e = 0; e < V; ++e) pack.v[e] = sum[e];
      store_pack(to, pack);
    } else {
#pragma unroll
      for (int e = 0; e < V; ++e) to[e] = sum[e];
    }
  }
}

template <class T, int V, bool kPacked, class I>
void run_warp(const Context& ctx, const WarpParams<T>& p, int64_t first, int64_t images) {
  const ForwardJob<T, I> job(p, first, images, V);
  launch(ctx, p.bilinear ? warp_pixels<T, V, kPacked, true, I> : warp_pixels<T, V, kPacked, false, I>, flat(job.items),
         job);
}

template <class T>
void warp(const Context& ctx, const WarpParams<T>& p) {
  constexpr int V = Pack<T>::kSize;
  if (p.n * p.oh * p.ow * p.c == 0) return;
  const bool done = in_narrow_parts(p.n, p.oh * p.ow * p.c, [&](int64_t first, int64_t images) {
    if (p.c % V == 0 && aligned16(p.x) && aligned16(p.y)) return run_warp<T, V, true, int>(ctx, p, first, images);
    if (p.c == 3) return run_warp<T, 3, false, int>(ctx, p, first, images);
    run_warp<T, 1, false, int>(ctx, p, first, images);
  });
  if (!done) run_warp<T, 1, false, int64_t>(ctx, p, 0, p.n);
}

// ---- backward ------------------------------------------------------------------------------------------------------

constexpr int kTile = 16, kTilePixels = kTile * kTile;
constexpr int kTileChannels = 4;

template <class T>
struct BackwardJob {
  WarpShape<T> s;
  int tiles_h, tiles_w, out_tiles_h, out_tiles_w, chunks;  // chunks of kTileChannels channels
  const T *matrix, *grad_out;
  T* grad_in;

  BackwardJob(const WarpParams<T>& p, int64_t first)
      : s(p),
        tiles_h(static_cast<int>(ceil_div(p.h, kTile))),
        tiles_w(static_cast<int>(ceil_div(p.w, kTile))),
        out_tiles_h(static_cast<int>(ceil_div(p.oh, kTile))),
        out_tiles_w(static_cast<int>(ceil_div(p.ow, kTile))),
        chunks(static_cast<int>(ceil_div(p.c, kTileChannels))),
        matrix(p.matrix + 6 * first),
        grad_out(p.x + first * p.oh * p.ow * p.c),
        grad_in(p.y + first * p.h * p.w * p.c) {}
};

// Whether coordinates m[0] j + m[1] i + m[2] for i in [i0, i1], j in [j0, j1] may come, over the border, to one of
// [first, last] of an axis of n. Says yes in doubt.
template <class T>
__device__ bool may_come(const T* m, int i0, int i1, int j0, int j1, Border border, int n, int first, int last) {
  const double a = m[0], b = m[1], c = m[2];
  const double size = fabs(a) * j1 + fabs(b) * i1 + fabs(c);
  if (!(size < 1e30)) return true;
  const double margin = 2.0 + 1e-6 * size;  // of the interpolation, and of float32's roundings
  const double from_j = a < 0 ? a * j1 : a * j0, to_j = a < 0 ? a * j0 : a * j1;
  const double from_i = b < 0 ? b * i1 : b * i0, to_i = b < 0 ? b * i0 : b * i1;
  double low = from_j + from_i + c - margin, high = to_j + to_i + c + margin;
  if (border == Border::kNearest) {
    low = low < n - 1 ? low : n - 1;
    high = high > 0 ? high : 0;
  } else if (border != Border::kConstant && (low < 0 || high > n - 1)) {
    return true;
  }
  return high >= first && low <= last;
}

template <class T, bool kBilinear>
__global__ void __launch_bounds__(kTilePixels) warp_backward_tiles(const __grid_constant__ BackwardJob<T> job) {
  __shared__ T sums[kTileChannels][kTilePixels];
  __shared__ int first_of[2][kTilePixels];  // the first that wants to add to a pixel, in this round and the next
  __shared__ unsigned found[kTilePixels / 32];
  constexpr int kNobody = 0x7fffffff, kTaps = kBilinear ? 4 : 1;
  const WarpShape<T>& s = job.s;
  const int thread = static_cast<int>(threadIdx.x), y = thread / kTile, x = thread % kTile;

  int64_t block = blockIdx.x;
  const int chunk = static_cast<int>(block % job.chunks);
  block /= job.chunks;
  const int col0 = static_cast<int>(block % job.tiles_w) * kTile;
  block /= job.tiles_w;
  const int row0 = static_cast<int>(block % job.tiles_h) * kTile;
  const int64_t k = block / job.tiles_h;
  const int row1 = row0 + kTile - 1 < s.h ? row0 + kTile - 1 : s.h - 1;
  const int col1 = col0 + kTile - 1 < s.w ? col0 + kTile - 1 : s.w - 1;
  const int ch0 = chunk * kTileChannels, channels = s.c - ch0 < kTileChannels ? s.c - ch0 : kTileChannels;
  const T* m = job.matrix + 6 * k;
  const T* grad_out = job.grad_out + k * s.oh * s.ow * s.c + ch0;

  for (int e = 0; e < kTileChannels; ++e) sums[e][thread] = T(0);
  first_of[0][thread] = kNobody;
  int round = 0;
  const int64_t out_tiles = static_cast<int64_t>(job.out_tiles_h) * job.out_tiles_w;
  for (int64_t base = 0; base < out_tiles; base += kTilePixels) {
    // Which of the next 256 tiles of the output may touch this one.
    const int64_t candidate = base + thread;
    bool touches = false;
    if (candidate < out_tiles) {
      const int i0 = static_cast<int>(candidate / job.out_tiles_w) * kTile;
      const int j0 = static_cast<int>(candidate % job.out_tiles_w) * kTile;
      const int i1 = i0 + kTile - 1, j1 = j0 + kTile - 1;
      touches = may_come(m, i0, i1, j0, j1, s.border, s.w, col0, col1) &&
                may_come(m + 3, i0, i1, j0, j1, s.border, s.h, row0, row1);
    }
    const unsigned votes = __ballot_sync(~0u, touches);
    __syncthreads();
    if (thread % 32 == 0) found[thread / 32] = votes;
    __syncthreads();
    for (int word = 0; word < kTilePixels / 32; ++word) {
      for (unsigned left = found[word]; left != 0; left &= left - 1) {
        const int64_t tile = base + word * 32 + __ffs(static_cast<int>(left)) - 1;
        const int i = static_cast<int>(tile / job.out_tiles_w) * kTile + y;
        const int j = static_cast<int>(tile % job.out_tiles_w) * kTile + x;
        // What this thread's output pixel adds, and to which pixels of the tile; -1: to none, or no more.
        int target[kTaps];
        T weight[kTaps] = {}, g[kTileChannels] = {};
        bool pending = false;
#pragma unroll
        for (int q = 0; q < kTaps; ++q) target[q] = -1;
        if (i < s.oh && j < s.ow) {
          const Taps<T> t = find_taps<kBilinear>(s, m, i, j);
#pragma unroll
          for (int q = 0; q < kTaps; ++q) {
            const int row = t.row[q / 2], col = t.col[q % 2];
            const bool mine = row >= row0 && row <= row1 && col >= col0 && col <= col1;
            target[q] = mine ? (row - row0) * kTile + col - col0 : -1;
            weight[q] = t.weight[q];
            pending = pending || mine;
#pragma unroll
            for (int r = 0; r < q; ++r) {
              if (target[q] >= 0 && target[r] == target[q]) {
                weight[r] += weight[q];
                target[q] = -1;
              }
            }
          }
          if (pending) {
            const T* from = grad_out + (static_cast<int64_t>(i) * s.ow + j) * s.c;
            for (int e = 0; e < channels; ++e) g[e] = from[e];
          }
        }
        while (__syncthreads_or(pending)) {
          int* first = first_of[round & 1];
#pragma unroll
          for (int q = 0; q < kTaps; ++q)
            if (target[q] >= 0) atomicMin(&first[target[q]], thread);
          __syncthreads();
          pending = false;
#pragma unroll
          for (int q = 0; q < kTaps; ++q) {
            if (target[q] < 0) continue;
            if (first[target[q]] == thread) {
#pragma unroll
              for (int e = 0; e < kTileChannels; ++e) sums[e][target[q]] += weight[q] * g[e];
              target[q] = -1;
            } else {
              pending = true;
            }
          }
          first_of[~round & 1][thread] = kNobody;
          ++round;
        }
      }
    }
  }
  __syncthreads();
  if (row0 + y > row1 || col0 + x > col1) return;
  T* to = job.grad_in + ((k * s.h + row0 + y) * s.w + col0 + x) * s.c + ch0;
  for (int e = 0; e < channels; ++e) to[e] = sums[e][thread];
}

template <class T>
void warp_backward(const Context& ctx, const WarpParams<T>& p) {
  if (p.n * p.h * p.w * p.c == 0) return;
  const int64_t blocks = ceil_div(p.h, kTile) * ceil_div(p.w, kTile) * ceil_div(p.c, kTileChannels);
  in_narrow_parts(p.n, blocks, [&](int64_t first, int64_t images) {
    launch(ctx, p.bilinear ? warp_backward_tiles<T, true> : warp_backward_tiles<T, false>,
           {dim3(static_cast<unsigned>(images * blocks)), dim3(kTilePixels)}, BackwardJob<T>(p, first));
  });
}

template <class T>
void fill_typed(AugmentKernels<T>& k) {
  k.warp = warp<T>;
  k.warp_backward = warp_backward<T>;
}

}  // namespace

void fill_warp(AugmentKernels<float>& k) { fill_typed(k); }
void fill_warp(AugmentKernels<double>& k) { fill_typed(k); }

}  // namespace lamella::cuda
