// Random numbers: dropout, fills, permutations.
#include "bench.h"

namespace lamella::bench {
namespace {

constexpr PhiloxKey kKey{1, 2};

Work work_of(int64_t n, double bytes_each, Stream stream) {
  Work w;
  w.bytes = bytes_each * static_cast<double>(n);
  w.stream = stream;
  return w;
}

void dropout(benchmark::State& state, int64_t outer, int64_t mid, int64_t inner) {
  const int64_t n = outer * mid * inner;
  const Array<float> x = numbers<float>(n, 0);
  Array<float> y(n);
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().random;
  DropoutParams<float> p;
  p.key = kKey;
  p.outer = outer;
  p.mid = mid;
  p.inner = inner;
  p.threshold = 1u << 31;
  p.scale = 2;
  p.x = x.data();
  p.y = y.data();
  measure(state, work_of(n, 8, Stream::kCopy), [&] { k.dropout(ctx, p); });
}

// Params: one of the kernels that write n numbers and read none.
template <class Params>
void fill(benchmark::State& state, void (*RandomKernels<float>::*kernel)(const Context&, const Params&), int64_t n,
          Params p = {}) {
  using T = std::remove_pointer_t<decltype(p.y)>;
  Array<T> y(n);
  p.key = kKey;
  p.n = n;
  p.y = y.data();
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().random;
  measure(state, work_of(n, sizeof(T), Stream::kWrite), [&] { (k.*kernel)(ctx, p); });
}

}  // namespace

void add_cases() {
  for (const auto& [n, name] : {std::pair<int64_t, std::string>{1 << 24, "_16M"}, {1 << 16, "_64K"}}) {
    using K = RandomKernels<float>;
    add("dropout" + name, [n = n](benchmark::State& state) { dropout(state, 1, 1, n); });
    add("uniform" + name, [n = n](benchmark::State& state) { fill(state, &K::uniform, n); });
    add("normal" + name, [n = n](benchmark::State& state) { fill(state, &K::normal, n); });
    add("truncated_normal" + name, [n = n](benchmark::State& state) {
      TruncatedNormalParams<float> p;
      p.erf_to = 0.9544997361;
      p.erf_from = -p.erf_to;
      fill(state, &K::truncated_normal, n, p);
    });
    add("bernoulli" + name, [n = n](benchmark::State& state) {
      BernoulliParams<float> p;
      p.threshold = 1u << 31;
      fill(state, &K::bernoulli, n, p);
    });
  }
  add("dropout_channels_32x784x64", [](benchmark::State& state) { dropout(state, 32, 784, 64); });
  add("permutation_60000", [](benchmark::State& state) { fill(state, &RandomKernels<float>::permutation, 60'000); });
}

}  // namespace lamella::bench
