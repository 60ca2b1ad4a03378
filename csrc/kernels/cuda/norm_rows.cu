// Layer norm and RMS norm, forward: x is read once and y written once where a row fits registers (up to 16,384 float
// elements, or 8,192 where rows do not begin at multiples of 16 bytes); longer rows are read three times, from the L2
// after the first.
#include "kernels/cuda/norm_teams.h"

namespace lamella::cuda {
namespace {

template <class T>
struct Args {
  int64_t rows;
  int64_t d;
  const T* x;
  const T* gamma;
  const T* beta;
  T* y;
  T eps;
  T* mean;
  T* inv_std;
};

// The result is v * scale + shift for v = x - center, where there is a center.
template <class T>
struct RowStatistics {
  T center, scale, shift;
};

// sums: of the deviations from `center` and of their squares (RMS: of nothing and of squares).
template <class T, bool kCenter>
__device__ RowStatistics<T> row_statistics(const Args<T>& a, int64_t row, T center, const Sums<T, 2>& sums,
                                           bool keeps) {
  const T n = static_cast<T>(a.d);
  // What the sum lost of the mean.
  const T rest = kCenter ? sums.v[0] / n : T(0), square = sums.v[1] / n - rest * rest;
  const T inv = T(1) / sqrt(square + a.eps);
  if (keeps && kCenter && a.mean != nullptr) a.mean[row] = center + rest;
  if (keeps && a.inv_std != nullptr) a.inv_std[row] = inv;
  return {center, inv, -rest * inv};
}

template <class T, int kVec>
__device__ void finish(const Args<T>& a, int64_t first, int64_t j, const RowStatistics<T>& s, T (&v)[kVec]) {
  T gamma[kVec], beta[kVec];
  if (a.gamma != nullptr) load_vector<kVec>(gamma, a.gamma + j);
  if (a.beta != nullptr) load_vector<kVec>(beta, a.beta + j);
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    v[i] = fma(v[i], s.scale, s.shift);
    if (a.gamma != nullptr) {
      v[i] = fma(v[i], gamma[i], a.beta != nullptr ? beta[i] : T(0));
    } else if (a.beta != nullptr) {
      v[i] += beta[i];
    }
  }
  store_vector<kVec>(a.y + first + j, v);
}

template <class T, bool kCenter, int kVec, int kItems, class Team>
__global__ void __launch_bounds__(Team::template most<kVec>()) norm_rows(Args<T> a, Team team) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * team.teams() + team.team();
  const bool there = row < a.rows;
  const int items = there ? static_cast<int>(a.d) / kVec : 0, member = team.member(), size = team.size();
  const int64_t first = row * a.d;
  T v[kItems][kVec];
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) v[k][i] = 0;
    if (member + k * size < items) load_vector<kVec>(v[k], a.x + first + (member + k * size) * kVec);
  }
  T center = 0;
  if constexpr (kCenter) {
    auto sum = Sums<T, 1>::zero();
#pragma unroll
    for (int k = 0; k < kItems; ++k) sum.v[0] += fold_sum(v[k]);
    center = team.sum(sum).v[0] / static_cast<T>(a.d);
  }
  auto sums = Sums<T, 2>::zero();
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    T square[kVec];
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      if (kCenter) v[k][i] = member + k * size < items ? v[k][i] - center : T(0);
      square[i] = v[k][i] * v[k][i];
    }
    if (kCenter) sums.v[0] += fold_sum(v[k]);
    sums.v[1] += fold_sum(square);
  }
  sums = team.sum(sums);
  if (!there) return;
  const RowStatistics<T> s = row_statistics<T, kCenter>(a, row, center, sums, member == 0);
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    if (member + k * size < items) finish<T, kVec>(a, first, (member + k * size) * kVec, s, v[k]);
  }
}

template <class T, bool kCenter, int kVec>
__global__ void __launch_bounds__(512) norm_long_rows(Args<T> a, BlockTeam team) {
  const int64_t items = a.d / kVec;
  const int member = team.member(), size = team.size();
  const int64_t row = blockIdx.x, first = row * a.d;
  T center = 0;
  if constexpr (kCenter) {
    auto sum = Sums<T, 1>::zero();
    for (int64_t k = member; k < items; k += size) {
      T v[kVec];
      load_vector<kVec>(v, a.x + first + k * kVec);
      sum.v[0] += fold_sum(v);
    }
    center = team.sum(sum).v[0] / static_cast<T>(a.d);
  }
  auto sums = Sums<T, 2>::zero();
  for (int64_t k = member; k < items; k += size) {
    T v[kVec], square[kVec];
    load_vector<kVec>(v, a.x + first + k * kVec);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      v[i] -= center;
      square[i] = v[i] * v[i];
    }
    if (kCenter) sums.v[0] += fold_sum(v);
    sums.v[1] += fold_sum(square);
  }
  const RowStatistics<T> s = row_statistics<T, kCenter>(a, row, center, team.sum(sums), member == 0);
  for (int64_t k = member; k < items; k += size) {
    T v[kVec];
    load_vector<kVec>(v, a.x + first + k * kVec);
#pragma unroll
    for (int i = 0; i < kVec; ++i) v[i] -= center;
    finish<T, kVec>(a, first, k * kVec, s, v);
  }
}

template <class T, bool kCenter, int kVec, int kLaneItems, int kBlockItems>
void run(const Context& ctx, const Args<T>& a) {
  const TeamPlan plan = TeamPlan::of(a.d / kVec, kLaneItems, kBlockItems, BlockTeam::most<kVec>());
  const Launch l = plan.launch(ceil_div(a.rows, plan.teams()), sizeof(Sums<T, 2>));
  if (!plan.block) {
    launch(ctx, norm_rows<T, kCenter, kVec, kLaneItems, LaneTeam>, l, a, LaneTeam{plan.log2});
  } else if (plan.items > 0) {
    launch(ctx, norm_rows<T, kCenter, kVec, kBlockItems, BlockTeam>, l, a, BlockTeam());
  } else {
    launch(ctx, norm_long_rows<T, kCenter, kVec>, l, a, BlockTeam());
  }
}

template <class T, bool kCenter>
void row_norm(const Context& ctx, const RowNormParams<T>& p) {
  if (p.rows * p.d == 0) return;
  constexpr int kSize = Pack<T>::kSize;
  const Args<T> a{p.rows, p.d, p.x, p.gamma, kCenter ? p.beta : nullptr, p.y, static_cast<T>(p.eps), p.mean, p.inv_std};
  const bool packs = p.d % kSize == 0 && aligned16(p.x) && aligned16(p.y) && aligned16(p.gamma) && aligned16(a.beta);
  if (packs && p.d <= 32 * kSize * 2) return run<T, kCenter, kSize, 2, 4>(ctx, a);
  if (packs) return run<T, kCenter, kSize, 8, 4>(ctx, a);
  if (p.d <= 32 * 4) return run<T, kCenter, 1, 4, 16>(ctx, a);
  run<T, kCenter, 1, 16, 16>(ctx, a);
}

template <class T>
void fill_part(NormKernels<T>& k) {
  k.layer_norm = row_norm<T, true>;
  k.rms_norm = row_norm<T, false>;
}

}  // namespace

void fill_row_norm(NormKernels<float>& k) { fill_part(k); }
void fill_row_norm(NormKernels<double>& k) { fill_part(k); }

}  // namespace lamella::cuda
