// Launching kernels, and what source must do in another way where it is compiled for the emulated device
// (tests/cuda_host, LAMELLA_CUDA_HOST): everything else in this folder is plain CUDA C++ and is the same on both.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/context.h"

namespace lamella::cuda {

struct Launch {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;   // dynamic
  bool cooperative = false;  // blocks may wait for each other: all of them fit on the device at once, and static shared
                             // memory is not used
};

// One multiprocessor's worth of threads is enough for any device; grids are cut to what covers it several times.
struct DeviceLimits {
  int multiprocessors = 1;
  int shared_bytes = 48 << 10;  // dynamic, per block, at most
  int capability = 80;          // 90 for 9.0
  int64_t cache_bytes = 0;      // L2
};
const DeviceLimits& device_limits();  // of the calling thread's device

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

#if defined(LAMELLA_CUDA_HOST)

template <class... P, class... A>
void launch(const Context& ctx, void (*kernel)(P...), const Launch& l, A&&... args) {
  cuda_host::launch({{l.grid.x, l.grid.y, l.grid.z},
                     {l.block.x, l.block.y, l.block.z},
                     l.shared_bytes,
                     l.cooperative,
                     ctx.workspace,
                     ctx.workspace_bytes},
                    [kernel, ... args = static_cast<P>(args)] { kernel(args...); });
}
template <class T>
T* dynamic_shared() {
  return static_cast<T*>(cuda_host::dynamic_shared_memory());
}
inline void copy_to_host(const Context&, void* to, const void* from, size_t bytes) {
  cuda_host::finish();
  std::memcpy(to, from, bytes);
}

#elif defined(__CUDACC__)

void set_shared_limit(const void* kernel, size_t bytes);
void note_error(cudaError_t error);  // kept for Backend::last_error

template <class... P, class... A>
void launch(const Context& ctx, void (*kernel)(P...), const Launch& l, A&&... args) {
  if (l.grid.x == 0 || l.grid.y == 0 || l.grid.z == 0) return;
  if (l.shared_bytes > (size_t{48} << 10)) set_shared_limit(reinterpret_cast<const void*>(kernel), l.shared_bytes);
  cudaLaunchConfig_t config = {};
  config.gridDim = l.grid;
  config.blockDim = l.block;
  config.dynamicSmemBytes = l.shared_bytes;
  config.stream = static_cast<cudaStream_t>(ctx.stream);
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  config.attrs = &attribute;
  config.numAttrs = l.cooperative ? 1 : 0;
  note_error(cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...));
}
// Waits for all that was launched before.
inline void copy_to_host(const Context& ctx, void* to, const void* from, size_t bytes) {
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream);
  note_error(error == cudaSuccess ? cudaStreamSynchronize(stream) : error);
}
template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char lamella_shared[];
  return reinterpret_cast<T*>(lamella_shared);
}

#endif

// Blocks of `threads` that walk n elements with a stride: no more than keep the device busy.
inline Launch flat(int64_t n, int threads = 256) {
  constexpr int kWaves = 32;  // blocks per multiprocessor
  const int64_t most = int64_t{device_limits().multiprocessors} * kWaves;
  const int64_t blocks = ceil_div(n, threads);
  return {dim3(static_cast<unsigned>(blocks < most ? blocks : most)), dim3(static_cast<unsigned>(threads))};
}

}  // namespace lamella::cuda
