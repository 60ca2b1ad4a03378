// Matrix products: square, few rows, transposed, batched, dense layers with their epilogue, float64.
#include "bench.h"

namespace lamella::bench {
namespace {

struct Case {
  int64_t m, k, n;
  bool ta = false, tb = false;
  int64_t batch = 1;
  Act act = Act::kIdentity;  // any other, and a bias with it
};

template <class T>
void gemm(benchmark::State& state, const Case& c) {
  GemmParams<T> p;
  p.m = c.m;
  p.n = c.n;
  p.k = c.k;
  p.batch = c.batch;
  p.batch_stride_a = p.m * p.k;
  p.batch_stride_b = p.k * p.n;
  p.batch_stride_c = p.m * p.n;
  const Array<T> a = numbers<T>(p.batch * p.m * p.k, 0), b = numbers<T>(p.batch * p.k * p.n, 1);
  const Array<T> bias = numbers<T>(p.n, 2);
  Array<T> y(p.batch * p.m * p.n);
  p.a = a.data();
  p.rs_a = c.ta ? 1 : p.k;
  p.cs_a = c.ta ? p.m : 1;
  p.b = b.data();
  p.rs_b = c.tb ? 1 : p.n;
  p.cs_b = c.tb ? p.k : 1;
  p.c = y.data();
  p.ldc = p.n;
  p.act.act = c.act;
  if (c.act != Act::kIdentity) p.bias = bias.data();
  Exec exec(&global_generator());
  const auto& kernels = exec.kernels<T>().gemm;
  const Context ctx = exec.context(kernels.gemm_workspace(p, exec.context().threads));
  Work work;
  work.flops = 2.0 * static_cast<double>(p.batch * p.m * p.n) * static_cast<double>(p.k);
  work.bytes = sizeof(T) * static_cast<double>(p.batch * (p.m * p.k + p.k * p.n + p.m * p.n));
  work.stream = Stream::kRead;
  work.f64 = sizeof(T) == 8;
  measure(state, work, [&] { kernels.gemm(ctx, p); });
}

template <class T = float>
void add_gemm(std::string name, const Case& c) {
  if (c.batch > 1) name += "_" + std::to_string(c.batch) + "x";
  name += "_M" + std::to_string(c.m) + "_K" + std::to_string(c.k) + "_N" + std::to_string(c.n);
  add(name + (c.ta ? "_ta" : "") + (c.tb ? "_tb" : ""), [c](benchmark::State& state) { gemm<T>(state, c); });
}

}  // namespace

void add_cases() {
  for (const int64_t n : {8, 16, 32, 64, 100, 128, 256, 512, 1024, 2048}) add_gemm("gemm", {n, n, n});
  for (const int64_t m : {1, 2, 4, 8, 32})
    for (const bool tb : {false, true}) add_gemm("gemm", {m, 1024, 1024, false, tb});
  add_gemm("gemm", {32, 64, 4});      // a small classifier
  add_gemm("gemm", {128, 784, 128});  // a dense layer, its gradients to data and weights
  add_gemm("gemm", {128, 128, 784, false, true});
  add_gemm("gemm", {784, 128, 128, true, false});
  add_gemm("gemm", {128, 128, 10});
  add_gemm("gemm", {128, 8192, 128, true, false});  // deep: cut along k
  add_gemm("gemm", {1024, 1024, 1});
  add_gemm("gemm", {3136, 256, 64});  // a 1x1 convolution
  add_gemm("gemm", {4096, 32, 64});
  add_gemm("gemm", {128, 64, 128, false, false, 96});
  add_gemm("gemm", {32, 32, 32, false, false, 256});
  add_gemm("dense_relu", {128, 784, 128, false, false, 1, Act::kRelu});
  add_gemm("dense_gelu", {512, 512, 512, false, false, 1, Act::kGelu});
  for (const int64_t n : {32, 128, 512}) add_gemm<double>("gemm_f64", {n, n, n});
}

}  // namespace lamella::bench
