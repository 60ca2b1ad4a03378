// Maps y[i] = f(in0[i], in1[i], ...) over flat or broadcast operands. A functor derives from Functor (functors.h) and
// has
//
//   __device__ Result operator()(const T (&v)[kOperands]) const;
//
// and works on arrays of 16-bit floats within OnHalves.
//
// All of this is bound by memory: accesses of 16 bytes, several of them in flight per thread. Small arrays are spread
// over as many threads as they have groups of 16 bytes; of large ones every thread has kUnroll groups, one array's
// quarter (half) apart, so that warps read whole lines.
#pragma once

#include "kernels/cuda/functors.h"
#include "kernels/cuda/walk.h"

namespace lamella::cuda {
namespace {

constexpr int kMapThreads = 256;

template <class F>
constexpr int kMapUnroll = F::kHeavy          ? 1
                           : F::kOperands > 1 ? 2
                                              : 4;
// Elements of an access. Heavy functors have no more than 4 in their code, which is long.
template <class F>
constexpr int kMapWidth = F::kHeavy && sizeof(typename F::Stored) < 4
                              ? 4
                              : 16 / static_cast<int>(sizeof(typename F::Stored));

// Enough threads for all of the device; beyond that, `unroll` groups for each.
inline Launch map_launch(int64_t groups, int unroll) {
  constexpr int kPerProcessor = 2048 / kMapThreads;
  const int64_t all = ceil_div(groups, kMapThreads), busy = int64_t{device_limits().multiprocessors} * kPerProcessor;
  const int64_t full = ceil_div(groups, int64_t{kMapThreads} * unroll);
  const int64_t blocks = all < busy ? all : full < busy ? busy : full;
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  return {dim3(static_cast<unsigned>(blocks < kMost ? blocks : kMost)), dim3(kMapThreads)};
}

// ---- flat -----------------------------------------------------------------------------------------------------------

// Element `at` of flat operands.
template <class F>
__device__ __forceinline__ typename F::Result map_one(const F& f, const Operands<F>& in, uint64_t at) {
  Group<typename F::Stored, 1> v[F::kOperands];
  for_operands<F::kOperands>([&](auto tag) {
    constexpr int k = decltype(tag)::value;
    v[k] = load_operand<F, 1, k>(in, at);
  });
  return apply<F, 1>(f, v).v[0];
}

// Elements behind the last whole group have code of their own: a compiler that sees both kinds of store in one place
// makes single ones of all.
template <int kWidth, class F>
__global__ void __launch_bounds__(kMapThreads) flat_map_kernel(F f, Operands<F> in, typename F::Result* y, int64_t n) {
  constexpr int kUnroll = kMapUnroll<F>;
  using G = Group<typename F::Stored, kWidth>;
  const int64_t groups = n / kWidth, stride = static_cast<int64_t>(gridDim.x) * kMapThreads;
  const int64_t me = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  for (int64_t first = me; first < groups; first += kUnroll * stride) {
    G v[kUnroll][F::kOperands];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t i = first + u * stride;
      if (i < groups) {
        for_operands<F::kOperands>([&](auto tag) {
          constexpr int k = decltype(tag)::value;
          v[u][k] = load_operand<F, kWidth, k>(in, static_cast<uint64_t>(i * kWidth));
        });
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t i = first + u * stride;
      if (i < groups) store_group(y + i * kWidth, apply<F, kWidth>(f, v[u]));
    }
  }
  if (kWidth > 1 && groups * kWidth + me < n) {
    const int64_t i = groups * kWidth + me;
    y[i] = map_one(f, in, static_cast<uint64_t>(i));
  }
}

template <class F, class Y>
void flat_map(const Context& ctx, const F& f, int64_t n, const void* const* in, Y* results) {
  if (n == 0) return;
  constexpr int kWidth = kMapWidth<F>;
  typename F::Result* const y = results_at<F>(results);
  Operands<F> operands;
  bool aligned = aligned_to(y, sizeof(typename F::Result) * kWidth);
  for (int k = 0; k < F::kOperands; ++k) {
    operands.p[k] = in[k];
    aligned = aligned && aligned_to(in[k], operand_size<F>(k) * kWidth);
  }
  if (aligned) {
    launch(ctx, flat_map_kernel<kWidth, F>, map_launch(ceil_div(n, kWidth), kMapUnroll<F>), f, operands, y, n);
  } else {
    launch(ctx, flat_map_kernel<1, F>, map_launch(n, kMapUnroll<F>), f, operands, y, n);
  }
}

template <int kWidth, class T>
__global__ void __launch_bounds__(kMapThreads) fill_kernel(T* y, int64_t n, T value) {
  const int64_t groups = n / kWidth, stride = static_cast<int64_t>(gridDim.x) * kMapThreads;
  const int64_t me = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  Group<T, kWidth> v;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) v.v[j] = value;
  for (int64_t i = me; i < groups; i += stride) store_group(y + i * kWidth, v);
  if (groups * kWidth + me < n) y[groups * kWidth + me] = value;
}

template <class T>
void fill_array(const Context& ctx, T* y, int64_t n, T value) {
  constexpr int kWidth = 16 / static_cast<int>(sizeof(T));
  if (aligned_to(y, 16)) {
    launch(ctx, fill_kernel<kWidth, T>, map_launch(ceil_div(n, kWidth), 4), y, n, value);
  } else {
    launch(ctx, fill_kernel<1, T>, map_launch(n, 4), y, n, value);
  }
}

// Two results of the same operands, f(v, first, second).
template <int kWidth, class F>
__global__ void __launch_bounds__(kMapThreads) flat_pair_kernel(F f, Operands<F> in, typename F::Result* first_out,
                                                                typename F::Result* second_out, int64_t groups) {
  using T = typename F::T;
  constexpr int kUnroll = F::kOperands > 2 ? 1 : 2;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kMapThreads;
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x; first < groups;
       first += kUnroll * stride) {
    Group<typename F::Stored, kWidth> v[kUnroll][F::kOperands];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t i = first + u * stride;
      if (i < groups) {
        for_operands<F::kOperands>([&](auto k) {
          v[u][decltype(k)::value] = load_operand<F, kWidth, decltype(k)::value>(in, static_cast<uint64_t>(i * kWidth));
        });
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t i = first + u * stride;
      if (i < groups) {
        Group<typename F::Result, kWidth> a, b;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          T one[F::kOperands], x, y;
          read_element<F, kWidth>(f, v[u], j, one);
          f(one, x, y);
          a.v[j] = f.written(x);
          b.v[j] = f.written(y);
        }
        store_group(first_out + i * kWidth, a);
        store_group(second_out + i * kWidth, b);
      }
    }
  }
}

template <class F, class Y>
void flat_pair(const Context& ctx, const F& f, int64_t n, const void* const* in, Y* first_results, Y* second_results) {
  typename F::Result *const first = results_at<F>(first_results), *const second = results_at<F>(second_results);
  constexpr int kWidth = kMapWidth<F>, kUnroll = F::kOperands > 2 ? 1 : 2;
  Operands<F> operands;
  bool wide = n % kWidth == 0 && aligned_to(first, 16) && aligned_to(second, 16);
  for (int k = 0; k < F::kOperands; ++k) {
    operands.p[k] = in[k];
    wide = wide && aligned_to(in[k], 16);
  }
  if (wide) {
    launch(ctx, flat_pair_kernel<kWidth, F>, map_launch(n / kWidth, kUnroll), f, operands, first, second, n / kWidth);
  } else {
    launch(ctx, flat_pair_kernel<1, F>, map_launch(n, kUnroll), f, operands, first, second, n);
  }
}

// ---- broadcast ------------------------------------------------------------------------------------------------------

enum class Lie : int32_t {
  kFull,    // as the output
  kScalar,  // a single element
  kRun,     // the elements of a group lie side by side
  kRepeat,  // the elements of a group are one
};

template <class F>
struct MapSpace {
  Axes<F::kOperands> axes;
  Lie lie[F::kOperands];
  bool located = false;  // whether any operand needs its offset
};

// kWidth divides the innermost dimension, or all operands are full or scalar; then elements may be left behind the last
// whole group.
template <int kWidth, class F>
__global__ void __launch_bounds__(kMapThreads) broadcast_map_kernel(F f, const __grid_constant__ MapSpace<F> space,
                                                                    Operands<F> in, typename F::Result* y, uint32_t n) {
  constexpr int kUnroll = F::kHeavy ? 1 : 2;
  using G = Group<typename F::Stored, kWidth>;
  const uint32_t groups = n / kWidth, stride = gridDim.x * kMapThreads;
  const uint32_t me = blockIdx.x * kMapThreads + threadIdx.x;
  for (uint32_t first = me; first < groups; first += kUnroll * stride) {
    G v[kUnroll][F::kOperands];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const uint32_t group = first + static_cast<uint32_t>(u) * stride;
      if (group < groups) {
        uint32_t at[F::kOperands] = {};
        if (space.located) space.axes.locate(group * kWidth, at);
        for_operands<F::kOperands>([&](auto tag) {
          constexpr int k = decltype(tag)::value;
          const Lie lie = space.lie[k];
          if (lie == Lie::kFull || lie == Lie::kRun) {
            v[u][k] = load_operand<F, kWidth, k>(in, lie == Lie::kFull ? group * kWidth : at[k]);
          } else {
            v[u][k] = splat_operand<F, kWidth, k>(in, at[k]);
          }
        });
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const uint32_t group = first + static_cast<uint32_t>(u) * stride;
      if (group < groups) store_group(y + group * kWidth, apply<F, kWidth>(f, v[u]));
    }
  }
  if (kWidth > 1 && me < n % kWidth) {
    const uint32_t i = groups * kWidth + me;
    Group<typename F::Stored, 1> v[F::kOperands];
    for_operands<F::kOperands>([&](auto tag) {
      constexpr int k = decltype(tag)::value;
      v[k] = load_operand<F, 1, k>(in, space.lie[k] == Lie::kFull ? i : 0);
    });
    y[i] = apply<F, 1>(f, v).v[0];
  }
}

template <int kWidth, class F>
void launch_broadcast(const Context& ctx, const F& f, const MapSpace<F>& space, const Operands<F>& in,
                      typename F::Result* y, int64_t n) {
  launch(ctx, broadcast_map_kernel<kWidth, F>, map_launch(ceil_div(n, kWidth), F::kHeavy ? 1 : 2), f, space, in, y,
         static_cast<uint32_t>(n));
}

template <class F, class Y>
void broadcast_map(const Context& ctx, const F& f, const BroadcastDims& d, const void* const* in, Y* results) {
  constexpr int kOperands = F::kOperands, kWidth = kMapWidth<F>;
  typename F::Result* const y = results_at<F>(results);
  const int64_t n = places(d);
  if (n == 0) return;
  MapSpace<F> space;
  Operands<F> operands;
  bool all_full = true, simple = true, wide = aligned_to(y, sizeof(typename F::Result) * kWidth);
  for (int k = 0; k < kOperands; ++k) {
    bool full = true, scalar = true;
    int64_t stride = 1;
    for (int i = d.rank - 1; i >= 0; --i) {
      full = full && d.strides[k][i] == stride;
      scalar = scalar && d.strides[k][i] == 0;
      stride *= d.dims[i];
    }
    const bool run = d.rank > 0 && d.strides[k][d.rank - 1] == 1;
    // With a single place an operand is both, and may be read as either.
    space.lie[k] = full ? Lie::kFull : scalar ? Lie::kScalar : run ? Lie::kRun : Lie::kRepeat;
    all_full = all_full && full;
    simple = simple && (full || scalar);
    space.located = space.located || !(full || scalar);
    if (full || run) wide = wide && aligned_to(in[k], operand_size<F>(k) * kWidth);
    operands.p[k] = in[k];
  }
  if (all_full) return flat_map(ctx, f, n, in, y);

  if (n > kMostPlaces) {
    // Cut in two at the outermost dimension, so that outputs stay contiguous.
    int i = 0;
    while (d.dims[i] == 1) ++i;
    const int64_t begin = d.dims[i] / 2;
    BroadcastDims half = d;
    half.dims[i] = begin;
    broadcast_map(ctx, f, half, in, y);
    const void* rest[kOperands];
    for (int k = 0; k < kOperands; ++k) rest[k] = operand_at<F>(in[k], k, begin * d.strides[k][i]);
    half.dims[i] = d.dims[i] - begin;
    return broadcast_map(ctx, f, half, rest, y + n / d.dims[i] * begin);
  }

  for (int i = d.rank - 1; i >= 0; --i) {
    int64_t stride[kOperands];
    for (int k = 0; k < kOperands; ++k) stride[k] = d.strides[k][i];
    space.axes.push(d.dims[i], stride);
  }
  if (wide && (simple || d.dims[d.rank - 1] % kWidth == 0)) {
    launch_broadcast<kWidth>(ctx, f, space, operands, y, n);
  } else {
    launch_broadcast<1>(ctx, f, space, operands, y, n);
  }
}

}  // namespace
}  // namespace lamella::cuda
