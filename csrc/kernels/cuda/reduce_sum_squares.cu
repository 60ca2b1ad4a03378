// Sums of squares of several arrays, in double. Each array is read once, at the speed of memory: an element costs a
// conversion and a multiplication with addition in double.
#include "kernels/cuda/device.h"
#include "kernels/cuda/reduce_parts.h"
#include "kernels/cuda/sum_squares.h"

namespace lamella::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlock = 16384;  // elements that a block adds up

// Some of the arrays, small enough for a kernel's arguments.
struct Arrays {
  static constexpr int kMost = 160;
  const void* x[kMost];
  int64_t n[kMost];
  unsigned first[kMost + 1];  // block of each
  int count;
};

// partials: one for each block.
template <class T>
__global__ void __launch_bounds__(kThreads) square_blocks(Arrays a, double* partials) {
  constexpr int kVec = Pack<T>::kSize, U = 4;
  __shared__ double scratch[32];
  int low = 0, high = a.count - 1;  // the last array that begins at this block or before has blocks of its own
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (a.first[middle] <= blockIdx.x) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const int64_t begin = static_cast<int64_t>(blockIdx.x - a.first[low]) * kBlock;
  const T* const x = static_cast<const T*>(a.x[low]) + begin;
  const int n = static_cast<int>(a.n[low] - begin < kBlock ? a.n[low] - begin : kBlock);
  const int thread = static_cast<int>(threadIdx.x);
  double acc[U] = {};
  int done = 0;
  if (reinterpret_cast<uintptr_t>(x) % 16 == 0) {
    const int packs = n / kVec;
    for (int q = thread; q < packs; q += U * kThreads) {
      Pack<T> v[U] = {};
#pragma unroll
      for (int u = 0; u < U; ++u)
        if (q + u * kThreads < packs) v[u] = load_pack(x + static_cast<int64_t>(q + u * kThreads) * kVec);
#pragma unroll
      for (int u = 0; u < U; ++u) {
#pragma unroll
        for (int j = 0; j < kVec; ++j)
          acc[u] = fma(static_cast<double>(v[u].v[j]), static_cast<double>(v[u].v[j]), acc[u]);
      }
    }
    done = packs * kVec;
  }
  for (int q = done + thread; q < n; q += U * kThreads) {
#pragma unroll
    for (int u = 0; u < U; ++u) {
      const double v = q + u * kThreads < n ? static_cast<double>(x[q + u * kThreads]) : 0.0;
      acc[u] = fma(v, v, acc[u]);
    }
  }
  const double sum = block_sum((acc[0] + acc[1]) + (acc[2] + acc[3]), scratch);
  if (thread == 0) partials[blockIdx.x] = sum;
}

// A block to each array; those of no elements have a sum of 0.
__global__ void __launch_bounds__(kThreads) add_blocks(Arrays a, const double* partials, double* sums) {
  __shared__ double scratch[32];
  double sum = 0;
  for (unsigned b = a.first[blockIdx.x] + threadIdx.x; b < a.first[blockIdx.x + 1]; b += kThreads) sum += partials[b];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

int64_t block_count(const SumSquaresParams& p) {
  int64_t blocks = 0;
  for (int64_t i = 0; i < p.count; ++i) blocks += ceil_div(p.arrays[i].n, kBlock);
  return blocks;
}

size_t sum_bytes(const SumSquaresParams& p) {
  return (static_cast<size_t>(p.count) * sizeof(double) + 255) / 256 * 256;
}

}  // namespace

size_t sum_squares_bytes(const SumSquaresParams& p) {
  return sum_bytes(p) + static_cast<size_t>(block_count(p)) * sizeof(double);
}

template <class T>
const double* sum_squares_on_device(const Context& ctx, const SumSquaresParams& p) {
  double* const sums = static_cast<double*>(ctx.workspace);
  double* partials = reinterpret_cast<double*>(static_cast<char*>(ctx.workspace) + sum_bytes(p));
  for (int64_t begin = 0; begin < p.count; begin += Arrays::kMost) {
    Arrays a{};
    a.count = static_cast<int>(p.count - begin < Arrays::kMost ? p.count - begin : Arrays::kMost);
    for (int i = 0; i < a.count; ++i) {
      a.x[i] = p.arrays[begin + i].x;
      a.n[i] = p.arrays[begin + i].n;
      a.first[i + 1] = a.first[i] + static_cast<unsigned>(ceil_div(a.n[i], kBlock));
    }
    const unsigned blocks = a.first[a.count];
    launch(ctx, square_blocks<T>, {dim3(blocks), dim3(kThreads)}, a, partials);
    launch(ctx, add_blocks, {dim3(static_cast<unsigned>(a.count)), dim3(kThreads)}, a, partials, sums + begin);
    partials += blocks;
  }
  return sums;
}
template const double* sum_squares_on_device<float>(const Context&, const SumSquaresParams&);
template const double* sum_squares_on_device<double>(const Context&, const SumSquaresParams&);

namespace {

size_t sum_squares_workspace(const SumSquaresParams& p, int) { return sum_squares_bytes(p); }

template <class T>
void sum_squares(const Context& ctx, const SumSquaresParams& p) {
  if (p.count == 0) return;
  const double* const sums = sum_squares_on_device<T>(ctx, p);
  constexpr int64_t kSome = 256;
  double host[kSome];
  for (int64_t begin = 0; begin < p.count; begin += kSome) {
    const int64_t n = p.count - begin < kSome ? p.count - begin : kSome;
    copy_to_host(ctx, host, sums + begin, static_cast<size_t>(n) * sizeof(double));
    for (int64_t i = 0; i < n; ++i) p.arrays[begin + i].sum = host[i];
  }
}

template <class T>
void fill_part(ReduceKernels<T>& k) {
  k.sum_squares_workspace = sum_squares_workspace;
  k.sum_squares = sum_squares<T>;
}

}  // namespace

void fill_sum_squares(ReduceKernels<float>& k) { fill_part(k); }
void fill_sum_squares(ReduceKernels<double>& k) { fill_part(k); }

}  // namespace lamella::cuda
