// Activations over flat arrays, forward and backward; clip.
#include "kernels/cpu/act_inl.h"
#include "kernels/cpu/elementwise_parts.h"
#include "kernels/cpu/map_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

// Nanoseconds per element on one core, out of cache; more where there is a transcendental function to compute.
template <class T>
constexpr double act_ns(Act act) {
  const double heavy = Vec<T>::W >= 8 ? 0.7 : 0.7 * 8 / Vec<T>::W;
  switch (act) {
    case Act::kIdentity:
    case Act::kRelu:
    case Act::kLeakyRelu:
    case Act::kHardSigmoid:
    case Act::kHardSwish:
    case Act::kRelu6:
      return 0.3;
    default:
      return heavy;
  }
}
constexpr int act_unroll(Act act) { return act_ns<float>(act) < 0.5 ? 4 : 1; }

template <class T>
void activation(const Context& ctx, const ActivationParams<T>& p) {
  const void* in[] = {p.x};
  with_act(p.act.act, [&](auto tag) {
    constexpr Act A = decltype(tag)::value;
    const Map<T> map = make_map<T, 1, act_unroll(A)>(
        act_ns<T>(A), [](const Vec<T>* v, const Vec<T>* s) { return act_forward<A>(v[0], s[0]); });
    flat_map(ctx, map, p.n, in, p.y, static_cast<T>(p.act.alpha));
  });
}

template <class T>
void activation_backward(const Context& ctx, const ActivationBackwardParams<T>& p) {
  const void* in[] = {p.value, p.dy};
  with_act(p.act.act, [&](auto tag) {
    constexpr Act A = decltype(tag)::value;
    if (p.from_output) {
      if constexpr (act_grad_from_output(A)) {
        constexpr double ns = A == Act::kSoftplus ? act_ns<T>(A) : 0.4;
        const Map<T> map = make_map < T, 2,
                     A == Act::kSoftplus ? 1 : 4 > (ns, [](const Vec<T>*v, const Vec<T>*s) {
                                                 return act_backward_from_output<A>(v[0], v[1], s[0]);
                                               });
        flat_map(ctx, map, p.n, in, p.dx, static_cast<T>(p.act.alpha));
      }
    } else {
      const Map<T> map = make_map<T, 2, act_unroll(A)>(
          act_ns<T>(A), [](const Vec<T>* v, const Vec<T>* s) { return act_backward_from_input<A>(v[0], v[1], s[0]); });
      flat_map(ctx, map, p.n, in, p.dx, static_cast<T>(p.act.alpha));
    }
  });
}

// Comparisons with NaN fail towards x, so that NaN passes.
template <class T>
void clip(const Context& ctx, const ClipParams<T>& p) {
  const void* in[] = {p.x};
  const Map<T> map =
      make_map<T, 1, 4>(0.3, [](const Vec<T>* v, const Vec<T>* s) { return min(s[1], max(s[0], v[0])); });
  flat_map(ctx, map, p.n, in, p.y, p.low, p.high);
}

template <class T>
void clip_backward(const Context& ctx, const ClipParams<T>& p) {
  const void* in[] = {p.x, p.dy};
  const Map<T> map = make_map<T, 2, 4>(0.4, [](const Vec<T>* v, const Vec<T>* s) {
    return select(ge(v[0], s[0]) & le(v[0], s[1]), v[1], Vec<T>::zero());
  });
  flat_map(ctx, map, p.n, in, p.y, p.low, p.high);
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
#if defined(LAMELLA_ISA_PORTABLE)
void fill_activation(ElementwiseKernels<double>& k) { fill_part(k); }
#endif

}  // namespace lamella::LAMELLA_NS
