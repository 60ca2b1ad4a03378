// A product as its kernels take it, and how it is run: both depend on the shape, the strides and the alignment alone.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/gemm.h"

namespace lamella::cuda {

template <class T>
struct GemmProblem {
  GemmParams<T> p;
  // Which way memory runs in A and B (the other way: along m or n), and where 16-byte accesses are possible.
  bool along_k_a = true, along_k_b = false;
  bool packed_a = false, packed_b = false, packed_c = false;
  // Tiles of C; parts of k, of `split_length` steps each, whose sums are kept in `partial` as [batch][splits][m][ld].
  unsigned tiles_m = 0, tiles_n = 0, splits = 1;
  int64_t split_length = 0;
  Real<T>* partial = nullptr;
  int64_t partial_ld = 0;
};

// Tiles on the ordinary units, from small to large C.
enum class SimtShape : int32_t { k16x32, k32x32, k64x64, k128x64, k128x128 };
// Tiles on the matrix units.
enum class MmaShape : int32_t { k64x64, k128x128 };

// Launches for all of the problem's batch; tiles_m and tiles_n are those of the shape.
void launch_simt(const Context& ctx, SimtShape shape, const GemmProblem<float>& problem);
void launch_simt(const Context& ctx, SimtShape shape, const GemmProblem<double>& problem);
void launch_tf32(const Context& ctx, MmaShape shape, const GemmProblem<float>& problem);
void launch_bf16(const Context& ctx, MmaShape shape, const GemmProblem<float>& problem);
void launch_half(const Context& ctx, MmaShape shape, const GemmProblem<f16>& problem);
void launch_half(const Context& ctx, MmaShape shape, const GemmProblem<bf16>& problem);

}  // namespace lamella::cuda
