// Layer norm and RMS norm, backward. With z = (x - mean) * inv_std and h = gamma * grad_out:
// grad_in = inv_std * (h - mean(h) - z * mean(h * z)), without mean(h) for RMS norm. A pass over the rows gives
// grad_in: grad_out and x are read once, and kept in registers up to 8,192 float elements (4,096 where rows do not
// begin at multiples of 16 bytes). Sums of grad_out * z and of grad_out down the columns, a reduction, give the
// parameters'.
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
  T* grad_in;
};

// h and z of some elements.
template <class T, bool kCenter, int kVec>
__device__ void load(const Args<T>& a, int64_t first, int64_t j, T mean, T inv, T (&h)[kVec], T (&z)[kVec]) {
  load_vector<kVec>(h, a.grad_out + first + j);
  load_vector<kVec>(z, a.x + first + j);
  if (a.gamma != nullptr) {
    T gamma[kVec];
    load_vector<kVec>(gamma, a.gamma + j);
#pragma unroll
    for (int i = 0; i < kVec; ++i) h[i] *= gamma[i];
  }
#pragma unroll
  for (int i = 0; i < kVec; ++i) z[i] = (kCenter ? z[i] - mean : z[i]) * inv;
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

template <class T, bool kCenter, int kVec, int kItems, class Team>
__global__ void __launch_bounds__(Team::template most<kVec>()) norm_rows(Args<T> a, Team team) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * team.teams() + team.team();
  const bool there = row < a.rows;
  const int items = there ? static_cast<int>(a.d) / kVec : 0, member = team.member(), size = team.size();
  const int64_t first = row * a.d;
  const T mean = kCenter && there ? a.mean[row] : T(0), inv = there ? a.inv_std[row] : T(0);
  T h[kItems][kVec], z[kItems][kVec];
  auto sums = Sums<T, 2>::zero();
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) h[k][i] = z[k][i] = 0;
    if (member + k * size < items) load<T, kCenter, kVec>(a, first, (member + k * size) * kVec, mean, inv, h[k], z[k]);
  }
#pragma unroll
  for (int k = 0; k < kItems; ++k) add<T, kCenter, kVec>(sums, h[k], z[k]);
  const Sums<T, 2> means = team_means<T>(team, sums, a.d);
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    const int j = (member + k * size) * kVec;
    if (member + k * size < items) store<T, kVec>(a, first + j, inv, means, h[k], z[k]);
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
  for (int64_t k = member; k < items; k += size) {
    load<T, kCenter, kVec>(a, first, k * kVec, mean, inv, h, z);
    add<T, kCenter, kVec>(sums, h, z);
  }
  const Sums<T, 2> means = team_means<T>(team, sums, a.d);
  for (int64_t k = member; k < items; k += size) {
    load<T, kCenter, kVec>(a, first, k * kVec, mean, inv, h, z);
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

template <class T>
size_t row_norm_backward_workspace(const RowNormBackwardParams<T>& p, int) {
  if (p.grad_gamma == nullptr && p.grad_beta == nullptr) return 0;
  return reduce_workspace_bytes<ParameterReducer<T, true>>(ReduceSpace(1, p.rows, p.d));
}

template <class T, bool kCenter>
void row_norm_backward(const Context& ctx, const RowNormBackwardParams<T>& p) {
  constexpr int kSize = Pack<T>::kSize;
  if (p.grad_in != nullptr && p.rows * p.d > 0) {
    const Args<T> a{p.rows, p.d, p.grad_out, p.x, p.gamma, p.mean, p.inv_std, p.grad_in};
    const bool packs =
        p.d % kSize == 0 && aligned16(p.grad_out) && aligned16(p.x) && aligned16(p.gamma) && aligned16(p.grad_in);
    if (packs && p.d <= 32 * kSize * 2) {
      run<T, kCenter, kSize, 2, 2>(ctx, a);
    } else if (packs) {
      run<T, kCenter, kSize, 4, 2>(ctx, a);
    } else if (p.d <= 32 * 4) {
      run<T, kCenter, 1, 4, 8>(ctx, a);
    } else {
      run<T, kCenter, 1, 8, 8>(ctx, a);
    }
  }
  if (p.grad_gamma == nullptr && p.grad_beta == nullptr) return;
  ParameterReducer<T, kCenter> r;
  r.grad_out = p.grad_out;
  r.x = p.x;
  r.mean = p.mean;
  r.inv_std = p.inv_std;
  r.grad_gamma = p.grad_gamma;
  r.grad_beta = p.grad_beta;
  r.single = p.d == 1;
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
