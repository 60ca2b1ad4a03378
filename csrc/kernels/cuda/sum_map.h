// Sums of maps, sum over r of f(in0[o, r], in1[o, r], ...) for every place o of the kept dimensions, r running through
// the reduced ones: gradients of broadcast operands, in one pass over memory. Functors are map.h's.
//
// Two kernels. Where the innermost dimension is kept (a bias' gradient), neighbouring threads have neighbouring
// outputs, a block is `width` of them by `shares` of the reduced places; where it is reduced, 1 to 32 lanes or a block
// share an output and walk along memory. Both cut the reduced places into `splits` where there are too few outputs for
// a device, and then add up the parts, which stand in the workspace, in a second launch. Everything is fixed by the
// shape (and the alignment), so results are the same on every device; each thread has several sums of its own, and a
// few hundred terms for each at most unless there are billions. Sums of 16-bit floats, and their parts, are float32
// until the last one is rounded.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/functors.h"
#include "kernels/cuda/map.h"
#include "kernels/cuda/walk.h"

namespace lamella::cuda {
namespace {

constexpr int kSumThreads = 256;
constexpr int64_t kSumBlocks = 1024;  // worth splitting for: some 8 on each of a large device's processors
constexpr int64_t kSumTerms = 16;     // accesses per thread that are worth a part of their own
constexpr int64_t kMostSplits = 1024;

template <class F>
constexpr int kSumUnroll = F::kOperands > 2 ? 2 : 4;

// An iteration space, and which dimensions are summed over.
struct SumDims {
  BroadcastDims dims;
  bool reduced[BroadcastDims::kMaxRank] = {};

  int64_t count(bool of_reduced) const {
    int64_t n = 1;
    for (int i = 0; i < dims.rank; ++i)
      if (reduced[i] == of_reduced) n *= dims.dims[i];
    return n;
  }
  // The innermost dimension but for those of 1, which are in nobody's way; -1: none.
  int innermost() const {
    int i = dims.rank - 1;
    while (i >= 0 && dims.dims[i] == 1) --i;
    return i;
  }
  bool divisible(int width) const {
    const int i = innermost();
    return i >= 0 && dims.dims[i] % width == 0;
  }
};

// And its operands.
template <class F>
struct SumSpace : SumDims {
  const void* in[F::kOperands] = {};

  // Whether groups of `width` along the innermost dimension can be read.
  bool wide(int width) const {
    if (!divisible(width)) return false;
    const int i = innermost();
    for (int k = 0; k < F::kOperands; ++k) {
      if (dims.strides[k][i] == 1 && !aligned_to(in[k], operand_size<F>(k) * static_cast<size_t>(width))) return false;
    }
    return true;
  }
};

struct SumPlan {
  bool columns = false;  // the innermost dimension is kept
  int64_t width = 1;     // columns: groups of outputs per block; rows: lanes per output
  int64_t shares = 1;    // columns: threads per output
  int64_t tiles = 1;     // columns: blocks side by side
  int64_t chunk = 0;     // reduced places (rows: groups of them) of a split
  int64_t splits = 1;
};

// For accesses of `group` elements; there are outputs.
inline SumPlan sum_plan(const SumDims& s, int group, int64_t most_splits = kMostSplits) {
  SumPlan p;
  const int64_t outputs = s.count(false), terms = s.count(true);
  const int inner = s.innermost();
  p.columns = inner >= 0 && !s.reduced[inner];
  int64_t blocks = 0, length = terms, threads = 0;  // without splits; terms of an output, which so many threads share
  if (p.columns) {
    // Wide enough to read half a kilobyte in one piece, where memory is contiguous for as long, and for every thread to
    // have some terms.
    const int64_t columns = outputs / group, run = s.dims.dims[inner] / group;
    int64_t shares = terms / kSumTerms;
    shares = shares < 1 ? 1 : shares > kSumThreads ? kSumThreads : shares;
    const int64_t contiguous = run < 32 ? run : 32, busy = kSumThreads / shares;
    const int64_t widest = contiguous > busy ? contiguous : busy;
    p.tiles = ceil_div(columns, widest);
    p.width = widest == run ? run : ceil_div(columns, p.tiles);
    p.shares = kSumThreads / p.width;
    blocks = p.tiles;
    threads = p.shares;
  } else {
    length = terms / group;
    while (p.width < 32 && p.width * 8 < length) p.width *= 2;
    if (length > 1024 || (length >= 128 && outputs < 2 * kSumBlocks)) p.width = kSumThreads;
    blocks = ceil_div(outputs * p.width, kSumThreads);
    threads = p.width;
  }
  if (p.columns || p.width == kSumThreads) {
    const int64_t wanted = kSumBlocks / blocks, worth = length / (threads * kSumTerms);
    p.splits = wanted < worth ? wanted : worth;
    if (p.splits > most_splits) p.splits = most_splits;
    if (p.splits < 1) p.splits = 1;
  }
  p.chunk = ceil_div(length, p.splits);
  if (p.chunk > 0) p.splits = ceil_div(length, p.chunk);
  return p;
}

template <class F>
struct SumArgs {
  Axes<F::kOperands> kept, reduced;
  uint32_t outputs = 0, terms = 0, chunk = 0, splits = 1;
  uint32_t width = 1, shares = 1, tiles = 1;
  bool run[F::kOperands] = {};  // the innermost stride is 1, not 0
  bool add = false;             // to what is there
  // Where the results are stored in a type narrower than the sums: instead of `out`, where it is not null.
  typename F::Result* rounded = nullptr;
};

// Sum number i.
template <class F>
__device__ __forceinline__ void store_sum(const F& f, const SumArgs<F>& a, typename F::T* out, int64_t i,
                                          typename F::T sum) {
  if constexpr (!std::is_same_v<typename F::T, typename F::Result>) {
    if (a.rounded != nullptr) {
      a.rounded[i] = f.written(sum);
      return;
    }
  }
  out[i] = a.add ? out[i] + sum : sum;
}

template <class F, int kWidth>
__device__ __forceinline__ void load_terms(const SumArgs<F>& a, const Operands<F>& in,
                                           const uint32_t (&at)[F::kOperands],
                                           Group<typename F::Stored, kWidth> (&v)[F::kOperands]) {
  for_operands<F::kOperands>([&](auto tag) {
    constexpr int k = decltype(tag)::value;
    if (kWidth == 1 || a.run[k]) {
      v[k] = load_operand<F, kWidth, k>(in, at[k]);
    } else {
      v[k] = splat_operand<F, kWidth, k>(in, at[k]);
    }
  });
}

// Thread (x, share) of block (tile, split): outputs (tile * width + x) * kWidth and on; places share, share + shares...
// of the split. Parts: [split][output].
template <int kWidth, class F>
__global__ void __launch_bounds__(kSumThreads)
    sum_columns_kernel(F f, const __grid_constant__ SumArgs<F> a, Operands<F> in, typename F::T* out) {
  using T = typename F::T;
  constexpr int kUnroll = kSumUnroll<F>;
  __shared__ Group<T, kWidth> scratch[kSumThreads];
  const uint32_t split = blockIdx.x / a.tiles, tile = blockIdx.x - split * a.tiles;
  const uint32_t share = threadIdx.x / a.width, x = threadIdx.x - share * a.width;
  const uint32_t output = (tile * a.width + x) * kWidth;
  const uint32_t begin = split * a.chunk, end = begin + a.chunk < a.terms ? begin + a.chunk : a.terms;
  const bool inside = share < a.shares && output < a.outputs;

  T sum[kUnroll][kWidth] = {};
  if (inside) {
    uint32_t base[F::kOperands] = {};
    a.kept.locate(output, base);
    for (uint32_t r = begin + share; r < end; r += kUnroll * a.shares) {
      Group<typename F::Stored, kWidth> v[kUnroll][F::kOperands];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const uint32_t here = r + static_cast<uint32_t>(u) * a.shares;
        if (here < end) {
          uint32_t at[F::kOperands];
#pragma unroll
          for (int k = 0; k < F::kOperands; ++k) at[k] = base[k];
          a.reduced.locate(here, at);
          load_terms<F, kWidth>(a, in, at, v[u]);
        }
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (r + static_cast<uint32_t>(u) * a.shares < end) {
          const Group<T, kWidth> term = values<F, kWidth>(f, v[u]);
#pragma unroll
          for (int j = 0; j < kWidth; ++j) sum[u][j] += term.v[j];
        }
      }
    }
  }
  Group<T, kWidth> total;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
#pragma unroll
    for (int n = kUnroll; n > 1; n /= 2) {
#pragma unroll
      for (int u = 0; u < n / 2; ++u) sum[u][j] += sum[u + n / 2][j];
    }
    total.v[j] = sum[0][j];
  }
  // The shares are folded in half, the upper onto the lower.
  for (uint32_t n = a.shares; n > 1;) {
    const uint32_t half = (n + 1) / 2;
    if (share < n) scratch[threadIdx.x] = total;
    __syncthreads();
    if (share < n / 2) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) total.v[j] += scratch[threadIdx.x + half * a.width].v[j];
    }
    __syncthreads();
    n = half;
  }
  if (inside && share == 0) {
    const int64_t at = static_cast<int64_t>(split) * a.outputs + output;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) store_sum(f, a, out, at + j, total.v[j]);
  }
}

// `width` lanes (all threads of the block where it is kSumThreads) per unit, which is a split of an output. Parts:
// [output][split].
template <int kWidth, class F>
__global__ void __launch_bounds__(kSumThreads)
    sum_rows_kernel(F f, const __grid_constant__ SumArgs<F> a, Operands<F> in, typename F::T* out) {
  using T = typename F::T;
  constexpr int kUnroll = kSumUnroll<F>;
  __shared__ T scratch[32];
  const uint32_t lane = threadIdx.x & (a.width - 1);
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * (kSumThreads / a.width) + threadIdx.x / a.width;
  const bool inside = unit < static_cast<int64_t>(a.outputs) * a.splits;

  T sum[kUnroll][kWidth] = {};
  if (inside) {
    const uint32_t output = static_cast<uint32_t>(a.splits == 1 ? unit : unit / a.splits);
    const uint32_t split = static_cast<uint32_t>(unit - static_cast<int64_t>(output) * a.splits);
    const uint32_t begin = split * a.chunk, all = a.terms / kWidth;
    const uint32_t end = begin + a.chunk < all ? begin + a.chunk : all;
    uint32_t base[F::kOperands] = {};
    a.kept.locate(output, base);
    for (uint32_t r = begin + lane; r < end; r += kUnroll * a.width) {
      Group<typename F::Stored, kWidth> v[kUnroll][F::kOperands];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const uint32_t here = r + static_cast<uint32_t>(u) * a.width;
        if (here < end) {
          uint32_t at[F::kOperands];
#pragma unroll
          for (int k = 0; k < F::kOperands; ++k) at[k] = base[k];
          a.reduced.locate(here * kWidth, at);
          load_terms<F, kWidth>(a, in, at, v[u]);
        }
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (r + static_cast<uint32_t>(u) * a.width < end) {
          const Group<T, kWidth> term = values<F, kWidth>(f, v[u]);
#pragma unroll
          for (int j = 0; j < kWidth; ++j) sum[u][j] += term.v[j];
        }
      }
    }
  }
  T total = 0;
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    T part = sum[u][0];
#pragma unroll
    for (int j = 1; j < kWidth; ++j) part += sum[u][j];
    total += part;
  }
  if (a.width == kSumThreads) {
    total = block_sum(total, scratch);
  } else {
    for (uint32_t d = a.width / 2; d > 0; d /= 2) total += __shfl_xor_sync(~0u, total, static_cast<int>(d));
  }
  if (inside && lane == 0) store_sum(f, a, out, unit, total);
}

template <int kWidth, class F>
void launch_sum(const Context& ctx, const F& f, const SumSpace<F>& s, const SumPlan& p, typename F::T* out,
                typename F::Result* rounded, bool add) {
  const int64_t outputs = s.count(false);
  SumArgs<F> a;
  Operands<F> in;
  const int inner = s.innermost();
  for (int k = 0; k < F::kOperands; ++k) {
    in.p[k] = s.in[k];
    a.run[k] = inner >= 0 && s.dims.strides[k][inner] == 1;
  }
  for (int i = s.dims.rank - 1; i >= 0; --i) {
    int64_t stride[F::kOperands];
    for (int k = 0; k < F::kOperands; ++k) stride[k] = s.dims.strides[k][i];
    if (s.dims.dims[i] > 1) (s.reduced[i] ? a.reduced : a.kept).push(s.dims.dims[i], stride);
  }
  a.outputs = static_cast<uint32_t>(outputs);
  a.terms = static_cast<uint32_t>(s.count(true));
  a.chunk = static_cast<uint32_t>(p.chunk);
  a.splits = static_cast<uint32_t>(p.splits);
  a.width = static_cast<uint32_t>(p.width);
  a.shares = static_cast<uint32_t>(p.shares);
  a.tiles = static_cast<uint32_t>(p.tiles);
  a.add = add;
  a.rounded = rounded;
  if (p.columns) {
    launch(ctx, sum_columns_kernel<kWidth, F>, {dim3(static_cast<unsigned>(p.tiles * p.splits)), dim3(kSumThreads)}, f,
           a, in, out);
  } else {
    const int64_t blocks = ceil_div(outputs * p.splits, kSumThreads / p.width);
    launch(ctx, sum_rows_kernel<kWidth, F>, {dim3(static_cast<unsigned>(blocks)), dim3(kSumThreads)}, f, a, in, out);
  }
}
template <class F>
void launch_sum(const Context& ctx, const F& f, const SumSpace<F>& s, int64_t most_splits, typename F::T* out,
                typename F::Result* rounded, typename F::T* parts, bool add, SumPlan* plan) {
  constexpr int kWidth = 16 / static_cast<int>(sizeof(typename F::Stored));
  const bool wide = s.wide(kWidth);
  const SumPlan p = sum_plan(s, wide ? kWidth : 1, most_splits);
  const bool last = p.splits == 1;
  typename F::T* to = last ? out : parts;
  rounded = last ? rounded : nullptr;
  if (wide) {
    launch_sum<kWidth>(ctx, f, s, p, to, rounded, add && last);
  } else {
    launch_sum<1>(ctx, f, s, p, to, rounded, add && last);
  }
  *plan = p;
}

// Where a space that is too large is cut in two: the outermost reduced dimension, or, without any, the outermost kept
// one, which leaves the outputs contiguous.
inline int sum_cut(const SumDims& s) {
  for (int of_reduced = 1; of_reduced >= 0; --of_reduced) {
    for (int i = 0; i < s.dims.rank; ++i)
      if (s.reduced[i] == (of_reduced == 1) && s.dims.dims[i] > 1) return i;
  }
  return -1;
}

// Bytes of `workspace` below; T: what the operands are stored in.
template <class T>
size_t sum_parts_bytes(const SumDims& s) {
  const int64_t outputs = s.count(false);
  if (outputs == 0) return 0;
  if (places(s.dims) > kMostPlaces) {
    SumDims half = s;  // the larger one
    const int i = sum_cut(s);
    half.dims.dims[i] = ceil_div(s.dims.dims[i], 2);
    SumDims other = s;
    other.dims.dims[i] = s.dims.dims[i] / 2;
    const size_t a = sum_parts_bytes<T>(half), b = sum_parts_bytes<T>(other);
    return a > b ? a : b;
  }
  constexpr int kWidth = 16 / static_cast<int>(sizeof(T));
  int64_t splits = sum_plan(s, 1).splits;
  if (s.divisible(kWidth)) {
    const int64_t wide = sum_plan(s, kWidth).splits;
    splits = wide > splits ? wide : splits;
  }
  return splits == 1 ? 0 : static_cast<size_t>(splits * outputs) * sizeof(Real<T>);
}
// 16-bit sums of spaces that are cut are float32 until the last piece is added; they stand before the parts.
template <class T>
size_t unrounded_sums_bytes(const SumDims& s) {
  if (!kIsHalf<T> || places(s.dims) <= kMostPlaces) return 0;
  return (static_cast<size_t>(s.count(false)) * sizeof(float) + 255) / 256 * 256;
}
template <class T>
size_t sum_map_workspace(const SumDims& s) {
  return unrounded_sums_bytes<T>(s) + sum_parts_bytes<T>(s);
}

// What adds up f's parts.
template <class F>
auto sum_of_parts(const F& f) {
  if constexpr (std::is_same_v<typename F::T, typename F::Result>) {
    return Itself<typename F::T>();
  } else {
    return OnHalves<Itself<float>, float>(Itself<float>(), f.brain);
  }
}

// out = the sums, or out + the sums; or `rounded`, where it is not null and the space is not cut. Outputs lie in the
// order of the kept dimensions.
template <class F>
void sum_map(const Context& ctx, const F& f, const SumSpace<F>& s, typename F::T* out, typename F::Result* rounded,
             void* workspace, bool add) {
  using T = typename F::T;
  const int64_t outputs = s.count(false);
  if (outputs == 0) return;
  if (places(s.dims) > kMostPlaces) {
    const int i = sum_cut(s);
    const int64_t begin = s.dims.dims[i] / 2;
    SumSpace<F> half = s;
    half.dims.dims[i] = begin;
    sum_map(ctx, f, half, out, rounded, workspace, add);
    half.dims.dims[i] = s.dims.dims[i] - begin;
    for (int k = 0; k < F::kOperands; ++k) half.in[k] = operand_at<F>(s.in[k], k, begin * s.dims.strides[k][i]);
    if (s.reduced[i]) return sum_map(ctx, f, half, out, rounded, workspace, true);
    return sum_map(ctx, f, half, out + outputs / s.dims.dims[i] * begin, rounded, workspace, add);
  }

  SumPlan plan;
  T* parts = static_cast<T*>(workspace);
  launch_sum(ctx, f, s, kMostSplits, out, rounded, parts, add, &plan);
  if (plan.splits == 1) return;
  // Once more over the parts, as the kernel has left them.
  const auto sum = sum_of_parts(f);
  SumSpace<std::remove_const_t<decltype(sum)>> left;
  const int of_splits = plan.columns ? 0 : 1;
  left.in[0] = parts;
  left.dims.rank = 2;
  left.reduced[of_splits] = true;
  left.dims.dims[of_splits] = plan.splits;
  left.dims.dims[1 - of_splits] = outputs;
  left.dims.strides[0][0] = left.dims.dims[1];
  left.dims.strides[0][1] = 1;
  launch_sum(ctx, sum, left, 1, out, rounded, static_cast<T*>(nullptr), add, &plan);
}

// The sums in arrays of type Y, that of the operands (or, of 16-bit ones, float).
template <class F, class Y>
void sum_map(const Context& ctx, const F& f, const SumSpace<F>& s, Y* out, void* workspace, bool add = false) {
  if constexpr (std::is_same_v<Y, typename F::T>) {
    sum_map(ctx, f, s, out, nullptr, workspace, add);
  } else if (places(s.dims) <= kMostPlaces) {
    sum_map(ctx, f, s, nullptr, results_at<F>(out), workspace, false);
  } else {
    float* const sums = static_cast<float*>(workspace);
    sum_map(ctx, f, s, sums, nullptr, static_cast<char*>(workspace) + unrounded_sums_bytes<Y>(s), false);
    const void* in[] = {sums};
    flat_map(ctx, sum_of_parts(f), s.count(false), in, out);
  }
}

}  // namespace
}  // namespace lamella::cuda
