// Updates of many tensors by one launch. Bound by memory: every array is read once and written once (Adam: 28 bytes per
// number in float32).
//
// The tensors go to the kernel by value, as many as fit its arguments: some 60 of them, so that most networks take one
// to three launches. A block takes 4,096 numbers of one tensor, four times 16 bytes of each array per thread.
#include <type_traits>

#include "kernels/cuda/device.h"
#include "kernels/cuda/sum_squares.h"
#include "kernels/cuda/tables.h"
#include "kernels/optimizer.h"

namespace lamella::cuda {
namespace {

constexpr int kThreads = 256, kPerBlock = 4096;
constexpr size_t kArgumentBytes = 4096 - 256;  // for tensors; the rest is the rule's

// Consecutive numbers of one tensor.
template <class T, int kStates>
struct Run {
  T* w;
  const T* g;
  T* state[kStates > 0 ? kStates : 1];
  int64_t n;
  T lr, l2, keep, grad_scale;
  int first_block;
  unsigned aligned : 1, tensor : 31;
};

template <class T, int kStates>
struct Runs {
  static constexpr int kMost = static_cast<int>((kArgumentBytes - 8) / sizeof(Run<T, kStates>));
  int count = 0, blocks = 0;
  Run<T, kStates> run[kMost];
};

// ---- rules ---------------------------------------------------------------------------------------------------------
//
// What a rule has: kStates; rates(lr): what it makes of a tensor's learning rate; faded: states below it become 0 (see
// faded_below); at(step): takes what changes from step to step; update(w, g, states, rates) of one number.

template <class T>
struct Rates {
  T first, second;
};

// An average of gradients that have stopped ends at 0 and not among the subnormal numbers, where rounding would keep it
// for good: the same results as on the CPU, which would also be slow there.
template <class T>
__host__ __device__ T faded_below(T eps) {
  constexpr T smallest_normal = static_cast<T>(sizeof(T) == 4 ? 0x1p-126 : 0x1p-1022);
  return eps >= T(1e-12) ? smallest_normal : T(0);
}

// keep * old + take * now.
template <class T>
__device__ T decay_towards(T old, T now, T keep, T take) {
  return fma(keep, old, take * now);
}
// The larger; the second where one of them is NaN.
template <class T>
__device__ T larger(T a, T b) {
  return a > b ? a : b;
}

template <class T, bool kMomentum>
struct Sgd {
  static constexpr int kStates = kMomentum ? 1 : 0;
  T faded, momentum, take;
  bool nesterov, velocity;

  explicit Sgd(const OptimizerParams<T>& p)
      : faded(faded_below(T(1))), momentum(p.momentum), take(p.take), nesterov(p.nesterov), velocity(p.velocity) {}
  __device__ void at(const OptimizerStep<T>& step) { take = step.take; }
  __device__ Rates<T> rates(T lr) const { return {lr, T(0)}; }
  __device__ void update(T& w, T g, T* s, const Rates<T>& r) const {
    const T lr = r.first;
    if constexpr (!kMomentum) {
      w = fma(-lr, g, w);
    } else if (velocity) {
      s[0] = fma(-lr, g, momentum * s[0]);
      w += nesterov ? fma(-lr, g, momentum * s[0]) : s[0];
    } else {
      s[0] = decay_towards(s[0], g, momentum, take);
      w = fma(-lr, nesterov ? fma(momentum, s[0], g) : s[0], w);
    }
  }
};

// The two averages of Adam and Nadam.
template <class T>
struct Moments {
  T faded, beta1, take1, beta2, take2, root, eps;

  explicit Moments(const OptimizerParams<T>& p)
      : faded(faded_below(p.eps)),
        beta1(p.beta1),
        take1(p.take1),
        beta2(p.beta2),
        take2(p.take2),
        root(p.root_scale),
        eps(p.eps) {}
  __device__ void at(const OptimizerStep<T>& step) {
    root = step.root_scale;
    eps = step.eps;
  }
  __device__ void average(T g, T* s) const {
    s[0] = decay_towards(s[0], g, beta1, take1);
    s[1] = decay_towards(s[1], g * g, beta2, take2);
  }
};

template <class T, bool kAmsgrad>
struct Adam : Moments<T> {
  static constexpr int kStates = kAmsgrad ? 3 : 2;
  T step_scale;

  explicit Adam(const OptimizerParams<T>& p) : Moments<T>(p), step_scale(p.step_scale) {}
  __device__ void at(const OptimizerStep<T>& step) {
    Moments<T>::at(step);
    this->faded = faded_below(step.eps);
    step_scale = step.step_scale;
  }
  __device__ Rates<T> rates(T lr) const { return {lr * step_scale, T(0)}; }
  __device__ void update(T& w, T g, T* s, const Rates<T>& r) const {
    this->average(g, s);
    T square = s[1];
    if constexpr (kAmsgrad) square = s[2] = larger(s[2], square);
    w -= r.first * s[0] / fma(sqrt(square), this->root, this->eps);
  }
};

template <class T>
struct Nadam : Moments<T> {
  static constexpr int kStates = 2;
  T step_scale, grad_step_scale;

  explicit Nadam(const OptimizerParams<T>& p)
      : Moments<T>(p), step_scale(p.step_scale), grad_step_scale(p.grad_step_scale) {}
  __device__ void at(const OptimizerStep<T>& step) {
    Moments<T>::at(step);
    step_scale = step.step_scale;
    grad_step_scale = step.grad_step_scale;
  }
  __device__ Rates<T> rates(T lr) const { return {lr * step_scale, lr * grad_step_scale}; }
  __device__ void update(T& w, T g, T* s, const Rates<T>& r) const {
    this->average(g, s);
    w -= fma(r.first, s[0], r.second * g) / fma(sqrt(s[1]), this->root, this->eps);
  }
};

template <class T>
struct Adamax {
  static constexpr int kStates = 2;
  T faded, beta1, take1, beta2, inside, outside, step_scale;

  explicit Adamax(const OptimizerParams<T>& p)
      : faded(faded_below(p.eps)),
        beta1(p.beta1),
        take1(p.take1),
        beta2(p.beta2),
        inside(p.eps_inside ? p.eps : T(0)),
        outside(p.eps_inside ? T(0) : p.eps),
        step_scale(p.step_scale) {}
  __device__ void at(const OptimizerStep<T>& step) { step_scale = step.step_scale; }
  __device__ Rates<T> rates(T lr) const { return {lr * step_scale, T(0)}; }
  __device__ void update(T& w, T g, T* s, const Rates<T>& r) const {
    s[0] = decay_towards(s[0], g, beta1, take1);
    s[1] = larger(beta2 * s[1], fabs(g) + inside);
    w -= r.first * s[0] / (s[1] + outside);
  }
};

template <class T>
struct Lion {
  static constexpr int kStates = 1;
  T faded = 0;  // however small the average, its sign makes a full step
  T beta1, take1, beta2, take2;

  explicit Lion(const OptimizerParams<T>& p) : beta1(p.beta1), take1(p.take1), beta2(p.beta2), take2(p.take2) {}
  __device__ void at(const OptimizerStep<T>&) {}
  __device__ Rates<T> rates(T lr) const { return {lr, T(0)}; }
  __device__ void update(T& w, T g, T* s, const Rates<T>& r) const {
    const T d = decay_towards(s[0], g, beta1, take1);
    w -= fabs(d) > T(0) ? copysign(r.first, d) : d;  // 0 stays 0, NaN stays NaN
    s[0] = decay_towards(s[0], g, beta2, take2);
  }
};

template <class T, bool kCentered, bool kMomentum>
struct Rmsprop {
  static constexpr int kStates = 1 + (kCentered ? 1 : 0) + (kMomentum ? 1 : 0);
  T faded, beta2, take2, eps, momentum;
  bool eps_inside, velocity;

  explicit Rmsprop(const OptimizerParams<T>& p)
      : faded(faded_below(p.eps)),
        beta2(p.beta2),
        take2(p.take2),
        eps(p.eps),
        momentum(p.momentum),
        eps_inside(p.eps_inside),
        velocity(p.velocity) {}
  __device__ void at(const OptimizerStep<T>&) {}
  __device__ Rates<T> rates(T lr) const { return {lr, T(0)}; }
  __device__ void update(T& w, T g, T* s, const Rates<T>& r) const {
    const T lr = r.first;
    s[0] = decay_towards(s[0], g * g, beta2, take2);
    T square = s[0];
    if constexpr (kCentered) {
      s[1] = decay_towards(s[1], g, beta2, take2);
      square = larger(T(0), fma(-s[1], s[1], square));  // rounding can take the variance below 0
    }
    const T step = g / (eps_inside ? sqrt(square + eps) : sqrt(square) + eps);
    if constexpr (!kMomentum) {
      w = fma(-lr, step, w);
    } else {
      T& buffer = s[kStates - 1];
      buffer = fma(momentum, buffer, velocity ? lr * step : step);
      w = velocity ? w - buffer : fma(-lr, buffer, w);
    }
  }
};

template <class T>
struct Adagrad {
  static constexpr int kStates = 1;
  T faded, eps, step_scale;
  bool eps_inside;

  explicit Adagrad(const OptimizerParams<T>& p)
      : faded(faded_below(p.eps)), eps(p.eps), step_scale(p.step_scale), eps_inside(p.eps_inside) {}
  __device__ void at(const OptimizerStep<T>& step) { step_scale = step.step_scale; }
  __device__ Rates<T> rates(T lr) const { return {lr * step_scale, T(0)}; }
  __device__ void update(T& w, T g, T* s, const Rates<T>& r) const {
    s[0] = fma(g, g, s[0]);
    w = fma(-r.first, g / (eps_inside ? sqrt(s[0] + eps) : sqrt(s[0]) + eps), w);
  }
};

template <class T>
struct Adadelta {
  static constexpr int kStates = 2;
  T faded, beta2, take2, eps;

  explicit Adadelta(const OptimizerParams<T>& p)
      : faded(faded_below(p.eps)), beta2(p.beta2), take2(p.take2), eps(p.eps) {}
  __device__ void at(const OptimizerStep<T>&) {}
  __device__ Rates<T> rates(T lr) const { return {lr, T(0)}; }
  __device__ void update(T& w, T g, T* s, const Rates<T>& r) const {
    s[0] = decay_towards(s[0], g * g, beta2, take2);
    const T d = sqrt((s[1] + eps) / (s[0] + eps)) * g;
    s[1] = decay_towards(s[1], d * d, beta2, take2);
    w = fma(-r.first, d, w);
  }
};

// FTRL-proximal (McMahan et al. 2013).
template <class T>
struct Ftrl {
  static constexpr int kStates = 2;
  T faded = 0;
  T power, l1, l2, l2_of_rate, shrinkage;

  explicit Ftrl(const OptimizerParams<T>& p)
      : power(p.power), l1(p.l1), l2(p.l2), l2_of_rate(p.l2_of_rate), shrinkage(p.shrinkage) {}
  __device__ void at(const OptimizerStep<T>&) {}
  __device__ Rates<T> rates(T lr) const { return {T(1) / lr, l2 + l2_of_rate / lr}; }
  __device__ T raised(T x) const { return power == T(0.5) ? sqrt(x) : pow(x, power); }
  __device__ void update(T& w, T g, T* s, const Rates<T>& r) const {
    const T before = raised(s[0]);
    s[0] = fma(g, g, s[0]);
    const T now = raised(s[0]);
    const T linear = s[1] = fma(-(now - before) * r.first, w, s[1] + fma(shrinkage, w, g));
    const T cut = linear < -l1 ? -l1 : linear > l1 ? l1 : linear;
    w = (cut - linear) / fma(now, r.first, r.second);
  }
};

// ---- the kernels ---------------------------------------------------------------------------------------------------

template <class R>
__device__ const R& run_of(const R* run, int count, int block) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (run[middle].first_block <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return run[low];
}

// Calls body(i, packed) for numbers i ... of the block's part of a run: kSize of them where `packed` is true.
template <class T, class R, class Body>
__device__ void for_numbers(const R& run, int block, const Body& body) {
  constexpr int V = Pack<T>::kSize;
  const int64_t begin = static_cast<int64_t>(block - run.first_block) * kPerBlock;
  const int n = static_cast<int>(run.n - begin < kPerBlock ? run.n - begin : kPerBlock);
  const int thread = static_cast<int>(threadIdx.x), packed = run.aligned ? n / V * V : 0;
  for (int i = thread * V; i < packed; i += kThreads * V) body(begin + i, std::integral_constant<int, V>());
  for (int i = packed + thread; i < n; i += kThreads) body(begin + i, std::integral_constant<int, 1>());
}

template <int V, class T>
__device__ void load(const T* p, T* v) {
  if constexpr (V == 1) {
    v[0] = *p;
  } else {
    const Pack<T> pack = load_pack(p);
#pragma unroll
    for (int k = 0; k < V; ++k) v[k] = pack.v[k];
  }
}
template <int V, class T>
__device__ void store(T* p, const T* v) {
  if constexpr (V == 1) {
    *p = v[0];
  } else {
    Pack<T> pack;
#pragma unroll
    for (int k = 0; k < V; ++k) pack.v[k] = v[k];
    store_pack(p, pack);
  }
}

template <class T, class Rule>
__global__ void __launch_bounds__(kThreads)
    update_tensors(const __grid_constant__ Runs<T, Rule::kStates> runs, const __grid_constant__ Rule given, T clip,
                   const OptimizerStep<T>* step, const OptimizerTensorStep<T>* tensor_steps) {
  constexpr int kStates = Rule::kStates, kRoom = kStates > 0 ? kStates : 1;
  const int block = static_cast<int>(blockIdx.x);
  const Run<T, kStates>& t = run_of(runs.run, runs.count, block);
  Rule rule = given;
  OptimizerTensorStep<T> now{t.lr, t.keep, t.grad_scale};
  if (step != nullptr) {
    rule.at(*step);
    now = tensor_steps[t.tensor];
  }
  const Rates<T> rates = rule.rates(now.lr);
  for_numbers<T>(t, block, [&](int64_t i, auto width) {
    constexpr int V = decltype(width)::value;
    T w[V], g[V], s[kRoom][V];
    load<V>(t.w + i, w);
    load<V>(t.g + i, g);
#pragma unroll
    for (int j = 0; j < kStates; ++j) load<V>(t.state[j] + i, s[j]);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      T d = g[k] * now.grad_scale;
      if (clip > T(0)) d = d < -clip ? -clip : d > clip ? clip : d;  // NaN stays NaN
      d = fma(t.l2, w[k], d);
      w[k] *= now.keep;
      T own[kRoom];
#pragma unroll
      for (int j = 0; j < kStates; ++j) own[j] = s[j][k];
      rule.update(w[k], d, own, rates);
#pragma unroll
      for (int j = 0; j < kStates; ++j) s[j][k] = fabs(own[j]) < rule.faded ? T(0) : own[j];
    }
    store<V>(t.w + i, w);
#pragma unroll
    for (int j = 0; j < kStates; ++j) store<V>(t.state[j] + i, s[j]);
  });
}

// w = keep * w + take * g; what has the factor 0 is not read.
template <class T>
__global__ void __launch_bounds__(kThreads)
    blend_tensors(const __grid_constant__ Runs<T, 0> runs, T keep, T take, const OptimizerStep<T>* step) {
  if (step != nullptr) {
    keep = step->average_keep;
    take = step->average_take;
  }
  const int block = static_cast<int>(blockIdx.x);
  const Run<T, 0>& t = run_of(runs.run, runs.count, block);
  for_numbers<T>(t, block, [&](int64_t i, auto width) {
    constexpr int V = decltype(width)::value;
    T w[V] = {}, g[V] = {};
    if (keep != T(0)) load<V>(t.w + i, w);
    if (take != T(0)) load<V>(t.g + i, g);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const T kept = keep == T(0) ? T(0) : keep * w[k];
      w[k] = take == T(0) ? kept : fma(take, g[k], kept);
    }
    store<V>(t.w + i, w);
  });
}

// ---- launches ------------------------------------------------------------------------------------------------------

// Calls launch(runs) for all chunks, with as many runs at once as fit. Chunks that continue each other are one run.
template <class T, int kStates, class F>
void in_groups(const OptimizerParams<T>& p, const F& launch) {
  Runs<T, kStates> runs;
  const auto flush = [&] {
    if (runs.count > 0) launch(runs);
    runs.count = runs.blocks = 0;
  };
  for (int64_t i = 0; i < p.chunk_count;) {
    const OptimizerTensor<T>& t = p.tensors[p.chunks[i].tensor];
    const int64_t tensor = p.chunks[i].tensor, begin = p.chunks[i].begin;
    int64_t end = p.chunks[i].end;
    for (++i; i < p.chunk_count && p.chunks[i].tensor == tensor && p.chunks[i].begin == end; ++i) end = p.chunks[i].end;
    if (begin == end) continue;
    const int64_t blocks = ceil_div(end - begin, kPerBlock);
    if (runs.count == Runs<T, kStates>::kMost || runs.blocks + blocks > 0x7fffffff) flush();
    Run<T, kStates>& r = runs.run[runs.count++];
    r.w = t.w + begin;
    r.g = t.g + begin;
    bool aligned = aligned16(r.w) && aligned16(r.g);
    for (int k = 0; k < kStates; ++k) {
      r.state[k] = t.state[k] + begin;
      aligned = aligned && aligned16(r.state[k]);
    }
    r.aligned = aligned ? 1 : 0;
    r.tensor = static_cast<unsigned>(tensor) & 0x7fffffff;
    r.n = end - begin;
    r.lr = t.lr;
    r.l2 = t.l2;
    r.keep = t.keep;
    r.grad_scale = t.grad_scale;
    r.first_block = runs.blocks;
    runs.blocks += static_cast<int>(blocks);
  }
  flush();
}

template <class Rule, class T>
void run(const Context& ctx, const OptimizerParams<T>& p) {
  static_assert(sizeof(Runs<T, Rule::kStates>) + sizeof(Rule) + sizeof(T) + 2 * sizeof(void*) <= 4096);
  const Rule rule(p);
  in_groups<T, Rule::kStates>(p, [&](const Runs<T, Rule::kStates>& runs) {
    launch(ctx, update_tensors<T, Rule>, {dim3(static_cast<unsigned>(runs.blocks)), dim3(kThreads)}, runs, rule,
           p.clip_value, p.step, p.tensor_steps);
  });
}

template <class T>
void sgd(const Context& ctx, const OptimizerParams<T>& p) {
  if (p.momentum == T(0)) return run<Sgd<T, false>>(ctx, p);
  run<Sgd<T, true>>(ctx, p);
}
template <class T>
void adam(const Context& ctx, const OptimizerParams<T>& p) {
  if (p.amsgrad) return run<Adam<T, true>>(ctx, p);
  run<Adam<T, false>>(ctx, p);
}
template <class T>
void rmsprop(const Context& ctx, const OptimizerParams<T>& p) {
  const bool momentum = p.momentum != T(0);
  if (p.centered && momentum) return run<Rmsprop<T, true, true>>(ctx, p);
  if (p.centered) return run<Rmsprop<T, true, false>>(ctx, p);
  if (momentum) return run<Rmsprop<T, false, true>>(ctx, p);
  run<Rmsprop<T, false, false>>(ctx, p);
}
template <class T>
void blend(const Context& ctx, const OptimizerParams<T>& p) {
  in_groups<T, 0>(p, [&](const Runs<T, 0>& runs) {
    launch(ctx, blend_tensors<T>, {dim3(static_cast<unsigned>(runs.blocks)), dim3(kThreads)}, runs, p.beta1, p.take1,
           p.step);
  });
}

// One block. The sums are added one after another, as on the host; that takes some 5 ns for each.
template <class T>
__global__ void __launch_bounds__(kThreads)
    set_scales(const double* sums, int count, bool each, double limit, double scale, OptimizerTensorStep<T>* steps) {
  __shared__ double some[kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  double all = 0;
  for (int begin = 0; begin < count && !each; begin += kThreads) {
    if (begin + thread < count) some[thread] = sums[begin + thread];
    __syncthreads();
    const int n = count - begin < kThreads ? count - begin : kThreads;
    for (int i = 0; i < n; ++i) all += some[i];
    __syncthreads();
  }
  for (int i = thread; i < count; i += kThreads) {
    const double norm = fabs(scale) * sqrt(each ? sums[i] : all);
    if (norm > limit) steps[i].grad_scale = static_cast<T>(scale * (limit / norm));
  }
}

template <class T>
size_t clip_norm_workspace(const ClipNormParams<T>& p) {
  return sum_squares_bytes({p.arrays, p.count});
}
template <class T>
void clip_norm(const Context& ctx, const ClipNormParams<T>& p) {
  const double* const sums = sum_squares_on_device<T>(ctx, {p.arrays, p.count});
  launch(ctx, set_scales<T>, {dim3(p.count > 0 ? 1 : 0), dim3(kThreads)}, sums, static_cast<int>(p.count), p.each,
         p.limit, p.scale, p.steps);
}

template <class T>
void fill_kernels(OptimizerKernels<T>& k) {
  k.sgd = sgd<T>;
  k.adam = adam<T>;
  k.rmsprop = rmsprop<T>;
  k.adagrad = run<Adagrad<T>, T>;
  k.adadelta = run<Adadelta<T>, T>;
  k.adamax = run<Adamax<T>, T>;
  k.nadam = run<Nadam<T>, T>;
  k.lion = run<Lion<T>, T>;
  k.ftrl = run<Ftrl<T>, T>;
  k.blend = blend<T>;
  k.clip_norm_workspace = clip_norm_workspace<T>;
  k.clip_norm = clip_norm<T>;
}

}  // namespace

void fill(OptimizerKernels<float>& k) { fill_kernels(k); }
void fill(OptimizerKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
