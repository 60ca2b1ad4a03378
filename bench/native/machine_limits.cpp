#include "machine_limits.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <utility>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "bench.h"
#include "limit_loops.h"

namespace lamella {

namespace portable {
void fill(bench::LimitLoops<float>&);
void fill(bench::LimitLoops<double>&);
}  // namespace portable
namespace avx2 {
void fill(bench::LimitLoops<float>&);
}
namespace avx512 {
void fill(bench::LimitLoops<float>&);
}

namespace bench {
namespace {

LimitLoops<float> float_loops() {
  LimitLoops<float> loops;
  switch (isa_choose()) {
#if defined(LAMELLA_BUILT_AVX512)
    case Isa::kAvx512:
      avx512::fill(loops);
      break;
#endif
#if defined(LAMELLA_BUILT_AVX2)
    case Isa::kAvx2:
      avx2::fill(loops);
      break;
#endif
    default:
      portable::fill(loops);
  }
  return loops;
}

// The shortest time that all threads together need for body(thread), in seconds, of as many tries as fit 100 ms. One
// must take long enough for every thread to come along: some 100 us.
template <class Body>
double best_time(const Body& body) {
  using Clock = std::chrono::steady_clock;
  const Context ctx = make_context();
  const auto run = [](void* arg, int64_t chunk, int) { (*static_cast<const Body*>(arg))(chunk); };
  double best = std::numeric_limits<double>::infinity();
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(100);
  for (int tries = 0; tries < 5 || Clock::now() < end; ++tries) {
    const Clock::time_point start = Clock::now();
    ctx.parallel_for(ctx.pool, ctx.threads, ctx.threads, run, const_cast<Body*>(&body));
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

template <class T>
double measure_peak(const LimitLoops<T>& loops) {
  constexpr int64_t kRounds = 100'000;
  const double seconds = best_time([&](int64_t) {
    benchmark::DoNotOptimize(loops.multiply_add(kRounds, static_cast<T>(0.5), static_cast<T>(0.5)));
  });
  return num_threads() * loops.flops_per_round * kRounds / seconds;
}

// Every thread goes through a piece of its own; where that is short, again and again.
double measure_bandwidth(Stream stream, double footprint) {
  using Loops = LimitLoops<float>;
  static const Loops loops = float_loops();
  static Array<float> array(static_cast<int64_t>(memory_footprint() / sizeof(float)), 1.0f);

  const int arrays = stream == Stream::kCopy || stream == Stream::kUpdate ? 2 : 1;
  const int64_t wanted = static_cast<int64_t>(footprint / sizeof(float)) / (arrays * num_threads());
  const int64_t n = std::max<int64_t>(wanted / Loops::kElements, 1) * Loops::kElements;
  const int64_t passes = std::max<int64_t>((int64_t{4} << 20) / (n * arrays), 1);
  const auto best = [&](const auto& pass) {
    return best_time([&](int64_t thread) {
      float* const y = array.data() + thread * arrays * n;
      for (int64_t i = 0; i < passes; ++i) {
        pass(y, y + (arrays - 1) * n);
        benchmark::ClobberMemory();
      }
    });
  };

  double seconds = 0, touched = 1;  // arrays that a pass reads or writes
  switch (stream) {
    case Stream::kRead:
      seconds = best([&](float* y, const float*) { benchmark::DoNotOptimize(loops.read(n, y)); });
      break;
    case Stream::kWrite:
      seconds = std::min(best([&](float* y, const float*) { loops.write(n, y); }),
                         best([&](float* y, const float*) { loops.write_around(n, y); }));
      break;
    case Stream::kCopy:
      touched = 2;
      seconds = std::min(best([&](float* y, const float* x) { loops.copy(n, x, y); }),
                         best([&](float* y, const float* x) { loops.copy_around(n, x, y); }));
      break;
    case Stream::kUpdate:
      touched = 3;
      seconds = best([&](float* y, const float* x) { loops.update(n, x, y); });
      break;
  }
  return touched * sizeof(float) * static_cast<double>(n * passes) * num_threads() / seconds;
}

}  // namespace

double peak_flops(bool f64) {
  static const double float_peak = measure_peak(float_loops());
  static const double double_peak = [] {
    LimitLoops<double> loops;
    portable::fill(loops);
    return measure_peak(loops);
  }();
  return f64 ? double_peak : float_peak;
}

double memory_footprint() {
  constexpr double kLeast = 64e6, kMost = 1e9;
  static const double bytes = std::clamp(4.0 * static_cast<double>(cache_bytes(3)), kLeast, kMost);
  return bytes;
}

double bandwidth(Stream stream, double footprint) {
  static std::map<std::pair<Stream, double>, double> known;
  const std::pair<Stream, double> key(stream, std::min(footprint, memory_footprint()));
  const auto at = known.find(key);
  if (at != known.end()) return at->second;
  return known[key] = measure_bandwidth(stream, key.second);
}

}  // namespace bench
}  // namespace lamella
