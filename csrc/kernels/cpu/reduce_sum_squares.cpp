// The squared global norm of several arrays.
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/reduce_parts.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr int64_t kBlock = 65536;

template <class T>
int64_t block_count(const SumSquaresParams<T>& p) {
  int64_t n = 0;
  for (int64_t a = 0; a < p.arrays; ++a) n += (p.sizes[a] + kBlock - 1) / kBlock;
  return n;
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

template <class T>
size_t sum_squares_workspace(const SumSquaresParams<T>& p, int) {
  return static_cast<size_t>(block_count(p)) * sizeof(double);
}

template <class T>
void sum_squares(const Context& ctx, const SumSquaresParams<T>& p) {
  double* partial = static_cast<double*>(ctx.workspace);
  const int64_t blocks = block_count(p);
  parallel_for(ctx, blocks, [&](int64_t block, int) {
    int64_t a = 0, b = block;
    for (; b >= (p.sizes[a] + kBlock - 1) / kBlock; ++a) b -= (p.sizes[a] + kBlock - 1) / kBlock;
    const int64_t begin = b * kBlock;
    partial[block] = block_sum(p.x[a] + begin, p.sizes[a] - begin < kBlock ? p.sizes[a] - begin : kBlock);
  });
  double total = 0;
  for (int64_t b = 0; b < blocks; ++b) total += partial[b];
  *p.result = total;
}

template <class T>
void fill_part(ReduceKernels<T>& k) {
  k.sum_squares_workspace = sum_squares_workspace<T>;
  k.sum_squares = sum_squares<T>;
}

}  // namespace

void fill_sum_squares(ReduceKernels<float>& k) { fill_part(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_sum_squares(ReduceKernels<double>& k) { fill_part(k); }
#endif

}  // namespace lamella::LAMELLA_NS
