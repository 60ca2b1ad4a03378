// Products of matrices: m/n/k/transpose_a/transpose_b, at LAMELLA_ISA and LAMELLA_NUM_THREADS.
//   bench_gemm --benchmark_filter='gemm<float>/1024/'
#include <benchmark/benchmark.h>

#include <vector>

#include "base/philox.h"
#include "ops/exec.h"

namespace lamella {
namespace {

template <class T>
std::vector<T> numbers(int64_t count, uint64_t stream) {
  std::vector<T> v(static_cast<size_t>(count));
  uint32_t words[4];
  for (size_t i = 0; i < v.size(); ++i) {
    if (i % 4 == 0) philox4x32({1, stream}, i / 4, words);
    v[i] = static_cast<T>(words[i % 4]) / static_cast<T>(4294967296.0) - static_cast<T>(0.5);
  }
  return v;
}

template <class T>
void gemm(benchmark::State& state) {
  GemmParams<T> p;
  p.m = state.range(0);
  p.n = state.range(1);
  p.k = state.range(2);
  const bool ta = state.range(3) != 0, tb = state.range(4) != 0;
  const std::vector<T> a = numbers<T>(p.m * p.k, 0), b = numbers<T>(p.k * p.n, 1);
  std::vector<T> c(static_cast<size_t>(p.m * p.n));
  p.a = a.data();
  p.rs_a = ta ? 1 : p.k;
  p.cs_a = ta ? p.m : 1;
  p.b = b.data();
  p.rs_b = tb ? 1 : p.n;
  p.cs_b = tb ? p.k : 1;
  p.c = c.data();
  p.ldc = p.n;
  Exec exec(&global_generator());
  const auto& kernels = exec.kernels<T>().gemm;
  const Context ctx = exec.context(kernels.gemm_workspace(p, exec.context().threads));
  for (auto _ : state) {
    kernels.gemm(ctx, p);
    benchmark::ClobberMemory();
  }
  const double flops = 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  state.counters["GFLOP/s"] =
      benchmark::Counter(1e-9 * flops, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"m", "n", "k", "ta", "tb"});
  for (const int64_t n : {8, 16, 32, 64, 100, 128, 256, 512, 1024}) b->Args({n, n, n, 0, 0});
  for (const int64_t m : {1, 2, 4, 8, 32}) {
    b->Args({m, 1024, 1024, 0, 0});
    b->Args({m, 1024, 1024, 0, 1});
  }
  b->Args({32, 4, 64, 0, 0});      // a small classifier
  b->Args({128, 128, 784, 0, 0});  // a dense layer, its gradients to data and weights
  b->Args({128, 784, 128, 0, 1});
  b->Args({784, 128, 128, 1, 0});
  b->Args({128, 10, 128, 0, 0});
  b->Args({128, 128, 8192, 1, 0});  // deep: cut along k
  b->Args({1024, 1, 1024, 0, 0});
  b->Args({3136, 64, 256, 0, 0});  // a 1x1 convolution
}

BENCHMARK(gemm<float>)->Apply(shapes)->UseRealTime();
BENCHMARK(gemm<double>)->Apply(shapes)->UseRealTime();

}  // namespace
}  // namespace lamella

BENCHMARK_MAIN();
