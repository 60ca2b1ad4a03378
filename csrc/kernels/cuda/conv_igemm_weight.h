// The gradient to weights as an implicit matrix product: a row is an input channel of a kernel tap, a column an output
// channel, and sums run over the output's pixels, cut into parts for enough blocks. Both sides lie along rows and
// columns in memory: they go by cp.async to shared memory and never through registers.
#pragma once

#include "kernels/cuda/conv_tiles.h"
#include "kernels/cuda/gemm_epilogue.h"

namespace lamella::cuda {
namespace {

// A coordinate that stays outside of every image when another is added.
constexpr int kNowhere = -(1 << 30);

// kPacked: groups have a multiple of a pack of channels, and x is aligned.
template <class T, bool kPacked>
struct PixelLoader {
  static constexpr bool kAlongK = false;
  static constexpr int kPack = Pack<T>::kSize, kPlaces = kPacked ? 1 : kPack;
  const T* x;  // of the group
  int h, w, channels, group_channels, kernel_w, dilation_h, dilation_w, stride_h, stride_w, pad_top, pad_left;
  FastDiv by_channels, by_kernel_w, by_row, by_image;  // of y
  int rows, k_end;

  struct Row {
    int64_t at[kPlaces];
    int y[kPlaces], x[kPlaces];
  };
  struct Depth {
    int64_t at;
    int y, x;
  };
  __device__ __forceinline__ Row row(int64_t r) const {
    Row p;
#pragma unroll
    for (int i = 0; i < kPlaces; ++i) {
      const int at = static_cast<int>(r) + i;
      auto tap = static_cast<uint32_t>(at);
      const auto channel = static_cast<int>(by_channels.split(tap)), tap_x = static_cast<int>(by_kernel_w.split(tap));
      const auto tap_y = static_cast<int>(tap);
      const int oy = tap_y * dilation_h - pad_top, ox = tap_x * dilation_w - pad_left;
      p.y[i] = at < rows ? oy : kNowhere;
      p.x[i] = ox;
      p.at[i] = (int64_t{oy} * w + ox) * channels + channel;
    }
    return p;
  }
  __device__ __forceinline__ Depth depth(int64_t k) const {
    if (k >= k_end) return {0, kNowhere, 0};
    auto n = static_cast<uint32_t>(k);
    const int x0 = static_cast<int>(by_row.split(n)) * stride_w, y = static_cast<int>(by_image.split(n)) * stride_h;
    return {((int64_t{n} * h + y) * w + x0) * channels, y, x0};
  }
  __device__ __forceinline__ bool inside(const Row& r, const Depth& d, int i) const {
    return static_cast<unsigned>(r.y[i] + d.y) < static_cast<unsigned>(h) &&
           static_cast<unsigned>(r.x[i] + d.x) < static_cast<unsigned>(w);
  }
  __device__ __forceinline__ Pack<T> fetch(const Row& r, const Depth& d) const {
    Pack<T> v;
#pragma unroll
    for (int i = 0; i < kPack; ++i) v.v[i] = T{};
    if constexpr (kPacked) {
      if (inside(r, d, 0)) v = load_pack(x + r.at[0] + d.at);
    } else {
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        if (inside(r, d, i)) v.v[i] = x[r.at[i] + d.at];
      }
    }
    return v;
  }
  __device__ __forceinline__ void copy(T* shared, const Row& r, const Depth& d) const {
    if constexpr (kPacked) {
      const bool in = inside(r, d, 0);
      copy_async<16>(shared, in ? x + r.at[0] + d.at : x, in ? 16 : 0);
    } else {
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        const bool in = inside(r, d, i);
        copy_async<sizeof(T)>(shared + i, in ? x + r.at[i] + d.at : x, in ? static_cast<int>(sizeof(T)) : 0);
      }
    }
  }
};

template <class T>
struct SumStore {
  T* to;
  Real<T>* sums;  // where these are parts, or nullptr
  int64_t channels;
  bool packed;
  __device__ __forceinline__ void operator()(int64_t row, int64_t column, const Pack<Real<T>>& v, int count) const {
    const int64_t at = row * channels + column;
    if (sums != nullptr) return store_reals(sums + at, v, packed, count);
    store_reals(to + at, v, packed, count);
  }
};

template <class T, class Tile, bool kPacked, int kLeastBlocks>
__global__ void __launch_bounds__(Tile::kThreads, kLeastBlocks)
    igemm_weight(const __grid_constant__ IgemmWeightArgs<T> a) {
  const ConvShape& s = a.shape;
  const auto i = [](int64_t v) { return static_cast<int>(v); };
  const int cg = i(s.c / s.groups), og = i(s.oc / s.groups), group = i(blockIdx.y), rows = i(s.kh * s.kw) * cg;
  const int k = i(s.n * s.oh * s.ow), k_begin = i(blockIdx.z) * a.split_length;
  const int k_end = min(k, k_begin + a.split_length);
  const TilePlace place = tile_place(blockIdx.x, a.row_tiles, a.column_tiles);
  const PixelLoader<T, kPacked> left{a.x + int64_t{group} * cg,
                                     i(s.h),
                                     i(s.w),
                                     i(s.c),
                                     cg,
                                     i(s.kw),
                                     i(s.dilation_h),
                                     i(s.dilation_w),
                                     i(s.stride_h),
                                     i(s.stride_w),
                                     i(s.pad_top),
                                     i(s.pad_left),
                                     a.channels,
                                     a.kernel_w,
                                     a.row,
                                     a.image,
                                     rows,
                                     k_end};
  const MatrixLoader<T, false> right{a.dy + int64_t{group} * og, 1, s.oc, og, k_end, a.packed_dy};
  const int64_t first = int64_t{group} * og;
  const SumStore<T> store{a.dweight + first,
                          a.sums == nullptr ? nullptr : a.sums + int64_t{blockIdx.z} * rows * s.oc + first, s.oc,
                          a.packed_sums};
  Tile::run(left, right, int64_t{place.row} * Tile::kBlockM, int64_t{place.column} * Tile::kBlockN, k_begin, k_end,
            rows, og, store);
}

struct LaunchIgemmWeight {
  const Context& ctx;
  dim3 grid;
  template <class Tile, bool kPacked, int kLeastBlocks, class T>
  void go(const IgemmWeightArgs<T>& a) const {
    launch(ctx, igemm_weight<T, Tile, kPacked, kLeastBlocks>, {grid, dim3(Tile::kThreads), Tile::kSharedBytes}, a);
  }
};

}  // namespace
}  // namespace lamella::cuda
