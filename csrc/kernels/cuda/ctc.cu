// CTC by the forward-backward algorithm, in logarithms that are kept relative to the largest of their step (see
// kernels/cpu/ctc.cpp). A block takes a sample; its threads share the states of a step, whose rows are in shared
// memory, or in the workspace where a target is very long. All alphas are kept for the backward sweep, which follows in
// the same launch. Steps depend on each other, so time goes with their number: some barriers each, and one read of a
// log probability per state, which is under way while the step before is finished.
#include <cmath>
#include <vector>

#include "kernels/ctc.h"
#include "kernels/cuda/fast_div.h"
#include "kernels/cuda/index_check.h"
#include "kernels/cuda/row_team.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

bool given(const IndexList& l) { return l.i32 != nullptr || l.i64 != nullptr; }

// ---- what the host has to know --------------------------------------------------------------------------------------

// A list of the device's, readable here once everything before it is done.
struct HostList {
  IndexList list;
  std::vector<char> copy;

  explicit HostList(const IndexList& l) : list(l) {
#if !defined(LAMELLA_CUDA_HOST)
    if (!given(l) || l.n == 0) return;
    const size_t bytes = static_cast<size_t>(l.n) * (l.i32 != nullptr ? sizeof(int32_t) : sizeof(int64_t));
    copy.resize(bytes);
    const void* from = l.i32 != nullptr ? static_cast<const void*>(l.i32) : l.i64;
    note_error(cudaMemcpy(copy.data(), from, bytes, cudaMemcpyDeviceToHost));
    if (l.i32 != nullptr) {
      list.i32 = reinterpret_cast<const int32_t*>(copy.data());
    } else {
      list.i64 = reinterpret_cast<const int64_t*>(copy.data());
    }
#endif
  }
  int64_t operator[](int64_t i) const { return list.i32 != nullptr ? list.i32[i] : list.i64[i]; }
};

template <class T>
CtcChecked ctc_check(const CtcParams<T>& p) {
#if !defined(LAMELLA_CUDA_HOST)
  note_error(cudaDeviceSynchronize());  // whatever stream the lists come from
#endif
  const HostList targets(p.targets), input_lengths(p.input_lengths), target_lengths(p.target_lengths);
  CtcChecked found;
  const auto fail = [&](CtcProblem problem, int64_t sample, int64_t value) {
    found.problem = problem;
    found.sample = sample;
    found.value = value;
    return found;
  };
  int64_t begin = 0;
  for (int64_t n = 0; n < p.batch; ++n) {
    const int64_t steps = given(p.input_lengths) ? input_lengths[n] : p.steps;
    int64_t length = 0;
    if (given(p.target_lengths)) {
      length = target_lengths[n];
    } else {
      for (int64_t i = 0; i < p.width; ++i) length += targets[n * p.width + i] != p.blank;
    }
    if (steps < 0 || steps > p.steps) return fail(CtcProblem::kInputLength, n, steps);
    if (length < 0 || (p.width >= 0 && length > p.width)) return fail(CtcProblem::kTargetLength, n, length);
    if (p.width >= 0) begin = n * p.width;
    if (length > p.targets.n - begin) return fail(CtcProblem::kTargets, n, begin + length);
    for (int64_t i = 0; i < length; ++i) {
      const int64_t label = targets[begin + i];
      if (label < 0 || label >= p.classes || label == p.blank) return fail(CtcProblem::kLabel, n, label);
    }
    begin += length;
    if (length > found.longest) found.longest = length;
  }
  return found;
}

// ---- memory ---------------------------------------------------------------------------------------------------------

constexpr size_t kMostShared = size_t{96} << 10;
constexpr int kFront = 2;  // places before and behind a row that are minus infinity, for neighbours that do not exist

// Of one sample: three rows of states, the states' classes, and where each class comes next.
struct Space {
  int64_t pitch;
  size_t bytes, alpha_bytes;
  bool shared;

  template <class T>
  explicit Space(const CtcParams<T>& p) : pitch((2 * p.longest + 1 + 2 * kFront + 31) / 32 * 32) {
    bytes = (static_cast<size_t>(pitch) * (3 * sizeof(T) + 2 * sizeof(int32_t)) + 255) / 256 * 256;
    alpha_bytes = p.grad == nullptr
                      ? 0
                      : (static_cast<size_t>(pitch) * static_cast<size_t>(p.steps) * sizeof(T) + 255) / 256 * 256;
    shared = bytes <= kMostShared;
  }
  size_t per_sample() const { return alpha_bytes + (shared ? 0 : bytes); }
};

template <class T>
size_t ctc_workspace(const CtcParams<T>& p, int) {
  return static_cast<size_t>(p.batch) * Space(p).per_sample();
}

// ---- the sweeps -----------------------------------------------------------------------------------------------------

// log(exp(a) + exp(b) + exp(c)), minus infinity where all are.
template <class T>
__device__ T log_sum3(T a, T b, T c) {
  const T lowest = static_cast<T>(sizeof(T) == 4 ? -3.4028234663852886e38 : -1.7976931348623157e308);
  const auto larger = [](T v, T w) { return v > w ? v : w; };
  const T m = larger(larger(larger(a, b), c), lowest);
  return m + log(exp(a - m) + exp(b - m) + exp(c - m));
}

template <class T>
__device__ void fill_rows(const CtcParams<T>& p, int64_t n, int64_t steps, T value) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warps = static_cast<int>(blockDim.x) / 32;
  for (int64_t t = threadIdx.x / 32; t < steps; t += warps) {
    T* const row = p.grad + n * p.sample_stride + t * p.step_stride;
    for (int64_t c = lane; c < p.classes; c += 32) row[c] = value;
  }
}

template <class T>
__global__ void __launch_bounds__(1024) sweep(CtcParams<T> p, Space space, char* workspace) {
  __shared__ double minus_log_likelihood;
  const BlockTeam team;
  const T impossible = T(-INFINITY);
  const int64_t n = blockIdx.x, pitch = space.pitch;
  const int me = team.rank(), threads = team.size();
  char* const own = workspace + n * static_cast<int64_t>(space.alpha_bytes + (space.shared ? 0 : space.bytes));
  T* const alphas = reinterpret_cast<T*>(own);
  char* const memory = space.shared ? dynamic_shared<char>() : own + space.alpha_bytes;
  T* const rows = reinterpret_cast<T*>(memory) + kFront;
  T* const beta = rows + 2 * pitch;
  int32_t* const classes = reinterpret_cast<int32_t*>(rows - kFront + 3 * pitch);
  int32_t* const next = classes + pitch;  // the next state of the same class, or 0; as ~ of it in the first of a class

  // Where the sample's target is, and how long.
  const bool has_lengths = p.target_lengths.i32 != nullptr || p.target_lengths.i64 != nullptr;
  int64_t steps = p.steps, length = 0, target = n * p.width;
  if (p.input_lengths.i32 != nullptr || p.input_lengths.i64 != nullptr) steps = index_at(p.input_lengths, n);
  if (has_lengths) {
    length = index_at(p.target_lengths, n);
  } else {
    for (int64_t i = me; i < p.width; i += threads) length += index_at(p.targets, target + i) != p.blank;
    length = team_sum(team, length);
  }
  if (p.width < 0) {
    target = 0;
    for (int64_t i = me; i < n; i += threads) target += index_at(p.target_lengths, i);
    target = team_sum(team, target);
  }
  // As checked, unless somebody has changed the lists since.
  steps = steps < 0 ? 0 : steps < p.steps ? steps : p.steps;
  length = length < 0 ? 0 : length < p.longest ? length : p.longest;
  const int states = static_cast<int>(2 * length + 1);

  for (int64_t i = me; i < 3 * pitch; i += threads) rows[i - kFront] = impossible;
  for (int s = me; s < states; s += threads) {
    const int64_t label = s % 2 == 0 ? p.blank : index_at(p.targets, target + s / 2);
    classes[s] = static_cast<int32_t>(label >= 0 && label < p.classes ? label : p.blank);
  }
  if (p.grad != nullptr) fill_rows(p, n, p.steps, T(0));
  __syncthreads();
  // From one label right to the next, unless it is the same again.
  const auto may_skip = [&](int s) { return s % 2 == 1 && s >= 3 && classes[s] != classes[s - 2]; };
  if (p.grad != nullptr) {
    for (int s = me; s < states; s += threads) {
      if (s % 2 == 0) continue;
      int after = s + 2, before = s - 2;
      while (after < states && classes[after] != classes[s]) after += 2;
      while (before > 0 && classes[before] != classes[s]) before -= 2;
      const int32_t link = after < states ? after : 0;
      next[s] = before > 0 ? link : ~link;
    }
  }

  const T* const x = p.x + n * p.sample_stride;
  double scale = 0;
  T shift = 0;
  T ahead = me < states && steps > 0 ? x[classes[me]] : T(0);
  for (int64_t t = 0; t < steps; ++t) {
    T* const to = rows + t % 2 * pitch;
    const T* const before = rows + (t + 1) % 2 * pitch;
    const T* const now = x + t * p.step_stride;
    const T first = ahead;
    if (t + 1 < steps && me < states) ahead = now[p.step_stride + classes[me]];
    T top = impossible;
    for (int s = me; s < states; s += threads) {
      const T emission = s == me ? first : now[classes[s]];
      T v = s < 2 ? emission : impossible;
      if (t > 0) {
        const T jump = may_skip(s) ? before[s - 2] - shift : impossible;
        v = log_sum3(before[s] - shift, before[s - 1] - shift, jump) + emission;
      }
      to[s] = v;
      if (p.grad != nullptr) alphas[t * pitch + s] = v;
      top = v > top ? v : top;
    }
    top = team_max(team, top);  // and all see the row
    shift = top > impossible ? top : T(0);
    scale += static_cast<double>(shift);
  }

  if (me == 0) {
    double loss = length == 0 ? 0.0 : static_cast<double>(INFINITY);
    if (steps > 0) {
      const T* const last = rows + (steps - 1) % 2 * pitch;
      const double a = static_cast<double>(last[states - 1] - shift);
      const double b = states > 1 ? static_cast<double>(last[states - 2] - shift) : static_cast<double>(-INFINITY);
      const double m = a > b || a != a ? a : b;
      loss = m == static_cast<double>(-INFINITY) ? static_cast<double>(INFINITY)
                                                 : -(scale + m + log(exp(a - m) + exp(b - m)));
    }
    minus_log_likelihood = loss;
  }
  __syncthreads();
  const double loss = minus_log_likelihood;
  const bool fits = loss < static_cast<double>(INFINITY) || loss != loss;
  if (me == 0) p.loss[n] = !fits && p.zero_infinity ? T(0) : static_cast<T>(loss);
  if (p.grad == nullptr || steps == 0) return;
  if (!fits) {
    if (!p.zero_infinity) fill_rows(p, n, steps, T(NAN));
    return;
  }

  T* const e = rows;
  T* const u = rows + pitch;
  for (int s = me; s < states; s += threads) beta[s] = s >= states - 2 ? T(0) : impossible;
  T alpha_ahead = me < states ? alphas[(steps - 1) * pitch + me] : T(0);
  ahead = me < states ? x[(steps - 1) * p.step_stride + classes[me]] : T(0);
  for (int64_t t = steps - 1;; --t) {
    const T* const now = x + t * p.step_stride;
    const T first_alpha = alpha_ahead, first = ahead;
    if (t > 0 && me < states) {
      alpha_ahead = alphas[(t - 1) * pitch + me];
      ahead = x[(t - 1) * p.step_stride + classes[me]];
    }
    // d loss / d log p[t, c] = -(the probability of being in a state of class c at step t).
    T top = impossible;
    for (int s = me; s < states; s += threads) {
      const T v = (s == me ? first_alpha : alphas[t * pitch + s]) + beta[s];
      e[s] = v;
      top = v > top ? v : top;
    }
    top = team_max(team, top);
    T total = 0, blanks = 0;
    for (int s = me; s < states; s += threads) {
      const T v = exp(e[s] - top);
      e[s] = v;
      total += v;
      if (s % 2 == 0) blanks += v;
    }
    total = team_sum(team, total);
    blanks = team_sum(team, blanks);
    const T factor = T(-1) / total;
    T* const g = p.grad + n * p.sample_stride + t * p.step_stride;
    if (me == 0) g[p.blank] = factor * blanks;
    for (int s = me; s < states; s += threads) {
      if (s % 2 == 0 || next[s] >= 0) continue;
      T sum = e[s];
      for (int k = ~next[s]; k != 0; k = next[k]) sum += e[k];
      g[classes[s]] = factor * sum;
    }
    if (t == 0) return;

    for (int s = me; s < states; s += threads) u[s] = beta[s] + (s == me ? first : now[classes[s]]);
    __syncthreads();
    top = impossible;
    for (int s = me; s < states; s += threads) {
      const T jump = s + 2 < states && may_skip(s + 2) ? u[s + 2] : impossible;
      const T v = log_sum3(u[s], u[s + 1], jump);
      beta[s] = v;
      top = v > top ? v : top;
    }
    top = team_max(team, top);
    if (!(top > impossible)) continue;
    for (int s = me; s < states; s += threads) beta[s] -= top;
  }
}

template <class T>
void ctc(const Context& ctx, const CtcParams<T>& p) {
  const Space space(p);
  const int64_t states = 2 * p.longest + 1;
  const auto threads = static_cast<unsigned>(states < 1024 ? (states + 31) / 32 * 32 : 1024);
  launch(ctx, sweep<T>, {dim3(static_cast<unsigned>(p.batch)), dim3(threads), space.shared ? space.bytes : 0}, p, space,
         static_cast<char*>(ctx.workspace));
}

// ---- the gradient of the op -----------------------------------------------------------------------------------------

template <class T, class Team>
__global__ void __launch_bounds__(512) scale_rows(CtcGradParams<T> p, Team team) {
  for_rows(team, p.batch * p.steps, [&](int64_t i, bool inside) {
    const int64_t n = quotient(i, p.steps), at = n * p.sample_stride + (i - n * p.steps) * p.step_stride;
    const T seed = p.seed[n];
    using Index = typename Team::Index;
    for_places<false>(team, p.saved, Index{0}, static_cast<Index>(inside ? p.classes : 0), [&](auto places) {
      auto v = load_at(p.saved + at, places);
#pragma unroll
      for (int k = 0; k < places.kCount; ++k) v[k] *= seed;
      store_at(p.grad + at, places, v);
    });
  });
}

template <class T>
void ctc_grad(const Context& ctx, const CtcGradParams<T>& p) {
  if (p.batch * p.steps * p.classes == 0) return;
  const RowLaunch l = row_launch(p.batch * p.steps, p.classes, int64_t{device_limits().multiprocessors} * 32);
  if (l.by_block) {
    launch(ctx, scale_rows<T, BlockTeam>, l.launch, p, BlockTeam());
  } else {
    launch(ctx, scale_rows<T, LaneTeam>, l.launch, p, l.lanes);
  }
}

template <class T>
void fill_kernels(CtcKernels<T>& k) {
  k.check = ctc_check<T>;
  k.ctc_workspace = ctc_workspace<T>;
  k.ctc = ctc<T>;
  k.ctc_grad = ctc_grad<T>;
}

}  // namespace

void fill(CtcKernels<float>& k) { fill_kernels(k); }
void fill(CtcKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
