// The CUDA backend: a device's memory, errors and recorded graphs, and the entry point of the shared object.
#include <cstdio>
#include <mutex>
#include <unordered_map>

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/tables.h"

namespace lamella {

struct RecordedGraph {
  cudaGraphExec_t exec;
};

namespace cuda {
namespace {

constexpr int kMostDevices = 64;
constexpr int kLeastDriver = 12040, kLeastCapability = 80;

thread_local cudaError_t first_error = cudaSuccess;

const char* text_of(cudaError_t e) { return e == cudaSuccess ? nullptr : cudaGetErrorString(e); }
cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

// What a user can do something about comes first: no driver, an old driver, no GPU, an old GPU.
const char* open(int device) {
  thread_local char text[256];
  int driver = 0, count = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return "no NVIDIA driver is installed";
  if (driver < kLeastDriver) {
    std::snprintf(text, sizeof text, "the NVIDIA driver supports CUDA %d.%d; 12.4 or newer is needed", driver / 1000,
                  driver % 1000 / 10);
    return text;
  }
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted != cudaSuccess || count == 0) {
    std::snprintf(text, sizeof text, "no NVIDIA GPU is found (%s)", cudaGetErrorString(counted));
    cudaGetLastError();
    return text;
  }
  if (device < 0 || device >= count || device >= kMostDevices) {
    std::snprintf(text, sizeof text, "there is no GPU %d; %d found", device, count);
    return text;
  }
  int major = 0, minor = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  if (major * 10 + minor < kLeastCapability) {
    std::snprintf(text, sizeof text, "GPU %d has compute capability %d.%d; 8.0 or newer is needed", device, major,
                  minor);
    return text;
  }
  return text_of(cudaSetDevice(device));
}

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

const char* describe(int device) {
  thread_local char text[320];
  cudaDeviceProp p;
  if (const cudaError_t e = cudaGetDeviceProperties(&p, device); e != cudaSuccess) return cudaGetErrorString(e);
  std::snprintf(text, sizeof text, "%s, compute capability %d.%d", p.name, p.major, p.minor);
  return text;
}

void* allocate(size_t bytes, void* stream) {
  void* p = nullptr;
  const cudaError_t e = cudaMallocAsync(&p, bytes == 0 ? 1 : bytes, stream_of(stream));
  if (e == cudaSuccess) return p;
  cudaGetLastError();
  return nullptr;
}

void release(void* memory, void* stream) {
  // At the end of a process the driver may have gone before.
  if (memory != nullptr && cudaFreeAsync(memory, stream_of(stream)) != cudaSuccess) cudaGetLastError();
}

const char* copy(void* to, const void* from, size_t bytes, CopyKind kind, void* stream) {
  const cudaMemcpyKind kinds[] = {cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice};
  const cudaError_t e = cudaMemcpyAsync(to, from, bytes, kinds[static_cast<int>(kind)], stream_of(stream));
  if (e == cudaSuccess && kind == CopyKind::kToHost) return text_of(cudaStreamSynchronize(stream_of(stream)));
  return text_of(e);
}

const char* zero(void* to, size_t bytes, void* stream) {
  return text_of(cudaMemsetAsync(to, 0, bytes, stream_of(stream)));
}

const char* synchronize(void* stream) { return text_of(cudaStreamSynchronize(stream_of(stream))); }

const char* last_error() {
  const cudaError_t launched = first_error;
  first_error = cudaSuccess;
  if (launched != cudaSuccess) cudaGetLastError();
  return text_of(launched);
}

IndexError* index_error() {
  // Host memory that kernels write to without a copy; never freed, for kernels may run to the end of the process.
  static IndexError* const error = []() -> IndexError* {
    void* p = nullptr;
    if (cudaHostAlloc(&p, sizeof(IndexError), cudaHostAllocMapped | cudaHostAllocPortable) != cudaSuccess)
      return nullptr;
    return new (p) IndexError;
  }();
  return error;
}

// The default stream cannot be recorded, so a stream of its own is; what it holds may be launched anywhere.
const char* begin_recording(void** stream) {
  thread_local cudaStream_t recorded = nullptr;
  if (recorded == nullptr) {
    const cudaError_t e = cudaStreamCreateWithFlags(&recorded, cudaStreamNonBlocking);
    if (e != cudaSuccess) return text_of(e);
  }
  *stream = recorded;
  return text_of(cudaStreamBeginCapture(recorded, cudaStreamCaptureModeThreadLocal));
}

const char* end_recording(void* stream, RecordedGraph** graph) {
  cudaGraph_t captured = nullptr;
  if (const cudaError_t e = cudaStreamEndCapture(stream_of(stream), &captured); e != cudaSuccess) {
    cudaGetLastError();
    return text_of(e);
  }
  cudaGraphExec_t exec = nullptr;
  const cudaError_t e = cudaGraphInstantiate(&exec, captured, 0);
  cudaGraphDestroy(captured);
  if (e != cudaSuccess) return text_of(e);
  *graph = new RecordedGraph{exec};
  return nullptr;
}

const char* launch_graph(RecordedGraph* graph, void* stream) {
  return text_of(cudaGraphLaunch(graph->exec, stream_of(stream)));
}

void release_graph(RecordedGraph* graph) {
  if (graph == nullptr) return;
  cudaGraphExecDestroy(graph->exec);
  delete graph;
}

const char* make_stream(void** stream) {
  cudaStream_t s = nullptr;
  const cudaError_t e = cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
  *stream = s;
  return text_of(e);
}

void release_stream(void* stream) {
  if (stream != nullptr && cudaStreamDestroy(stream_of(stream)) != cudaSuccess) cudaGetLastError();
}

void* allocate_pinned(size_t bytes) {
  void* p = nullptr;
  if (cudaHostAlloc(&p, bytes == 0 ? 1 : bytes, cudaHostAllocPortable) == cudaSuccess) return p;
  cudaGetLastError();
  return nullptr;
}

void release_pinned(void* memory) {
  if (memory != nullptr && cudaFreeHost(memory) != cudaSuccess) cudaGetLastError();
}

cudaEvent_t event_of(DeviceEvent* event) { return reinterpret_cast<cudaEvent_t>(event); }

const char* make_event(DeviceEvent** event) {
  cudaEvent_t e = nullptr;
  const cudaError_t error = cudaEventCreateWithFlags(&e, cudaEventDisableTiming);
  *event = reinterpret_cast<DeviceEvent*>(e);
  return text_of(error);
}

void release_event(DeviceEvent* event) {
  if (event != nullptr && cudaEventDestroy(event_of(event)) != cudaSuccess) cudaGetLastError();
}

const char* record_event(DeviceEvent* event, void* stream) {
  return text_of(cudaEventRecord(event_of(event), stream_of(stream)));
}

const char* wait_for_event(DeviceEvent* event, void* stream) {
  return text_of(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0));
}

const char* synchronize_event(DeviceEvent* event) { return text_of(cudaEventSynchronize(event_of(event))); }

const Backend* backend() {
  static const Backend made = [] {
    Backend b;
    b.abi = backend_abi();
    b.name = "cuda";
    b.f32 = &table_f32();
    b.f64 = &table_f64();
    b.half = &table_f16();
    b.brain = &table_bf16();
    b.open = open;
    b.device_count = device_count;
    b.describe = describe;
    b.allocate = allocate;
    b.release = release;
    b.copy = copy;
    b.zero = zero;
    b.synchronize = synchronize;
    b.last_error = last_error;
    b.index_error = index_error;
    b.begin_recording = begin_recording;
    b.end_recording = end_recording;
    b.launch = launch_graph;
    b.release_graph = release_graph;
    b.make_stream = make_stream;
    b.release_stream = release_stream;
    b.allocate_pinned = allocate_pinned;
    b.release_pinned = release_pinned;
    b.make_event = make_event;
    b.release_event = release_event;
    b.record_event = record_event;
    b.wait_for_event = wait_for_event;
    b.synchronize_event = synchronize_event;
    return b;
  }();
  return &made;
}

}  // namespace

void note_error(cudaError_t error) {
  if (error != cudaSuccess && first_error == cudaSuccess) first_error = error;
}

const DeviceLimits& device_limits() {
  static DeviceLimits limits[kMostDevices];
  static std::once_flag known[kMostDevices];
  int device = 0;
  cudaGetDevice(&device);
  std::call_once(known[device], [&] {
    int major = 8, minor = 0, l2 = 0;
    DeviceLimits& l = limits[device];
    cudaDeviceGetAttribute(&l.multiprocessors, cudaDevAttrMultiProcessorCount, device);
    cudaDeviceGetAttribute(&l.shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, device);
    l.capability = major * 10 + minor;
    l.cache_bytes = l2;
  });
  return limits[device];
}

void set_shared_limit(const void* kernel, size_t bytes) {
  // Asked for once per kernel and size: it costs more than a launch.
  static std::mutex mutex;
  static std::unordered_map<const void*, size_t> known;
  const std::lock_guard<std::mutex> lock(mutex);
  size_t& limit = known[kernel];
  if (limit >= bytes) return;
  note_error(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  limit = bytes;
}

IndexError* index_error_record() { return index_error(); }

}  // namespace cuda
}  // namespace lamella

extern "C" [[gnu::visibility("default")]] const lamella::Backend* lamella_backend() { return lamella::cuda::backend(); }
