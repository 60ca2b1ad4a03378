// Batch, group and instance norm, backward. One reduction over the rows gives, for every channel of every image, the
// sums of g and of g * z; with these, grad_in = gain * g + slope * (x - mean) + shift in one more pass. grad_out and x
// (and y, with ReLU) are read twice, grad_in is written once. With z = (x - mean) * inv_std over the `count` elements
// of a group, a = sum(gamma * g) and b = sum(gamma * g * z): grad_in = inv_std * (gamma * g - a / count - z * b /
// count).
#include "kernels/cuda/norm_parts.h"

namespace lamella::cuda {
namespace {

template <class T>
struct Coefficients {  // [n, c]
  T* gain;
  T* slope;
  T* shift;
};

template <class T>
struct Group {
  const T* gamma;
  const T* inv_std;
  double count;  // of elements
  Coefficients<T> to;

  __device__ double gamma_of(int64_t channel) const {
    return gamma != nullptr ? static_cast<double>(gamma[channel]) : 1.0;
  }
  // a and b: the sums over the group.
  __device__ void coefficients(int64_t out, int64_t channel, int64_t group, double a, double b) const {
    const double inv = static_cast<double>(inv_std[group]);
    to.gain[out] = static_cast<T>(inv * gamma_of(channel));
    to.slope[out] = static_cast<T>(-inv * inv * (b / count));
    to.shift[out] = static_cast<T>(-inv * (a / count));
  }
};

// Sums of g and of g * z.
template <class T>
struct GradReducer {
  using Element = T;
  struct Value {
    T g, x;
  };
  using Acc = Sums<T, 2>;
  using Given = T;
  static constexpr int kUnroll = 4;
  const T* grad_out = nullptr;
  const T* x = nullptr;
  const T* y = nullptr;  // nullptr: no ReLU
  const T* mean = nullptr;
  GroupOf group_of;
  Group<T> group;
  int64_t c = 0;
  bool single = false;  // groups of one channel: with coefficients
  T* sum = nullptr;     // [n, c], or, of one image, the gradients themselves; each nullptr: not wanted
  T* product = nullptr;

  __device__ T given(int64_t out, int64_t) const { return mean[group_of(out)]; }
  template <int kVec>
  __device__ void load(Value (&v)[kVec], int64_t at, int64_t) const {
    T g[kVec], a[kVec];
    load_vector<kVec>(g, grad_out + at);
    load_vector<kVec>(a, x + at);
    if (y != nullptr) {
      T out[kVec];
      load_vector<kVec>(out, y + at);
#pragma unroll
      for (int j = 0; j < kVec; ++j) g[j] = out[j] > 0 ? g[j] : T(0);
    }
#pragma unroll
    for (int j = 0; j < kVec; ++j) v[j] = {g[j], a[j]};
  }
  __device__ Acc lift(const Value& v, T center) const { return {{v.g, v.g * (v.x - center)}}; }
  template <int kVec, int N>
  __device__ Acc tile(const Value (&v)[N], int n, int64_t, int64_t, T center) const {
    return tile_tree(*this, v, n, center);
  }
  __device__ Acc identity() const { return Acc::zero(); }
  __device__ Acc combine(const Acc& a, const Acc& b) const { return a + b; }
  __device__ void finish(int64_t out, const Acc& acc, T) const {
    const int64_t g = group_of(out);
    const double a = static_cast<double>(acc.v[0]);
    const double b = static_cast<double>(acc.v[1]) * static_cast<double>(group.inv_std[g]);
    if (sum != nullptr) sum[out] = acc.v[0];
    if (product != nullptr) product[out] = static_cast<T>(b);
    if (!single || group.count == 0) return;
    const int64_t channel = out % c;
    const double gamma = group.gamma_of(channel);
    group.coefficients(out, channel, g, gamma * a, gamma * b);
  }
};

// A group to a warp.
template <class T>
__global__ void __launch_bounds__(128)
    finish_groups(Group<T> s, const T* sum, const T* product, int64_t count, int64_t groups, int64_t in_group) {
  const int64_t group = thread_number() / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (group >= count) return;
  const int64_t first = group * in_group, channel = group % groups * in_group;
  double a = 0, b = 0;
  for (int64_t j = lane; j < in_group; j += 32) {
    const double gamma = s.gamma_of(channel + j);
    a += gamma * static_cast<double>(sum[first + j]);
    b += gamma * static_cast<double>(product[first + j]);
  }
  a = warp_sum(a);
  b = warp_sum(b);
  for (int64_t j = lane; j < in_group; j += 32) s.coefficients(first + j, channel + j, group, a, b);
}

// Over the images.
template <class T>
struct ParameterReducer {
  using Element = T;
  struct Value {
    T sum, product;
  };
  struct Given {};
  using Acc = Sums<T, 2>;
  static constexpr int kUnroll = 4;
  const T* sum = nullptr;
  const T* product = nullptr;
  T* grad_beta = nullptr;
  T* grad_gamma = nullptr;

  __device__ Given given(int64_t, int64_t) const { return {}; }
  template <int kVec>
  __device__ void load(Value (&v)[kVec], int64_t at, int64_t) const {
    T a[kVec], b[kVec];
    load_vector<kVec>(a, sum + at);
    load_vector<kVec>(b, product + at);
#pragma unroll
    for (int j = 0; j < kVec; ++j) v[j] = {a[j], b[j]};
  }
  __device__ Acc lift(const Value& v, const Given&) const { return {{v.sum, v.product}}; }
  template <int kVec, int N>
  __device__ Acc tile(const Value (&v)[N], int n, int64_t, int64_t, const Given& g) const {
    return tile_tree(*this, v, n, g);
  }
  __device__ Acc identity() const { return Acc::zero(); }
  __device__ Acc combine(const Acc& a, const Acc& b) const { return a + b; }
  __device__ void finish(int64_t out, const Acc& a, const Given&) const {
    if (grad_beta != nullptr) grad_beta[out] = a.v[0];
    if (grad_gamma != nullptr) grad_gamma[out] = a.v[1];
  }
};

// Gradients of x. kConstant: statistics that do not depend on it, of one image; no coefficients are needed.
template <class T>
struct InputArgs {
  const T* grad_out;
  const T* x;
  const T* y;
  const T* mean;
  const T* inv_std;
  const T* gamma;
  GroupOf group_of;
  Coefficients<T> from;
  T* grad_in;
};

template <class T, bool kConstant, int kVec>
__global__ void __launch_bounds__(256) apply_channels(InputArgs<T> a, ChannelWalk walk) {
  constexpr int U = 4;
  if (!walk.template there<kVec>()) return;
  const int64_t channel = walk.template channel<kVec>(), base = walk.kept.offset(channel);
  T center[kVec] = {}, gain[kVec], slope[kVec] = {}, shift[kVec] = {};
  if constexpr (kConstant) {
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      gain[j] = a.gamma != nullptr ? a.inv_std[channel + j] * a.gamma[channel + j] : a.inv_std[channel + j];
    }
  } else {
    load_vector<kVec>(gain, a.from.gain + channel);
    load_vector<kVec>(slope, a.from.slope + channel);
    load_vector<kVec>(shift, a.from.shift + channel);
#pragma unroll
    for (int j = 0; j < kVec; ++j) center[j] = a.mean[a.group_of(channel + j)];
  }
  const int step = static_cast<int>(blockDim.y);
  const int64_t end = walk.last_row();
  for (int64_t r = walk.first_row(); r < end; r += U * step) {
    T g[U][kVec] = {}, x[U][kVec] = {}, y[U][kVec] = {};
#pragma unroll
    for (int u = 0; u < U; ++u) {
      if (r + u * step >= end) continue;
      const int64_t at = base + (r + u * step) * walk.c;
      load_vector<kVec>(g[u], a.grad_out + at);
      if (a.y != nullptr) load_vector<kVec>(y[u], a.y + at);
      if constexpr (!kConstant) load_vector<kVec>(x[u], a.x + at);
    }
#pragma unroll
    for (int u = 0; u < U; ++u) {
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        const T d = a.y == nullptr || y[u][j] > 0 ? g[u][j] : T(0);
        g[u][j] = kConstant ? d * gain[j] : fma(x[u][j] - center[j], slope[j], fma(d, gain[j], shift[j]));
      }
      if (r + u * step < end) store_vector<kVec>(a.grad_in + base + (r + u * step) * walk.c, g[u]);
    }
  }
}

// How the workspace is used.
template <class T>
struct Work {
  ReduceSpace space, images;
  bool sums = false;    // anything but grad_in with constant statistics needs them
  bool stored = false;  // for each image and channel
  void* partials = nullptr;
  Coefficients<T> coefficients{};
  T* sum = nullptr;
  T* product = nullptr;
  size_t bytes = 0;

  Work(const ChannelNormBackwardParams<T>& p, void* workspace)
      : space(p.n, p.rows, p.c), images(1, p.n, p.c), sums(!p.constant || p.grad_gamma || p.grad_beta) {
    if (!sums) return;
    Pieces pieces(workspace);
    const size_t rows = reduce_workspace_bytes<GradReducer<T>>(space);
    const size_t parameters = reduce_workspace_bytes<ParameterReducer<T>>(images);
    partials = pieces.take_bytes(rows < parameters ? parameters : rows);
    if (!p.constant)
      for (T** to : {&coefficients.gain, &coefficients.slope, &coefficients.shift}) *to = pieces.take<T>(p.n * p.c);
    stored = p.n != 1 || p.groups != p.c;
    if (stored) {
      sum = pieces.take<T>(p.n * p.c);
      product = pieces.take<T>(p.n * p.c);
    }
    bytes = pieces.bytes();
  }
};

template <class T>
size_t channel_norm_backward_workspace(const ChannelNormBackwardParams<T>& p, int) {
  return p.c == 0 ? 0 : Work<T>(p, nullptr).bytes;
}

template <class T>
void channel_norm_backward(const Context& ctx, const ChannelNormBackwardParams<T>& p) {
  if (p.c == 0) return;
  constexpr int kSize = Pack<T>::kSize;
  const Work<T> w(p, ctx.workspace);
  const T* const y = p.relu ? p.y : nullptr;
  const int64_t in_group = p.c / p.groups;
  const GroupOf group_of(p.n * p.c, in_group);
  const bool aligned = aligned16(p.grad_out) && aligned16(p.x) && (y == nullptr || aligned16(y));
  if (w.sums) {
    GradReducer<T> r;
    r.grad_out = p.grad_out;
    r.x = p.x;
    r.y = y;
    r.mean = p.mean;
    r.group_of = group_of;
    r.group = {p.gamma, p.inv_std, static_cast<double>(p.rows * in_group), w.coefficients};
    r.c = p.c;
    r.single = in_group == 1 && !p.constant;
    r.sum = w.stored ? w.sum : p.grad_beta;
    r.product = w.stored ? w.product : p.grad_gamma;
    run_reduction(ctx, r, w.space, aligned, w.partials);
    const int64_t groups = p.n * p.groups;
    if (in_group > 1 && p.rows > 0) {
      launch(ctx, finish_groups<T>, {dim3(static_cast<unsigned>(ceil_div(groups, 4))), dim3(128)}, r.group, w.sum,
             w.product, groups, p.groups, in_group);
    }
    if (w.stored && (p.grad_gamma != nullptr || p.grad_beta != nullptr)) {
      run_reduction(ctx, ParameterReducer<T>{w.sum, w.product, p.grad_beta, p.grad_gamma}, w.images, true, w.partials);
    }
  }
  if (p.grad_in == nullptr || p.n * p.rows == 0) return;
  const bool packs = p.c % kSize == 0 && aligned && aligned16(p.grad_in);
  ChannelWalk walk;
  const Launch l = walk.plan(w.space, p.n, p.rows, p.c, packs ? kSize : 1);
  const auto kernel = p.constant ? (packs ? apply_channels<T, true, kSize> : apply_channels<T, true, 1>)
                                 : (packs ? apply_channels<T, false, kSize> : apply_channels<T, false, 1>);
  launch(ctx, kernel, l,
         InputArgs<T>{p.grad_out, p.x, y, p.mean, p.inv_std, p.gamma, group_of, w.coefficients, p.grad_in}, walk);
}

template <class T>
void fill_part(NormKernels<T>& k) {
  k.channel_norm_backward_workspace = channel_norm_backward_workspace<T>;
  k.channel_norm_backward = channel_norm_backward<T>;
}

}  // namespace

void fill_channel_norm_backward(NormKernels<float>& k) { fill_part(k); }
void fill_channel_norm_backward(NormKernels<double>& k) { fill_part(k); }

}  // namespace lamella::cuda
