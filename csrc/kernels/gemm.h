// C[m,n] = act(alpha * A[m,k] B[k,n] + beta * C + bias[n]), row by row of C; batched over the leading strides.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/half.h"
#include "kernels/activation.h"
#include "kernels/context.h"

namespace lamella {

template <class T>
struct GemmParams {
  int64_t m = 0, n = 0, k = 0;
  // Element strides, so that any transpose or slice is a case: element (i, p) of A is a[i*rs_a + p*cs_a].
  const T* a = nullptr;
  int64_t rs_a = 0, cs_a = 1;
  const T* b = nullptr;
  int64_t rs_b = 0, cs_b = 1;
  T* c = nullptr;
  int64_t ldc = 0;              // row stride of C; its columns are contiguous
  Real<T> alpha = 1, beta = 0;  // beta == 0: C is not read (may hold NaN)
  const T* bias = nullptr;      // [n] or nullptr
  Activation act;
  int64_t batch = 1;  // independent products
  int64_t batch_stride_a = 0, batch_stride_b = 0, batch_stride_c = 0;
};

template <class T>
struct GemmKernels {
  size_t (*gemm_workspace)(const GemmParams<T>&, int threads) = nullptr;
  void (*gemm)(const Context&, const GemmParams<T>&) = nullptr;
};

}  // namespace lamella
