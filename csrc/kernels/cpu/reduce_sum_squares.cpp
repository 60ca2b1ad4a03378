// Sums of squares of several arrays.
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/reduce_parts.h"

namespace lamella::LAMELLA_NS {
namespace {

// Elements that are added up in one go: some 20 us of memory traffic.
constexpr int64_t kBlock = 65536;

LAMELLA_INLINE int64_t block_count(int64_t n) { return (n + kBlock - 1) / kBlock; }
LAMELLA_INLINE int64_t block_count(const SumSquaresParams& p) {
  int64_t blocks = 0;
  for (int64_t a = 0; a < p.count; ++a) blocks += block_count(p.arrays[a].n);
  return blocks;
}

// Widened to double lane by lane; the fixed lanes let the compiler use vectors.
template <class T>
double block_sum(const T* x, int64_t n) {
  constexpr int kLanes = 32;
  double acc[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int u = 0; u < kLanes; ++u) acc[u] += static_cast<double>(x[i + u]) * static_cast<double>(x[i + u]);
  for (int u = 0; i < n; ++i, ++u) acc[u] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int u = 0; u < half; ++u) acc[u] += acc[u + half];
  return acc[0];
}

size_t sum_squares_workspace(const SumSquaresParams& p, int) {
  return static_cast<size_t>(block_count(p)) * sizeof(double);
}

template <class T>
void sum_squares(const Context& ctx, const SumSquaresParams& p) {
  double* const partial = static_cast<double*>(ctx.workspace);
  const int64_t blocks = block_count(p);
  int64_t elements = 0;
  for (int64_t a = 0; a < p.count; ++a) elements += p.arrays[a].n;
  // Blocks of small arrays go together: a task has about kBlock elements.
  const int64_t step = elements > 0 ? (blocks * kBlock + elements - 1) / elements : 1;
  parallel_range(ctx, blocks, step, [&](int64_t begin, int64_t end, int) {
    int64_t a = 0, b = begin;  // array and block in it
    for (int64_t block = begin; block < end; ++block, ++b) {
      for (; b >= block_count(p.arrays[a].n); ++a) b -= block_count(p.arrays[a].n);
      const int64_t at = b * kBlock, left = p.arrays[a].n - at;
      partial[block] = block_sum(static_cast<const T*>(p.arrays[a].x) + at, left < kBlock ? left : kBlock);
    }
  });
  int64_t block = 0;
  for (int64_t a = 0; a < p.count; ++a) {
    double sum = 0;
    for (int64_t b = 0; b < block_count(p.arrays[a].n); ++b) sum += partial[block++];
    p.arrays[a].sum = sum;
  }
}

template <class T>
void fill_part(ReduceKernels<T>& k) {
  k.sum_squares_workspace = sum_squares_workspace;
  k.sum_squares = sum_squares<T>;
}

}  // namespace

void fill_sum_squares(ReduceKernels<float>& k) { fill_part(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_sum_squares(ReduceKernels<double>& k) { fill_part(k); }
#endif

}  // namespace lamella::LAMELLA_NS
