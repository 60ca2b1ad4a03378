// Convolution as a matrix product whose left side is never written down: a row is a destination pixel, a column a
// destination channel, and a place along k a source channel of a kernel tap. Loaders find the elements in the images;
// the product itself is gemm_tile_simt.h's or gemm_tile_mma.h's. Divisions are by multiplication: one pair per 16-byte
// load along k, and per row once.
#pragma once

#include "kernels/cuda/activation.h"
#include "kernels/cuda/conv_geometry.h"
#include "kernels/cuda/conv_igemm_plan.h"
#include "kernels/cuda/conv_tiles.h"
#include "kernels/cuda/gemm_epilogue.h"

namespace lamella::cuda {
namespace {

// A coordinate that stays outside of every image when another is added.
constexpr int kNowhere = -(1 << 30);

// The way that a kernel goes. Without phases all that it needs of the geometry are its arguments, which take no
// registers.
enum class Way { kForward, kPool, kData, kPhases };

template <Way kWay>
__device__ __forceinline__ ConvAxis<int> axis_of(const ConvAxisRule<int>& r, int phase) {
  if constexpr (kWay == Way::kPhases) {
    return r.axis(phase);
  } else if constexpr (kWay == Way::kData) {
    return {0, 1, r.dst_size, 1, r.src_size, r.kernel, 0, 1, r.pad, -r.dilation};
  } else {
    return {0, 1, r.dst_size, r.stride, r.src_size, r.kernel, 0, 1, -r.pad, r.dilation};
  }
}

// How rows of the product are numbered: pixel by pixel of one phase; where a pooling follows, window by window.
struct RowOrder {
  FastDiv row, image;  // by columns and by rows; of windows in the order of windows
  bool windows = false;

  struct Pixel {
    int n, i, j;
  };
  __device__ __forceinline__ Pixel operator()(int r) const {
    uint32_t n = static_cast<uint32_t>(windows ? r >> 2 : r);
    const auto j = static_cast<int>(row.split(n)), i = static_cast<int>(image.split(n));
    if (!windows) return {static_cast<int>(n), i, j};
    return {static_cast<int>(n), 2 * i + (r >> 1 & 1), 2 * j + (r & 1)};
  }
};

// Where kernel tap q of an axis' phase looks, and which weights it has.
struct TapPlace {
  int y, x;     // from the row's first
  int64_t tap;  // number in the kernel
  int channel;
};
struct TapOrder {
  ConvAxis<int> h, w;
  int kernel_w;
  FastDiv channels, taps_w;
  __device__ __forceinline__ TapPlace operator()(int k) const {
    auto t = static_cast<uint32_t>(k);
    const auto channel = static_cast<int>(channels.split(t)), qx = static_cast<int>(taps_w.split(t));
    const auto qy = static_cast<int>(t);
    return {qy * h.off_step, qx * w.off_step, int64_t{h.tap0 + qy * h.tap_step} * kernel_w + w.tap0 + qx * w.tap_step,
            channel};
  }
};

// Source pixels (rows) by taps and channels. kPacked: groups have a multiple of a pack of channels, and everything is
// aligned.
template <class T, bool kPacked>
struct WindowLoader {
  static constexpr bool kAlongK = true;
  static constexpr int kPack = Pack<T>::kSize, kPlaces = kPacked ? 1 : kPack;
  const T* src;  // of the group
  TapOrder taps;
  RowOrder order;
  int rows, k_end, channels;  // channels: of all groups

  struct Row {
    int64_t at;
    int y, x;
  };
  struct Depth {
    int64_t at[kPlaces];
    int y[kPlaces], x[kPlaces];
  };
  __device__ __forceinline__ Row row(int64_t r) const {
    if (r >= rows) return {0, kNowhere, 0};
    const RowOrder::Pixel p = order(static_cast<int>(r));
    const int y = p.i * taps.h.src_step + taps.h.off0, x = p.j * taps.w.src_step + taps.w.off0;
    return {((int64_t{p.n} * taps.h.src_size + y) * taps.w.src_size + x) * channels, y, x};
  }
  __device__ __forceinline__ Depth depth(int64_t k) const {
    Depth d;
#pragma unroll
    for (int i = 0; i < kPlaces; ++i) {
      const int at = static_cast<int>(k) + i;
      const TapPlace t = taps(at);
      d.y[i] = at < k_end ? t.y : kNowhere;
      d.x[i] = t.x;
      d.at[i] = (int64_t{t.y} * taps.w.src_size + t.x) * channels + t.channel;
    }
    return d;
  }
  __device__ __forceinline__ bool inside(const Row& r, const Depth& d, int i) const {
    return static_cast<unsigned>(r.y + d.y[i]) < static_cast<unsigned>(taps.h.src_size) &&
           static_cast<unsigned>(r.x + d.x[i]) < static_cast<unsigned>(taps.w.src_size);
  }
  __device__ __forceinline__ Pack<T> fetch(const Row& r, const Depth& d) const {
    Pack<T> v;
#pragma unroll
    for (int j = 0; j < kPack; ++j) v.v[j] = T{};
    if constexpr (kPacked) {
      if (inside(r, d, 0)) v = load_pack(src + r.at + d.at[0]);
    } else {
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        if (inside(r, d, j)) v.v[j] = src[r.at + d.at[j]];
      }
    }
    return v;
  }
};

// The gradient to data's weights: rows are the channels of x, neighbours along k those of y.
template <class T, bool kPacked>
struct TapWeightLoader {
  static constexpr bool kAlongK = true;
  static constexpr int kPack = Pack<T>::kSize, kPlaces = kPacked ? 1 : kPack;
  const T* weight;  // of the group
  TapOrder taps;
  int rows, k_end;
  int64_t tap_stride, row_stride;

  using Row = const T*;
  struct Depth {
    int64_t at[kPlaces];  // negative: nothing there
  };
  __device__ __forceinline__ Row row(int64_t r) const { return r < rows ? weight + r * row_stride : nullptr; }
  __device__ __forceinline__ Depth depth(int64_t k) const {
    Depth d;
#pragma unroll
    for (int i = 0; i < kPlaces; ++i) {
      const int at = static_cast<int>(k) + i;
      const TapPlace t = taps(at);
      d.at[i] = at < k_end ? t.tap * tap_stride + t.channel : -1;
    }
    return d;
  }
  __device__ __forceinline__ Pack<T> fetch(Row row, const Depth& d) const {
    Pack<T> v;
#pragma unroll
    for (int j = 0; j < kPack; ++j) v.v[j] = T{};
    if (row == nullptr) return v;
    if constexpr (kPacked) {
      if (d.at[0] >= 0) v = load_pack(row + d.at[0]);
    } else {
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        if (d.at[j] >= 0) v.v[j] = row[d.at[j]];
      }
    }
    return v;
  }
};

// ---- forward and the gradient to data
// --------------------------------------------------------------------------------

template <class T, Way kWay>
struct IgemmStore {
  using R = Real<T>;
  static constexpr int kSize = Pack<R>::kSize;
  T* dst;   // of the group
  R* sums;  // where these are parts, or nullptr
  const T* bias;
  Activation act;
  bool packed;
  int channels, phase_h, phase_w;  // of all groups; the phase's first pixel
  RowOrder order;
  const ConvView<int>* view;

  __device__ __forceinline__ int64_t pixel(int row) const {
    if constexpr (kWay != Way::kPhases) return row;
    const RowOrder::Pixel p = order(row);
    const int i = phase_h + p.i * view->h.stride, j = phase_w + p.j * view->w.stride;
    return (int64_t{p.n} * view->h.dst_size + i) * view->w.dst_size + j;
  }
  __device__ __forceinline__ void operator()(int64_t row, int64_t column, Pack<R> v, int count) const {
    const int64_t at = pixel(static_cast<int>(row)) * channels + column;
    if (sums != nullptr) return store_reals(sums + at, v, packed, count);
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      if (j < count) {
        if (bias != nullptr) v.v[j] += widened(bias[column + j]);
        v.v[j] = act_value(act, v.v[j]);
      }
    }
    store_reals(dst + at, v, packed, count);
  }
};

// The largest of a window's four rows, and its activation.
template <class T>
struct IgemmPool {
  using R = Real<T>;
  static constexpr int kRowsTogether = 4, kSize = Pack<R>::kSize;
  T* dst;
  uint8_t* argmax;
  const T* bias;
  Activation act;
  bool packed;
  int channels;

  __device__ __forceinline__ void operator()(int64_t row, int64_t column, const Pack<R> (&v)[4], int count) const {
    const int64_t at = row / 4 * channels + column;
    Pack<R> best;
    uint8_t where[kSize];
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      const R b = bias != nullptr && j < count ? widened(bias[column + j]) : R(0);
      R top = v[0].v[j] + b;
      where[j] = 0;
#pragma unroll
      for (int t = 1; t < 4; ++t) {
        const R other = v[t].v[j] + b;
        // As max pooling: the first of equals, and of NaNs.
        if (!(other <= top) && top == top) {
          top = other;
          where[j] = static_cast<uint8_t>(t);
        }
      }
      best.v[j] = j < count ? act_value(act, top) : R(0);
    }
    store_reals(dst + at, best, packed, count);
    if (argmax == nullptr) return;
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      if (j < count) argmax[at + j] = where[j];
    }
  }
};

// Grid: tiles, groups, and phases of the destination or splits of k.
template <class T, class Tile, Way kWay, bool kPacked, int kLeastBlocks>
__global__ void __launch_bounds__(Tile::kThreads, kLeastBlocks) igemm(const __grid_constant__ IgemmArgs<T> a) {
  constexpr bool kPool = kWay == Way::kPool, kPhases = kWay == Way::kPhases;
  const ConvView<int>& v = a.view;
  const int z = static_cast<int>(blockIdx.z), group = static_cast<int>(blockIdx.y);
  TapOrder taps{axis_of<kWay>(v.h, kPhases ? z / v.w.phases : 0), axis_of<kWay>(v.w, kPhases ? z % v.w.phases : 0),
                v.w.kernel, a.channels, a.taps_w};
  RowOrder order{a.row, a.image, kPool};
  if constexpr (kPhases) {
    if (taps.h.count == 0 || taps.w.count == 0) return;
    order.row = FastDiv(taps.w.count);
    order.image = FastDiv(taps.h.count);
    taps.taps_w = FastDiv(taps.w.taps > 0 ? taps.w.taps : 1);
  }
  const int rows = v.n * taps.h.count * taps.w.count, k = taps.h.taps * taps.w.taps * v.kc;
  const TilePlace place = tile_place(blockIdx.x, a.row_tiles, a.column_tiles);
  const int64_t row0 = int64_t{place.row} * Tile::kBlockM, column0 = int64_t{place.column} * Tile::kBlockN;
  if (row0 >= rows) return;
  const int k_begin = kPhases ? 0 : z * a.split_length, k_end = kPhases ? k : min(k, k_begin + a.split_length);

  const WindowLoader<T, kPacked> left{a.p.src + int64_t{group} * v.kc, taps, order, rows, k_end, v.sc};
  const int64_t first = int64_t{group} * v.nc;
  const auto product = [&](const auto& right) {
    if constexpr (kPool) {
      const IgemmPool<T> pool{a.p.dst + first,
                              a.p.argmax == nullptr ? nullptr : a.p.argmax + first,
                              a.p.bias == nullptr ? nullptr : a.p.bias + first,
                              a.p.act,
                              a.packed_dst,
                              v.dc};
      Tile::run(left, right, row0, column0, k_begin, k_end, rows, v.nc, pool);
    } else {
      const bool whole = kPhases || a.splits == 1;
      const IgemmStore<T, kWay> store{whole ? a.p.dst + first : nullptr,
                                      whole ? nullptr : a.partial + int64_t{z} * rows * v.dc + first,
                                      whole && a.p.bias != nullptr ? a.p.bias + first : nullptr,
                                      whole ? a.p.act : Activation{},
                                      a.packed_dst,
                                      v.dc,
                                      taps.h.out0,
                                      taps.w.out0,
                                      order,
                                      &v};
      Tile::run(left, right, row0, column0, k_begin, k_end, rows, v.nc, store);
    }
  };
  if constexpr (kWay == Way::kForward || kWay == Way::kPool) {
    product(MatrixLoader<T, false>{a.p.weight + group * v.w_group, 1, v.w_k, v.nc, k_end, a.packed_weight});
  } else {
    product(TapWeightLoader<T, kPacked>{a.p.weight + group * v.w_group, taps, v.nc, k_end, v.w_tap, v.w_j});
  }
}

template <Way kWay>
struct LaunchIgemm {
  const Context& ctx;
  dim3 grid;
  template <class Tile, bool kPacked, int kLeastBlocks, class T>
  void go(const IgemmArgs<T>& a) const {
    launch(ctx, igemm<T, Tile, kWay, kPacked, kLeastBlocks>, {grid, dim3(Tile::kThreads), Tile::kSharedBytes}, a);
  }
};

}  // namespace
}  // namespace lamella::cuda
