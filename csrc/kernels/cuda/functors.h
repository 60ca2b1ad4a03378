// What functors of maps (see map.h) have in common, and some that several files need.
#pragma once

#include "kernels/cuda/launch.h"

namespace lamella::cuda {

template <class T_, int kCount, bool kHeavy_ = false, bool kBytesIn_ = false, class Result_ = T_>
struct Functor {
  using T = T_;
  using Result = Result_;
  static constexpr int kOperands = kCount;
  static constexpr bool kHeavy = kHeavy_;      // transcendental: one element is work enough
  static constexpr bool kBytesIn = kBytesIn_;  // operand 0 is bytes, seen as 0 or 1
};

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
