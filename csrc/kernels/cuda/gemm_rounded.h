// Large products whose factors are rounded beforehand, for kernels that copy what they multiply as it is: rounded to
// tf32 or bfloat16 and laid down as [batch][row][k], k padded to 16 bytes. That is the one order that all matrix units
// take tf32 in, and the copy engine can read it, whatever the strides were. It costs a pass over the factors, and pays
// where each number is used often enough.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/gemm.h"

namespace lamella::cuda {

// What is to be rounded: `rows` x k numbers per member of the batch.
// uint16_t: bfloat16, uint32_t: tf32.
template <class Stored>
struct Factor {
  const float* from = nullptr;
  int64_t row_stride = 0, k_stride = 0, batch_stride = 0, rows = 0, k = 0, batch = 1;
  bool packed = false;
  Stored* to = nullptr;
  int64_t length = 0;  // of a line: k rounded up
};

// The product of rounded factors: what its kernels know of C.
struct RoundedProduct {
  int64_t m = 0, n = 0;
  unsigned tiles_m = 0, tiles_n = 0;
  int64_t tiles = 0;                // of all of the batch
  bool one_a = true, one_b = true;  // the batch shares it
  float* c = nullptr;
  int64_t ldc = 0, batch_stride_c = 0;
  float alpha = 1, beta = 0;
  const float* bias = nullptr;
  Activation act = {};
  bool packed_c = false;
};

// Whether a product is large enough.
bool gemm_rounded_suits(const GemmParams<float>& p, bool bf16);
size_t gemm_rounded_workspace(const GemmParams<float>& p, bool bf16);
void gemm_rounded(const Context& ctx, const GemmParams<float>& p, bool bf16);

}  // namespace lamella::cuda
