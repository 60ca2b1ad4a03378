// How many predictions are right. The scores are read once; a team of threads per row (see row_team.h).
#include "kernels/cuda/index_check.h"
#include "kernels/cuda/loss_parts.h"
#include "kernels/cuda/row_team.h"

namespace lamella::cuda {
namespace {

struct AccuracySums {
  double correct = 0, total = 0;
};
constexpr int64_t kMostBlocks = 2048;

__device__ AccuracySums block_sums(const AccuracySums& s) {
  __shared__ double scratch[32];
  return {block_sum(s.correct, scratch), block_sum(s.total, scratch)};
}
__device__ void write_sums(const AccuracySums& s, float* correct, float* total) {
  *correct = static_cast<float>(s.correct);
  *total = static_cast<float>(s.total);
}

// The first position of the largest element; a NaN counts as the largest, as in NumPy.
template <class T, class Team>
__device__ int64_t first_largest(const Team& team, const T* x, typename Team::Index n) {
  T best = T(-INFINITY);
  int64_t at = INT64_MAX;
  for_places<false>(team, x, typename Team::Index{0}, n, [&](auto places) {
    const auto v = load_at(x, places);
#pragma unroll
    for (int k = 0; k < places.kCount; ++k) {
      if (v[k] > best || (v[k] != v[k] && best == best) || at == INT64_MAX) {
        best = v[k];
        at = places[k];
      }
    }
  });
  const T top = team.fold(best, T(-INFINITY), [](T a, T b) { return nan_max(a, b); });
  if (!(best == top || (best != best && top != top))) at = INT64_MAX;
  return team.fold(at, int64_t{INT64_MAX}, [](int64_t a, int64_t b) { return a < b ? a : b; });
}

template <class T, class Team>
__device__ bool in_top_k(const Team& team, const T* x, typename Team::Index n, int64_t label, int64_t k) {
  const bool possible = label >= 0 && label < n;
  const T own = possible ? x[label] : T(0);
  int64_t ahead = 0;
  for_places<false>(team, x, typename Team::Index{0}, n, [&](auto places) {
    const auto v = load_at(x, places);
#pragma unroll
    for (int j = 0; j < places.kCount; ++j) ahead += !(v[j] <= own);
  });
  ahead = team_sum(team, ahead);
  return possible && own - own == T(0) && ahead < k;  // NaN and infinities are never right
}

template <class T, class Team>
__global__ void __launch_bounds__(512) count_right(AccuracyParams<T> p, Team team, AccuracySums* parts) {
  using Kind = typename AccuracyParams<T>::Kind;
  using Index = typename Team::Index;
  AccuracySums sums;
  const T threshold = static_cast<T>(p.threshold);
  for_rows(team, p.rows, [&](int64_t r, bool inside) {
    bool right, counts = inside;
    if (p.kind == Kind::kBinary) {
      right = p.targets[r] == (p.x[r] > threshold ? T(1) : T(0));
    } else {
      const T* x = p.x + r * p.classes;
      const Index n = static_cast<Index>(p.classes);
      const int64_t label =
          p.kind == Kind::kLabels ? index_at(p.labels, r) : first_largest(team, p.targets + r * p.classes, n);
      counts = inside && !(p.has_ignore && label == p.ignore_index);
      right = p.k == 1 ? first_largest(team, x, n) == label : in_top_k(team, x, n, label, p.k);
    }
    if (team.rank() != 0 || !counts) return;
    const double w = p.weight == nullptr ? 1.0 : static_cast<double>(p.weight[p.group == 1 ? r : r / p.group]);
    sums.total += w;
    if (right) sums.correct += w;
  });
  sums = block_sums(sums);
  if (threadIdx.x != 0) return;
  if (gridDim.x == 1) {
    write_sums(sums, p.correct, p.total);
  } else {
    parts[blockIdx.x] = sums;
  }
}

__global__ void __launch_bounds__(256) add_up(const AccuracySums* parts, int count, float* correct, float* total) {
  AccuracySums sums;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    sums.correct += parts[i].correct;
    sums.total += parts[i].total;
  }
  sums = block_sums(sums);
  if (threadIdx.x == 0) write_sums(sums, correct, total);
}

template <class T>
RowLaunch accuracy_launch(const AccuracyParams<T>& p) {
  RowLaunch l = row_launch(p.rows, p.classes, kMostBlocks, true);
  if (p.rows == 0) l.launch = {dim3(1), dim3(32)};
  return l;
}

template <class T>
size_t accuracy_workspace(const AccuracyParams<T>& p, int) {
  return accuracy_launch(p).launch.grid.x * sizeof(AccuracySums);
}

template <class T>
void accuracy(const Context& ctx, const AccuracyParams<T>& p) {
  const RowLaunch l = accuracy_launch(p);
  AccuracySums* parts = static_cast<AccuracySums*>(ctx.workspace);
  if (l.by_block) {
    launch(ctx, count_right<T, BlockTeam>, l.launch, p, BlockTeam(), parts);
  } else {
    launch(ctx, count_right<T, LaneTeam>, l.launch, p, l.lanes, parts);
  }
  if (l.launch.grid.x == 1) return;
  launch(ctx, add_up, {dim3(1), dim3(256)}, parts, static_cast<int>(l.launch.grid.x), p.correct, p.total);
}

template <class T>
void fill_kernels(LossKernels<T>& k) {
  k.accuracy_workspace = accuracy_workspace<T>;
  k.accuracy = accuracy<T>;
}

}  // namespace

void fill_accuracy(LossKernels<float>& k) { fill_kernels(k); }
void fill_accuracy(LossKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
