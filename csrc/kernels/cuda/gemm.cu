// Products of matrices: how each is run, by its shape alone, and the sums of what is cut along k.
#include <type_traits>

#include "kernels/cuda/gemm_epilogue.h"
#include "kernels/cuda/gemm_problem.h"
#include "kernels/cuda/gemm_rounded.h"
#include "kernels/cuda/gemm_vector.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

// Shapes are chosen for this device, whichever runs them: results do not depend on it.
constexpr int64_t kMultiprocessors = 132;

template <class T>
constexpr int64_t kPack = Pack<T>::kSize;
// Of sums.
template <class T>
constexpr int64_t kSums = Pack<Real<T>>::kSize;

template <class T>
T larger(std::type_identity_t<T> a, T b) {
  return a > b ? a : b;
}
template <class T>
T smaller(std::type_identity_t<T> a, T b) {
  return a < b ? a : b;
}
int64_t round_up(int64_t n, int64_t to) { return ceil_div(n, to) * to; }
int64_t magnitude(int64_t v) { return v < 0 ? -v : v; }

template <class T>
bool empty(const GemmParams<T>& p) {
  return p.m <= 0 || p.n <= 0 || p.batch <= 0;
}

// A batch whose members share B and lie one after the other is one taller product.
template <class T>
GemmParams<T> canonical(GemmParams<T> p) {
  if (p.batch > 1 && p.batch_stride_b == 0 && p.batch_stride_a == p.m * p.rs_a && p.batch_stride_c == p.m * p.ldc) {
    p.m *= p.batch;
    p.batch = 1;
  }
  if (p.batch == 1) p.batch_stride_a = p.batch_stride_b = p.batch_stride_c = 0;
  if (p.k < 0) p.k = 0;
  return p;
}

// ---- the choice of tiles --------------------------------------------------------------------------------------------

// What the factors are rounded to.
enum class Precision { kFull, kTf32, kBf16 };

struct Shape {
  bool matrix_units;
  SimtShape simt;
  MmaShape mma;
  int64_t m, n, threads, resident;  // blocks that a multiprocessor holds
  double rate[3];                   // multiplications per cycle where there are enough blocks, by precision; 0: not so
};
constexpr Shape simt_shape(SimtShape s, int64_t m, int64_t n, int64_t threads, int64_t resident, double rate) {
  return {false, s, {}, m, n, threads, resident, {rate, rate, rate}};
}
constexpr Shape kShapes[] = {
    simt_shape(SimtShape::k128x128, 128, 128, 256, 2, 115),
    simt_shape(SimtShape::k128x64, 128, 64, 128, 3, 105),
    simt_shape(SimtShape::k64x64, 64, 64, 128, 4, 90),
    simt_shape(SimtShape::k32x32, 32, 32, 64, 8, 54),
    simt_shape(SimtShape::k16x32, 16, 32, 32, 16, 38),
    {true, {}, MmaShape::k128x128, 128, 128, 256, 1, {0, 450, 600}},
    {true, {}, MmaShape::k64x64, 64, 64, 128, 3, {0, 280, 350}},
};
constexpr int64_t kLengthStep = 32;  // of parts of k

template <class T>
bool offered(const Shape& s, Precision precision, bool odd) {
  if (kIsHalf<T>) return s.matrix_units && (!odd || s.mma == MmaShape::k64x64);
  if (sizeof(T) == 8) return !s.matrix_units && (s.simt == SimtShape::k16x32 || s.simt == SimtShape::k64x64);
  if (s.rate[static_cast<int>(precision)] == 0) return false;
  if (s.matrix_units) return !odd || s.mma == MmaShape::k64x64;
  return !odd || s.simt == SimtShape::k16x32 || s.simt == SimtShape::k64x64;
}

struct TileChoice {
  Shape shape = kShapes[0];
  int64_t splits = 1, split_length = 0;
};

// The least cycles, roughly: tiles in turn on each multiprocessor, whose units are idle where it has few warps; and,
// where k is cut, another launch that reads all sums.
template <class T>
TileChoice choose_tiles(const GemmParams<T>& p, Precision precision, bool odd) {
  constexpr double kLaunch = 4000, kBytesPerCycle = 1000, kStart = 1000;
  constexpr int64_t kMostPartial = int64_t{64} << 20, kLeastLength = 128;
  const auto in_double = [](int64_t v) { return static_cast<double>(v); };
  const double c_bytes = in_double(p.m) * in_double(p.n) * in_double(p.batch) * sizeof(Real<T>);
  TileChoice best;
  double least = -1;
  for (const Shape& s : kShapes) {
    if (!offered<T>(s, precision, odd)) continue;
    const double tiles = in_double(ceil_div(p.m, s.m)) * in_double(ceil_div(p.n, s.n)) * in_double(p.batch);
    for (int64_t splits = 1; splits <= 128; splits *= 2) {
      if (splits > 1 && (p.k < splits * kLeastLength || c_bytes * in_double(splits) > kMostPartial)) break;
      const double each = larger(1, tiles * in_double(splits) / kMultiprocessors);  // blocks per multiprocessor
      const double warps = smaller(each, in_double(s.resident)) * in_double(s.threads) / 32;
      const double rounds = each < 8 ? static_cast<double>(static_cast<int64_t>(each + 0.999)) : each;
      const int64_t length = round_up(ceil_div(larger(1, p.k), splits), kLengthStep);
      const double rate = s.rate[static_cast<int>(precision)] * smaller(1, warps / 8);
      double cycles = kStart + rounds * in_double(length * s.m * s.n) / rate;
      if (splits > 1) cycles += kLaunch + c_bytes * in_double(2 * splits + 1) / kBytesPerCycle;
      if (least >= 0 && cycles >= least) continue;
      least = cycles;
      best = {s, ceil_div(larger(1, p.k), length), length};
    }
  }
  return best;
}

// ---- layouts --------------------------------------------------------------------------------------------------------

// Of an operand with `rows` x k elements: whether memory runs along k, and whether packs can be loaded.
struct Layout {
  bool along_k, packed;
};
template <class T>
Layout layout_of(const T* base, int64_t row_stride, int64_t k_stride, int64_t rows, int64_t k, int64_t batch_stride) {
  Layout l;
  l.along_k = rows == 1 || (k > 1 && magnitude(k_stride) <= magnitude(row_stride));
  if (rows == 1 && k_stride != 1) l.along_k = false;
  const int64_t along = l.along_k ? k_stride : row_stride, across = l.along_k ? row_stride : k_stride;
  const int64_t length = l.along_k ? k : rows, lines = l.along_k ? rows : k;
  l.packed = along == 1 && length % kPack<T> == 0 && (lines == 1 || across % kPack<T> == 0) &&
             batch_stride % kPack<T> == 0 && aligned16(base);
  return l;
}

template <class T>
GemmProblem<T> problem_of(const GemmParams<T>& p) {
  GemmProblem<T> g;
  g.p = p;
  const Layout a = layout_of(p.a, p.rs_a, p.cs_a, p.m, p.k, p.batch_stride_a);
  const Layout b = layout_of(p.b, p.cs_b, p.rs_b, p.n, p.k, p.batch_stride_b);
  g.along_k_a = a.along_k;
  g.along_k_b = b.along_k;
  g.packed_a = a.packed;
  g.packed_b = b.packed;
  g.packed_c = reinterpret_cast<uintptr_t>(p.c) % (kSums<T> * sizeof(T)) == 0 && (p.m == 1 || p.ldc % kSums<T> == 0) &&
               p.batch_stride_c % kSums<T> == 0;
  return g;
}

// ---- sums of parts --------------------------------------------------------------------------------------------------

// A pack of C per thread; the parts of a sum are added in order. Reads splits + 1 numbers for each that it writes.
template <class T>
__global__ void __launch_bounds__(256) add_parts(const __grid_constant__ GemmProblem<T> g) {
  using R = Real<T>;
  constexpr int kSize = Pack<R>::kSize;
  const unsigned packs = static_cast<unsigned>(g.partial_ld / kSize), rows = static_cast<unsigned>(g.p.m);
  const unsigned jobs = packs * rows * static_cast<unsigned>(g.p.batch);
  const int64_t step = g.p.m * g.partial_ld;
  for (unsigned job = static_cast<unsigned>(thread_number()); job < jobs; job += gridDim.x * blockDim.x) {
    const unsigned column = job % packs * kSize, line = job / packs;
    const unsigned row = line % rows, batch = line / rows;
    const R* from = g.partial + int64_t{batch} * g.splits * step + row * g.partial_ld + column;
    Pack<R> sum = load_pack(from);
#pragma unroll 4
    for (unsigned i = 1; i < g.splits; ++i) {
      const Pack<R> more = load_pack(from + i * step);
#pragma unroll
      for (int j = 0; j < kSize; ++j) sum.v[j] += more.v[j];
    }
    const GemmEpilogue<T> epilogue{
        g.p.c + batch * g.p.batch_stride_c, g.p.ldc, g.p.alpha, g.p.beta, g.p.bias, g.p.act, g.packed_c};
    const int64_t left = g.p.n - column;
    epilogue(row, column, sum, left < kSize ? static_cast<int>(left) : kSize);
  }
}

template <class T>
size_t partial_bytes(const GemmParams<T>& p, int64_t splits) {
  if (splits == 1) return 0;
  return sizeof(Real<T>) * static_cast<size_t>(splits * p.batch * p.m * round_up(p.n, kSums<T>));
}

template <class T>
void set_parts(GemmProblem<T>& g, const Context& ctx, int64_t splits, int64_t split_length) {
  g.splits = static_cast<unsigned>(splits);
  g.split_length = split_length;
  g.partial = static_cast<Real<T>*>(ctx.workspace);
  g.partial_ld = round_up(g.p.n, kSums<T>);
}

template <class T>
void run_parts(const Context& ctx, const GemmProblem<T>& g) {
  if (g.splits > 1) launch(ctx, add_parts<T>, flat(g.p.batch * g.p.m * (g.partial_ld / kSums<T>)), g);
}

// ---------------------------------------------------------------------------------------------------------------------

template <class T>
Precision precision_of(const Context& ctx) {
  if (kIsHalf<T>) return Precision::kBf16;
  if (sizeof(T) == 8) return Precision::kFull;
  return ctx.bf16 ? Precision::kBf16 : ctx.tf32 ? Precision::kTf32 : Precision::kFull;
}

// For whatever precision the context asks for.
template <class T>
size_t gemm_workspace(const GemmParams<T>& params, int) {
  if (empty(params)) return 0;
  const GemmParams<T> p = canonical(params);
  if constexpr (!kIsHalf<T>) {
    if (gemm_vector_suits(p)) return gemm_vector_workspace(p);
  }
  const GemmProblem<T> g = problem_of(p);
  size_t bytes = 0;
  for (Precision precision : {Precision::kFull, Precision::kTf32, Precision::kBf16})
    bytes = larger(bytes, partial_bytes(p, choose_tiles(p, precision, !g.along_k_a && g.along_k_b).splits));
  if constexpr (sizeof(T) == 4) {
    for (bool bf16 : {false, true})
      if (gemm_rounded_suits(p, bf16)) bytes = larger(bytes, gemm_rounded_workspace(p, bf16));
  }
  return bytes;
}

template <class T>
void gemm(const Context& ctx, const GemmParams<T>& params) {
  if (empty(params)) return;
  const GemmParams<T> p = canonical(params);
  if constexpr (!kIsHalf<T>) {
    if (gemm_vector_suits(p)) return gemm_vector(ctx, p);
  }
  GemmProblem<T> g = problem_of(p);
  const Precision precision = precision_of<T>(ctx);
  if constexpr (sizeof(T) == 4) {
    const bool bf16 = precision == Precision::kBf16;
    if (precision != Precision::kFull && gemm_rounded_suits(p, bf16)) return gemm_rounded(ctx, p, bf16);
  }
  const TileChoice choice = choose_tiles(p, precision, !g.along_k_a && g.along_k_b);
  g.tiles_m = static_cast<unsigned>(ceil_div(p.m, choice.shape.m));
  g.tiles_n = static_cast<unsigned>(ceil_div(p.n, choice.shape.n));
  set_parts(g, ctx, choice.splits, choice.split_length);
  if constexpr (kIsHalf<T>) {
    launch_half(ctx, choice.shape.mma, g);
  } else if (!choice.shape.matrix_units) {
    launch_simt(ctx, choice.shape.simt, g);
  } else if constexpr (sizeof(T) == 4) {
    (precision == Precision::kBf16 ? launch_bf16 : launch_tf32)(ctx, choice.shape.mma, g);
  }
  run_parts(ctx, g);
}

template <class T>
void fill_all(GemmKernels<T>& k) {
  k.gemm_workspace = gemm_workspace<T>;
  k.gemm = gemm<T>;
}

}  // namespace

void fill(GemmKernels<float>& k) { fill_all(k); }
void fill(GemmKernels<double>& k) { fill_all(k); }
void fill(GemmKernels<f16>& k) { fill_all(k); }
void fill(GemmKernels<bf16>& k) { fill_all(k); }

}  // namespace lamella::cuda
