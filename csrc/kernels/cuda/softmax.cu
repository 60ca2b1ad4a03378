// Softmax and log-softmax, each way. All of them are bound by memory: forward reads x and writes y, backward reads two
// arrays and writes one.
//
// Contiguous rows of up to 1,024 elements belong to a warp each, which keeps them in registers; those of up to 16 to
// some of its lanes; longer ones, or few, to a block, which reads them twice (from a cache the second time), 16 bytes
// at once: forward's sum of exponentials comes out of the same pass as the maximum. Rows across memory (inner > 1) go
// 32 neighbours to a block, whose warps share the axis.
#include "kernels/cuda/row_team.h"
#include "kernels/cuda/tables.h"
#include "kernels/softmax.h"

namespace lamella::cuda {
namespace {

// What the four functions have in common: an element of the row is made from one or two arrays; a first statistic (the
// maximum, forward) and a sum give the result.
template <class T, bool kLog>
struct Forward {
  static constexpr bool kHasMax = true;
  const T* x;
  T* y;

  __device__ T load(int64_t i) const { return x[i]; }
  __device__ T term(T v, T top) const { return exp(v - top); }
  __device__ T prepare(T sum) const { return kLog ? log(sum) : T(1) / sum; }
  __device__ void store(int64_t i, T v, T top, T prepared) const {
    y[i] = kLog ? (v - top) - prepared : exp(v - top) * prepared;
  }

  template <bool kPacked, class Team>
  __device__ void row(const Team& team, int64_t first, typename Team::Index n) const {
    RunningSum<T> running;
    for_places<kPacked>(team, x + first, 0, n, [&](auto at) { running.add(load_at(x + first, at)); });
    T top;
    const T p = prepare(running.of_team(team, top));
    for_places<kPacked>(team, x + first, 0, n, [&](auto at) {
      auto v = load_at(x + first, at);
#pragma unroll
      for (int k = 0; k < at.kCount; ++k) v[k] = kLog ? (v[k] - top) - p : exp(v[k] - top) * p;
      store_at(y + first, at, v);
    });
  }
  bool same_places() const { return same_place<T>(x, y); }
};

template <class T, bool kLog>
struct Backward {
  static constexpr bool kHasMax = false;
  const T* y;
  const T* g;
  T* dx;

  // y where the row is kept in registers; g is read again, from a cache.
  __device__ T load(int64_t i) const { return y[i]; }
  __device__ T term_at(int64_t i, T v) const { return kLog ? g[i] : v * g[i]; }
  __device__ void store(int64_t i, T v, T, T sum) const {
    const T d = g[i];
    dx[i] = kLog ? fma(-exp(v), sum, d) : v * (d - sum);
  }

  template <bool kPacked, class Team>
  __device__ void row(const Team& team, int64_t first, typename Team::Index n) const {
    T sum = 0;
    for_places<kPacked>(team, y + first, 0, n, [&](auto at) {
      const auto d = load_at(g + first, at);
      Values<T, at.kCount> v{};
      if constexpr (!kLog) v = load_at(y + first, at);
#pragma unroll
      for (int k = 0; k < at.kCount; ++k) sum += kLog ? d[k] : v[k] * d[k];
    });
    sum = team_sum(team, sum);
    for_places<kPacked>(team, y + first, 0, n, [&](auto at) {
      auto v = load_at(y + first, at);
      const auto d = load_at(g + first, at);
#pragma unroll
      for (int k = 0; k < at.kCount; ++k) v[k] = kLog ? fma(-exp(v[k]), sum, d[k]) : v[k] * (d[k] - sum);
      store_at(dx + first, at, v);
    });
  }
  bool same_places() const { return same_place<T>(y, g) && same_place<T>(y, dx); }
};

template <class R, class T>
__device__ T row_term(const R& r, int64_t i, T v, T top) {
  if constexpr (R::kHasMax) {
    return r.term(v, top);
  } else {
    return r.term_at(i, v);
  }
}
template <class R, class T>
__device__ T prepared(const R& r, T sum) {
  if constexpr (R::kHasMax) {
    return r.prepare(sum);
  } else {
    return sum;
  }
}

constexpr int kWarps = 4;  // rows per block of warp_rows

template <class T, int kPerLane, class R>
__global__ void __launch_bounds__(kWarps * 32) warp_rows(R r, int64_t rows, int n) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kWarps;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32; row < rows; row += stride) {
    const int64_t first = row * n;
    T v[kPerLane];
#pragma unroll
    for (int k = 0; k < kPerLane; ++k) {
      const int i = k * 32 + lane;
      v[k] = i < n ? r.load(first + i) : T(-INFINITY);
    }
    T top = T(-INFINITY);
    if constexpr (R::kHasMax) {
#pragma unroll
      for (int k = 0; k < kPerLane; ++k) top = nan_max(v[k], top);
      top = warp_max(top);
    }
    T sum = 0;
#pragma unroll
    for (int k = 0; k < kPerLane; ++k) {
      const int i = k * 32 + lane;
      if (i < n) sum += row_term(r, first + i, v[k], top);
    }
    const T p = prepared(r, warp_sum(sum));
#pragma unroll
    for (int k = 0; k < kPerLane; ++k) {
      const int i = k * 32 + lane;
      if (i < n) r.store(first + i, v[k], top, p);
    }
  }
}

template <bool kPacked, class R, class Team>
__global__ void __launch_bounds__(512) team_rows(R r, Team team, int64_t rows, int64_t n) {
  for_rows(team, rows, [&](int64_t row, bool inside) {
    r.template row<kPacked>(team, row * n, static_cast<typename Team::Index>(inside ? n : 0));
  });
}

// Element a of row (o, i) at (o * n + a) * inner + i. Block: 32 neighbouring i, blockDim.y shares of the axis.
constexpr int kShares = 8;
template <class T, class R>
__global__ void __launch_bounds__(32 * kShares) columns(R r, int64_t outer, int64_t n, int64_t inner) {
  __shared__ T scratch[kShares][32];
  const int x = static_cast<int>(threadIdx.x), share = static_cast<int>(threadIdx.y);
  const int64_t tiles = ceil_div(inner, 32), jobs = outer * tiles;
  for (int64_t job = blockIdx.x; job < jobs; job += gridDim.x) {
    const int64_t i = job % tiles * 32 + x, first = job / tiles * n * inner + i;
    const bool inside = i < inner;
    T top = T(-INFINITY);
    if constexpr (R::kHasMax) {
      if (inside)
        for (int64_t a = share; a < n; a += kShares) top = nan_max(r.load(first + a * inner), top);
      scratch[share][x] = top;
      __syncthreads();
      for (int k = 0; k < kShares; ++k) top = nan_max(scratch[k][x], top);
      __syncthreads();
    }
    T sum = 0;
    if (inside)
      for (int64_t a = share; a < n; a += kShares) {
        const int64_t at = first + a * inner;
        sum += row_term(r, at, r.load(at), top);
      }
    scratch[share][x] = sum;
    __syncthreads();
    sum = 0;
    for (int k = 0; k < kShares; ++k) sum += scratch[k][x];
    __syncthreads();
    const T p = prepared(r, sum);
    if (inside)
      for (int64_t a = share; a < n; a += kShares) {
        const int64_t at = first + a * inner;
        r.store(at, r.load(at), top, p);
      }
  }
}

unsigned grid_of(int64_t jobs) {
  const int64_t most = int64_t{device_limits().multiprocessors} * 32;
  return static_cast<unsigned>(jobs < most ? jobs : most);
}

template <class T, int kPerLane, class R>
void run_warps(const Context& ctx, const R& r, int64_t rows, int64_t n) {
  launch(ctx, warp_rows<T, kPerLane, R>, {dim3(grid_of(ceil_div(rows, kWarps))), dim3(kWarps * 32)}, r, rows,
         static_cast<int>(n));
}

template <class T, class R>
void run(const Context& ctx, const R& r, int64_t outer, int64_t n, int64_t inner) {
  if (outer * n * inner == 0) return;
  if (inner > 1) {
    launch(ctx, columns<T, R>, {dim3(grid_of(outer * ceil_div(inner, 32))), dim3(32, kShares)}, r, outer, n, inner);
    return;
  }
  const RowLaunch l = row_launch(outer, n, int64_t{device_limits().multiprocessors} * 32);
  if (l.by_block) {
    r.same_places() ? launch(ctx, team_rows<true, R, BlockTeam>, l.launch, r, BlockTeam(), outer, n)
                    : launch(ctx, team_rows<false, R, BlockTeam>, l.launch, r, BlockTeam(), outer, n);
  } else if (n <= 16) {
    launch(ctx, team_rows<false, R, LaneTeam>, l.launch, r, l.lanes, outer, n);
  } else if (n <= 32) {
    run_warps<T, 1>(ctx, r, outer, n);
  } else if (n <= 128) {
    run_warps<T, 4>(ctx, r, outer, n);
  } else if (n <= 512) {
    run_warps<T, 16>(ctx, r, outer, n);
  } else if (n <= 1024) {
    run_warps<T, 32>(ctx, r, outer, n);
  } else {
    r.same_places() ? launch(ctx, team_rows<true, R, LaneTeam>, l.launch, r, l.lanes, outer, n)
                    : launch(ctx, team_rows<false, R, LaneTeam>, l.launch, r, l.lanes, outer, n);
  }
}

template <class T, bool kLog>
void forward(const Context& ctx, const SoftmaxParams<T>& p) {
  run<T>(ctx, Forward<T, kLog>{p.x, p.y}, p.outer, p.axis, p.inner);
}
template <class T, bool kLog>
void backward(const Context& ctx, const SoftmaxGradParams<T>& p) {
  run<T>(ctx, Backward<T, kLog>{p.y, p.grad_out, p.grad_in}, p.outer, p.axis, p.inner);
}

template <class T>
void fill_kernels(SoftmaxKernels<T>& k) {
  k.softmax = forward<T, false>;
  k.log_softmax = forward<T, true>;
  k.softmax_grad = backward<T, false>;
  k.log_softmax_grad = backward<T, true>;
}

}  // namespace

void fill(SoftmaxKernels<float>& k) { fill_kernels(k); }
void fill(SoftmaxKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
