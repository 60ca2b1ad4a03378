// Losses of single elements, each way. Bound by memory: two arrays are read, and one is written in backward and where
// the values are wanted; 16 bytes of each per thread and turn.
#include "kernels/cuda/fast_div.h"
#include "kernels/cuda/loss_functions.h"
#include "kernels/cuda/loss_parts.h"
#include "kernels/cuda/row_team.h"

namespace lamella::cuda {
namespace {

// Where element i, i + 1, ... are in groups of `size`: one division for all.
struct Group {
  int64_t number, place, size;
  __device__ Group(int64_t i, int64_t group)
      : number(group == 1 ? i : quotient(i, group)), place(i - number * group), size(group) {}
  __device__ void next() {
    if (++place == size) {
      place = 0;
      ++number;
    }
  }
};

// The elements of one thread's turn: kSize of them, or those that are left.
template <class T>
struct Turn {
  static constexpr int kSize = Pack<T>::kSize;
  int64_t first;
  int count;
  bool packed;  // arrays may be read 16 bytes at a time
  __device__ Turn(int64_t i, int64_t n, bool pack)
      : first(i), count(n - i < kSize ? static_cast<int>(n - i) : kSize), packed(pack && n - i >= kSize) {}

  __device__ Pack<T> read(const T* p) const {
    if (packed) return load_pack(p + first);
    Pack<T> r;
#pragma unroll
    for (int k = 0; k < kSize; ++k) r.v[k] = k < count ? p[first + k] : T(0);
    return r;
  }
  __device__ void write(T* p, const Pack<T>& v) const {
    if (packed) return store_pack(p + first, v);
#pragma unroll
    for (int k = 0; k < kSize; ++k)
      if (k < count) p[first + k] = v.v[k];
  }
};

// A value per `group` elements.
template <class T>
__device__ Pack<T> read_groups(const Turn<T>& turn, const T* p, int64_t group) {
  if (group == 1) return turn.read(p);
  Pack<T> r;
  Group g(turn.first, group);
#pragma unroll
  for (int k = 0; k < Turn<T>::kSize; ++k) {
    r.v[k] = k < turn.count ? p[g.number] : T(0);
    g.next();
  }
  return r;
}
template <class T>
__device__ Pack<T> constant(T v) {
  Pack<T> r;
#pragma unroll
  for (int k = 0; k < Pack<T>::kSize; ++k) r.v[k] = v;
  return r;
}
template <class T>
__device__ Pack<T> weights_of(const ElementLossParams<T>& p, const Turn<T>& turn) {
  return p.weight == nullptr ? constant(T(1)) : read_groups(turn, p.weight, p.group);
}
template <class T>
__device__ Pack<T> pos_weights_of(const ElementLossParams<T>& p, const Turn<T>& turn) {
  if (p.pos_weight == nullptr) return constant(T(1));
  if (p.pos_cols == 1) return constant(p.pos_weight[0]);
  Pack<T> r;
  Group g(turn.first, p.cols);
#pragma unroll
  for (int k = 0; k < Turn<T>::kSize; ++k) {
    r.v[k] = p.pos_weight[g.place];
    g.next();
  }
  return r;
}

// Values, or their sums.
template <class L, class T>
__global__ void __launch_bounds__(512)
    values(ElementLossParams<T> p, L loss, bool pack, double scale, LossSums* parts) {
  constexpr int kSize = Turn<T>::kSize;
  const bool keep = p.result.reduction == Reduction::kNone;
  T sum = 0, weight_sum = 0;
  for (int64_t i = thread_number() * kSize; i < p.n; i += thread_count() * kSize) {
    const Turn<T> turn(i, p.n, pack);
    Pack<T> x = turn.read(p.x);
    const Pack<T> t = turn.read(p.target), w = weights_of(p, turn), pos = pos_weights_of(p, turn);
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      x.v[k] = w.v[k] * loss.value(x.v[k], t.v[k], pos.v[k]);
      if (k < turn.count) {
        sum += x.v[k];
        weight_sum += w.v[k];
      }
    }
    if (keep) turn.write(p.result.values, x);
  }
  leave_sums(p.result,
             {static_cast<double>(sum), static_cast<double>(weight_sum),
              thread_number() == 0 ? static_cast<double>(p.n) : 0.0},
             scale, parts);
}

// The means of rows.
template <class L, class T, class Team>
__global__ void __launch_bounds__(512) row_means(ElementLossParams<T> p, L loss, Team team) {
  for_rows(team, p.n / p.cols, [&](int64_t r, bool inside) {
    const int64_t first = r * p.cols;
    T sum = 0;
    for_places<false>(team, p.x, 0, static_cast<typename Team::Index>(inside ? p.cols : 0), [&](auto at) {
      const auto x = load_at(p.x + first, at), t = load_at(p.target + first, at);
#pragma unroll
      for (int k = 0; k < at.kCount; ++k) {
        const T pos = p.pos_weight == nullptr ? T(1) : p.pos_weight[p.pos_cols == 1 ? 0 : at[k]];
        const T w = p.weight == nullptr ? T(1) : p.weight[p.group == 1 ? first + at[k] : quotient(first, p.group)];
        sum += w * loss.value(x[k], t[k], pos);
      }
    });
    sum = team_sum(team, sum);
    if (inside && team.rank() == 0) p.result.values[r] = sum / static_cast<T>(p.cols);
  });
}

template <class L, class T>
__global__ void __launch_bounds__(256)
    gradients(ElementLossParams<T> p, L loss, LossSeed<T> seed, T* grad, bool pack, T scale) {
  constexpr int kSize = Turn<T>::kSize;
  const bool own = seed.reduction == Reduction::kNone;
  const T common = own ? scale : loss_seed(seed);
  for (int64_t i = thread_number() * kSize; i < p.n; i += thread_count() * kSize) {
    const Turn<T> turn(i, p.n, pack);
    Pack<T> x = turn.read(p.x);
    const Pack<T> t = turn.read(p.target), w = weights_of(p, turn), pos = pos_weights_of(p, turn);
    const Pack<T> g = own ? read_groups(turn, seed.grad, p.row_mean ? p.cols : 1) : constant(T(1));
#pragma unroll
    for (int k = 0; k < kSize; ++k) x.v[k] = loss.slope(x.v[k], t.v[k], pos.v[k]) * (w.v[k] * common) * g.v[k];
    turn.write(grad, x);
  }
}

// A single block where that is done as soon as another launch would begin; the number of blocks is fixed by n, as the
// order of the sums is.
template <class T>
Launch values_launch(int64_t n, bool sums) {
  const int64_t turns = ceil_div(n, Turn<T>::kSize);
  if (sums && turns <= 4096) {
    const int64_t warps = ceil_div(turns, 32);
    return {dim3(1), dim3(static_cast<unsigned>(32 * (warps < 1 ? 1 : warps < 16 ? warps : 16)))};
  }
  const int64_t blocks = ceil_div(turns, 256);
  return {dim3(static_cast<unsigned>(blocks < kMostLossBlocks ? blocks : kMostLossBlocks)), dim3(256)};
}

template <class T>
size_t element_loss_workspace(const ElementLossParams<T>& p, int) {
  return p.result.reduction == Reduction::kNone ? 0 : values_launch<T>(p.n, true).grid.x * sizeof(LossSums);
}

template <class T>
bool packed(const ElementLossParams<T>& p) {
  return aligned16(p.x) && aligned16(p.target) && (p.weight == nullptr || p.group > 1 || aligned16(p.weight));
}

template <class T>
void element_loss(const Context& ctx, const ElementLossParams<T>& p) {
  const bool none = p.result.reduction == Reduction::kNone;
  if (none && p.n == 0) return;
  choose_element_loss<T>(p.loss, [&]<class L>() {
    const L loss(p);
    if (none && p.row_mean) {
      const RowLaunch l = row_launch(p.n / p.cols, p.cols, int64_t{1} << 30);
      if (l.by_block) {
        launch(ctx, row_means<L, T, BlockTeam>, l.launch, p, loss, BlockTeam());
      } else {
        launch(ctx, row_means<L, T, LaneTeam>, l.launch, p, loss, l.lanes);
      }
      return;
    }
    const Launch l = values_launch<T>(p.n, !none);
    const double scale = p.row_mean && p.cols > 0 ? 1.0 / static_cast<double>(p.cols) : 1.0;
    launch(ctx, values<L, T>, l, p, loss, packed(p) && (!none || aligned16(p.result.values)), scale,
           static_cast<LossSums*>(ctx.workspace));
    finish_loss(ctx, p.result, l.grid.x, scale);
  });
}

template <class T>
void element_loss_grad(const Context& ctx, const ElementLossGradParams<T>& g) {
  const ElementLossParams<T>& p = g.forward;
  if (p.n == 0) return;
  const bool none = g.seed.reduction == Reduction::kNone, per_row = none && p.row_mean;
  const T scale = per_row ? static_cast<T>(1.0 / static_cast<double>(p.cols)) : T(1);
  const bool pack = packed(p) && aligned16(g.grad) && (!none || per_row || aligned16(g.seed.grad));
  choose_element_loss<T>(p.loss, [&]<class L>() {
    launch(ctx, gradients<L, T>, flat(ceil_div(p.n, Turn<T>::kSize)), p, L(p), g.seed, g.grad, pack, scale);
  });
}

template <class T>
void fill_kernels(LossKernels<T>& k) {
  k.element_loss_workspace = element_loss_workspace<T>;
  k.element_loss = element_loss<T>;
  k.element_loss_grad = element_loss_grad<T>;
}

}  // namespace

void fill_element_losses(LossKernels<float>& k) { fill_kernels(k); }
void fill_element_losses(LossKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
