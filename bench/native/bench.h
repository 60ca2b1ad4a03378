// What the native benchmarks share. Every program registers its cases in add_cases(); main() measures the machine's
// limits before it runs them (machine_limits.h), and each case reports how near to them it came.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/philox.h"
#include "machine_limits.h"
#include "ops/exec.h"

namespace lamella::bench {

void add_cases();

// run(state) under `name`, which is that of bench/peers where the case stands there too.
template <class Run>
void add(const std::string& name, Run run) {
  benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime();
}

// What a kernel has to do at least. Its limit is the longer of the time for the operations at the peak of
// multiply-adds, and the time for the bytes at the bandwidth of the caches or memory that hold `footprint` bytes.
struct Work {
  double flops = 0;
  double bytes = 0;  // every array read or written once
  Stream stream = Stream::kCopy;
  double footprint = 0;  // of all arrays; 0: as many as `bytes`
  bool f64 = false;
};

double limit_seconds(const Work& work);
// Counters GFLOP/s, GB/s and %limit; the label tells which limit counts.
void report(benchmark::State& state, const Work& work, double seconds, const std::string& label);

// Runs and reports body(). The counters are those of the quickest batch of calls (of 100 us, or one call), as the
// limits are the best of several tries: what else the machine does shall not count. Google Benchmark's own columns are
// means.
template <class Body>
void measure(benchmark::State& state, const Work& work, const Body& body, const std::string& label = {}) {
  using Clock = std::chrono::steady_clock;
  limit_seconds(work);  // before the clock runs
  double best = std::numeric_limits<double>::infinity();
  int64_t batch = 1, calls = 0;
  Clock::time_point start = Clock::now();
  for (auto _ : state) {
    body();
    benchmark::ClobberMemory();
    if (++calls < batch) continue;
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds / static_cast<double>(batch));
    if (seconds < 100e-6) batch *= 2;
    calls = 0;
    start = Clock::now();
  }
  report(state, work, best, label);
}

// Aligned to cache lines; large ones on huge pages where the system has them, as NumPy's and the engine's own are.
void* allocate(size_t bytes);

template <class T>
class Array {
 public:
  Array() = default;
  explicit Array(int64_t n, T value = T(0)) : p_(static_cast<T*>(allocate(static_cast<size_t>(n) * sizeof(T)))) {
    for (int64_t i = 0; i < n; ++i) p_.get()[i] = value;
  }
  T* data() { return p_.get(); }
  const T* data() const { return p_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> p_;
};

// Uniform in [low, high); a number per (stream, position).
template <class T>
Array<T> numbers(int64_t n, uint64_t stream, double low = -0.5, double high = 0.5) {
  Array<T> a(n);
  uint32_t words[4];
  for (int64_t i = 0; i < n; ++i) {
    if (i % 4 == 0) philox4x32({1, stream}, static_cast<uint64_t>(i / 4), words);
    a.data()[i] = static_cast<T>(low + (high - low) / 4294967296.0 * words[i % 4]);
  }
  return a;
}

// Places in [0, limit).
inline std::vector<int64_t> indices(int64_t n, int64_t limit, uint64_t stream = 7) {
  const Array<double> u = numbers<double>(n, stream, 0, static_cast<double>(limit));
  return std::vector<int64_t>(u.data(), u.data() + n);
}

}  // namespace lamella::bench
