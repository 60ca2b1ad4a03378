// What functors of maps (see map.h) have in common, and some that several files need.
#pragma once

#include <type_traits>

#include "kernels/cuda/half.h"
#include "kernels/cuda/launch.h"

namespace lamella::cuda {

template <class T_, int kCount, bool kHeavy_ = false, bool kBytesIn_ = false, class Result_ = T_>
struct Functor {
  using T = T_;           // what it computes with
  using Value = Result_;  // what it returns
  static constexpr int kOperands = kCount;
  static constexpr bool kHeavy = kHeavy_;      // transcendental: one element is work enough
  static constexpr bool kBytesIn = kBytesIn_;  // operand 0 is bytes, seen as 0 or not 0

  // How operands and results stand in memory.
  using Stored = T;
  using Result = Value;
  __device__ static T read(T v) { return v; }
  __device__ static Result written(Value v) { return v; }
};

// A functor of floats on arrays of 16-bit ones: results are rounded once. The kernels of both types are the same ones,
// for there are many. Operands may be floats still.
template <class F, class Operand = uint16_t>
struct OnHalves : F {
  using Stored = Operand;
  using Result = std::conditional_t<std::is_same_v<typename F::Value, float>, uint16_t, typename F::Value>;
  bool brain;
  OnHalves(const F& f, bool b) : F(f), brain(b) {}

  __device__ float read(Stored v) const {
    if constexpr (std::is_same_v<Stored, float>) {
      return v;
    } else {
      return widened(v, brain);
    }
  }
  __device__ Result written(typename F::Value v) const {
    if constexpr (std::is_same_v<Result, uint16_t>) {
      return rounded_to_bits(v, brain);
    } else {
      return v;
    }
  }
};

// f on arrays of type S.
template <class S, class F>
auto on(const F& f) {
  if constexpr (kIsHalf<S>) {
    return OnHalves<F>(f, kIsBrain<S>);
  } else {
    return f;
  }
}

template <class T>
struct Itself : Functor<T, 1> {
  __device__ T operator()(const T (&v)[1]) const { return v[0]; }
};

template <class T>
struct Scaled : Functor<T, 1> {
  T scale;
  explicit Scaled(T s) : scale(s) {}
  __device__ T operator()(const T (&v)[1]) const { return scale * v[0]; }
};

template <class T>
struct Product : Functor<T, 2> {
  __device__ T operator()(const T (&v)[2]) const { return v[0] * v[1]; }
};

template <class T>
struct Quotient : Functor<T, 2> {
  __device__ T operator()(const T (&v)[2]) const { return v[0] / v[1]; }
};

}  // namespace lamella::cuda
