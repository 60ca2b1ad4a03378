// Cross-entropy of class scores, each way. Forward reads the scores once where labels are given: maximum and sum of
// exponentials come out of the same pass, the sum being rescaled when a larger score turns up. Dense targets and
// smoothing take a second pass, which finds the row in a cache. Backward reads the scores and writes the gradient.
#include "kernels/cuda/index_check.h"
#include "kernels/cuda/loss_parts.h"
#include "kernels/cuda/loss_result.h"
#include "kernels/cuda/row_team.h"

namespace lamella::cuda {
namespace {

// What is the same for all rows.
template <class T>
struct Call {
  CrossEntropyParams<T> p;
  T keep, smooth;  // t = keep * t + smooth
  T low, high;     // bounds of probabilities

  explicit Call(const CrossEntropyParams<T>& params)
      : p(params),
        keep(static_cast<T>(1.0 - p.smoothing)),
        smooth(static_cast<T>(p.classes > 0 ? p.smoothing / static_cast<double>(p.classes) : 0.0)),
        low(static_cast<T>(p.epsilon)),
        high(static_cast<T>(1.0 - p.epsilon)) {}
};

// One row's place and weights. A label that is no class counts as little as one that is to be ignored.
template <bool kDense, class T>
struct Row {
  const T* x;
  const T* target = nullptr;
  int64_t label = -1;
  bool counts = true;
  T label_weight = 1, sample_weight = 1;

  __device__ Row(const CrossEntropyParams<T>& p, int64_t r) : x(p.x + r * p.classes) {
    if constexpr (kDense) {
      target = p.targets + r * p.classes;
    } else {
      label = index_at(p.labels, r);
      counts = label >= 0 && label < p.classes && !(p.has_ignore && label == p.ignore_index);
      if (p.class_weight != nullptr && counts) label_weight = p.class_weight[label];
    }
    if (p.sample_weight != nullptr) sample_weight = p.sample_weight[p.group == 1 ? r : r / p.group];
  }
};

// Weights of -log p: all of them for dense targets, the smoothed part for labels.
template <bool kDense, class T, int N, bool kPacked>
__device__ Values<T, N> column_weights(const Call<T>& call, const Row<kDense, T>& row, const Places<N, kPacked>& at) {
  Values<T, N> q;
  if constexpr (kDense) {
    q = load_at(row.target, at);
#pragma unroll
    for (int k = 0; k < N; ++k) q[k] = fma(q[k], call.keep, call.smooth);
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) q[k] = call.smooth;
  }
  if (call.p.class_weight != nullptr) {
#pragma unroll
    for (int k = 0; k < N; ++k) q[k] *= call.p.class_weight[at[k]];
  }
  return q;
}

// Keeps NaN.
template <class T>
__device__ T clip(T x, T low, T high) {
  return smaller(high, larger(low, x));
}

template <class T, class Team, ClassScores S, bool kDense, bool kPacked>
__global__ void __launch_bounds__(512) values(Call<T> call, Team team, LossSums* parts) {
  using Index = typename Team::Index;
  const CrossEntropyParams<T>& p = call.p;
  const bool all_columns = kDense || p.smoothing != 0;
  LossSums sums;
  for_rows(team, p.rows, [&](int64_t r, bool inside) {
    const Row<kDense, T> row(p, r);
    const Index n = inside && row.counts ? static_cast<Index>(p.classes) : 0;
    T top = 0, total = 1, log_total = 0, scale = 1;
    if constexpr (S == ClassScores::kLogits) {
      RunningSum<T> running;
      for_places<kPacked>(team, row.x, 0, n, [&](auto at) { running.add(load_at(row.x, at)); });
      total = running.of_team(team, top);
      log_total = log(total);
    }
    if constexpr (S == ClassScores::kProbs) {
      total = 0;
      for_places<kPacked>(team, row.x, 0, n, [&](auto at) {
        const auto v = load_at(row.x, at);
#pragma unroll
        for (int k = 0; k < at.kCount; ++k) total += v[k];
      });
      total = team_sum(team, total);
    }
    if constexpr (S != ClassScores::kLogProbs) scale = T(1) / total;
    const auto log_p = [&](T v) {
      if constexpr (S == ClassScores::kLogits) return (v - top) - log_total;
      if constexpr (S == ClassScores::kLogProbs) return v;
      if constexpr (S == ClassScores::kProbs) return static_cast<T>(log(clip(v * scale, call.low, call.high)));
    };
    T loss = 0;
    if (all_columns) {
      for_places<kPacked>(team, row.x, 0, n, [&](auto at) {
        const auto v = load_at(row.x, at), q = column_weights(call, row, at);
        // A class that cannot be (log p = -inf) and is not wanted (q = 0) costs nothing.
#pragma unroll
        for (int k = 0; k < at.kCount; ++k) loss -= q[k] == T(0) ? T(0) : q[k] * log_p(v[k]);
      });
      loss = team_sum(team, loss);
    }
    if (team.rank() != 0 || !inside) return;
    if (row.counts) {
      if constexpr (!kDense) loss -= call.keep * row.label_weight * log_p(row.x[row.label]);
      loss *= row.sample_weight;
      sums.loss += static_cast<double>(loss);
      sums.weight += static_cast<double>(row.sample_weight) * static_cast<double>(row.label_weight);
      sums.count += 1;
    }
    if (p.stats != nullptr) {
      p.stats[2 * r] = row.counts ? top : T(0);
      p.stats[2 * r + 1] = row.counts ? scale : T(0);
    }
    if (p.result.reduction == Reduction::kNone) p.result.values[r] = loss;
  });
  leave_sums(p.result, sums, 1.0, parts);
}

// Rows may be cut into `cuts` pieces of `length` columns each, where nothing has to be summed up over a row.
template <class T, class Team, ClassScores S, bool kDense, bool kPacked>
__global__ void __launch_bounds__(512)
    gradients(Call<T> call, Team team, LossSeed<T> seed, T* grads, int64_t cuts, int64_t length) {
  using Index = typename Team::Index;
  const CrossEntropyParams<T>& p = call.p;
  const T common = loss_seed(seed);
  T class_weights = static_cast<T>(p.classes);
  if (S == ClassScores::kLogits && !kDense && p.class_weight != nullptr && p.smoothing != 0) {
    class_weights = 0;
    for (int64_t c = team.rank(); c < p.classes; c += team.size()) class_weights += p.class_weight[c];
    class_weights = team_sum(team, class_weights);
  }
  for_rows(team, p.rows * cuts, [&](int64_t job, bool inside) {
    const int64_t r = cuts == 1 ? job : job / cuts;
    const Row<kDense, T> row(p, r);
    T* grad = grads + r * p.classes;
    const Index begin = static_cast<Index>((job - r * cuts) * length);
    Index end = begin + static_cast<Index>(length);
    if (end > p.classes) end = static_cast<Index>(p.classes);
    if (!inside) end = begin;
    if (!row.counts) {
      for_places<kPacked>(team, row.x, begin, end, [&](auto at) { store_at(grad, at, Values<T, at.kCount>{}); });
      end = begin;  // it goes on, for others' sake
    }
    const T s = (seed.reduction == Reduction::kNone ? seed.grad[r] : common) * row.sample_weight;
    const T label_part = call.keep * row.label_weight;
    T top = 0, scale = 1;
    if constexpr (S != ClassScores::kLogProbs) {
      top = p.stats[2 * r];
      scale = p.stats[2 * r + 1];
    }
    if constexpr (S == ClassScores::kProbs) {
      // With p = x / sum(x): d/dx_c = (l_c - sum_k l_k p_k) / sum(x), l_k = -q_k / p_k inside the bounds and 0 outside.
      const auto slope = [&](T prob, T q) { return prob < call.low || prob > call.high ? T(0) : -q / prob; };
      T sum = 0;
      if (kDense || p.smoothing != 0) {
        for_places<kPacked>(team, row.x, begin, end, [&](auto at) {
          const auto v = load_at(row.x, at), q = column_weights(call, row, at);
#pragma unroll
          for (int k = 0; k < at.kCount; ++k) sum += slope(v[k] * scale, q[k]) * (v[k] * scale);
        });
        sum = team_sum(team, sum);
      }
      T label_slope = 0;
      if (!kDense && row.counts) {
        const T prob = row.x[row.label] * scale;
        if (!(prob < call.low || prob > call.high)) {
          label_slope = -label_part / prob;
          sum -= label_part;
        }
      }
      for_places<kPacked>(team, row.x, begin, end, [&](auto at) {
        auto v = load_at(row.x, at);
        const auto q = column_weights(call, row, at);
#pragma unroll
        for (int k = 0; k < at.kCount; ++k) {
          const T own = slope(v[k] * scale, q[k]) + (!kDense && at[k] == row.label ? label_slope : T(0));
          v[k] = (own - sum) * (scale * s);
        }
        store_at(grad, at, v);
      });
    } else {
      // From logits: d/dx_c of sum_k q_k (lse - x_k) = p_c sum_k q_k - q_c.
      T factor = 0;
      if constexpr (S == ClassScores::kLogits) {
        T all = label_part + call.smooth * class_weights;
        if constexpr (kDense) {
          all = 0;
          for_places<kPacked>(team, row.x, begin, end, [&](auto at) {
            const auto q = column_weights(call, row, at);
#pragma unroll
            for (int k = 0; k < at.kCount; ++k) all += q[k];
          });
          all = team_sum(team, all);
        }
        factor = scale * (all * s);
      }
      for_places<kPacked>(team, row.x, begin, end, [&](auto at) {
        const auto q = column_weights(call, row, at);
        Values<T, at.kCount> g{};
        if constexpr (S == ClassScores::kLogits) {
          g = load_at(row.x, at);
#pragma unroll
          for (int k = 0; k < at.kCount; ++k) g[k] = exp(g[k] - top) * factor;
        }
#pragma unroll
        for (int k = 0; k < at.kCount; ++k) {
          g[k] = fma(-q[k], s, g[k]);
          if (!kDense && at[k] == row.label) g[k] -= label_part * s;
        }
        store_at(grad, at, g);
      });
    }
  });
}

// What a row's pass covers: nothing but the label, or all of it.
template <class T>
int64_t row_length(const CrossEntropyParams<T>& p) {
  return p.scores == ClassScores::kLogProbs && p.targets == nullptr && p.smoothing == 0 ? 1 : p.classes;
}

template <class T>
RowLaunch forward_launch(const CrossEntropyParams<T>& p) {
  RowLaunch l = row_launch(p.rows, row_length(p), kMostLossBlocks, p.result.reduction != Reduction::kNone);
  // A loss of no rows is a number too.
  if (p.rows == 0 && p.result.reduction != Reduction::kNone) l.launch = {dim3(1), dim3(32)};
  return l;
}

template <class T>
bool packed(const CrossEntropyParams<T>& p) {
  return p.scores == ClassScores::kLogits && p.classes >= 128 && (p.targets == nullptr || same_place(p.x, p.targets));
}

// f<scores, dense, packed>() for the case at hand.
template <class T, class F>
void choose(const CrossEntropyParams<T>& p, bool pack, const F& f) {
  const auto with = [&]<ClassScores S, bool kPacked>() {
    p.targets != nullptr ? f.template operator()<S, true, kPacked>() : f.template operator()<S, false, kPacked>();
  };
  switch (p.scores) {
    case ClassScores::kLogits:
      return pack ? with.template operator()<ClassScores::kLogits, true>()
                  : with.template operator()<ClassScores::kLogits, false>();
    case ClassScores::kLogProbs:
      return with.template operator()<ClassScores::kLogProbs, false>();
    case ClassScores::kProbs:
      return with.template operator()<ClassScores::kProbs, false>();
  }
}

template <class T>
size_t cross_entropy_workspace(const CrossEntropyParams<T>& p, int) {
  return p.result.reduction == Reduction::kNone ? 0 : forward_launch(p).launch.grid.x * sizeof(LossSums);
}

template <class T>
void cross_entropy(const Context& ctx, const CrossEntropyParams<T>& p) {
  const RowLaunch l = forward_launch(p);
  LossSums* parts = static_cast<LossSums*>(ctx.workspace);
  choose(p, packed(p), [&]<ClassScores S, bool kDense, bool kPacked>() {
    if (l.by_block) {
      launch(ctx, values<T, BlockTeam, S, kDense, kPacked>, l.launch, Call<T>(p), BlockTeam(), parts);
    } else {
      launch(ctx, values<T, LaneTeam, S, kDense, kPacked>, l.launch, Call<T>(p), l.lanes, parts);
    }
  });
  finish_loss(ctx, p.result, l.launch.grid.x, 1.0);
}

template <class T>
void cross_entropy_grad(const Context& ctx, const CrossEntropyGradParams<T>& g) {
  const CrossEntropyParams<T>& p = g.forward;
  if (p.rows == 0 || p.classes == 0) return;
  constexpr int64_t kPiece = 8192;
  int64_t cuts = 1, length = p.classes;
  const bool may_cut = p.targets == nullptr && (p.scores != ClassScores::kProbs || p.smoothing == 0) &&
                       (p.class_weight == nullptr || p.smoothing == 0);
  if (may_cut && p.rows < 1024 && p.classes > kPiece) {
    cuts = ceil_div(p.classes, kPiece);
    length = kPiece;
  }
  const RowLaunch l = row_launch(p.rows * cuts, length, int64_t{device_limits().multiprocessors} * 32);
  choose(p, packed(p) && same_place(p.x, g.grad), [&]<ClassScores S, bool kDense, bool kPacked>() {
    if (l.by_block) {
      launch(ctx, gradients<T, BlockTeam, S, kDense, kPacked>, l.launch, Call<T>(p), BlockTeam(), g.seed, g.grad, cuts,
             length);
    } else {
      launch(ctx, gradients<T, LaneTeam, S, kDense, kPacked>, l.launch, Call<T>(p), l.lanes, g.seed, g.grad, cuts,
             length);
    }
  });
}

template <class T>
void fill_kernels(LossKernels<T>& k) {
  k.cross_entropy_workspace = cross_entropy_workspace<T>;
  k.cross_entropy = cross_entropy<T>;
  k.cross_entropy_grad = cross_entropy_grad<T>;
}

}  // namespace

void fill_cross_entropy(LossKernels<float>& k) { fill_kernels(k); }
void fill_cross_entropy(LossKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
