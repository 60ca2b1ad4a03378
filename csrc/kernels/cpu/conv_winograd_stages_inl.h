// The stages of a Winograd convolution, on some tiles or channels each: weights, tiles of the source, products, tiles
// of the destination.
#pragma once

#include "kernels/cpu/conv_epilogue.h"
#include "kernels/cpu/conv_pool_inl.h"
#include "kernels/cpu/conv_winograd_plan.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/transpose_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

// ---- weights: [point][k block][column panel][k][kGemmNR], as the macro kernel reads B -------------------------------

template <class T, class A>
int64_t weight_elements(const WinogradPlan<T, A>& p) {
  return WinogradPlan<T, A>::kKernels * p.point_u;
}

// Some k rows of one column panel; (r, s, k, j) of the kernel at g[((r*3 + s) * Vec<T>::W + k) * kGemmNR + j].
template <class T, class A>
LAMELLA_NOINLINE void transform_weights(const T* g, bool rotate, int64_t rows, T* u, int64_t point) {
  constexpr int64_t W = Vec<T>::W, NR = kGemmNR<T>;
  for (int64_t at = 0; at < rows * NR; at += W) {
    winograd_kernel<A, T>(
        [&](int r, int c) __attribute__((always_inline)) {
          return Vec<T>::load(g + (rotate ? (2 - r) * 3 + 2 - c : r * 3 + c) * W * NR + at);
        },
        [&](int r, int c, Vec<T> x)
            __attribute__((always_inline)) { x.store(u + (r * A::kKernelPoints + c) * point + at); });
  }
}

// As many k rows of n columns to where transform_weights reads them, tap by tap, while later ones are fetched: taps and
// rows are often powers of two apart, so that nine taps side by side fall into one set of L1, and every load of them
// would wait.
template <class T>
LAMELLA_NOINLINE void gather_weights(const ConvView& v, bool forward, const T* weight, int64_t rows, int64_t n, T* g) {
  constexpr int64_t W = Vec<T>::W, NR = kGemmNR<T>, kAhead = 16;
  for (int tap = 0; tap < 9; ++tap, weight += v.w_tap, g += W * NR) {
    if (forward) {
      const T* from = weight;
      for (int64_t k = 0; k < rows; ++k, from += v.w_k) {
        for (int64_t j = 0; j < NR; j += W) {
          __builtin_prefetch(from + kAhead * v.w_k + j, 0, 2);
          Vec<T>::load(from + j, n - j).store(g + k * NR + j);
        }
      }
    } else {
      for (int64_t j = 0; j < n; j += W) {
        const T* from = weight + j * v.w_j;
        const int64_t columns = min64(W, n - j);
        for (int64_t i = 0; i < columns; ++i) __builtin_prefetch(from + i * v.w_j + kAhead, 0, 2);
        transpose_tile(columns, rows, from, v.w_j, g + j, NR);
      }
    }
  }
}

// Columns [j, j + kGemmNR) and k rows [at, at + rows) of the layer's weights; the first of them to u.
template <class T, class A>
void transform_panel(const WinogradPlan<T, A>& p, ConvPass pass, const T* weight, int64_t j, int64_t at, int64_t rows,
                     T* u, int64_t point) {
  constexpr int64_t W = Vec<T>::W, NR = kGemmNR<T>;
  const int64_t n = min64(NR, p.n - j);
  const bool forward = pass == ConvPass::kForward;
  T gathered[9 * W * NR];
  if (n < NR) {  // transposing leaves out columns that do not exist
    for (T& x : gathered) x = T(0);
  }
  for (int64_t r = 0; r < rows; r += W) {
    const int64_t count = min64(W, rows - r);
    gather_weights(p.v, forward, weight + (at + r) * p.v.w_k + j * p.v.w_j, count, n, gathered);
    transform_weights<T, A>(gathered, !forward, count, u + r * NR, point);
  }
}

template <class T, class A>
void pack_weights(const Context& ctx, const ConvShape& s, ConvPass pass, const T* weight, T* packed) {
  constexpr int64_t W = Vec<T>::W, NR = kGemmNR<T>;
  const WinogradPlan<T, A> p = winograd_plan<T, A>(s, pass);
  const int64_t panels = p.n_pad / NR, kc = p.kc;
  const int64_t k_steps = ceil_div(p.k, W);
  parallel_for(ctx, panels * k_steps, [&](int64_t task, int) {
    const int64_t k = task % k_steps * W, panel = task / k_steps;
    const int64_t rows = min64(W, p.k - k);
    // A step of W rows may straddle two k blocks.
    for (int64_t at = k; at < k + rows;) {
      const int64_t k0 = at / kc * kc, block = min64(kc, p.k - k0), stop = min64(k + rows, k0 + block);
      transform_panel(p, pass, weight, panel * NR, at, stop - at,
                      packed + k0 * p.n_pad + (panel * block + at - k0) * NR, p.point_u);
      at = stop;
    }
  });
}

// ---- tiles ----------------------------------------------------------------------------------------------------------

struct Tile {
  int64_t n, y, x;  // image, row and column of tiles
};
template <class T, class A>
LAMELLA_INLINE Tile tile_at(const WinogradPlan<T, A>& p, int64_t t) {
  return {t / (p.tiles_h * p.tiles_w), t / p.tiles_w % p.tiles_h, t % p.tiles_w};
}

// Tiles [t0, t0 + count), channels [k0, k1) to v.
template <class T, class A>
LAMELLA_NOINLINE void transform_input(const WinogradPlan<T, A>& p, const T* src, const T* zeros, int64_t t0,
                                      int64_t count, int64_t k0, int64_t k1, T* v) {
  constexpr int P = A::kIn, Q = A::kPoints;
  constexpr int64_t W = Vec<T>::W;
  for (int64_t t = 0; t < count; ++t) {
    const Tile tile = tile_at(p, t0 + t);
    const T* at[P * P];
    for (int r = 0; r < P; ++r) {
      const int64_t y = tile.y * A::kStep + p.off_h + r;
      for (int c = 0; c < P; ++c) {
        const int64_t x = tile.x * A::kStep + p.off_w + c;
        const bool inside = y >= 0 && y < p.v.sh && x >= 0 && x < p.v.sw;
        at[r * P + c] = inside ? src + ((tile.n * p.v.sh + y) * p.v.sw + x) * p.v.sc : zeros;
      }
    }
    T* row = v + t * p.ld_v;
    const int64_t next = winograd_ahead<T, P>(A::kStep * p.v.sc);
    for (int64_t k = k0; k < k1; k += W) {
      const int64_t left = k1 - k;
      const auto store = [&](int r, int c, Vec<T> x) __attribute__((always_inline)) {
        x.store(row + (r * Q + c) * p.point_v + k);
      };
      if (left >= W) {
        winograd_input<A, T>(
            [&](int r, int c) __attribute__((always_inline)) {
              const T* from = at[r * P + c] + k;
              __builtin_prefetch(from + next, 0, 2);
              return Vec<T>::load(from);
            },
            store);
      } else {
        winograd_input<A, T>(
            [&](int r, int c) __attribute__((always_inline)) { return Vec<T>::load(at[r * P + c] + k, left); }, store);
      }
    }
  }
}

// The point of the kernel that `point` of a tile is multiplied with.
template <class A>
LAMELLA_INLINE int64_t kernel_point(int64_t point) {
  const int64_t r = min64(point / A::kPoints, A::kKernelPoints - 1),
                c = min64(point % A::kPoints, A::kKernelPoints - 1);
  return r * A::kKernelPoints + c;
}

// Products of point `point` over source channels [k, k + block) for `count` tiles and n columns, added to m but for
// k = 0. u: panels of those channels and columns.
template <class T, class A>
LAMELLA_INLINE void multiply_block(const WinogradPlan<T, A>& p, const T* u, int64_t point, int64_t count, int64_t k,
                                   int64_t block, int64_t n, const T* v, T* m) {
  GemmEpilogue<T> e;
  e.beta = k == 0 ? T(0) : T(1);
  gemm_macro(count, n, block, gemm_plain_a(v + point * p.point_v + k, p.ld_v, 1, gemm_mr<T>(count)),
             gemm_packed_b(u, block), m + point * p.point_m, p.ld_m, e);
}

// Products of point `point` for `count` tiles and columns [j, j + n); m: the first of those columns.
template <class T, class A>
LAMELLA_INLINE void multiply(const WinogradPlan<T, A>& p, const T* u, int64_t point, int64_t count, int64_t j,
                             int64_t n, const T* v, T* m) {
  u += kernel_point<A>(point) * p.point_u;
  for (int64_t k = 0; k < p.k; k += p.kc) {
    const int64_t block = min64(p.kc, p.k - k);
    multiply_block(p, u + k * p.n_pad + j * block, point, count, k, block, n, v, m);
  }
}

// Columns [j, j + n) of the destination from m, whose first column is j.
template <class T, class A>
LAMELLA_NOINLINE void transform_output(const WinogradPlan<T, A>& p, const ConvParams<T>& params, int64_t t0,
                                       int64_t count, int64_t j, int64_t n, const T* m) {
  constexpr int P = A::kPoints, M = A::kOut;
  constexpr int64_t W = Vec<T>::W;
  const bool is_relu = params.act.act == Act::kRelu;
  const int64_t row = p.v.dw * p.v.dc;
  for (int64_t t = 0; t < count; ++t) {
    const Tile tile = tile_at(p, t0 + t);
    const int64_t y = tile.y * M - p.shift_h, x = tile.x * M - p.shift_w;
    const Range rows{max64(0, -y), min64(M, p.v.dh - y)}, cols{max64(0, -x), min64(M, p.v.dw - x)};
    const bool whole = rows.end - rows.begin == M && cols.end - cols.begin == M;
    T* const image = params.dst + tile.n * p.v.dh * row;
    const auto pixel = [&](int64_t r, int64_t c) __attribute__((always_inline)) {
      return image + ((y + r) * p.v.dw + x + c) * p.v.dc;
    };
    const T* from = m + t * p.ld_m;
    for (int64_t c0 = 0; c0 < n; c0 += W) {
      const int64_t left = n - c0;
      const Vec<T> bias = params.bias == nullptr ? Vec<T>::zero() : Vec<T>::load(params.bias + j + c0, left);
      const auto load = [&](int r, int c) __attribute__((always_inline)) {
        return Vec<T>::load(from + (r * P + c) * p.point_m + c0);
      };
      const auto finish = [&](Vec<T> x) __attribute__((always_inline)) { return is_relu ? relu(x + bias) : x + bias; };
      if (whole && left >= W) {
        T* const to = pixel(0, 0) + j + c0;
        winograd_output<A, T>(
            load, [&](int r, int c, Vec<T> x) __attribute__((always_inline)) {
              T* const at = to + r * row + c * p.v.dc;
              __builtin_prefetch(at + M * p.v.dc, 1);
              finish(x).store(at);
            });
      } else {
        winograd_output<A, T>(
            load, [&](int r, int c, Vec<T> x) __attribute__((always_inline)) {
              if (r >= rows.begin && r < rows.end && c >= cols.begin && c < cols.end)
                finish(x).store(pixel(r, c) + j + c0, left);
            });
      }
    }
    if (!act_in_tile(params.act.act)) {
      T* pixels[M * M];
      int64_t count_pixels = 0;
      for (int64_t r = rows.begin; r < rows.end; ++r) {
        for (int64_t c = cols.begin; c < cols.end; ++c) pixels[count_pixels++] = pixel(r, c);
      }
      activate_rows(params.act, pixels, j, count_pixels, n);
    }
  }
}

// The same of a forward that is pooled: a tile holds whole windows, for it begins at an even pixel.
template <class T, class A>
LAMELLA_NOINLINE void pool_output(const WinogradPlan<T, A>& p, const ConvParams<T>& params, int64_t t0, int64_t count,
                                  int64_t j, int64_t n, const T* m) {
  constexpr int P = A::kPoints, M = A::kOut;
  constexpr int64_t W = Vec<T>::W;
  const bool is_relu = params.act.act == Act::kRelu;
  const int64_t height = p.v.dh / 2, width = p.v.dw / 2;
  for (int64_t t = 0; t < count; ++t) {
    const Tile tile = tile_at(p, t0 + t);
    const int64_t y = tile.y * (M / 2), x = tile.x * (M / 2), rows = min64(M / 2, height - y),
                  cols = min64(M / 2, width - x);
    const auto pixel = [&](int64_t r, int64_t c) { return ((tile.n * height + y + r) * width + x + c) * p.v.dc + j; };
    const T* from = m + t * p.ld_m;
    for (int64_t c0 = 0; c0 < n; c0 += W) {
      const Vec<T> bias = params.bias == nullptr ? Vec<T>::zero() : Vec<T>::load(params.bias + j + c0, n - c0);
      Vec<T> value[M][M];
      winograd_output<A, T>(
          [&](int r, int c)
              __attribute__((always_inline)) { return Vec<T>::load(from + (r * P + c) * p.point_m + c0); },
          [&](int r, int c, Vec<T> v) __attribute__((always_inline)) { value[r][c] = v + bias; });
      unroll<M / 2>(LAMELLA_UNROLLED(r) {
        unroll<M / 2>(LAMELLA_UNROLLED(c) {
          constexpr int top = 2 * r.value, left = 2 * c.value;
          if (r.value >= rows || c.value >= cols) return;
          const int64_t at = pixel(r.value, c.value) + c0;
          pool_window(value[top][left], value[top][left + 1], value[top + 1][left], value[top + 1][left + 1], is_relu,
                      PooledTo<T>{params.dst + at, params.argmax == nullptr ? nullptr : params.argmax + at}, n - c0);
        });
      });
    }
    if (!act_in_tile(params.act.act)) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; ++c) activate_row(params.act, params.dst + pixel(r, c), n);
      }
    }
  }
}

template <class T, class A>
void put_output(const WinogradPlan<T, A>& p, const ConvParams<T>& params, int64_t t0, int64_t count, int64_t j,
                int64_t n, const T* m) {
  if constexpr (!requires { A::kMiddleFirst; }) {  // that is a gradient, which is never pooled
    if (params.pool) return pool_output(p, params, t0, count, j, n, m);
  }
  transform_output(p, params, t0, count, j, n, m);
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
