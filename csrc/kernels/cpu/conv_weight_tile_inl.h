// The register tile of the gradient to weights: contiguous rows of x times vectors of dy, summed over a band of pixels.
#pragma once

#include "kernels/cpu/gemm_micro.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
struct WeightTile;
#if defined(LAMELLA_ISA_AVX512)
template <>
struct WeightTile<float> {
  static constexpr int kMR = 14, kNV = 2;
};
#elif defined(LAMELLA_ISA_AVX2)
template <>
struct WeightTile<float> {
  static constexpr int kMR = 6, kNV = 2;
};
#else
template <class T>
struct WeightTile {
  static constexpr int kMR = 4, kNV = 2;
};
#endif
template <class T>
constexpr int64_t kWeightNR = WeightTile<T>::kNV* Vec<T>::W;

// Output pixels summed in registers at a stretch: long enough to pay for adding the tile to memory, short enough for
// good sums and for a band to stay in L2.
constexpr int64_t kBandPixels = 256;

template <class T>
struct WeightTileArgs {
  const T *x, *dy;
  int64_t images, rows, cols;
  int64_t x_image, x_row, x_col, dy_image, dy_row, dy_col;
  T* dw;
  int64_t ldw, n;  // n: columns that exist, in ((NV-1)*W, NV*W]
  bool accumulate;
  int64_t ahead;  // elements of x to the next band, to be fetched meanwhile; or 0
};

template <class T, int MR, int NV>
void weight_tile(const WeightTileArgs<T>& t) {
  using V = Vec<T>;
  constexpr int W = V::W;
  const int64_t last = t.n - (NV - 1) * W;
  V acc[MR][NV];
  unroll<MR>(LAMELLA_UNROLLED(i) { unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = V::zero(); }); });
  const auto sum = [&]<bool Full>(std::bool_constant<Full>) __attribute__((always_inline)) {
    for (int64_t n = 0; n < t.images; ++n) {
      for (int64_t r = 0; r < t.rows; ++r) {
        const T* x = t.x + n * t.x_image + r * t.x_row;
        const T* dy = t.dy + n * t.dy_image + r * t.dy_row;
        for (int64_t c = 0; c < t.cols; ++c, x += t.x_col, dy += t.dy_col) {
          if (t.ahead != 0) __builtin_prefetch(x + t.ahead);
          V row[NV];
          unroll<NV>(LAMELLA_UNROLLED(j) {
            if constexpr (Full || j.value < NV - 1)
              row[j.value] = V::load(dy + j.value * W);
            else
              row[j.value] = V::load(dy + j.value * W, last);
          });
          unroll<MR>(LAMELLA_UNROLLED(i) {
            const V a(x[i.value]);
            unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = fma(a, row[j.value], acc[i.value][j.value]); });
          });
        }
      }
    }
  };
  if (last == W)
    sum(std::true_type{});
  else
    sum(std::false_type{});
  unroll<MR>(LAMELLA_UNROLLED(i) {
    T* w = t.dw + i.value * t.ldw;
    unroll<NV>(LAMELLA_UNROLLED(j) {
      const int64_t width = j.value == NV - 1 ? last : W;
      V value = acc[i.value][j.value];
      if (t.accumulate) value = value + V::load(w + j.value * W, width);
      value.store(w + j.value * W, width);
    });
  });
}

// The nine taps of a 3x3 kernel on one channel at once, kernel rows x_tap elements apart: dy is read once for all.
template <class T, int NV>
LAMELLA_NOINLINE void weight_tile_3x3(const WeightTileArgs<T>& t, int64_t x_tap) {
  using V = Vec<T>;
  constexpr int W = V::W;
  const int64_t last = t.n - (NV - 1) * W;
  V acc[9][NV];
  unroll<9>(LAMELLA_UNROLLED(i) { unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = V::zero(); }); });
  const auto load = [&](const T* p, auto j) __attribute__((always_inline)) {
    return j.value == NV - 1 ? V::load(p + j.value * W, last) : V::load(p + j.value * W);
  };
  for (int64_t n = 0; n < t.images; ++n) {
    for (int64_t r = 0; r < t.rows; ++r) {
      const T* x = t.x + n * t.x_image + r * t.x_row;
      const T* dy = t.dy + n * t.dy_image + r * t.dy_row;
      for (int64_t c = 0; c < t.cols; ++c, x += t.x_col, dy += t.dy_col) {
        V row[NV];
        unroll<NV>(LAMELLA_UNROLLED(j) { row[j.value] = load(dy, j); });
        unroll<9>(LAMELLA_UNROLLED(i) {
          const V a(x[i.value / 3 * x_tap + i.value % 3]);
          unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = fma(a, row[j.value], acc[i.value][j.value]); });
        });
      }
    }
  }
  unroll<9>(LAMELLA_UNROLLED(i) {
    T* w = t.dw + i.value * t.ldw;
    unroll<NV>(LAMELLA_UNROLLED(j) {
      const int64_t width = j.value == NV - 1 ? last : W;
      V value = acc[i.value][j.value];
      if (t.accumulate) value = value + V::load(w + j.value * W, width);
      value.store(w + j.value * W, width);
    });
  });
}

template <class T, class Rows>
struct WeightTileTable;
template <class T, int... I>
struct WeightTileTable<T, std::integer_sequence<int, I...>> {
  using Fn = void (*)(const WeightTileArgs<T>&);
  static constexpr Fn kFn[2][sizeof...(I)] = {{weight_tile<T, I + 1, 1>...}, {weight_tile<T, I + 1, 2>...}};
};
template <class T>
using WeightTiles = WeightTileTable<T, std::make_integer_sequence<int, WeightTile<T>::kMR>>;

}  // namespace
}  // namespace lamella::LAMELLA_NS
