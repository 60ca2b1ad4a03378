// Products of a matrix X and up to four vectors are bound by reading X, once, in 16-byte loads: 2 flops per number and
// vector. They differ in which way X lies in memory.
//
// dots: along k. A warp takes a row of X (or four at once, so that what it has read of the vectors is used four times),
// its lanes take packs of the row in turn, and their sums are added across the warp.
// streams: along the rows. A lane takes a pack of neighbouring rows and goes along k; the eight warps of a block share
// k, and their sums are added through shared memory in order.
//
// Where that gives too few blocks for a device, k is cut over blocks, and the sums of the parts are added by another
// launch, in order. Everything depends on the shape alone.
#include "kernels/cuda/gemm_epilogue.h"
#include "kernels/cuda/gemm_vector.h"

namespace lamella::cuda {
namespace {

constexpr int64_t kMultiprocessors = 132;
constexpr int kWarps = 8;

template <class T>
constexpr int kPack = Pack<T>::kSize;

// X has `rows` rows. Result (row, v) goes to c[row * c_row + v * c_vector], with the bias of its column of C.
template <class T>
struct VectorProblem {
  const T* x = nullptr;
  int64_t x_row = 0, x_k = 0, x_batch = 0, rows = 0, k = 0;
  const T* y = nullptr;
  int64_t y_vector = 0, y_k = 0, y_batch = 0;
  int vectors = 0;
  T* c = nullptr;
  int64_t c_row = 0, c_vector = 0, c_batch = 0, batch = 0;
  const T* bias = nullptr;
  int bias_row = 0, bias_vector = 0;
  T alpha = 1, beta = 0;
  Activation act = {};
  bool along_k = false, packed_x = false, packed_y = false;
  int splits = 1;
  int64_t split_length = 0;
  T* partial = nullptr;  // [batch][splits][vectors][rows]
};

template <class T>
__device__ __forceinline__ void finish(const VectorProblem<T>& g, int64_t batch, int64_t row, int v, T sum) {
  T* const to = g.c + batch * g.c_batch + row * g.c_row + v * g.c_vector;
  const GemmEpilogue<T> e{to, 0, g.alpha, g.beta, g.bias, g.act, false};
  *to = e.finish(sum, g.beta != T(0) ? *to : T(0),
                 g.bias != nullptr ? g.bias[row * g.bias_row + v * g.bias_vector] : T(0));
}
template <class T>
__device__ __forceinline__ void put(const VectorProblem<T>& g, int64_t batch, int split, int64_t row, int v, T sum) {
  if (g.splits == 1) return finish(g, batch, row, v, sum);
  g.partial[((batch * g.splits + split) * g.vectors + v) * g.rows + row] = sum;
}

template <class T, int kVectors, int kRows>
__global__ void __launch_bounds__(kWarps * 32) dots(const __grid_constant__ VectorProblem<T> g, int64_t groups) {
  constexpr int V = kPack<T>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t job = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const int64_t rest = job / groups, row0 = (job - rest * groups) * kRows;
  const int split = static_cast<int>(rest % g.splits);
  const int64_t batch = rest / g.splits;
  if (batch >= g.batch) return;
  const int64_t begin = split * g.split_length;
  const int64_t end = begin + g.split_length < g.k ? begin + g.split_length : g.k;

  const T* x[kRows];
  const T* y[kVectors];
#pragma unroll
  for (int r = 0; r < kRows; ++r)  // those beyond the last are the last again, and are not stored
    x[r] = g.x + batch * g.x_batch + (row0 + r < g.rows ? row0 + r : g.rows - 1) * g.x_row;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) y[v] = g.y + batch * g.y_batch + (v < g.vectors ? v : 0) * g.y_vector;

  T sums[kRows][kVectors] = {};
  if (g.packed_x) {
#pragma unroll(kRows == 1 ? 4 : 2)
    for (int64_t k = begin + lane * V; k < end; k += 32 * V) {
      Pack<T> a[kRows], b[kVectors];
#pragma unroll
      for (int r = 0; r < kRows; ++r) a[r] = load_pack(x[r] + k);
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        if (g.packed_y) {
          b[v] = load_pack(y[v] + k);
        } else {
#pragma unroll
          for (int j = 0; j < V; ++j) b[v].v[j] = y[v][(k + j) * g.y_k];
        }
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
#pragma unroll
          for (int j = 0; j < V; ++j) sums[r][v] = fma(a[r].v[j], b[v].v[j], sums[r][v]);
        }
      }
    }
  } else {
#pragma unroll 4
    for (int64_t k = begin + lane; k < end; k += 32) {
      T a[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) a[r] = x[r][k * g.x_k];
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const T b = y[v][k * g.y_k];
#pragma unroll
        for (int r = 0; r < kRows; ++r) sums[r][v] = fma(a[r], b, sums[r][v]);
      }
    }
  }
  // Each lane stores one of the results.
  T mine = T(0);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const T sum = warp_sum(sums[r][v]);
      if (lane == r * kVectors + v) mine = sum;
    }
  }
  const int v = lane % kVectors;
  const int64_t row = row0 + lane / kVectors;
  if (lane < kRows * kVectors && v < g.vectors && row < g.rows) put(g, batch, split, row, v, mine);
}

template <class T, int kVectors>
__global__ void __launch_bounds__(kWarps * 32) streams(const __grid_constant__ VectorProblem<T> g, int64_t chunks) {
  constexpr int V = kPack<T>, kRows = 32 * V;
  __shared__ T shares[kWarps][kVectors][kRows];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t rest = blockIdx.x / chunks, row0 = (blockIdx.x - rest * chunks) * kRows;
  const int split = static_cast<int>(rest % g.splits);
  const int64_t batch = rest / g.splits;
  const int64_t begin = split * g.split_length;
  const int64_t end = begin + g.split_length < g.k ? begin + g.split_length : g.k;

  const T* const x = g.x + batch * g.x_batch + row0 * g.x_row;
  const T* y[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) y[v] = g.y + batch * g.y_batch + (v < g.vectors ? v : 0) * g.y_vector;

  T sums[kVectors][V] = {};
  if (g.packed_x) {
    if (row0 + lane * V < g.rows) {
#pragma unroll 4
      for (int64_t k = begin + warp; k < end; k += kWarps) {
        const Pack<T> a = load_pack(x + lane * V + k * g.x_k);
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
          const T b = y[v][k * g.y_k];
#pragma unroll
          for (int j = 0; j < V; ++j) sums[v][j] = fma(a.v[j], b, sums[v][j]);
        }
      }
    }
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int j = 0; j < V; ++j) shares[warp][v][lane * V + j] = sums[v][j];
    }
  } else {
#pragma unroll 2
    for (int64_t k = begin + warp; k < end; k += kWarps) {
      T a[V];
#pragma unroll
      for (int j = 0; j < V; ++j)
        a[j] = row0 + j * 32 + lane < g.rows ? x[(j * 32 + lane) * g.x_row + k * g.x_k] : T(0);
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const T b = y[v][k * g.y_k];
#pragma unroll
        for (int j = 0; j < V; ++j) sums[v][j] = fma(a[j], b, sums[v][j]);
      }
    }
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int j = 0; j < V; ++j) shares[warp][v][j * 32 + lane] = sums[v][j];
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kRows * g.vectors; i += kWarps * 32) {
    const int v = i / kRows, r = i % kRows;
    if (row0 + r >= g.rows) continue;
    T sum = shares[0][v][r];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) sum += shares[w][v][r];
    put(g, batch, split, row0 + r, v, sum);
  }
}

template <class T>
__global__ void __launch_bounds__(256) add_vector_parts(const __grid_constant__ VectorProblem<T> g) {
  const int64_t each = g.rows * g.vectors, all = each * g.batch;
  for (int64_t i = thread_number(); i < all; i += thread_count()) {
    const int64_t batch = i / each, within = i - batch * each, v = within / g.rows;
    const T* from = g.partial + batch * g.splits * each + within;
    T sum = *from;
#pragma unroll 8
    for (int s = 1; s < g.splits; ++s) sum += from[s * each];
    finish(g, batch, within - v * g.rows, static_cast<int>(v), sum);
  }
}

int64_t magnitude(int64_t v) { return v < 0 ? -v : v; }

template <class T>
VectorProblem<T> problem_of(const GemmParams<T>& p) {
  VectorProblem<T> g;
  const bool of_b = p.m <= p.n;  // B is the matrix
  if (of_b) {
    g = {.x = p.b,
         .x_row = p.cs_b,
         .x_k = p.rs_b,
         .x_batch = p.batch_stride_b,
         .rows = p.n,
         .k = p.k,
         .y = p.a,
         .y_vector = p.rs_a,
         .y_k = p.cs_a,
         .y_batch = p.batch_stride_a,
         .vectors = static_cast<int>(p.m),
         .c = p.c,
         .c_row = 1,
         .c_vector = p.ldc};
  } else {
    g = {.x = p.a,
         .x_row = p.rs_a,
         .x_k = p.cs_a,
         .x_batch = p.batch_stride_a,
         .rows = p.m,
         .k = p.k,
         .y = p.b,
         .y_vector = p.cs_b,
         .y_k = p.rs_b,
         .y_batch = p.batch_stride_b,
         .vectors = static_cast<int>(p.n),
         .c = p.c,
         .c_row = p.ldc,
         .c_vector = 1};
  }
  g.c_batch = p.batch_stride_c;
  g.batch = p.batch;
  g.bias = p.bias;
  g.bias_row = of_b ? 1 : 0;
  g.bias_vector = of_b ? 0 : 1;
  g.alpha = p.alpha;
  g.beta = p.beta;
  g.act = p.act;

  constexpr int V = kPack<T>;
  g.along_k = g.rows == 1 || (g.k > 1 && magnitude(g.x_k) <= magnitude(g.x_row));
  const bool batches = g.x_batch % V == 0 && g.y_batch % V == 0;
  if (g.along_k) {
    g.packed_x = g.x_k == 1 && g.k % V == 0 && (g.rows == 1 || g.x_row % V == 0) && batches && aligned16(g.x);
    g.packed_y = g.packed_x && g.y_k == 1 && (g.vectors == 1 || g.y_vector % V == 0) && aligned16(g.y);
  } else {
    g.packed_x = g.x_row == 1 && g.rows % V == 0 && (g.k == 1 || g.x_k % V == 0) && batches && aligned16(g.x);
  }
  return g;
}

// Rows of X that a warp of dots takes at once.
template <class T>
int dot_rows(const VectorProblem<T>& g) {
  return g.rows * g.batch >= 4 * 16 * kMultiprocessors ? 4 : 1;
}

template <class T>
int64_t jobs_of(const VectorProblem<T>& g) {
  return g.batch * (g.along_k ? ceil_div(g.rows, dot_rows(g)) : ceil_div(g.rows, 32 * kPack<T>));
}

template <class T>
void set_splits(VectorProblem<T>& g) {
  // Warps or blocks that keep a device busy, and what is worth one.
  const int64_t enough = g.along_k ? 16 * kMultiprocessors : 4 * kMultiprocessors, least = g.along_k ? 2048 : 64;
  const int64_t by_jobs = enough / (jobs_of(g) + 1), by_length = g.k / least;
  const int64_t splits = by_jobs < by_length ? by_jobs : by_length;
  g.split_length = splits < 2 ? g.k : ceil_div(ceil_div(g.k, splits), 64) * 64;
  g.splits = g.k == 0 ? 1 : static_cast<int>(ceil_div(g.k, g.split_length));
}

template <class T>
size_t workspace(const GemmParams<T>& p) {
  VectorProblem<T> g = problem_of(p);
  set_splits(g);
  return g.splits == 1 ? 0 : sizeof(T) * static_cast<size_t>(g.batch * g.splits * g.rows * g.vectors);
}

template <class T, int kVectors>
void run(const Context& ctx, const VectorProblem<T>& g) {
  const int64_t jobs = jobs_of(g) * g.splits, each = jobs_of(g) / g.batch;
  if (!g.along_k) {
    launch(ctx, streams<T, kVectors>, Launch{dim3(static_cast<unsigned>(jobs)), dim3(kWarps * 32)}, g, each);
  } else if (dot_rows(g) == 1) {
    launch(ctx, dots<T, kVectors, 1>, Launch{dim3(static_cast<unsigned>(ceil_div(jobs, kWarps))), dim3(kWarps * 32)}, g,
           each);
  } else {
    launch(ctx, dots<T, kVectors, 4>, Launch{dim3(static_cast<unsigned>(ceil_div(jobs, kWarps))), dim3(kWarps * 32)}, g,
           each);
  }
}

template <class T>
void vector(const Context& ctx, const GemmParams<T>& p) {
  VectorProblem<T> g = problem_of(p);
  set_splits(g);
  g.partial = static_cast<T*>(ctx.workspace);
  if (g.vectors == 1) {
    run<T, 1>(ctx, g);
  } else if (g.vectors == 2) {
    run<T, 2>(ctx, g);
  } else {
    run<T, 4>(ctx, g);
  }
  if (g.splits > 1) launch(ctx, add_vector_parts<T>, flat(g.batch * g.rows * g.vectors), g);
}

}  // namespace

size_t gemm_vector_workspace(const GemmParams<float>& p) { return workspace(p); }
size_t gemm_vector_workspace(const GemmParams<double>& p) { return workspace(p); }
void gemm_vector(const Context& ctx, const GemmParams<float>& p) { vector(ctx, p); }
void gemm_vector(const Context& ctx, const GemmParams<double>& p) { vector(ctx, p); }

}  // namespace lamella::cuda
