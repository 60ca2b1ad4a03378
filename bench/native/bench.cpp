#include "bench.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdio>
#include <new>

#include "base/cpu_features.h"
#include "base/thread_pool.h"

namespace lamella::bench {
namespace {

double memory_seconds(const Work& w) {
  return w.bytes > 0 ? w.bytes / bandwidth(w.stream, w.footprint > 0 ? w.footprint : w.bytes) : 0;
}
double arithmetic_seconds(const Work& w) { return w.flops > 0 ? w.flops / peak_flops(w.f64) : 0; }

std::string giga(double value, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.1f %s", 1e-9 * value, unit);
  return text;
}

void add_limits_to_header() {
  benchmark::AddCustomContext("isa", isa_name(isa_choose()));
  benchmark::AddCustomContext("threads", std::to_string(num_threads()));
  benchmark::AddCustomContext("multiply_add_float32", giga(peak_flops(), "GFLOP/s"));
  benchmark::AddCustomContext("multiply_add_float64", giga(peak_flops(true), "GFLOP/s"));
  const std::pair<const char*, Stream> streams[] = {{"memory_read", Stream::kRead},
                                                    {"memory_write", Stream::kWrite},
                                                    {"memory_copy", Stream::kCopy},
                                                    {"memory_update", Stream::kUpdate}};
  for (const auto& [name, stream] : streams)
    benchmark::AddCustomContext(name, giga(bandwidth(stream, memory_footprint()), "GB/s"));
  benchmark::AddCustomContext("bytes", "each array once per read and write, as in STREAM; no write-allocate");
}

}  // namespace

double limit_seconds(const Work& work) { return std::max(arithmetic_seconds(work), memory_seconds(work)); }

void report(benchmark::State& state, const Work& work, double seconds, const std::string& label) {
  if (work.flops > 0) state.counters["GFLOP/s"] = 1e-9 * work.flops / seconds;
  if (work.bytes > 0) state.counters["GB/s"] = 1e-9 * work.bytes / seconds;
  state.counters["%limit"] = 100 * limit_seconds(work) / seconds;
  const char* const bound = arithmetic_seconds(work) > memory_seconds(work) ? "arithmetic" : "memory";
  state.SetLabel(label.empty() ? bound : label + ", " + bound);
}

void* allocate(size_t bytes) {
  constexpr size_t kLine = 64, kHugePage = size_t{2} << 20;
  const bool huge = bytes >= kHugePage;
  void* p = nullptr;
  if (posix_memalign(&p, huge ? kHugePage : kLine, bytes) != 0) throw std::bad_alloc();
#if defined(__linux__)
  if (huge) madvise(p, bytes, MADV_HUGEPAGE);
#endif
  return p;
}

}  // namespace lamella::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  try {
    lamella::bench::add_limits_to_header();
    lamella::bench::add_cases();
    benchmark::RunSpecifiedBenchmarks();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  benchmark::Shutdown();
}
