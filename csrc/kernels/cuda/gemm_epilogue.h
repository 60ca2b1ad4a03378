// What becomes of finished sums: C = act(alpha * sums + beta * C + bias).
#pragma once

#include "kernels/cuda/activation.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/half.h"

namespace lamella::cuda {
namespace {

// Numbers of an array as sums are held, four (of double: two) at a time, and back; `packed`: such packs are aligned.
template <class T>
__device__ __forceinline__ Pack<Real<T>> load_reals(const T* from, bool packed, int count) {
  using R = Real<T>;
  constexpr int kSize = Pack<R>::kSize;
  Pack<R> v;
#pragma unroll
  for (int j = 0; j < kSize; ++j) v.v[j] = R(0);
  if (packed && count == kSize) {
    if constexpr (kIsHalf<T>) {
      const FourHalves<T> four = *reinterpret_cast<const FourHalves<T>*>(from);
#pragma unroll
      for (int j = 0; j < kSize; ++j) v.v[j] = widened(four.v[j]);
    } else {
      v = load_pack(from);
    }
  } else {
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      if (j < count) v.v[j] = widened(from[j]);
    }
  }
  return v;
}
template <class T>
__device__ __forceinline__ void store_reals(T* to, const Pack<Real<T>>& v, bool packed, int count) {
  constexpr int kSize = Pack<Real<T>>::kSize;
  if (packed && count == kSize) {
    if constexpr (kIsHalf<T>) {
      FourHalves<T> four;
#pragma unroll
      for (int j = 0; j < kSize; ++j) four.v[j] = rounded_to<T>(v.v[j]);
      *reinterpret_cast<FourHalves<T>*>(to) = four;
    } else {
      store_pack(to, v);
    }
  } else {
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      if (j < count) to[j] = rounded_to<T>(v.v[j]);
    }
  }
}

template <class T>
struct GemmEpilogue {
  using R = Real<T>;
  static constexpr int kSize = Pack<R>::kSize;
  T* c;
  int64_t ldc;
  R alpha, beta;
  const T* bias;
  Activation act;
  bool packed;  // packs of C are aligned

  __device__ __forceinline__ R finish(R sum, R old, R bias_value) const {
    R v = alpha * sum;
    if (beta != R(0)) v = fma(beta, old, v);
    if (bias != nullptr) v += bias_value;
    return act_value(act, v);
  }
  __device__ __forceinline__ void operator()(int64_t row, int64_t column, Pack<R> v, int count) const {
    T* const to = c + row * ldc + column;
    Pack<R> old, add;
#pragma unroll
    for (int j = 0; j < kSize; ++j) old.v[j] = add.v[j] = R(0);
    if (beta != R(0)) old = load_reals(to, packed, count);
    if (bias != nullptr) {
#pragma unroll
      for (int j = 0; j < kSize; ++j) {
        if (j < count) add.v[j] = widened(bias[column + j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kSize; ++j) v.v[j] = finish(v.v[j], old.v[j], add.v[j]);
    store_reals(to, v, packed, count);
  }
};

// Sums of a part of k, in whole packs; where there is one part, C.
template <class T>
struct PartEpilogue {
  GemmEpilogue<T> whole;
  Real<T>* sums;  // nullptr: the whole
  int64_t ld;

  __device__ __forceinline__ void operator()(int64_t row, int64_t column, Pack<Real<T>> v, int count) const {
    if (sums == nullptr) return whole(row, column, v, count);
    store_pack(sums + row * ld + column, v);
  }
};

}  // namespace
}  // namespace lamella::cuda
