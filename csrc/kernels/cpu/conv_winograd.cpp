// 3x3, stride 1 or 2, forward and gradient to data by Winograd's algorithm: tiles of the source are transformed to P*P
// points, at every point a matrix product over the channels runs, and the products are transformed back. Edges read
// zeros and are clipped at the store.
//
// Two schedules, chosen by the shape. Blocked: a task takes a block of tiles through all three stages, with everything
// but the weights in its own L2. Staged: for weights that only fit in L3 or beyond, or for few tiles: each stage is
// shared out by itself, so that the weights are read once for many tiles.
#include "kernels/cpu/conv_epilogue.h"
#include "kernels/cpu/conv_geometry.h"
#include "kernels/cpu/conv_pool_inl.h"
#include "kernels/cpu/conv_winograd_inl.h"
#include "kernels/cpu/gemm_core.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/transpose_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T, class A>
struct Plan {
  static constexpr int kPoints = A::kPoints * A::kPoints;
  static constexpr int kKernels = A::kKernelPoints * A::kKernelPoints;  // points of one transformed kernel share it
  ConvView v;
  int64_t off_h, off_w;      // of a tile's first source row and column
  int64_t shift_h, shift_w;  // by which tiles begin before the first destination row and column
  int64_t tiles_h, tiles_w, tiles;
  int64_t k, n, n_pad;  // channels of source and destination; the latter in whole column panels
  bool staged;
  int64_t block;    // tiles taken through the stages together
  int64_t columns;  // destination channels taken through product and back-transform together
  // Transformed tiles [point][tile][k], products [point][tile][columns]: row and point strides in elements.
  int64_t ld_v, point_v, ld_m, point_m;
};

// The tiles along one axis of `size` destination pixels.
template <class A>
void place(ConvPass pass, int64_t pad, int64_t size, int64_t& off, int64_t& shift, int64_t& tiles) {
  shift = 0;
  if (pass == ConvPass::kForward) {
    off = -pad;
  } else if constexpr (requires { A::kMiddleFirst; }) {
    // Pixel x sees the middle tap where x + pad is odd.
    off = A::kMiddleFirst ? (pad - 1) / 2 : pad / 2 - 1;
    shift = A::kMiddleFirst ? 0 : pad % 2;
  } else {
    off = pad - 2;
  }
  tiles = ceil_div(size + shift, A::kOut);
}

template <class T, class A>
Plan<T, A> make_plan(const ConvShape& s, ConvPass pass) {
  constexpr int64_t kMR = kGemmMR<T>;
  Plan<T, A> p;
  constexpr int64_t points = Plan<T, A>::kPoints;
  p.v = conv_view(s, pass);
  place<A>(pass, s.pad_top, p.v.dh, p.off_h, p.shift_h, p.tiles_h);
  place<A>(pass, s.pad_left, p.v.dw, p.off_w, p.shift_w, p.tiles_w);
  p.tiles = p.v.n * p.tiles_h * p.tiles_w;
  p.k = p.v.kc;
  p.n = p.v.nc;
  p.n_pad = round_up(p.n, kGemmNR<T>);
  p.ld_v = winograd_stride<T>(p.k);

  constexpr int64_t size = sizeof(T);
  constexpr int64_t kBlockBytes = 384 << 10, kStagedBytes = 12 << 20, kWeightBytes = 6 << 20;
  const int64_t weights = Plan<T, A>::kKernels * p.k * p.n_pad * size;
  const int64_t per_tile = points * p.ld_v * size;
  // Sixteen blocks where there are that many panels of tiles: enough to share out, whoever the machine is.
  int64_t block = max64(1, kBlockBytes / per_tile / kMR) * kMR;
  block = min64(block, max64(1, p.tiles / (16 * kMR)) * kMR);
  p.staged = weights > kWeightBytes || p.tiles < 8 * kMR;
  if (p.staged) block = max64(kMR, kStagedBytes / (points * (p.k + p.n_pad) * size) / kMR * kMR);
  p.block = max64(1, ceil_div(p.tiles, ceil_div(max64(1, p.tiles), block)));
  constexpr int64_t kProductBytes = 160 << 10;
  p.columns = p.staged ? p.n_pad
                       : min64(p.n_pad, max64(1, kProductBytes / (points * p.block * size) / kGemmNR<T>) * kGemmNR<T>);
  p.ld_m = winograd_stride<T>(p.columns);
  p.point_v = winograd_stride<T>(p.block * p.ld_v);
  p.point_m = winograd_stride<T>(p.block * p.ld_m);
  return p;
}

// ---- weights: [point][k block][column panel][k][kGemmNR], as the macro kernel reads B
// ---------------------------------

template <class T, class A>
int64_t weight_elements(const Plan<T, A>& p) {
  return Plan<T, A>::kKernels * p.k * p.n_pad;
}

// k rows [k0, k0 + rows) of one column panel; (r, s, k, j) of the kernel at g[(r*3 + s)*tap + (k - k0)*ld + j].
template <class T, class A>
LAMELLA_NOINLINE void transform_weights(const T* g, int64_t tap, int64_t ld, bool rotate, int64_t rows, int64_t n, T* u,
                                        int64_t point) {
  constexpr int64_t W = Vec<T>::W, NR = kGemmNR<T>;
  for (int64_t k = 0; k < rows; ++k) {
    for (int64_t j = 0; j < NR; j += W) {
      const int64_t left = n - j;
      winograd_kernel<A, T>(
          [&](int r, int c) __attribute__((always_inline)) {
            const int64_t at = rotate ? (2 - r) * 3 + 2 - c : r * 3 + c;
            return Vec<T>::load(g + at * tap + k * ld + j, left);
          },
          [&](int r, int c, Vec<T> x)
              __attribute__((always_inline)) { x.store(u + (r * A::kKernelPoints + c) * point + k * NR + j); });
    }
  }
}

template <class T, class A>
void pack_weights(const Context& ctx, const ConvShape& s, ConvPass pass, const T* weight, T* packed) {
  constexpr int64_t W = Vec<T>::W, NR = kGemmNR<T>;
  const Plan<T, A> p = make_plan<T, A>(s, pass);
  const int64_t panels = p.n_pad / NR, kc = gemm_kc<T>(p.k), point = p.k * p.n_pad;
  const int64_t k_steps = ceil_div(p.k, W);
  parallel_for(ctx, panels * k_steps, [&](int64_t task, int) {
    const int64_t k = task % k_steps * W, panel = task / k_steps, j = panel * NR;
    const int64_t rows = min64(W, p.k - k), n = min64(NR, p.n - j);
    // A step of W rows may straddle two k blocks.
    for (int64_t at = k; at < k + rows;) {
      const int64_t k0 = at / kc * kc, block = min64(kc, p.k - k0), stop = min64(k + rows, k0 + block);
      T* u = packed + k0 * p.n_pad + (panel * block + at - k0) * NR;
      if (pass == ConvPass::kForward) {
        transform_weights<T, A>(weight + at * p.v.w_k + j, p.v.w_tap, p.v.w_k, false, stop - at, n, u, point);
      } else {
        T turned[9 * Vec<T>::W * kGemmNR<T>];
        for (int tap = 0; tap < 9; ++tap) {
          for (int64_t c = 0; c < n; c += W) {
            transpose_tile(min64(W, n - c), stop - at, weight + tap * p.v.w_tap + (j + c) * p.v.w_j + at, p.v.w_j,
                           turned + tap * W * NR + c, NR);
          }
        }
        transform_weights<T, A>(turned, W * NR, NR, true, stop - at, n, u, point);
      }
      at = stop;
    }
  });
}

// ---- the three stages
// -------------------------------------------------------------------------------------------------

struct Tile {
  int64_t n, y, x;  // image, row and column of tiles
};
template <class T, class A>
LAMELLA_INLINE Tile tile_at(const Plan<T, A>& p, int64_t t) {
  return {t / (p.tiles_h * p.tiles_w), t / p.tiles_w % p.tiles_h, t % p.tiles_w};
}

// Tiles [t0, t0 + count), channels [k0, k1) to v.
template <class T, class A>
LAMELLA_NOINLINE void transform_input(const Plan<T, A>& p, const T* src, const T* zeros, int64_t t0, int64_t count,
                                      int64_t k0, int64_t k1, T* v) {
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
    const int64_t next = A::kStep * p.v.sc;  // the same pixel of the next tile
    for (int64_t k = k0; k < k1; k += W) {
      const int64_t left = k1 - k;
      const auto store = [&](int r, int c, Vec<T> x) __attribute__((always_inline)) {
        x.store(row + (r * Q + c) * p.point_v + k);
      };
      if (left >= W) {
        winograd_input<A, T>(
            [&](int r, int c) __attribute__((always_inline)) {
              const T* from = at[r * P + c] + k;
              __builtin_prefetch(from + next);
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

// Products of point `point` for `count` tiles and columns [j, j + n); m: the first of those columns.
template <class T, class A>
LAMELLA_INLINE void multiply(const Plan<T, A>& p, const T* u, int64_t point, int64_t count, int64_t j, int64_t n,
                             const T* v, T* m) {
  const int64_t kc = gemm_kc<T>(p.k);
  const int64_t r = min64(point / A::kPoints, A::kKernelPoints - 1),
                c = min64(point % A::kPoints, A::kKernelPoints - 1);
  u += (r * A::kKernelPoints + c) * p.k * p.n_pad;
  v += point * p.point_v;
  m += point * p.point_m;
  GemmEpilogue<T> e;
  for (int64_t k = 0; k < p.k; k += kc) {
    const int64_t block = min64(kc, p.k - k);
    e.beta = k == 0 ? T(0) : T(1);
    gemm_macro(count, n, block, gemm_plain_a(v + k, p.ld_v, 1, gemm_mr<T>(count)),
               gemm_packed_b(u + k * p.n_pad + j * block, block), m, p.ld_m, e);
  }
}

// Columns [j, j + n) of the destination from m, whose first column is j.
template <class T, class A>
LAMELLA_NOINLINE void transform_output(const Plan<T, A>& p, const ConvParams<T>& params, int64_t t0, int64_t count,
                                       int64_t j, int64_t n, const T* m) {
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
LAMELLA_NOINLINE void pool_output(const Plan<T, A>& p, const ConvParams<T>& params, int64_t t0, int64_t count,
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
void put_output(const Plan<T, A>& p, const ConvParams<T>& params, int64_t t0, int64_t count, int64_t j, int64_t n,
                const T* m) {
  (params.pool ? pool_output<T, A> : transform_output<T, A>)(p, params, t0, count, j, n, m);
}

// ---- the schedules
// ----------------------------------------------------------------------------------------------------

template <class T>
struct Buffers {
  T *zeros, *weights, *v, *m;
};
template <class T, class A>
Buffers<T> carve(Carver& c, const Plan<T, A>& p, bool prepared) {
  Buffers<T> b;
  b.zeros = c.take<T>(round_up(p.k, Vec<T>::W));
  b.weights = prepared ? nullptr : c.take<T>(weight_elements(p));
  return b;
}
template <class T, class A>
void carve_block(Carver& c, const Plan<T, A>& p, Buffers<T>& b) {
  b.v = c.take<T>(Plan<T, A>::kPoints * p.point_v);
  b.m = c.take<T>(Plan<T, A>::kPoints * p.point_m);
}

template <class T, class A>
size_t workspace_as(const ConvShape& s, ConvPass pass, bool prepared, int threads) {
  const Plan<T, A> p = make_plan<T, A>(s, pass);
  Carver c{nullptr}, block{nullptr};
  Buffers<T> b = carve(c, p, prepared);
  carve_block(block, p, b);
  return c.used + block.used * static_cast<size_t>(p.staged ? 1 : threads);
}

template <class T, class A>
void run_blocked(const Context& ctx, const Plan<T, A>& p, const ConvParams<T>& params, const Buffers<T>& shared,
                 const T* u, char* scratch) {
  Carver one{nullptr};
  Buffers<T> size;
  carve_block(one, p, size);
  parallel_for(ctx, ceil_div(p.tiles, p.block), [&](int64_t task, int thread) {
    Carver c{scratch + one.used * static_cast<size_t>(thread)};
    Buffers<T> b;
    carve_block(c, p, b);
    const int64_t t0 = task * p.block, count = min64(p.block, p.tiles - t0);
    transform_input(p, params.src, shared.zeros, t0, count, 0, p.k, b.v);
    for (int64_t j = 0; j < p.n; j += p.columns) {
      const int64_t n = min64(p.columns, p.n - j);
      for (int64_t point = 0; point < Plan<T, A>::kPoints; ++point) multiply(p, u, point, count, j, n, b.v, b.m);
      put_output(p, params, t0, count, j, n, b.m);
    }
  });
}

template <class T, class A>
void run_staged(const Context& ctx, const Plan<T, A>& p, const ConvParams<T>& params, const Buffers<T>& shared,
                const T* u, char* scratch) {
  Carver c{scratch};
  Buffers<T> b;
  carve_block(c, p, b);
  constexpr int64_t kTiles = 4, kChannels = 128;
  const int64_t column_step = max64(1, 128 / kGemmNR<T>) * kGemmNR<T>;
  for (int64_t t0 = 0; t0 < p.tiles; t0 += p.block) {
    const int64_t count = min64(p.block, p.tiles - t0), groups = ceil_div(count, kTiles);
    parallel_for(ctx, groups * ceil_div(p.k, kChannels), [&](int64_t task, int) {
      const int64_t t = task % groups * kTiles, k = task / groups * kChannels;
      transform_input(p, params.src, shared.zeros, t0 + t, min64(kTiles, count - t), k, min64(k + kChannels, p.k),
                      b.v + t * p.ld_v);
    });
    const int64_t steps = ceil_div(p.n, column_step);
    parallel_for(ctx, Plan<T, A>::kPoints * steps, [&](int64_t task, int) {
      const int64_t j = task % steps * column_step;
      multiply(p, u, task / steps, count, j, min64(column_step, p.n - j), b.v, b.m + j);
    });
    parallel_for(ctx, groups * steps, [&](int64_t task, int) {
      const int64_t t = task % groups * kTiles, j = task / groups * column_step;
      put_output(p, params, t0 + t, min64(kTiles, count - t), j, min64(column_step, p.n - j), b.m + t * p.ld_m + j);
    });
  }
}

template <class T, class A>
void run_as(const Context& ctx, ConvPass pass, const ConvParams<T>& params) {
  const Plan<T, A> p = make_plan<T, A>(params.shape, pass);
  if (p.tiles == 0) return;
  Carver c{static_cast<char*>(ctx.workspace)};
  const Buffers<T> b = carve(c, p, params.prepared != nullptr);
  for (int64_t i = 0; i < p.k; ++i) b.zeros[i] = T(0);
  const T* u = static_cast<const T*>(params.prepared);
  if (u == nullptr) {
    pack_weights<T, A>(ctx, params.shape, pass, params.weight, b.weights);
    u = b.weights;
  }
  (p.staged ? run_staged<T, A> : run_blocked<T, A>)(ctx, p, params, b, u, c.base + c.used);
}

// ---- the candidates: one algorithm for each pass
// --------------------------------------------------------------------------------------

// DOdd: the gradient to data where the padding is odd on both axes.
template <class F, class D, class DOdd = D>
struct Passes {
  using Forward = F;
  using Data = D;
  using DataOdd = DOdd;
};
template <class P, class Use>
LAMELLA_INLINE auto with_algorithm(const ConvShape& s, ConvPass pass, const Use& use) {
  if (pass == ConvPass::kForward) return use(typename P::Forward{});
  return s.pad_top % 2 == 1 && s.pad_left % 2 == 1 ? use(typename P::DataOdd{}) : use(typename P::Data{});
}

template <class T, class P>
size_t workspace(const ConvShape& s, ConvPass pass, bool prepared, int threads) {
  return with_algorithm<P>(s, pass, [&]<class A>(A) { return workspace_as<T, A>(s, pass, prepared, threads); });
}
template <class T, class P>
void run(const Context& ctx, ConvPass pass, const ConvParams<T>& params) {
  with_algorithm<P>(params.shape, pass, [&]<class A>(A) { run_as<T, A>(ctx, pass, params); });
}
template <class T, class P>
size_t prepared_bytes(const ConvShape& s, ConvPass pass) {
  const int64_t elements =
      with_algorithm<P>(s, pass, [&]<class A>(A) { return weight_elements(make_plan<T, A>(s, pass)); });
  return static_cast<size_t>(elements) * sizeof(T);
}
template <class T, class P>
void prepare(const Context& ctx, const ConvShape& s, ConvPass pass, const T* weight, void* prepared) {
  with_algorithm<P>(s, pass, [&]<class A>(A) { pack_weights<T, A>(ctx, s, pass, weight, static_cast<T*>(prepared)); });
}

template <class P>
bool can_run(const ConvShape& s, ConvPass) {
  constexpr int64_t stride = P::Forward::kStep / P::Forward::kOut;
  return s.kh == 3 && s.kw == 3 && s.stride_h == stride && s.stride_w == stride && s.dilation_h == 1 &&
         s.dilation_w == 1 && s.groups == 1;
}

// Few channels: the transforms cost more than they save. A transform costs about what it loads and stores.
template <class P>
double cost(const ConvShape& s, ConvPass pass) {
  const ConvView v = conv_view(s, pass);
  const auto k = static_cast<double>(round_up(v.kc, Vec<float>::W)),
             n = static_cast<double>(round_up(v.nc, Vec<float>::W));
  return with_algorithm<P>(s, pass, [&]<class A>(A) {
    int64_t off, shift, tiles_h, tiles_w;
    place<A>(pass, s.pad_top, v.dh, off, shift, tiles_h);
    place<A>(pass, s.pad_left, v.dw, off, shift, tiles_w);
    const auto tiles = static_cast<double>(v.n * tiles_h * tiles_w);
    constexpr double points = A::kPoints * A::kPoints, kernels = A::kKernelPoints * A::kKernelPoints;
    constexpr double input = 0.1 * (A::kIn * A::kIn + points), output = 0.12 * (A::kOut * A::kOut + points);
    return tiles * (points * k * n / 45.0 + k * input + n * output) + k * n * 0.07 * kernels;
  });
}

template <class T, class P>
ConvCandidate<T> candidate(const char* name) {
  return {name, can_run<P>, cost<P>, workspace<T, P>, run<T, P>, prepared_bytes<T, P>, prepare<T, P>, false, true};
}

}  // namespace

template <class T>
ConvCandidate<T> conv_winograd4() {
  return candidate<T, Passes<Winograd<4>, Winograd<4>>>("winograd4");
}
template <class T>
ConvCandidate<T> conv_winograd2() {
  return candidate<T, Passes<Winograd<2>, Winograd<2>>>("winograd2");
}
template <class T>
ConvCandidate<T> conv_winograd_stride2() {
  return candidate<T, Passes<WinogradStride2, WinogradStride2Data<false>, WinogradStride2Data<true>>>(
      "winograd_stride2");
}
#define LAMELLA_INSTANTIATE(T)                   \
  template ConvCandidate<T> conv_winograd4<T>(); \
  template ConvCandidate<T> conv_winograd2<T>(); \
  template ConvCandidate<T> conv_winograd_stride2<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
