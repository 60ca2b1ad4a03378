// Layer norm and RMS norm, backward. With z = (x - mean) * inv_std and h = gamma * grad_out:
// grad_in = inv_std * (h - mean(h) - z * mean(h * z)), without mean(h) for RMS norm. Rows are kept in registers up to
// 8,192 float elements (4,096 where rows do not begin at multiples of 16 bytes): grad_out and x are read once, and the
// parameters' gradients, sums of grad_out * z and of grad_out down the columns, are gathered on the way: in registers,
// by as many blocks as the shape says, and put together by one more launch. Longer rows are read twice, and once more
// for the parameters.
#include "kernels/cuda/norm_teams.h"

namespace lamella::cuda {
namespace {

template <class T>
struct Args {
  int64_t rows;
  int64_t d;
  const T* grad_out;
  const T* x;
  const T* gamma;
  const T* mean;
  const T* inv_std;
  T* grad_in;  // nullptr: only sums of columns are wanted
};

// h and z of some elements; grad_out * z and grad_out are added to the sums of their columns, where these are wanted.
template <class T, bool kCenter, bool kColumns, int kVec>
__device__ void load(const Args<T>& a, int64_t first, int64_t j, T mean, T inv, T (&h)[kVec], T (&z)[kVec],
                     Sums<T, 2> (&columns)[kVec]) {
  load_vector<kVec>(h, a.grad_out + first + j);
  load_vector<kVec>(z, a.x + first + j);
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    z[i] = (kCenter ? z[i] - mean : z[i]) * inv;
    if (kColumns) {
      columns[i].v[0] = fma(h[i], z[i], columns[i].v[0]);
      columns[i].v[1] += h[i];
    }
  }
  if (a.gamma != nullptr) {
    T gamma[kVec];
    load_vector<kVec>(gamma, a.gamma + j);
#pragma unroll
    for (int i = 0; i < kVec; ++i) h[i] *= gamma[i];
  }
}

template <class T, bool kCenter, int kVec>
__device__ void add(Sums<T, 2>& sums, const T (&h)[kVec], const T (&z)[kVec]) {
  T product[kVec];
#pragma unroll
  for (int i = 0; i < kVec; ++i) product[i] = h[i] * z[i];
  if (kCenter) sums.v[0] += fold_sum(h);
  sums.v[1] += fold_sum(product);
}

template <class T, int kVec>
__device__ void store(const Args<T>& a, int64_t at, T inv, const Sums<T, 2>& means, const T (&h)[kVec],
                      const T (&z)[kVec]) {
  T v[kVec];
#pragma unroll
  for (int i = 0; i < kVec; ++i) v[i] = fma(-z[i], means.v[1], h[i] - means.v[0]) * inv;
  store_vector<kVec>(a.grad_in + at, v);
}

template <class T, class Team>
__device__ Sums<T, 2> team_means(const Team& team, const Sums<T, 2>& sums, int64_t d) {
  Sums<T, 2> means = team.sum(sums);
  for (T& v : means.v) v /= static_cast<T>(d);
  return means;
}

// kColumns: partials[blocks][d] of the columns; dynamic shared memory holds d sums for each team of a warp's lanes.
template <class T, bool kCenter, bool kColumns, int kVec, int kItems, class Team>
__global__ void __launch_bounds__(Team::template most<kVec>()) norm_rows(Args<T> a, Team team, Sums<T, 2>* partials) {
  const int items = static_cast<int>(a.d) / kVec, member = team.member(), size = team.size(), teams = team.teams();
  Sums<T, 2> columns[kItems][kVec];
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) columns[k][i] = Sums<T, 2>::zero();
  }
  // All of a block go on together: lanes of a warp need each other.
  for (int64_t begin = static_cast<int64_t>(blockIdx.x) * teams; begin < a.rows;
       begin += static_cast<int64_t>(gridDim.x) * teams) {
    const int64_t row = begin + team.team(), first = row * a.d;
    const bool there = row < a.rows;
    const T mean = kCenter && there ? a.mean[row] : T(0), inv = there ? a.inv_std[row] : T(0);
    T h[kItems][kVec], z[kItems][kVec];
    auto sums = Sums<T, 2>::zero();
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      const int j = (member + k * size) * kVec;
#pragma unroll
      for (int i = 0; i < kVec; ++i) h[k][i] = z[k][i] = 0;
      if (there && member + k * size < items)
        load<T, kCenter, kColumns, kVec>(a, first, j, mean, inv, h[k], z[k], columns[k]);
    }
#pragma unroll
    for (int k = 0; k < kItems; ++k) add<T, kCenter, kVec>(sums, h[k], z[k]);
    const Sums<T, 2> means = team_means<T>(team, sums, a.d);
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      const int j = (member + k * size) * kVec;
      if (there && a.grad_in != nullptr && member + k * size < items)
        store<T, kVec>(a, first + j, inv, means, h[k], z[k]);
    }
  }
  if constexpr (kColumns) {
    const int d = static_cast<int>(a.d);
    Sums<T, 2>* const to = teams == 1 ? partials + blockIdx.x * a.d : dynamic_shared<Sums<T, 2>>() + team.team() * d;
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      const int j = (member + k * size) * kVec;
      if (member + k * size < items) {
#pragma unroll
        for (int i = 0; i < kVec; ++i) to[j + i] = columns[k][i];
      }
    }
    if (teams == 1) return;
    Sums<T, 2>* const scratch = dynamic_shared<Sums<T, 2>>();
    const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    for (int half = teams / 2; half > 0; half /= 2) {
      __syncthreads();
      for (int i = thread; i < half * d; i += threads) {
        const Sums<T, 2> sum = scratch[i] + scratch[i + half * d];
        if (half > 1) {
          scratch[i] = sum;
        } else {
          partials[blockIdx.x * a.d + i] = sum;
        }
      }
    }
  }
}

template <class T, bool kCenter, int kVec>
__global__ void __launch_bounds__(512) norm_long_rows(Args<T> a, BlockTeam team) {
  const int64_t items = a.d / kVec;
  const int member = team.member(), size = team.size();
  const int64_t row = blockIdx.x, first = row * a.d;
  const T mean = kCenter ? a.mean[row] : T(0), inv = a.inv_std[row];
  auto sums = Sums<T, 2>::zero();
  T h[kVec], z[kVec];
  Sums<T, 2> columns[kVec];
  for (int64_t k = member; k < items; k += size) {
    load<T, kCenter, false, kVec>(a, first, k * kVec, mean, inv, h, z, columns);
    add<T, kCenter, kVec>(sums, h, z);
  }
  const Sums<T, 2> means = team_means<T>(team, sums, a.d);
  for (int64_t k = member; k < items; k += size) {
    load<T, kCenter, false, kVec>(a, first, k * kVec, mean, inv, h, z, columns);
    store<T, kVec>(a, first + k * kVec, inv, means, h, z);
  }
}

// Sums of grad_out * z and of grad_out, over the rows.
template <class T, bool kCenter>
struct ParameterReducer {
  using Element = T;
  struct Value {
    T product, g;
  };
  struct Given {};
  using Acc = Sums<T, 2>;
  static constexpr int kUnroll = 4;
  const T* grad_out = nullptr;
  const T* x = nullptr;
  const T* mean = nullptr;
  const T* inv_std = nullptr;
  T* grad_gamma = nullptr;
  T* grad_beta = nullptr;
  bool single = false;  // rows of one element, which follow one another along the reduced dimension

  __device__ Given given(int64_t, int64_t) const { return {}; }
  template <int kVec>
  __device__ void load(Value (&v)[kVec], int64_t at, int64_t row) const {
    T g[kVec], a[kVec];
    load_vector<kVec>(g, grad_out + at);
    load_vector<kVec>(a, x + at);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      const int64_t r = single ? row + j : row;
      const T d = kCenter ? a[j] - mean[r] : a[j];
      v[j] = {g[j] * (d * inv_std[r]), g[j]};
    }
  }
  __device__ Acc lift(const Value& v, const Given&) const { return {{v.product, v.g}}; }
  template <int kVec, int N>
  __device__ Acc tile(const Value (&v)[N], int n, int64_t, int64_t, const Given& g) const {
    return tile_tree(*this, v, n, g);
  }
  __device__ Acc identity() const { return Acc::zero(); }
  __device__ Acc combine(const Acc& a, const Acc& b) const { return a + b; }
  __device__ void finish(int64_t out, const Acc& a, const Given&) const {
    if (grad_gamma != nullptr) grad_gamma[out] = a.v[0];
    if (grad_beta != nullptr) grad_beta[out] = a.v[1];
  }
};

// How the rows are walked; `vec`: elements in an access.
struct RowPlan {
  int lane_items, block_items;
  TeamPlan team;
  int64_t blocks;  // that sum columns on the way; 0: none do

  RowPlan(int64_t rows, int64_t d, int vec, int size) {
    lane_items = vec > 1 ? (d <= 32 * size * 2 ? 2 : 4) : (d <= 32 * 4 ? 4 : 8);
    block_items = vec > 1 ? 2 : 8;
    team = TeamPlan::of(d / vec, lane_items, block_items, vec > 1 ? BlockTeam::most<2>() : BlockTeam::most<1>());
    // One row to a team where there are few; up to 1,024 blocks where a team has eight rows or more, or a block
    // sixteen.
    constexpr int64_t kFew = 256, kMost = 1024;
    const int64_t all = ceil_div(rows, team.teams()), some = ceil_div(all, team.block ? 16 : 8);
    blocks = all <= kFew ? all : some < kFew ? kFew : some > kMost ? kMost : some;
    // The blocks' sums have to be few beside the rows.
    if (team.items == 0 || rows < 4 * blocks) blocks = 0;
  }
};

template <class T, bool kCenter, bool kColumns, int kVec, int kItems, class Team>
void run_rows(const Context& ctx, const Args<T>& a, const RowPlan& plan, const Team& team, Sums<T, 2>* partials) {
  Launch l = plan.team.launch(kColumns ? plan.blocks : ceil_div(a.rows, plan.team.teams()), sizeof(Sums<T, 2>));
  if (kColumns && plan.team.teams() > 1)
    l.shared_bytes = static_cast<size_t>(plan.team.teams() * a.d) * sizeof(*partials);
  launch(ctx, norm_rows<T, kCenter, kColumns, kVec, kItems, Team>, l, a, team, partials);
}

// partials: nullptr where columns are not summed on the way.
template <class T, bool kCenter, int kVec, int kLaneItems, int kBlockItems>
void run(const Context& ctx, const Args<T>& a, const RowPlan& plan, Sums<T, 2>* partials) {
  if (!plan.team.block) {
    const LaneTeam team{plan.team.log2};
    if (partials != nullptr) return run_rows<T, kCenter, true, kVec, kLaneItems>(ctx, a, plan, team, partials);
    run_rows<T, kCenter, false, kVec, kLaneItems>(ctx, a, plan, team, partials);
  } else if (plan.team.items > 0) {
    if (partials != nullptr) return run_rows<T, kCenter, true, kVec, kBlockItems>(ctx, a, plan, BlockTeam(), partials);
    run_rows<T, kCenter, false, kVec, kBlockItems>(ctx, a, plan, BlockTeam(), partials);
  } else {
    launch(ctx, norm_long_rows<T, kCenter, kVec>, plan.team.launch(a.rows, sizeof(Sums<T, 2>)), a, BlockTeam());
  }
}

template <class T>
size_t row_norm_backward_workspace(const RowNormBackwardParams<T>& p, int) {
  if (p.grad_gamma == nullptr && p.grad_beta == nullptr) return 0;
  constexpr int kSize = Pack<T>::kSize;
  size_t bytes = reduce_workspace_bytes<ParameterReducer<T, true>>(ReduceSpace(1, p.rows, p.d));
  for (int vec : {1, p.d % kSize == 0 ? kSize : 1}) {
    const size_t partials = static_cast<size_t>(RowPlan(p.rows, p.d, vec, kSize).blocks * p.d) * sizeof(Sums<T, 2>);
    if (bytes < partials) bytes = partials;
  }
  return bytes;
}

template <class T, bool kCenter>
void row_norm_backward(const Context& ctx, const RowNormBackwardParams<T>& p) {
  constexpr int kSize = Pack<T>::kSize;
  const bool packs = p.d % kSize == 0 && aligned16(p.grad_out) && aligned16(p.x) && aligned16(p.gamma) &&
                     (p.grad_in == nullptr || aligned16(p.grad_in));
  const RowPlan plan(p.rows, p.d, packs ? kSize : 1, kSize);
  const bool columns = p.grad_gamma != nullptr || p.grad_beta != nullptr;
  // Also where grad_in is not wanted: what is must not change the others' rounding.
  const bool together = columns && plan.blocks > 0;
  const bool rows = p.rows * p.d > 0 && (p.grad_in != nullptr || together);
  auto* const partials = together ? static_cast<Sums<T, 2>*>(ctx.workspace) : nullptr;
  if (rows) {
    const Args<T> a{p.rows, p.d, p.grad_out, p.x, p.gamma, p.mean, p.inv_std, p.grad_in};
    if (packs) {
      (plan.lane_items == 2 ? run<T, kCenter, kSize, 2, 2> : run<T, kCenter, kSize, 4, 2>)(ctx, a, plan, partials);
    } else {
      (plan.lane_items == 4 ? run<T, kCenter, 1, 4, 8> : run<T, kCenter, 1, 8, 8>)(ctx, a, plan, partials);
    }
  }
  if (!columns) return;
  ParameterReducer<T, kCenter> r;
  r.grad_out = p.grad_out;
  r.x = p.x;
  r.mean = p.mean;
  r.inv_std = p.inv_std;
  r.grad_gamma = p.grad_gamma;
  r.grad_beta = p.grad_beta;
  r.single = p.d == 1;
  if (together) return combine_partials(ctx, r, ReduceSpace(1, p.rows, p.d), plan.blocks, partials);
  run_reduction(ctx, r, ReduceSpace(1, p.rows, p.d), aligned16(p.grad_out) && aligned16(p.x), ctx.workspace);
}

template <class T>
void fill_part(NormKernels<T>& k) {
  k.row_norm_backward_workspace = row_norm_backward_workspace<T>;
  k.layer_norm_backward = row_norm_backward<T, true>;
  k.rms_norm_backward = row_norm_backward<T, false>;
}

}  // namespace

void fill_row_norm_backward(NormKernels<float>& k) { fill_part(k); }
void fill_row_norm_backward(NormKernels<double>& k) { fill_part(k); }

}  // namespace lamella::cuda
