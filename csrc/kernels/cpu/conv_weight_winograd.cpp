// The gradient to weights of 3x3 by Winograd's algorithm, run backwards: forward computes
// Y = A^T [(G g G^T) * (B^T d B)] A for every tile, so the gradient by g is
// G^T [sum over tiles of (A dY A^T) * (B^T d B)] G. The sums are one matrix product per point, with the tiles as its
// depth.
//
// A block of tiles is transformed, then multiplied, a strip of output channels at a time: the sums of a strip, at all
// points, stay in the outer caches.
#include "kernels/cpu/conv_geometry.h"
#include "kernels/cpu/conv_winograd_inl.h"
#include "kernels/cpu/gemm_core.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T, class W>
struct Plan {
  static constexpr int kPoints = W::kPoints * W::kPoints;
  static constexpr int kSums = W::kKernelPoints * W::kKernelPoints;  // points of one kernel share their sums
  int64_t tiles_h, tiles_w, tiles;
  int64_t block;         // tiles transformed together
  int64_t c, oc, strip;  // channels of x and dy; output channels multiplied together
  bool one_block;
  // Transformed tiles of x [point][tile][c] and dy [point][tile][oc], sums [strip][point][c][columns of the strip]:
  // row and point strides in elements.
  int64_t ld_x, point_x, ld_dy, point_dy, ld_sum, point_sum;
};

template <class T, class W>
Plan<T, W> make_plan(const ConvShape& s) {
  constexpr int64_t size = sizeof(T);
  Plan<T, W> p;
  constexpr int64_t points = Plan<T, W>::kPoints;
  p.tiles_h = ceil_div(s.oh, W::kOut);
  p.tiles_w = ceil_div(s.ow, W::kOut);
  p.tiles = s.n * p.tiles_h * p.tiles_w;
  p.c = s.c;
  p.oc = s.oc;
  p.ld_x = winograd_stride<T>(s.c);
  p.ld_dy = winograd_stride<T>(s.oc);
  // Deep enough to pay for the sums' way to memory and back, within L3.
  constexpr int64_t kBlockBytes = int64_t{3072} << 10, kStripBytes = int64_t{3} << 20;
  const int64_t most = gemm_kc<T>(GemmTile<T>::kKC);
  const int64_t block = max64(32, min64(most, kBlockBytes / (points * (p.ld_x + p.ld_dy) * size)));
  p.block = ceil_div(p.tiles, ceil_div(max64(1, p.tiles), block));
  p.one_block = p.block >= p.tiles;
  const int64_t fitting = kStripBytes / (Plan<T, W>::kSums * s.c * size) / kGemmNR<T> * kGemmNR<T>;
  p.strip = min64(round_up(s.oc, kGemmNR<T>), max64(kGemmNR<T>, fitting));
  p.ld_sum = winograd_stride<T>(p.strip);
  p.point_x = winograd_stride<T>(p.block * p.ld_x);
  p.point_dy = winograd_stride<T>(p.block * p.ld_dy);
  p.point_sum = winograd_stride<T>(s.c * p.ld_sum);
  return p;
}

template <class T>
struct Buffers {
  T *zeros, *x, *dy, *sums;
};
template <class T, class W>
Buffers<T> carve(Carver& c, const Plan<T, W>& p) {
  Buffers<T> b;
  b.zeros = c.take<T>(round_up(max64(p.c, p.oc), Vec<T>::W));
  b.x = c.take<T>(Plan<T, W>::kPoints * p.point_x);
  b.dy = c.take<T>(Plan<T, W>::kPoints * p.point_dy);
  b.sums = c.take<T>((p.one_block ? 1 : ceil_div(p.oc, p.strip)) * Plan<T, W>::kSums * p.point_sum);
  return b;
}
template <class T, class W>
size_t workspace(const ConvShape& s, int) {
  Carver c{nullptr};
  carve(c, make_plan<T, W>(s));
  return c.used;
}

// Channels [c0, c1) of a tile of Side x Side pixels, whose first is (y, x) of an h x w image with c channels, to points
// `point` elements apart. step: pixels to the next tile. Transform: of one vector of channels.
template <class T, int Side, class Transform>
LAMELLA_INLINE void transform_tile(const T* image, const T* zeros, int64_t h, int64_t w, int64_t c, int64_t y,
                                   int64_t x, int64_t step, int64_t c0, int64_t c1, int64_t point, int points, T* to,
                                   const Transform& transform) {
  const T* at[Side * Side];
  for (int i = 0; i < Side; ++i) {
    for (int j = 0; j < Side; ++j) {
      const bool inside = y + i >= 0 && y + i < h && x + j >= 0 && x + j < w;
      at[i * Side + j] = inside ? image + ((y + i) * w + x + j) * c : zeros;
    }
  }
  const int64_t next = winograd_ahead<T, Side>(step * c);
  for (int64_t k = c0; k < c1; k += Vec<T>::W) {
    const int64_t left = c1 - k;
    const auto store = [&](int r, int q, Vec<T> v) __attribute__((always_inline)) {
      v.store(to + (r * points + q) * point + k);
    };
    if (left >= Vec<T>::W) {
      transform(
          [&](int r, int q) __attribute__((always_inline)) {
            const T* from = at[r * Side + q] + k;
            __builtin_prefetch(from + next, 0, 2);
            return Vec<T>::load(from);
          },
          store);
    } else {
      transform(
          [&](int r, int q) __attribute__((always_inline)) { return Vec<T>::load(at[r * Side + q] + k, left); }, store);
    }
  }
}

// Tiles [t0, t0 + count) of x or of dy, the first of them to row 0 of `to`.
template <class T, class W>
LAMELLA_NOINLINE void transform_x(const Plan<T, W>& p, const ConvShape& s, const T* src, const T* zeros, int64_t t0,
                                  int64_t count, int64_t c0, int64_t c1, T* to) {
  for (int64_t t = t0; t < t0 + count; ++t, to += p.ld_x) {
    const int64_t n = t / (p.tiles_h * p.tiles_w), i = t / p.tiles_w % p.tiles_h, j = t % p.tiles_w;
    transform_tile<T, W::kIn>(
        src + n * s.h * s.w * s.c, zeros, s.h, s.w, s.c, i * W::kStep - s.pad_top, j * W::kStep - s.pad_left, W::kStep,
        c0, c1, p.point_x, W::kPoints, to,
        [](const auto& load, const auto& store) __attribute__((always_inline)) { winograd_input<W, T>(load, store); });
  }
}
template <class T, class W>
LAMELLA_NOINLINE void transform_dy(const Plan<T, W>& p, const ConvShape& s, const T* src, const T* zeros, int64_t t0,
                                   int64_t count, int64_t c0, int64_t c1, T* to) {
  for (int64_t t = t0; t < t0 + count; ++t, to += p.ld_dy) {
    const int64_t n = t / (p.tiles_h * p.tiles_w), i = t / p.tiles_w % p.tiles_h, j = t % p.tiles_w;
    transform_tile<T, W::kOut>(
        src + n * s.oh * s.ow * s.oc, zeros, s.oh, s.ow, s.oc, i * W::kOut, j * W::kOut, W::kOut, c0, c1, p.point_dy,
        W::kPoints, to, [](const auto& load, const auto& store) __attribute__((always_inline)) {
          winograd_output_adjoint<W, T>(load, store);
        });
  }
}

// Rows [k0, k1) of a strip's sums to dw, whose first column is the strip's.
template <class T, class W>
LAMELLA_NOINLINE void transform_sums(const Plan<T, W>& p, const T* sums, int64_t k0, int64_t k1, int64_t columns,
                                     T* dw) {
  for (int64_t k = k0; k < k1; ++k) {
    for (int64_t j = 0; j < columns; j += Vec<T>::W) {
      const T* from = sums + k * p.ld_sum + j;
      winograd_kernel_adjoint<W, T>(
          [&](int r, int q)
              __attribute__((always_inline)) { return Vec<T>::load(from + (r * W::kKernelPoints + q) * p.point_sum); },
          [&](int r, int q, Vec<T> v)
              __attribute__((always_inline)) { v.store(dw + ((r * 3 + q) * p.c + k) * p.oc + j, columns - j); });
    }
  }
}

template <class T, class W>
void run(const Context& ctx, const ConvWeightParams<T>& params) {
  const ConvShape& s = params.shape;
  const Plan<T, W> p = make_plan<T, W>(s);
  Carver carver{static_cast<char*>(ctx.workspace)};
  const Buffers<T> b = carve(carver, p);
  for (int64_t i = 0; i < max64(p.c, p.oc); ++i) b.zeros[i] = T(0);
  constexpr int64_t kTiles = 4, kChannels = 128;
  const int64_t x_steps = ceil_div(p.c, kChannels), dy_steps = ceil_div(p.oc, kChannels);
  for (int64_t t0 = 0; t0 < p.tiles; t0 += p.block) {
    const int64_t count = min64(p.block, p.tiles - t0), groups = ceil_div(count, kTiles);
    const bool first = t0 == 0, last = t0 + count >= p.tiles;
    parallel_for(ctx, groups * (x_steps + dy_steps), [&](int64_t task, int) {
      const int64_t t = task % groups * kTiles, step = task / groups, tiles = min64(kTiles, count - t);
      if (step < x_steps) {
        const int64_t k = step * kChannels;
        transform_x(p, s, params.x, b.zeros, t0 + t, tiles, k, min64(k + kChannels, p.c), b.x + t * p.ld_x);
      } else {
        const int64_t k = (step - x_steps) * kChannels;
        transform_dy(p, s, params.dy, b.zeros, t0 + t, tiles, k, min64(k + kChannels, p.oc), b.dy + t * p.ld_dy);
      }
    });
    T* sums = b.sums;
    for (int64_t j = 0; j < p.oc; j += p.strip) {
      const int64_t columns = min64(p.strip, p.oc - j);
      parallel_for(ctx, Plan<T, W>::kSums, [&](int64_t sum, int) {
        const int64_t r0 = sum / W::kKernelPoints, q0 = sum % W::kKernelPoints;
        const auto end = [](int64_t at) { return at + 1 < W::kKernelPoints ? at + 1 : W::kPoints; };
        GemmEpilogue<T> e;
        e.beta = first ? T(0) : T(1);
        for (int64_t r = r0; r < end(r0); ++r) {
          for (int64_t q = q0; q < end(q0); ++q) {
            const int64_t point = r * W::kPoints + q;
            gemm_macro(p.c, columns, count, gemm_plain_a(b.x + point * p.point_x, 1, p.ld_x, gemm_mr<T>(p.c)),
                       gemm_plain_b(b.dy + point * p.point_dy + j, p.ld_dy), sums + sum * p.point_sum, p.ld_sum, e);
            e.beta = T(1);
          }
        }
      });
      if (last) {
        constexpr int64_t kRows = 4;
        parallel_for(ctx, ceil_div(p.c, kRows), [&](int64_t task, int) {
          transform_sums(p, static_cast<const T*>(sums), task * kRows, min64(p.c, (task + 1) * kRows), columns,
                         params.dweight + j);
        });
      }
      if (!p.one_block) sums += Plan<T, W>::kSums * p.point_sum;
    }
  }
}

template <class W>
bool can_run(const ConvShape& s) {
  constexpr int64_t stride = W::kStep / W::kOut;
  return s.kh == 3 && s.kw == 3 && s.stride_h == stride && s.stride_w == stride && s.dilation_h == 1 &&
         s.dilation_w == 1 && s.groups == 1 && s.n > 0 && s.oh > 0 && s.ow > 0;
}

template <class W>
double cost(const ConvShape& s) {
  const auto c = static_cast<double>(round_up(s.c, Vec<float>::W)),
             oc = static_cast<double>(round_up(s.oc, Vec<float>::W));
  const auto tiles = static_cast<double>(s.n * ceil_div(s.oh, W::kOut) * ceil_div(s.ow, W::kOut));
  constexpr double points = W::kPoints * W::kPoints;
  return tiles * (points * static_cast<double>(s.c + 4) * oc / 45.0 + (c + oc) * points * 0.2) +
         static_cast<double>(s.c) * oc * points * 0.1;
}

template <class T, class W>
ConvWeightCandidate<T> candidate(const char* name) {
  return {name, can_run<W>, cost<W>, workspace<T, W>, run<T, W>, false, false};
}

}  // namespace

template <class T>
ConvWeightCandidate<T> conv_weight_winograd4() {
  return candidate<T, Winograd<4>>("winograd4");
}
template <class T>
ConvWeightCandidate<T> conv_weight_winograd_stride2() {
  return candidate<T, WinogradStride2>("winograd_stride2");
}
#define LAMELLA_INSTANTIATE(T)                                \
  template ConvWeightCandidate<T> conv_weight_winograd4<T>(); \
  template ConvWeightCandidate<T> conv_weight_winograd_stride2<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
