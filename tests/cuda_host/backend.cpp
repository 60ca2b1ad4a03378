// The emulated device: CUDA's kernels on the CPU (see emulator.h), with host memory for the device's.
#include "kernels/backend.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/tables.h"

namespace lamella {

struct RecordedGraph {
  std::vector<std::function<void()>> work;
};

}  // namespace lamella

namespace lamella::cuda {

const DeviceLimits& device_limits() {
  // LAMELLA_CUDA_HOST_MULTIPROCESSORS: results must not depend on it. LAMELLA_CUDA_HOST_SHARED: kilobytes per block, at
  // most; those of the smallest devices unless it is given.
  static const DeviceLimits limits = [] {
    const auto number = [](const char* name, int otherwise) {
      const char* text = std::getenv(name);
      return text == nullptr ? otherwise : std::atoi(text);
    };
    return DeviceLimits{number("LAMELLA_CUDA_HOST_MULTIPROCESSORS", 4), number("LAMELLA_CUDA_HOST_SHARED", 99) << 10,
                        80, 1 << 20};
  }();
  return limits;
}

namespace {

// Fresh memory is full of NaNs, so that what nobody writes is seen.
void* allocate(size_t bytes, void*) {
  const size_t rounded = (bytes + 255) / 256 * 256;
  void* p = std::aligned_alloc(256, rounded == 0 ? 256 : rounded);
  if (p != nullptr) std::memset(p, 0xFF, rounded);
  return p;
}
void release(void* p, void*) { std::free(p); }
const char* copy(void* to, const void* from, size_t bytes, CopyKind, void*) {
  cuda_host::perform([=] { std::memmove(to, from, bytes); });
  return nullptr;
}
const char* zero(void* to, size_t bytes, void*) {
  cuda_host::perform([=] { std::memset(to, 0, bytes); });
  return nullptr;
}
IndexError* index_error() {
  thread_local IndexError error;
  return &error;
}

const Backend backend = [] {
  Backend b;
  b.abi = backend_abi();
  b.name = "cuda";
  b.f32 = &table_f32();
  b.f64 = &table_f64();
  b.half = &table_f16();
  b.brain = &table_bf16();
  b.host_memory = true;
  b.open = [](int) -> const char* { return nullptr; };
  b.device_count = [] { return 1; };
  b.describe = [](int) { return "emulated on the CPU"; };
  b.allocate = allocate;
  b.release = release;
  b.copy = copy;
  b.zero = zero;
  b.synchronize = [](void*) -> const char* { return nullptr; };
  b.last_error = []() -> const char* { return nullptr; };
  b.index_error = index_error;
  b.begin_recording = [](void** stream) -> const char* {
    *stream = nullptr;
    cuda_host::begin_recording();
    return nullptr;
  };
  b.end_recording = [](void*, RecordedGraph** graph) -> const char* {
    *graph = new RecordedGraph{cuda_host::end_recording()};
    return nullptr;
  };
  b.launch = [](RecordedGraph* graph, void*) -> const char* {
    for (const auto& work : graph->work) work();
    return nullptr;
  };
  b.release_graph = [](RecordedGraph* graph) { delete graph; };
  return b;
}();

}  // namespace

IndexError* index_error_record() { return index_error(); }

}  // namespace lamella::cuda

extern "C" [[gnu::visibility("default")]] const lamella::Backend* lamella_backend() { return &lamella::cuda::backend; }
