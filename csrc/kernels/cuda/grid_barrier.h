// A barrier for some of the blocks of a cooperative launch: all blocks that share a counter.
#pragma once

#include "kernels/cuda/device.h"

namespace lamella::cuda {

// Counters stand on lines of their own.
constexpr int kBarrierStride = 32;

// `counter` is zero before the first kernel that uses it and only grows, so that one barrier can go on from launch to
// launch. What a block has written before arrive() is seen by all blocks after their wait().
struct GridBarrier {
  unsigned* counter;
  unsigned blocks;

  // Every thread of the block calls both. Between them there is time for work that needs nothing of the others.
  __device__ void arrive() const {
    __syncthreads();
    if (threadIdx.x != 0) return;
#if defined(LAMELLA_CUDA_HOST)
    atomicAdd(counter, 1u);
#else
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
#endif
  }
  // Until all blocks have arrived `times` times.
  __device__ void wait(unsigned times) const {
    const unsigned wanted = times * blocks;
#if defined(LAMELLA_CUDA_HOST)
    cuda_host::grid_barrier();
    if (*counter < wanted) cuda_host::fail("a barrier of blocks that not all of them have reached");
#else
    if (threadIdx.x == 0) {
      unsigned seen;
      do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
      } while (seen < wanted);
    }
    __syncthreads();
#endif
  }
};

namespace {

__global__ void __launch_bounds__(256) zero_counters(unsigned* counters, int64_t count) {
  for (int64_t i = thread_number(); i < count; i += thread_count()) counters[i] = 0;
}

}  // namespace
}  // namespace lamella::cuda
