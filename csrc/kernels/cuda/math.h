// Transcendental functions of single numbers on a device, with the formulas of kernels/cpu/vmath.h: float within 2 ULP,
// double within a few; special values as in C. Their results are the same to the bit on every device, and on the CPU
// where it fuses multiplications and additions.
//
//   math::exp_of(x), expm1_of, log_of, log1p_of, tanh_of, sigmoid_of, softplus_of, erf_of, sin_of, cos_of, pow_of(x, y)
#pragma once

#include <cuda_runtime.h>

#if !defined(LAMELLA_CUDA_HOST)
// Pragmas of another compiler, and functions that not every file calls.
#pragma nv_diagnostic push
#pragma nv_diag_suppress 1675, 177
#endif

#include "kernels/cuda/scalar_vec.h"
// Behind the above.
#include "kernels/cpu/act_inl.h"

namespace lamella::cuda::math {
namespace {

#define LAMELLA_SCALAR_FORM(name, vector)  \
  template <class T>                       \
  __device__ __forceinline__ T name(T x) { \
    return vector(Vec<T>(x)).v[0];         \
  }
LAMELLA_SCALAR_FORM(exp_of, vexp)
LAMELLA_SCALAR_FORM(expm1_of, vexpm1)
LAMELLA_SCALAR_FORM(log_of, vlog)
LAMELLA_SCALAR_FORM(log1p_of, vlog1p)
LAMELLA_SCALAR_FORM(tanh_of, vtanh)
LAMELLA_SCALAR_FORM(sigmoid_of, vsigmoid)
LAMELLA_SCALAR_FORM(softplus_of, vsoftplus)
LAMELLA_SCALAR_FORM(erf_of, verf)
LAMELLA_SCALAR_FORM(sin_of, vsin)
LAMELLA_SCALAR_FORM(cos_of, vcos)
#undef LAMELLA_SCALAR_FORM
template <class T>
__device__ __forceinline__ T pow_of(T x, T y) {
  return vpow(Vec<T>(x), Vec<T>(y)).v[0];
}

}  // namespace
}  // namespace lamella::cuda::math

#if !defined(LAMELLA_CUDA_HOST)
#pragma nv_diagnostic pop
#endif
