// Batch, group and instance norm over (n, rows, c), forward: moments of every channel of every image by one reduction
// over the rows; from them, in double, y = (x - center) * scale + shift for each channel; then one pass that writes the
// output. x is read twice and y written once; with given statistics x is read once.
#include "kernels/cuda/norm_parts.h"

namespace lamella::cuda {
namespace {

template <class T>
struct Coefficients {  // [n, c]
  T* center;
  T* scale;
  T* shift;
};

// What becomes of a group's mean and variance.
template <class T>
struct Statistics {
  const T* gamma;
  const T* beta;
  double eps;
  T* mean;
  T* inv_std;
  T* running_mean;
  T* running_var;
  double momentum;
  bool unbiased;
  Coefficients<T> to;

  // Of `count` elements, squares around the mean; returns 1 / standard deviation. By one thread for each group.
  __device__ double inverse(double squares, double count) const {
    return 1 / sqrt((count > 0 ? squares / count : 0) + eps);
  }
  __device__ void keep(int64_t group, double m, double squares, double count) const {
    if (mean != nullptr) mean[group] = static_cast<T>(m);
    if (inv_std != nullptr) inv_std[group] = static_cast<T>(inverse(squares, count));
    if (running_mean == nullptr || count == 0) return;
    const double var = squares / (unbiased ? count - 1 : count);
    running_mean[group] = static_cast<T>(momentum * static_cast<double>(running_mean[group]) + (1 - momentum) * m);
    running_var[group] = static_cast<T>(momentum * static_cast<double>(running_var[group]) + (1 - momentum) * var);
  }
  __device__ void coefficients(int64_t out, int64_t channel, double m, double inv) const {
    // What T cannot hold of the mean goes into the shift.
    const T high = static_cast<T>(m);
    const double a = inv * (gamma != nullptr ? static_cast<double>(gamma[channel]) : 1.0);
    const double b = (beta != nullptr ? static_cast<double>(beta[channel]) : 0.0) - (m - static_cast<double>(high)) * a;
    to.center[out] = high;
    to.scale[out] = static_cast<T>(a);
    to.shift[out] = static_cast<T>(b);
  }
};

// Groups of one channel.
template <class T>
struct ChannelReducer : MomentsReducer<T> {
  Statistics<T> statistics;
  int64_t c = 0;

  __device__ void finish(int64_t out, const Moments<T>& m, T shift) const {
    const double mean = static_cast<double>(shift) + static_cast<double>(m.mean);
    const double squares = static_cast<double>(m.square), count = static_cast<double>(m.n);
    statistics.keep(out, mean, squares, count);
    statistics.coefficients(out, out % c, mean, statistics.inverse(squares, count));
  }
};

// Groups of several: their channels first.
template <class T>
struct MemberReducer : MomentsReducer<T> {
  double* mean = nullptr;
  double* square = nullptr;

  __device__ void finish(int64_t out, const Moments<T>& m, T shift) const {
    mean[out] = static_cast<double>(shift) + static_cast<double>(m.mean);
    square[out] = static_cast<double>(m.square);
  }
};

// A group to a warp.
template <class T>
__global__ void __launch_bounds__(128) finish_groups(Statistics<T> s, const double* mean, const double* square,
                                                     int64_t count, int64_t groups, int64_t in_group, int64_t rows) {
  const int64_t group = thread_number() / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (group >= count) return;
  const double n = static_cast<double>(rows);
  const int64_t first = group * in_group, channel = group % groups * in_group;
  double m = 0, squares = 0;
  for (int64_t j = lane; j < in_group; j += 32) m += mean[first + j];
  m = warp_sum(m) / static_cast<double>(in_group);
  for (int64_t j = lane; j < in_group; j += 32) {
    const double apart = mean[first + j] - m;
    squares += square[first + j] + n * apart * apart;
  }
  squares = warp_sum(squares);
  const double elements = n * static_cast<double>(in_group);
  if (lane == 0) s.keep(group, m, squares, elements);
  const double inv = s.inverse(squares, elements);
  for (int64_t j = lane; j < in_group; j += 32) s.coefficients(first + j, channel + j, m, inv);
}

// Coefficients that were computed before.
template <class T>
struct Computed {
  Coefficients<T> from;
  template <int kVec>
  __device__ void get(int64_t channel, bool, T (&center)[kVec], T (&scale)[kVec], T (&shift)[kVec]) const {
    load_vector<kVec>(center, from.center + channel);
    load_vector<kVec>(scale, from.scale + channel);
    load_vector<kVec>(shift, from.shift + channel);
  }
};
// Of given statistics, of one image. `first`: they are to be handed out, too.
template <class T>
struct Given {
  const T* given_mean;
  const T* given_var;
  const T* gamma;
  const T* beta;
  T eps;
  T* mean;
  T* inv_std;
  template <int kVec>
  __device__ void get(int64_t channel, bool first, T (&center)[kVec], T (&scale)[kVec], T (&shift)[kVec]) const {
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      const T inv = T(1) / sqrt(given_var[channel + j] + eps);
      center[j] = given_mean[channel + j];
      scale[j] = gamma != nullptr ? inv * gamma[channel + j] : inv;
      shift[j] = beta != nullptr ? beta[channel + j] : T(0);
      if (first && mean != nullptr) mean[channel + j] = center[j];
      if (first && inv_std != nullptr) inv_std[channel + j] = inv;
    }
  }
};

template <class T, class C, int kVec>
__global__ void __launch_bounds__(256) apply_channels(C coefficients, ChannelWalk walk, const T* x, T* y, bool relu) {
  constexpr int U = 4;
  if (!walk.template there<kVec>()) return;
  const int64_t channel = walk.template channel<kVec>(), base = walk.kept.offset(channel);
  T center[kVec], scale[kVec], shift[kVec];
  coefficients.template get<kVec>(channel, walk.first_row() == 0, center, scale, shift);
  const int step = static_cast<int>(blockDim.y);
  const int64_t end = walk.last_row();
  for (int64_t r = walk.first_row(); r < end; r += U * step) {
    T v[U][kVec] = {};
#pragma unroll
    for (int u = 0; u < U; ++u)
      if (r + u * step < end) load_vector<kVec>(v[u], x + base + (r + u * step) * walk.c);
#pragma unroll
    for (int u = 0; u < U; ++u) {
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        v[u][j] = fma(v[u][j] - center[j], scale[j], shift[j]);
        if (relu && v[u][j] < 0) v[u][j] = 0;
      }
      if (r + u * step < end) store_vector<kVec>(y + base + (r + u * step) * walk.c, v[u]);
    }
  }
}

// How the workspace is used.
template <class T>
struct Work {
  ReduceSpace space;
  void* partials = nullptr;
  Coefficients<T> coefficients{};
  double* mean = nullptr;
  double* square = nullptr;
  size_t bytes = 0;

  Work(const ChannelNormParams<T>& p, void* workspace) : space(p.n, p.rows, p.c) {
    if (p.given_mean != nullptr || p.n * p.c == 0) return;
    Pieces pieces(workspace);
    partials = pieces.take_bytes(reduce_workspace_bytes<ChannelReducer<T>>(space));
    for (T** to : {&coefficients.center, &coefficients.scale, &coefficients.shift}) *to = pieces.take<T>(p.n * p.c);
    if (p.groups != p.c) {
      mean = pieces.take<double>(p.n * p.c);
      square = pieces.take<double>(p.n * p.c);
    }
    bytes = pieces.bytes();
  }
};

template <class T>
size_t channel_norm_workspace(const ChannelNormParams<T>& p, int) {
  return Work<T>(p, nullptr).bytes;
}

template <class T, class C>
void apply(const Context& ctx, const ChannelNormParams<T>& p, const ReduceSpace& space, const C& coefficients) {
  if (p.rows == 0) return;
  constexpr int kSize = Pack<T>::kSize;
  const bool packs = p.c % kSize == 0 && aligned16(p.x) && aligned16(p.y);
  ChannelWalk walk;
  const Launch l = walk.plan(space, p.n, p.rows, p.c, packs ? kSize : 1);
  launch(ctx, packs ? apply_channels<T, C, kSize> : apply_channels<T, C, 1>, l, coefficients, walk, p.x, p.y, p.relu);
}

template <class T>
__global__ void __launch_bounds__(256) keep_given(Given<T> given, int64_t c) {
  for (int64_t i = thread_number(); i < c; i += thread_count()) {
    T center[1], scale[1], shift[1];
    given.template get<1>(i, true, center, scale, shift);
  }
}

template <class T>
void channel_norm(const Context& ctx, const ChannelNormParams<T>& p) {
  if (p.n * p.c == 0) return;
  const Work<T> w(p, ctx.workspace);
  if (p.given_mean != nullptr) {
    const Given<T> given{p.given_mean, p.given_var, p.gamma, p.beta, static_cast<T>(p.eps), p.mean, p.inv_std};
    if (p.rows == 0) return launch(ctx, keep_given<T>, flat(p.c), given, p.c);
    return apply(ctx, p, w.space, given);
  }
  const Statistics<T> statistics{p.gamma,       p.beta,     p.eps,
                                 p.mean,        p.inv_std,  p.running_mean,
                                 p.running_var, p.momentum, p.unbiased_running_var,
                                 w.coefficients};
  if (p.groups == p.c) {
    ChannelReducer<T> r;
    r.x = p.x;
    r.statistics = statistics;
    r.c = p.c;
    run_reduction(ctx, r, w.space, aligned16(p.x), w.partials);
  } else {
    MemberReducer<T> r;
    r.x = p.x;
    r.mean = w.mean;
    r.square = w.square;
    run_reduction(ctx, r, w.space, aligned16(p.x), w.partials);
    const int64_t count = p.n * p.groups;
    launch(ctx, finish_groups<T>, {dim3(static_cast<unsigned>(ceil_div(count, 4))), dim3(128)}, statistics, w.mean,
           w.square, count, p.groups, p.c / p.groups, p.rows);
  }
  apply(ctx, p, w.space, Computed<T>{w.coefficients});
}

template <class T>
void fill_part(NormKernels<T>& k) {
  k.channel_norm_workspace = channel_norm_workspace<T>;
  k.channel_norm = channel_norm<T>;
}

}  // namespace

void fill_channel_norm(NormKernels<float>& k) { fill_part(k); }
void fill_channel_norm(NormKernels<double>& k) { fill_part(k); }

}  // namespace lamella::cuda
