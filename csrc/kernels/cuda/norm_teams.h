// Rows of (rows, d) that belong to some lanes of a warp or to a block, which keep them in registers or, longer ones,
// read them again from the caches.
#pragma once

#include "kernels/cuda/norm_parts.h"

namespace lamella::cuda {

// Neighbouring lanes of a warp.
struct LaneTeam {
  int log2;
  template <int kVec>
  static constexpr int most() {  // threads of a block
    return 128;
  }
  __device__ int size() const { return 1 << log2; }
  __device__ int member() const { return static_cast<int>(threadIdx.x) & (size() - 1); }
  __device__ int teams() const { return static_cast<int>(blockDim.x) >> log2; }  // of a block
  __device__ int team() const { return static_cast<int>(threadIdx.x) >> log2; }
  template <class A>
  __device__ A sum(A v) const {
    for (int d = size() / 2; d > 0; d /= 2) v = v + shuffle_xor(v, d);
    return v;
  }
};

// A block of whole warps, with dynamic shared memory for 32 sums.
struct BlockTeam {
  template <int kVec>
  static constexpr int most() {
    return kVec > 1 ? 1024 : 512;  // single elements: four times as many in registers
  }
  __device__ int size() const { return static_cast<int>(blockDim.x); }
  __device__ int member() const { return static_cast<int>(threadIdx.x); }
  __device__ int teams() const { return 1; }
  __device__ int team() const { return 0; }
  template <class A>
  __device__ A sum(A v) const {
    A* const scratch = dynamic_shared<A>();
    const int warps = size() / 32, lane = member() % 32;
    for (int d = 16; d > 0; d /= 2) v = v + shuffle_xor(v, d);
    __syncthreads();
    if (lane == 0) scratch[member() / 32] = v;
    __syncthreads();
    v = scratch[lane < warps ? lane : 0];
    if (lane >= warps) v = A::zero();
    for (int d = 16; d > 0; d /= 2) v = v + shuffle_xor(v, d);
    return v;
  }
};

// How the rows are shared out: accesses of `vec` elements, kept `items` to a thread; 0: not kept.
struct TeamPlan {
  bool block = false;
  int log2 = 0;     // lanes of a team
  int threads = 0;  // of a block
  int items = 0;

  // A warp takes up to `lane_items` accesses a lane, a block up to `block_items` a thread.
  static TeamPlan of(int64_t accesses, int lane_items, int block_items, int most_threads) {
    TeamPlan p;
    if (accesses <= 32 * lane_items) {
      p.items = lane_items;
      while (int64_t{1} << p.log2 < ceil_div(accesses, lane_items)) ++p.log2;
      p.threads = LaneTeam::most<1>();
      return p;
    }
    p.block = true;
    p.threads = ReducePlan::power_above(ceil_div(accesses, block_items), most_threads);
    if (p.threads < 64) p.threads = 64;
    p.items = accesses <= int64_t{p.threads} * block_items ? block_items : 0;
    if (p.items == 0) p.threads = 512;
    return p;
  }
  int teams() const { return block ? 1 : threads >> log2; }
  // sum_bytes: what BlockTeam::sum adds up.
  Launch launch(int64_t blocks, size_t sum_bytes) const {
    return {dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), block ? 32 * sum_bytes : 0};
  }
};

}  // namespace lamella::cuda
