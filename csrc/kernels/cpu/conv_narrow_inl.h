// Rows of pixels where a vector of destination channels holds several groups: depthwise convolutions and groups of few
// channels. A tile of pixels stays in registers over all taps; neighbouring taps share what they load.
//
// Where groups have several channels, lane i of the destination wants channel k of its own group for every k: the
// source vector is permuted for each k, which costs less than the products it feeds.
#pragma once

#include "kernels/cpu/conv_epilogue.h"
#include "kernels/cpu/conv_geometry.h"
#include "kernels/cpu/unroll_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

// The same taps in the order of their source pixels.
LAMELLA_INLINE ConvAxis ascending(ConvAxis a) {
  if (a.off_step >= 0 || a.taps == 0) return a;
  a.off0 += (a.taps - 1) * a.off_step;
  a.tap0 += (a.taps - 1) * a.tap_step;
  a.off_step = -a.off_step;
  a.tap_step = -a.tap_step;
  return a;
}

// out[i] = x[lanes[i]].
template <class T>
LAMELLA_INLINE Vec<T> permute(Vec<T> x, IVec<T> lanes) {
#if defined(LAMELLA_ISA_AVX512)
  return _mm512_permutexvar_ps(lanes.v, x.v);
#elif defined(LAMELLA_ISA_AVX2)
  return _mm256_permutevar8x32_ps(x.v, lanes.v);
#else
  Vec<T> r;
  for (int i = 0; i < Vec<T>::W; ++i) r.v[i] = x.v[lanes.v[i]];
  return r;
#endif
}

// Groups of kc source and nc destination channels, as many as fit a vector on both sides.
template <class T>
struct NarrowGroups {
  using I = typename IntOf<T>::type;
  int64_t in_vector, vectors;

  LAMELLA_INLINE NarrowGroups(int64_t groups, int64_t kc, int64_t nc)
      : in_vector(Vec<T>::W / max64(kc, nc)), vectors(in_vector < 1 ? 0 : ceil_div(groups, in_vector)) {}

  // [kc][W]: where each destination lane finds channel k of its group.
  LAMELLA_INLINE void lanes(int64_t kc, int64_t nc, I* to) const {
    for (int64_t k = 0; k < kc; ++k) {
      for (int64_t i = 0; i < Vec<T>::W; ++i) *to++ = static_cast<I>(i < in_vector * nc ? i / nc * kc + k : 0);
    }
  }
};

// At least two groups in a vector: with less, there is nothing to gain on a tile that has one group for itself.
template <class T>
LAMELLA_INLINE bool narrow_groups(const ConvShape& s) {
  return s.groups > 1 && 2 * max64(s.c, s.oc) <= Vec<T>::W * s.groups;
}

// Pixels in registers at once, at most; even.
#if defined(LAMELLA_ISA_AVX512)
constexpr int kRowPixels = 14;
#elif defined(LAMELLA_ISA_AVX2)
constexpr int kRowPixels = 8;
#else
constexpr int kRowPixels = 4;
#endif

// A tile of pixels of one destination row, all channels: `vectors` vectors, each from_step source and to_step
// destination channels after the one before it; the last may have fewer. Other strides in elements: between kernel rows
// (y), kernel columns (x), pixels (p), channels of a group (k), vectors (v).
template <class T>
struct NarrowTile {
  const T* src;  // first tap of the first pixel
  int64_t src_y, src_x, src_p;
  const T* w;
  int64_t w_y, w_x, w_k, w_v;
  int64_t ny, nx, nk;
  const typename IntOf<T>::type* lanes;  // [nk][W]
  T* dst;
  int64_t dst_p;
  int64_t vectors, from_step, to_step, last_from, last_to;
  const T* bias;
  bool relu;
  bool skip_first, skip_last;  // adjacent taps: the first pixel has no first tap, the last pixel no last one
};

// Adjacent: three taps a pixel apart at stride 1. Grouped: groups of more than one channel.
template <class T, int N, bool Adjacent, bool Grouped>
void narrow_tile(const NarrowTile<T>& a) {
  using V = Vec<T>;
  constexpr int64_t W = V::W;
  const int64_t step = a.src_p, dst_p = a.dst_p;
  const auto vector = [&]<bool Full>(std::bool_constant<Full>, const T* src, const T* w, T* dst, const T* bias,
                                     int64_t from, int64_t to) __attribute__((always_inline)) {
    const auto load = [&](const T* at) __attribute__((always_inline)) {
      return Full ? V::load(at) : V::load(at, from);
    };
    V acc[N];
    const V init = bias == nullptr ? V::zero() : V::load(bias, to);
    unroll<N>(LAMELLA_UNROLLED(p) { acc[p.value] = init; });
    for (int64_t y = 0; y < a.ny; ++y, src += a.src_y, w += a.w_y) {
      for (int64_t k = 0; k < (Grouped ? a.nk : 1); ++k) {
        const T* wk = w + (Grouped ? k * a.w_k : 0);
        IVec<T> lanes;
        if constexpr (Grouped) lanes = IVec<T>::load(a.lanes + k * W);
        const auto take = [&](const T* at) __attribute__((always_inline)) {
          const V x = load(at);
          if constexpr (Grouped)
            return permute(x, lanes);
          else
            return x;
        };
        const auto weights = [&](const T* at) __attribute__((always_inline)) {
          return Full || Grouped ? V::load(at) : V::load(at, to);
        };
        if constexpr (Adjacent) {
          const V w0 = weights(wk), w1 = weights(wk + a.w_x), w2 = weights(wk + 2 * a.w_x);
          if (!a.skip_first) acc[0] = fma(take(src), w0, acc[0]);
          unroll<N>(LAMELLA_UNROLLED(p) {  // source pixel p + 1
            const V x = take(src + (p.value + 1) * step);
            if constexpr (p.value + 1 < N) acc[p.value + 1] = fma(x, w0, acc[p.value + 1]);
            acc[p.value] = fma(x, w1, acc[p.value]);
            if constexpr (p.value > 0) acc[p.value - 1] = fma(x, w2, acc[p.value - 1]);
          });
          if (!a.skip_last) acc[N - 1] = fma(take(src + (N + 1) * step), w2, acc[N - 1]);
        } else {
          for (int64_t q = 0; q < a.nx; ++q) {
            const V wq = weights(wk + q * a.w_x);
            const T* at = src + q * a.src_x;
            unroll<N>(LAMELLA_UNROLLED(p) { acc[p.value] = fma(take(at + p.value * step), wq, acc[p.value]); });
          }
        }
      }
    }
    if (a.relu) unroll<N>(LAMELLA_UNROLLED(p) { acc[p.value] = relu(acc[p.value]); });
    unroll<N>(LAMELLA_UNROLLED(p) {
      if constexpr (Full)
        acc[p.value].store(dst + p.value * dst_p);
      else
        acc[p.value].store(dst + p.value * dst_p, to);
      // What the next row will want, and what comes next in this one.
      __builtin_prefetch(src + p.value * step);
      __builtin_prefetch(dst + (p.value + N) * dst_p, 1);
    });
  };
  const T *src = a.src, *w = a.w, *bias = a.bias;
  T* dst = a.dst;
  for (int64_t i = 0; i < a.vectors; ++i) {
    const bool last = i + 1 == a.vectors;
    const int64_t from = last ? a.last_from : a.from_step, to = last ? a.last_to : a.to_step;
    if (from == W && to == W)
      vector(std::true_type{}, src, w, dst, bias, from, to);
    else
      vector(std::false_type{}, src, w, dst, bias, from, to);
    src += a.from_step;
    w += a.w_v;
    dst += a.to_step;
    if (bias != nullptr) bias += a.to_step;
  }
}

// Tiles of 1 pixel and of every even number of them.
template <class T, bool Adjacent, bool Grouped, class Halves>
struct NarrowTable;
template <class T, bool Adjacent, bool Grouped, int... I>
struct NarrowTable<T, Adjacent, Grouped, std::integer_sequence<int, I...>> {
  static constexpr void (*kFn[])(const NarrowTile<T>&) = {narrow_tile<T, (I == 0 ? 1 : 2 * I), Adjacent, Grouped>...};
};

// The tile that covers a row of `count` pixels with the least work; the last one may overlap the one before it.
LAMELLA_INLINE int64_t narrow_pixels(int64_t count) {
  int64_t best = 1, best_work = count * 4;
  for (int64_t n = 2; n <= kRowPixels && n <= count; n += 2) {
    const int64_t work = ceil_div(count, n) * (n + 1);
    if (work <= best_work) {
      best = n;
      best_work = work;
    }
  }
  return best;
}

// Destination rows of a task: enough for its tiles to share source rows in L2.
LAMELLA_INLINE int64_t narrow_band(const ConvView& v) {
  constexpr int64_t kElements = 16 << 10;
  return max64(1, min64(v.dh, kElements / max64(1, v.dw * max64(v.sc, v.dc))));
}

// Destination row y of an image. tile: its src, w and dst point to pixel 0 of the image's row `first`, tap (0, 0) and
// pixel 0 of the row; its vectors, the steps between them, weight strides within a tap, bias and relu are set. src_c,
// dst_c, w_tap: elements of a source pixel, a destination pixel and a tap.
template <class T, bool Grouped>
LAMELLA_NOINLINE void narrow_row(const ConvShape& s, ConvPass pass, const ConvView& v, int64_t y, int64_t first,
                                 int64_t src_c, int64_t dst_c, int64_t w_tap, NarrowTile<T> tile) {
  using Halves = std::make_integer_sequence<int, kRowPixels / 2 + 1>;
  const ConvAxis ay = ascending(conv_axis_h(s, pass, y % v.phases_h));
  const int64_t y0 = (y - ay.out0) / ay.out_step * ay.src_step + ay.off0;
  const Range taps_y = valid_range(ay.taps, ay.off_step, y0, v.sh);
  const T* const src = tile.src + (y0 + taps_y.begin * ay.off_step - first) * v.sw * src_c;
  const T* const w = tile.w + (ay.tap0 + taps_y.begin * ay.tap_step) * v.kw * w_tap;
  T* const dst = tile.dst;
  tile.ny = taps_y.end - taps_y.begin;
  tile.src_y = ay.off_step * v.sw * src_c;
  tile.w_y = ay.tap_step * v.kw * w_tap;
  for (int64_t phase = 0; phase < v.phases_w; ++phase) {
    const ConvAxis ax = ascending(conv_axis_w(s, pass, phase));
    tile.src_x = ax.off_step * src_c;
    tile.src_p = ax.src_step * src_c;
    tile.w_x = ax.tap_step * w_tap;
    tile.dst_p = ax.out_step * dst_c;
    const auto run = [&](int64_t j, int64_t n, Range q, bool adjacent) {
      tile.nx = q.end - q.begin;
      tile.src = src + (j * ax.src_step + ax.off0 + q.begin * ax.off_step) * src_c;
      tile.w = w + (ax.tap0 + q.begin * ax.tap_step) * w_tap;
      tile.dst = dst + (ax.out0 + j * ax.out_step) * dst_c;
      // A pointer: where it checks bounds, GCC 12 takes element 0 of an array that ?: has chosen.
      const auto* const tiles =
          adjacent ? &NarrowTable<T, true, Grouped, Halves>::kFn[0] : &NarrowTable<T, false, Grouped, Halves>::kFn[0];
      tiles[n / 2](tile);
    };
    // Pixels that see every tap lie between those that see some; adjacent tiles may reach one further on either side.
    Range inner{0, ax.count};
    for (int64_t q = 0; q < ax.taps; ++q) {
      const Range r = valid_range(ax.count, ax.src_step, ax.off0 + q * ax.off_step, v.sw);
      inner = {max64(inner.begin, r.begin), min64(inner.end, r.end)};
    }
    if (inner.begin >= inner.end) inner = {0, 0};
    const bool adjacent = ax.taps == 3 && ax.off_step == ax.src_step;
    const bool before = adjacent && inner.begin > 0, after = adjacent && inner.end > 0 && inner.end < ax.count;
    if (before) --inner.begin;
    if (after) ++inner.end;
    const auto edge = [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        run(j, 1, valid_range(ax.taps, ax.off_step, j * ax.src_step + ax.off0, v.sw), false);
      }
    };
    edge(0, inner.begin);
    const int64_t n = narrow_pixels(inner.end - inner.begin);
    for (int64_t at = inner.begin; at < inner.end; at += n) {
      const int64_t j = min64(at, inner.end - n);
      tile.skip_first = before && j == inner.begin;
      tile.skip_last = after && j + n == inner.end;
      run(j, n, {0, ax.taps}, adjacent);
    }
    edge(inner.end, ax.count);
  }
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
