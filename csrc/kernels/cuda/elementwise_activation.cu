// Activations over flat arrays, forward and backward; clip.
#include "kernels/cuda/activation.h"
#include "kernels/cuda/elementwise_parts.h"
#include "kernels/cuda/functors.h"
#include "kernels/cuda/map.h"

namespace lamella::cuda {
namespace {

constexpr bool transcendental(Act act) {
  switch (act) {
    case Act::kIdentity:
    case Act::kRelu:
    case Act::kLeakyRelu:
    case Act::kHardSigmoid:
    case Act::kHardSwish:
    case Act::kRelu6:
    case Act::kSoftsign:
      return false;
    default:
      return true;
  }
}

template <class T, Act A>
struct ActValue : Functor<T, 1, transcendental(A)> {
  T alpha;
  explicit ActValue(T a) : alpha(a) {}
  __device__ T operator()(const T (&v)[1]) const { return act_value<A>(v[0], alpha); }
};

// Operands: y or x, and dy.
template <class T, Act A, bool kFromOutput>
struct ActGradient : Functor<T, 2, kFromOutput ? A == Act::kSoftplus : transcendental(A)> {
  T alpha;
  explicit ActGradient(T a) : alpha(a) {}
  __device__ T operator()(const T (&v)[2]) const {
    return kFromOutput ? act_backward_from_output<A>(v[0], v[1], alpha) : act_backward_from_input<A>(v[0], v[1], alpha);
  }
};

template <class T>
void activation(const Context& ctx, const ActivationParams<T>& p) {
  const void* in[] = {p.x};
  for_act(p.act.act, [&](auto tag) {
    flat_map(ctx, on<T>(ActValue<Real<T>, decltype(tag)::value>(static_cast<Real<T>>(p.act.alpha))), p.n, in, p.y);
  });
}

template <class T>
void activation_backward(const Context& ctx, const ActivationBackwardParams<T>& p) {
  const void* in[] = {p.value, p.dy};
  using R = Real<T>;
  const R alpha = static_cast<R>(p.act.alpha);
  for_act(p.act.act, [&](auto tag) {
    constexpr Act A = decltype(tag)::value;
    if constexpr (act_grad_from_output(A)) {
      if (p.from_output) return flat_map(ctx, on<T>(ActGradient<R, A, true>(alpha)), p.n, in, p.dx);
    }
    flat_map(ctx, on<T>(ActGradient<R, A, false>(alpha)), p.n, in, p.dx);
  });
}

// Comparisons with NaN fail towards x, so that NaN passes.
template <class T>
struct Clip : Functor<T, 1> {
  T low, high;
  Clip(T l, T h) : low(l), high(h) {}
  __device__ T operator()(const T (&v)[1]) const {
    const T x = low > v[0] ? low : v[0];
    return high < x ? high : x;
  }
};

// Operands: x, dy.
template <class T>
struct ClipGradient : Functor<T, 2> {
  T low, high;
  ClipGradient(T l, T h) : low(l), high(h) {}
  __device__ T operator()(const T (&v)[2]) const { return v[0] >= low && v[0] <= high ? v[1] : T(0); }
};

template <class T>
void clip(const Context& ctx, const ClipParams<T>& p) {
  const void* in[] = {p.x};
  flat_map(ctx, on<T>(Clip<Real<T>>(p.low, p.high)), p.n, in, p.y);
}

template <class T>
void clip_backward(const Context& ctx, const ClipParams<T>& p) {
  const void* in[] = {p.x, p.dy};
  flat_map(ctx, on<T>(ClipGradient<Real<T>>(p.low, p.high)), p.n, in, p.y);
}

template <class T>
void fill_part(ElementwiseKernels<T>& k) {
  k.activation = activation<T>;
  k.activation_backward = activation_backward<T>;
  k.clip = clip<T>;
  k.clip_backward = clip_backward<T>;
}

}  // namespace

void fill_activation(ElementwiseKernels<float>& k) { fill_part(k); }
void fill_activation(ElementwiseKernels<double>& k) { fill_part(k); }
void fill_activation(ElementwiseKernels<f16>& k) { fill_part(k); }
void fill_activation(ElementwiseKernels<bf16>& k) { fill_part(k); }

}  // namespace lamella::cuda
