// What becomes of finished sums: C = act(alpha * sums + beta * C + bias).
#pragma once

#include "kernels/cuda/activation.h"
#include "kernels/cuda/device.h"

namespace lamella::cuda {
namespace {

template <class T>
struct GemmEpilogue {
  T* c;
  int64_t ldc;
  T alpha, beta;
  const T* bias;
  Activation act;
  bool packed;  // packs of C are aligned

  __device__ __forceinline__ T finish(T sum, T old, T bias_value) const {
    T v = alpha * sum;
    if (beta != T(0)) v = fma(beta, old, v);
    if (bias != nullptr) v += bias_value;
    return act_value(act, v);
  }
  __device__ __forceinline__ void operator()(int64_t row, int64_t column, Pack<T> v, int count) const {
    T* const to = c + row * ldc + column;
    const bool whole = packed && count == Pack<T>::kSize;
    Pack<T> old, add;
#pragma unroll
    for (int j = 0; j < Pack<T>::kSize; ++j) old.v[j] = add.v[j] = T(0);
    if (beta != T(0)) {
      if (whole) {
        old = load_pack(to);
      } else {
#pragma unroll
        for (int j = 0; j < Pack<T>::kSize; ++j) {
          if (j < count) old.v[j] = to[j];
        }
      }
    }
    if (bias != nullptr) {
#pragma unroll
      for (int j = 0; j < Pack<T>::kSize; ++j) {
        if (j < count) add.v[j] = bias[column + j];
      }
    }
#pragma unroll
    for (int j = 0; j < Pack<T>::kSize; ++j) v.v[j] = finish(v.v[j], old.v[j], add.v[j]);
    if (whole) {
      store_pack(to, v);
    } else {
#pragma unroll
      for (int j = 0; j < Pack<T>::kSize; ++j) {
        if (j < count) to[j] = v.v[j];
      }
    }
  }
};

}  // namespace
}  // namespace lamella::cuda
