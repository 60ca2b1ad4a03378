// gemm_convert's two kernels read 4 bytes and write 4 or 2 of each number. The product itself is run by the tiles of
// gemm_tile_async.h, a block per tile, or, where it is switched on, by gemm_wgmma.cu.
#include "kernels/cuda/gemm_epilogue.h"
#include "kernels/cuda/gemm_rounded.h"
#include "kernels/cuda/gemm_tile_async.h"
#include "kernels/cuda/gemm_tile_simt.h"
#include "kernels/cuda/gemm_wgmma.h"

namespace lamella::cuda {
namespace {

constexpr int64_t kAlign = 256;

template <class Kind>
constexpr int kChunk = 16 / static_cast<int>(sizeof(typename Kind::Stored));  // numbers in 16 bytes

template <class Kind>
using FactorOf = Factor<typename Kind::Stored>;

int64_t round_up(int64_t n, int64_t to) { return ceil_div(n, to) * to; }

// ---- the factors ----------------------------------------------------------------------------------------------------

// Memory runs along k: a warp per line.
template <class Kind>
__global__ void __launch_bounds__(256) convert_lines(const __grid_constant__ FactorOf<Kind> f) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t lines = f.rows * f.batch, step = int64_t{gridDim.x} * 8;
  for (int64_t line = int64_t{blockIdx.x} * 8 + threadIdx.x / 32; line < lines; line += step) {
    const int64_t batch = line / f.rows, row = line - batch * f.rows;
    const MatrixLoader<float, true> load{
        f.from + batch * f.batch_stride, f.row_stride, f.k_stride, f.rows, f.k, f.packed};
    const float* const from = load.row(row);
    typename Kind::Stored* const to = f.to + line * f.length;
#pragma unroll 4
    for (int64_t k = lane * 4; k < f.length; k += 128) Kind::store(to + k, load.fetch(from, load.depth(k)));
  }
}

// Memory runs along the rows: tiles of 64 rows by 32 of k are turned over in shared memory.
constexpr int kTurnRows = 64, kTurnDepth = 32;
template <class Kind>
__global__ void __launch_bounds__(256)
    convert_turned(const __grid_constant__ FactorOf<Kind> f, int64_t row_tiles, int64_t k_tiles) {
  __shared__ float tile[kTurnDepth][kTurnRows + 1];
  const int t = static_cast<int>(threadIdx.x);
  const int64_t rest = blockIdx.x / row_tiles, row0 = (blockIdx.x - rest * row_tiles) * kTurnRows;
  const int64_t batch = rest / k_tiles, k0 = (rest - batch * k_tiles) * kTurnDepth;
  const MatrixLoader<float, false> load{
      f.from + batch * f.batch_stride, f.row_stride, f.k_stride, f.rows, f.k, f.packed};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int r = t % 16 * 4, k = t / 16 + i * 16;
    const Pack<float> v = load.fetch(load.row(row0 + r), load.depth(k0 + k));
#pragma unroll
    for (int j = 0; j < 4; ++j) tile[k][r + j] = v.v[j];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int k = t % 8 * 4, r = t / 8 + i * 32;
    if (row0 + r >= f.rows || k0 + k >= f.length) continue;
    Pack<float> v;
#pragma unroll
    for (int j = 0; j < 4; ++j) v.v[j] = tile[k + j][r];
    Kind::store(f.to + (batch * f.rows + row0 + r) * f.length + k0 + k, v);
  }
}

template <class Kind>
void convert(const Context& ctx, const FactorOf<Kind>& f) {
  if (f.k_stride <= f.row_stride) {
    const int64_t most = int64_t{device_limits().multiprocessors} * 8, blocks = ceil_div(f.rows * f.batch, 8);
    launch(ctx, convert_lines<Kind>, Launch{dim3(static_cast<unsigned>(blocks < most ? blocks : most)), dim3(256)}, f);
  } else {
    const int64_t row_tiles = ceil_div(f.rows, kTurnRows), k_tiles = ceil_div(f.length, kTurnDepth);
    launch(ctx, convert_turned<Kind>, Launch{dim3(static_cast<unsigned>(row_tiles * k_tiles * f.batch)), dim3(256)}, f,
           row_tiles, k_tiles);
  }
}

template <class Kind>
FactorOf<Kind> factor(const float* from, int64_t row_stride, int64_t k_stride, int64_t batch_stride, int64_t rows,
                      int64_t k, int64_t batch) {
  FactorOf<Kind> f;
  f.from = from;
  f.row_stride = row_stride;
  f.k_stride = k_stride;
  f.batch_stride = batch_stride;
  f.rows = rows;
  f.k = k;
  f.batch = batch_stride == 0 ? 1 : batch;
  const bool along_k = k_stride <= row_stride;
  f.packed = (along_k ? k_stride : row_stride) == 1 && (along_k ? k : rows) % 4 == 0 &&
             (along_k ? row_stride : k_stride) % 4 == 0 && batch_stride % 4 == 0 && aligned16(from);
  f.length = round_up(k, kChunk<Kind>);
  return f;
}

template <class Kind>
int64_t bytes_of(const FactorOf<Kind>& f) {
  return round_up(f.batch * f.rows * f.length * static_cast<int64_t>(sizeof(typename Kind::Stored)), kAlign);
}

// ---- the product ----------------------------------------------------------------------------------------------------

template <class Tile, class Kind>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    gemm_rounded_tiles(const __grid_constant__ FactorOf<Kind> a, const __grid_constant__ FactorOf<Kind> b,
                       const __grid_constant__ RoundedProduct g) {
  const unsigned each = g.tiles_m * g.tiles_n;
  const int64_t batch = blockIdx.x / each;
  const TilePlace place = tile_place(blockIdx.x % each, g.tiles_m, g.tiles_n);
  const GemmEpilogue<float> epilogue{g.c + batch * g.batch_stride_c, g.ldc, g.alpha, g.beta, g.bias, g.act, g.packed_c};
  Tile::run(a.to + (g.one_a ? 0 : batch * a.rows * a.length), b.to + (g.one_b ? 0 : batch * b.rows * b.length),
            a.length, int64_t{place.row} * Tile::kBlockM, int64_t{place.column} * Tile::kBlockN, g.m, g.n, epilogue);
}

template <class Tile, class Kind>
void launch_tiles(const Context& ctx, const FactorOf<Kind>& a, const FactorOf<Kind>& b, RoundedProduct g,
                  int64_t batch) {
  g.tiles_m = static_cast<unsigned>(ceil_div(g.m, Tile::kBlockM));
  g.tiles_n = static_cast<unsigned>(ceil_div(g.n, Tile::kBlockN));
  g.tiles = int64_t{g.tiles_m} * g.tiles_n * batch;
  launch(ctx, gemm_rounded_tiles<Tile, Kind>,
         Launch{dim3(static_cast<unsigned>(g.tiles)), dim3(Tile::kThreads), Tile::kSharedBytes}, a, b, g);
}

template <class Kind>
void run(const Context& ctx, const GemmParams<float>& p) {
  FactorOf<Kind> a = factor<Kind>(p.a, p.rs_a, p.cs_a, p.batch_stride_a, p.m, p.k, p.batch);
  FactorOf<Kind> b = factor<Kind>(p.b, p.cs_b, p.rs_b, p.batch_stride_b, p.n, p.k, p.batch);
  a.to = static_cast<typename Kind::Stored*>(ctx.workspace);
  b.to = reinterpret_cast<typename Kind::Stored*>(static_cast<char*>(ctx.workspace) + bytes_of<Kind>(a));
  convert<Kind>(ctx, a);
  convert<Kind>(ctx, b);
  RoundedProduct g;
  g.m = p.m;
  g.n = p.n;
  g.one_a = a.batch == 1;
  g.one_b = b.batch == 1;
  g.c = p.c;
  g.ldc = p.ldc;
  g.batch_stride_c = p.batch_stride_c;
  g.alpha = p.alpha;
  g.beta = p.beta;
  g.bias = p.bias;
  g.act = p.act;
  g.packed_c = aligned16(p.c) && p.ldc % 4 == 0 && p.batch_stride_c % 4 == 0;
  if (gemm_wgmma_ready() && gemm_wgmma(ctx, a, b, g, p.batch)) return;
  // The same sums in the same order, whichever fits.
  using Wide = AsyncTile<Kind, 128, 256, 64, 64, 4>;
  using Narrow = AsyncTile<Kind, 128, 128, 64, 32, 4>;
  if (static_cast<size_t>(device_limits().shared_bytes) >= Wide::kSharedBytes) {
    launch_tiles<Wide, Kind>(ctx, a, b, g, p.batch);
  } else {
    launch_tiles<Narrow, Kind>(ctx, a, b, g, p.batch);
  }
}

template <class Kind>
size_t workspace(const GemmParams<float>& p) {
  return static_cast<size_t>(bytes_of<Kind>(factor<Kind>(p.a, p.rs_a, p.cs_a, p.batch_stride_a, p.m, p.k, p.batch)) +
                             bytes_of<Kind>(factor<Kind>(p.b, p.cs_b, p.rs_b, p.batch_stride_b, p.n, p.k, p.batch)));
}

}  // namespace

bool gemm_rounded_suits(const GemmParams<float>& p, bool bf16) {
#if defined(LAMELLA_CUDA_HOST)  // tests need not be large
  constexpr int64_t kLeastTiles = 1, kLeastUses[2] = {100, 100};
#else
  constexpr int64_t kLeastTiles = 100, kLeastUses[2] = {1200, 400};
#endif
  constexpr int64_t kMost = int64_t{1} << 31;
  constexpr size_t kMostBytes = size_t{512} << 20;
  if (p.k < 128 || p.m < 128 || p.n < 128 || p.m >= kMost || p.n >= kMost || p.k >= kMost || p.batch > 65535)
    return false;
  if (p.rs_a < 0 || p.cs_a < 0 || p.rs_b < 0 || p.cs_b < 0) return false;
  // A number of A is used n times, one of B m times: their harmonic mean must outweigh the pass (6 or 8 bytes a number
  // at the speed of memory) by what it saves in bytes from L2.
  const int64_t least = gemm_wgmma_ready() ? 300 : kLeastUses[bf16 ? 1 : 0];
  if (static_cast<double>(p.m) * static_cast<double>(p.n) < static_cast<double>(least) * static_cast<double>(p.m + p.n))
    return false;
  const int64_t tiles = ceil_div(p.m, 128) * ceil_div(p.n, 256) * p.batch;
  return tiles >= kLeastTiles && tiles < (int64_t{1} << 30) && gemm_rounded_workspace(p, bf16) <= kMostBytes;
}

size_t gemm_rounded_workspace(const GemmParams<float>& p, bool bf16) {
  return bf16 ? workspace<Bf16>(p) : workspace<Tf32>(p);
}

void gemm_rounded(const Context& ctx, const GemmParams<float>& p, bool bf16) {
  if (bf16) {
    run<Bf16>(ctx, p);
  } else {
    run<Tf32>(ctx, p);
  }
}

}  // namespace lamella::cuda
