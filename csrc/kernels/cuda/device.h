// What kernels have in common on the device's side.
#pragma once

#include "base/philox.h"
#include "kernels/cuda/launch.h"

namespace lamella::cuda {

// The place of the thread among all of a one-dimensional grid, and how many there are.
__device__ inline int64_t thread_number() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t thread_count() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// The key that counts at this step (see PhiloxKey::step).
__device__ inline PhiloxKey at_step(PhiloxKey key) {
  if (key.step != nullptr) {
    key.seed += key.step[0];
    key.stream += key.step[1];
  }
  return key;
}

// 16 bytes at once.
template <class T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / static_cast<int>(sizeof(T));
  T v[kSize];
};
template <class T>
__device__ inline Pack<T> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T>*>(p);
}
template <class T>
__device__ inline void store_pack(T* p, const Pack<T>& v) {
  *reinterpret_cast<Pack<T>*>(p) = v;
}
inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// Adds up a value of each lane, in a fixed order; every lane has the sum.
template <class T>
__device__ inline T warp_sum(T v) {
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(~0u, v, d);
  return v;
}
// The larger; NaN wins.
template <class T>
__device__ inline T nan_max(T a, T b) {
  return a > b || a != a ? a : b;
}
template <class T>
__device__ inline T nan_min(T a, T b) {
  return a < b || a != a ? a : b;
}
template <class T>
__device__ inline T warp_max(T v) {
  for (int d = 16; d > 0; d /= 2) v = nan_max(v, __shfl_xor_sync(~0u, v, d));
  return v;
}

// Of all threads of a block of whole warps, in a fixed order; every thread has the result. `scratch`: 32 values of
// shared memory, free again after the next barrier.
template <class T>
__device__ inline T block_sum(T v, T* scratch) {
  const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32;
  v = warp_sum(v);
  if (warps == 1) return v;
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[warp] = v;
  __syncthreads();
  v = static_cast<int>(threadIdx.x % 32) < warps ? scratch[threadIdx.x % 32] : T(0);
  return warp_sum(v);
}
template <class T>
__device__ inline T block_max(T v, T* scratch) {
  const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32;
  v = warp_max(v);
  if (warps == 1) return v;
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[warp] = v;
  __syncthreads();
  v = scratch[static_cast<int>(threadIdx.x % 32) < warps ? threadIdx.x % 32 : 0];
  return warp_max(v);
}

// Copies from global to shared memory that run beside the program: 16 (or 4, 8) bytes, of which the first `valid` are
// read and the rest becomes 0. Both sides are aligned to their size.
template <int kBytes>
__device__ inline void copy_async(void* shared, const void* global, int valid = kBytes) {
#if defined(LAMELLA_CUDA_HOST)
  cuda_host::copy_async(shared, global, kBytes, static_cast<size_t>(valid));
#else
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(global), "r"(valid) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;\n" ::"r"(to), "l"(global), "r"(valid), "n"(kBytes)
                 : "memory");
  }
#endif
}
__device__ inline void copy_async_commit() {
#if defined(LAMELLA_CUDA_HOST)
  cuda_host::copy_async_commit();
#else
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}
template <int kGroupsInFlight>
__device__ inline void copy_async_wait() {
#if defined(LAMELLA_CUDA_HOST)
  cuda_host::copy_async_wait(kGroupsInFlight);
#else
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kGroupsInFlight) : "memory");
#endif
}

}  // namespace lamella::cuda
