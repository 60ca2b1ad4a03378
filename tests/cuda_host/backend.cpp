// The emulated device: CUDA's kernels on the CPU (see emulator.h), with host memory for the device's.
#include "kernels/backend.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/tables.h"

namespace lamella {

struct RecordedGraph {
  std::shared_ptr<const cuda_host::Work> work;
};
struct DeviceEvent {
  cuda_host::Mark mark;
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

void* allocate(size_t bytes, void*) { return cuda_host::allocate(bytes); }
void release(void* p, void*) {
  cuda_host::finish();
  cuda_host::release(p);
}

// Pinned memory is read when a copy is made, other memory of the host before `copy` returns.
std::mutex pinned_mutex;
std::map<const char*, size_t>& pinned() {
  static std::map<const char*, size_t> all;
  return all;
}
bool is_pinned(const void* p) {
  const auto* at = static_cast<const char*>(p);
  const std::lock_guard<std::mutex> lock(pinned_mutex);
  const auto next = pinned().upper_bound(at);
  return next != pinned().begin() && at < std::prev(next)->first + std::prev(next)->second;
}
void* allocate_pinned(size_t bytes) {
  void* p = allocate(bytes, nullptr);
  const std::lock_guard<std::mutex> lock(pinned_mutex);
  if (p != nullptr) pinned()[static_cast<const char*>(p)] = bytes;
  return p;
}
void release_pinned(void* p) {
  {
    const std::lock_guard<std::mutex> lock(pinned_mutex);
    pinned().erase(static_cast<const char*>(p));
  }
  cuda_host::release(p);
}

const char* copy(void* to, const void* from, size_t bytes, CopyKind kind, void* stream) {
  std::function<void()> work = [=] { std::memmove(to, from, bytes); };
  if (kind == CopyKind::kToDevice && !is_pinned(from)) {
    const auto* first = static_cast<const char*>(from);
    work = [to, kept = std::vector<char>(first, first + bytes)] { std::memcpy(to, kept.data(), kept.size()); };
  }
  cuda_host::perform(std::move(work), stream);
  if (kind == CopyKind::kToHost) cuda_host::finish(stream);
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
  b.synchronize = [](void* stream) -> const char* {
    cuda_host::finish(stream);
    return nullptr;
  };
  b.last_error = []() -> const char* {
    cuda_host::finish();
    return nullptr;
  };
  b.index_error = index_error;
  b.begin_recording = [](void** stream) -> const char* {
    *stream = nullptr;
    cuda_host::begin_recording();
    return nullptr;
  };
  b.end_recording = [](void*, RecordedGraph** graph) -> const char* {
    *graph = new RecordedGraph{std::make_shared<const cuda_host::Work>(cuda_host::end_recording())};
    return nullptr;
  };
  b.launch = [](RecordedGraph* graph, void*) -> const char* {
    cuda_host::perform_later(graph->work);
    return nullptr;
  };
  b.release_graph = [](RecordedGraph* graph) { delete graph; };
  b.make_stream = [](void** stream) -> const char* {
    *stream = cuda_host::make_stream();
    return nullptr;
  };
  b.release_stream = [](void* stream) {
    if (stream != nullptr) cuda_host::release_stream(stream);
  };
  b.allocate_pinned = allocate_pinned;
  b.release_pinned = release_pinned;
  b.make_event = [](DeviceEvent** event) -> const char* {
    *event = new DeviceEvent;
    return nullptr;
  };
  b.release_event = [](DeviceEvent* event) { delete event; };
  b.record_event = [](DeviceEvent* event, void* stream) -> const char* {
    event->mark = cuda_host::mark(stream);
    return nullptr;
  };
  b.wait_for_event = [](DeviceEvent* event, void* stream) -> const char* {
    cuda_host::let_wait(stream, event->mark);
    return nullptr;
  };
  b.synchronize_event = [](DeviceEvent* event) -> const char* {
    cuda_host::wait_for(event->mark);
    return nullptr;
  };
  return b;
}();

}  // namespace

IndexError* index_error_record() { return index_error(); }

}  // namespace lamella::cuda

extern "C" [[gnu::visibility("default")]] const lamella::Backend* lamella_backend() { return &lamella::cuda::backend; }
