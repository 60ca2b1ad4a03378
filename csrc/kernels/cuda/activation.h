// Activations of single numbers on a device, for elementwise kernels and the epilogues of others; the formulas are
// kernels/cpu/act_inl.h's.
//
//   act_value<A>(x, alpha)                        y
//   act_backward_from_output<A>(y, dy, alpha)     dx, where act_grad_from_output(A) (and alpha >= 0)
//   act_backward_from_input<A>(x, dy, alpha)      dx
//   act_slope_from_output<A>, act_slope_from_input<A>: the same for dy = 1
//
// Choose A outside of the loop: on the host with for_act(), which instantiates a kernel per activation, or, where that
// is too much to compile, in the kernel with with_act(). act_value(Activation, x) and act_slope(Activation, ...) choose
// at every call: identity and relu in place, the others in a function that is called.
#pragma once

#include "kernels/activation.h"
#include "kernels/cuda/math.h"

namespace lamella::cuda {
namespace {

template <Act A, class T>
__device__ __forceinline__ T act_value(T x, T alpha = T(0)) {
  return math::act_forward<A>(math::Vec<T>(x), math::Vec<T>(alpha)).v[0];
}
template <Act A, class T>
__device__ __forceinline__ T act_backward_from_output(T y, T dy, T alpha = T(0)) {
  return math::act_backward_from_output<A>(math::Vec<T>(y), math::Vec<T>(dy), math::Vec<T>(alpha)).v[0];
}
template <Act A, class T>
__device__ __forceinline__ T act_backward_from_input(T x, T dy, T alpha = T(0)) {
  return math::act_backward_from_input<A>(math::Vec<T>(x), math::Vec<T>(dy), math::Vec<T>(alpha)).v[0];
}
template <Act A, class T>
__device__ __forceinline__ T act_slope_from_output(T y, T alpha = T(0)) {
  return act_backward_from_output<A>(y, T(1), alpha);
}
template <Act A, class T>
__device__ __forceinline__ T act_slope_from_input(T x, T alpha = T(0)) {
  return act_backward_from_input<A>(x, T(1), alpha);
}

// f(tag), decltype(tag)::value being the activation; in a kernel.
template <class F>
__device__ __forceinline__ void with_act(Act act, const F& f) {
  math::with_act(act, f);
}

// The same on the host.
template <int A = 0, class F>
void for_act(Act act, const F& f) {
  if constexpr (A < static_cast<int>(Act::kCount)) {
    if (static_cast<int>(act) == A) return f(math::ActTag<static_cast<Act>(A)>());
    return for_act<A + 1>(act, f);
  }
}

template <class T>
__device__ __noinline__ T act_value_called(Act act, T x, T alpha) {
  T y = x;
  with_act(act, [&](auto tag) { y = act_value<decltype(tag)::value>(x, alpha); });
  return y;
}
template <class T>
__device__ __forceinline__ T act_value(const Activation& a, T x) {
  if (a.act == Act::kIdentity) return x;
  if (a.act == Act::kRelu) return act_value<Act::kRelu>(x);
  return act_value_called(a.act, x, static_cast<T>(a.alpha));
}

// The derivative where `value` is y (from_output) or x.
template <class T>
__device__ __noinline__ T act_slope_called(Act act, bool from_output, T value, T alpha) {
  T slope = 1;
  with_act(act, [&](auto tag) {
    constexpr Act A = decltype(tag)::value;
    if constexpr (act_grad_from_output(A)) {
      slope = from_output ? act_slope_from_output<A>(value, alpha) : act_slope_from_input<A>(value, alpha);
    } else {
      slope = act_slope_from_input<A>(value, alpha);
    }
  });
  return slope;
}
template <class T>
__device__ __forceinline__ T act_slope(const Activation& a, bool from_output, T value) {
  if (a.act == Act::kIdentity) return T(1);
  if (a.act == Act::kRelu) return act_slope_from_output<Act::kRelu>(value);
  return act_slope_called(a.act, from_output, value, static_cast<T>(a.alpha));
}

}  // namespace
}  // namespace lamella::cuda
