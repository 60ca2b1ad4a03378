// The product's kernel with any strides, which no op asks for: for test_gemm.py.
#include <cstdlib>
#include <cstring>

#include "kernels/cuda/tables.h"

namespace {

// sizes: m n k rs_a cs_a rs_b cs_b ldc batch batch_stride_a batch_stride_b batch_stride_c act tf32 bf16
template <class T>
void run(const lamella::GemmKernels<T>& kernels, const int64_t* sizes, const double* scalars, const T* a, const T* b,
         T* c, const T* bias) {
  lamella::GemmParams<T> p;
  p.m = sizes[0];
  p.n = sizes[1];
  p.k = sizes[2];
  p.a = a;
  p.rs_a = sizes[3];
  p.cs_a = sizes[4];
  p.b = b;
  p.rs_b = sizes[5];
  p.cs_b = sizes[6];
  p.c = c;
  p.ldc = sizes[7];
  p.batch = sizes[8];
  p.batch_stride_a = sizes[9];
  p.batch_stride_b = sizes[10];
  p.batch_stride_c = sizes[11];
  p.act = {static_cast<lamella::Act>(sizes[12]), scalars[2]};
  p.alpha = static_cast<T>(scalars[0]);
  p.beta = static_cast<T>(scalars[1]);
  p.bias = bias;
  lamella::Context ctx;
  ctx.tf32 = sizes[13] != 0;
  ctx.bf16 = sizes[14] != 0;
  ctx.workspace_bytes = kernels.gemm_workspace(p, 1);
  if (ctx.workspace_bytes > 0) {
    ctx.workspace = std::aligned_alloc(256, (ctx.workspace_bytes + 255) / 256 * 256);
    std::memset(ctx.workspace, 0xFF, ctx.workspace_bytes);
  }
  kernels.gemm(ctx, p);
  std::free(ctx.workspace);
}

}  // namespace

#define LAMELLA_EXPORT extern "C" [[gnu::visibility("default")]]

LAMELLA_EXPORT void lamella_gemm_f32(const int64_t* sizes, const double* scalars, const float* a, const float* b,
                                     float* c, const float* bias) {
  run(lamella::cuda::table_f32().gemm, sizes, scalars, a, b, c, bias);
}
LAMELLA_EXPORT void lamella_gemm_f64(const int64_t* sizes, const double* scalars, const double* a, const double* b,
                                     double* c, const double* bias) {
  run(lamella::cuda::table_f64().gemm, sizes, scalars, a, b, c, bias);
}
