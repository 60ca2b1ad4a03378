// A backend: the kernel tables of a device, and what the floors above need to know of its memory. The CPU's is built
// in; others are shared objects that are loaded when somebody asks for their device (see base of `load_backend`).
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "kernels/kernels.h"

namespace lamella {

enum class CopyKind : int32_t { kToDevice, kToHost, kOnDevice };

// The first index that a kernel found out of range, in memory that host and device both see. Kernels on a device cannot
// throw, and nobody waits for them; the error is raised by whoever looks next.
struct IndexError {
  const char* op = nullptr;  // set last; nullptr: none
  const char* argument = nullptr;
  int64_t position = 0, value = 0, limit = 0;
};

// A sequence of launches that was recorded once and runs as one.
struct RecordedGraph;

// A mark in a stream, which other streams and the host can wait for.
struct DeviceEvent;

// Functions that can fail return nullptr or an error text, which lives until the next call on the same thread. `stream`
// is what Context::stream is.
struct Backend {
  // Sizes and order of everything in these headers, for objects that are loaded: see backend_abi().
  uint64_t abi = 0;
  const char* name = nullptr;  // "cuda"
  const KernelTable<float>* f32 = nullptr;
  const KernelTable<double>* f64 = nullptr;
  // On 16-bit arrays, with sums and scalars in float32: those families that are filled in. nullptr: none.
  const KernelTable<f16>* half = nullptr;
  const KernelTable<bf16>* brain = nullptr;
  bool host_memory = false;  // whether the host may read and write the device's arrays directly (the emulated device)

  const char* (*open)(int device) = nullptr;  // makes a device the calling thread's; says why it cannot
  int (*device_count)() = nullptr;
  const char* (*describe)(int device) = nullptr;  // "NVIDIA H100 80GB HBM3, compute capability 9.0"

  void* (*allocate)(size_t bytes, void* stream) = nullptr;  // at least 256-byte aligned
  void (*release)(void* memory, void* stream) = nullptr;
  const char* (*copy)(void* to, const void* from, size_t bytes, CopyKind kind, void* stream) = nullptr;
  const char* (*zero)(void* to, size_t bytes, void* stream) = nullptr;
  const char* (*synchronize)(void* stream) = nullptr;
  const char* (*last_error)() = nullptr;  // of the launches since the last call, as far as is known
  IndexError* (*index_error)() = nullptr;

  // Launches, copies on the device and fills between the two are recorded and not run; they go to the stream that
  // begin_recording gives.
  const char* (*begin_recording)(void** stream) = nullptr;
  const char* (*end_recording)(void* stream, RecordedGraph** graph) = nullptr;
  const char* (*launch)(RecordedGraph* graph, void* stream) = nullptr;
  void (*release_graph)(RecordedGraph* graph) = nullptr;

  // Streams of the backend's own, and host memory from which copies to the device go on beside host and device.
  const char* (*make_stream)(void** stream) = nullptr;
  void (*release_stream)(void* stream) = nullptr;
  void* (*allocate_pinned)(size_t bytes) = nullptr;
  void (*release_pinned)(void* memory) = nullptr;
  // A mark stands behind what its stream has been given when it is recorded; one that never was holds nobody up.
  const char* (*make_event)(DeviceEvent** event) = nullptr;
  void (*release_event)(DeviceEvent* event) = nullptr;
  const char* (*record_event)(DeviceEvent* event, void* stream) = nullptr;
  const char* (*wait_for_event)(DeviceEvent* event, void* stream) = nullptr;  // the stream does
  const char* (*synchronize_event)(DeviceEvent* event) = nullptr;             // the host does
};

// A number that differs where the headers of two builds differ in what they lay out.
constexpr uint64_t backend_abi() {
  constexpr uint64_t kVersion = 2;  // to be counted up where a meaning changes and no size does
  uint64_t h = kVersion;
  for (uint64_t size :
       {sizeof(Backend), sizeof(Context), sizeof(KernelTable<float>), sizeof(GemmParams<float>),
        sizeof(ConvParams<float>), sizeof(ConvWeightParams<float>), sizeof(MaxPoolParams<float>),
        sizeof(ChannelNormParams<float>), sizeof(RnnBackwardParams<float>), sizeof(OptimizerParams<float>),
        sizeof(AttentionBackwardParams<float>), sizeof(BinaryBackwardParams<float>), sizeof(ReduceParams<float>),
        sizeof(PhiloxKey), sizeof(IndexCheckParams)}) {
    h = (h ^ size) * 0x100000001B3u;
  }
  return h;
}

}  // namespace lamella

// What a loaded object exports.
extern "C" {
using LamellaBackendFunction = const lamella::Backend* (*)();
}
