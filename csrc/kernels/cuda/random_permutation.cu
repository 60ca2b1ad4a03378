// The permutation that Fisher and Yates' shuffle gives step by step, with many steps at a time.
//
// Step i (n - 1 ... 1) exchanges places i and j(i). One block takes 1,024 steps together, in rounds: each puts itself
// down for both of its places, and those that are the first of all in both make their exchange; no step before them
// that is left touches these places, so the result is that of one after the other. Few steps of a batch share a place
// until the last thousand, so it takes some four rounds (tens at the end): about 3 ms for a million numbers, 0.2 ms for
// 60,000, most of it the latency of L2. Other blocks could not help before a batch is over.
#include "kernels/cuda/random_parts.h"
#include "kernels/cuda/random_words.h"

namespace lamella::cuda {
namespace {

constexpr int kMostSteps = 1024;

__global__ void __launch_bounds__(256) count_up(int64_t* y, int64_t n) {
  for (int64_t i = thread_number(); i < n; i += thread_count()) y[i] = i;
}

struct Draw {
  bool accepted;
  uint32_t below;  // uniform in [0, range)
};
// As WordStream::below() on the CPU.
__device__ Draw draw(uint32_t word, uint32_t range) {
  const uint64_t m = static_cast<uint64_t>(word) * range;
  const auto rest = static_cast<uint32_t>(m);
  return {rest >= range || rest >= (0u - range) % range, static_cast<uint32_t>(m >> 32)};
}

// Numbers are below 2^32: the upper half of an element says which step is down for its place, the first of several (it
// has the largest number); 0 for none.
__global__ void __launch_bounds__(kMostSteps) shuffle(PhiloxKey key, uint32_t* y, int64_t n) {
  __shared__ int first_rejected;
  key = at_step(key);
  const int t = static_cast<int>(threadIdx.x), all = static_cast<int>(blockDim.x);
  int64_t next_word = 0;
  for (int64_t top = n - 1; top > 0; top -= all) {
    const int64_t steps = top < all ? top : all;
    const bool active = t < steps;
    const auto i = static_cast<uint32_t>(active ? top - t : 0);
    // Every step takes the word after that of the step before. A step whose word is rejected takes the next, and all
    // behind it move on by one; that happens once in 2^32 / n steps.
    int64_t word = next_word + t;
    next_word += steps;
    Draw d = draw(word_at(key, word), i + 1);
    while (__syncthreads_or(active && !d.accepted)) {
      if (t == 0) first_rejected = all;
      __syncthreads();
      if (active && !d.accepted) atomicMin(&first_rejected, t);
      __syncthreads();
      if (t >= first_rejected) d = draw(word_at(key, ++word), i + 1);
      ++next_word;
    }
    const uint32_t j = d.below;
    uint32_t* const at_i = y + 2 * static_cast<int64_t>(i);
    uint32_t* const at_j = y + 2 * static_cast<int64_t>(j);
    bool left = active && i != j;
    while (__syncthreads_or(left)) {
      if (left) {
        atomicMax(at_i + 1, i);
        atomicMax(at_j + 1, i);
      }
      __syncthreads();
      const bool is_first = left && at_i[1] == i && at_j[1] == i;
      __syncthreads();
      if (left) at_i[1] = at_j[1] = 0;
      if (is_first) {
        const uint32_t kept = at_i[0];
        at_i[0] = at_j[0];
        at_j[0] = kept;
        left = false;
      }
    }
  }
}

}  // namespace

void permutation(const Context& ctx, const PermutationParams& p) {
  launch(ctx, count_up, flat(p.n), p.y, p.n);
  const int64_t steps = p.n - 1, threads = steps < kMostSteps ? ceil_div(steps, 32) * 32 : kMostSteps;
  if (steps <= 0) return;
  launch(ctx, shuffle, {dim3(1), dim3(static_cast<unsigned>(threads))}, p.key, reinterpret_cast<uint32_t*>(p.y), p.n);
}

}  // namespace lamella::cuda
