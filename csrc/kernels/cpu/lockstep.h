// Many short steps, each split into the same ranges, with a meeting after every step: some hundred nanoseconds instead
// of a parallel_for's few microseconds, since the threads stay in one job all the while. A range keeps to its thread,
// so that what it reads every step stays in that core's caches.
//
// Nobody is waited for who has not come: a range whose thread is late, or has been taken off its core, is run by
// whoever waits. So the steps end whatever parallel_for does with its chunks, one after the other on one thread
// included.
#pragma once

#include <sched.h>

#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr int64_t kLockstepRanges = 32;

// Who waits looks at `done` alone, so that `begun` stays with its thread. Two cache lines each: x86 prefetches pairs.
struct LockstepRange {
  alignas(128) int64_t begun = 0;  // steps that somebody has taken or is taking
  alignas(128) int64_t done = 0;   // steps that can be built on
  int64_t here = 0;                // its own thread has come
};

// Waiting for the tries-th time: hundreds of nanoseconds at full attention, then beside others.
LAMELLA_INLINE void lockstep_pause(int64_t tries) {
  if (tries < 64) return;
  if (tries % 4096 == 4095) {
    sched_yield();  // more threads than cores
    return;
  }
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield" ::: "memory");
#endif
}

// body(step, range, thread) for `steps` steps of `ranges` <= kLockstepRanges ranges; a step sees all that the steps
// before it have written.
template <class Body>
LAMELLA_INLINE void lockstep(const Context& ctx, int64_t steps, int64_t ranges, const Body& body) {
  LockstepRange all[kLockstepRanges];
  const auto attempt = [&](int64_t r, int64_t step, int thread) __attribute__((always_inline)) {
    LockstepRange& range = all[r];
    int64_t expected = step;
    if (__atomic_load_n(&range.begun, __ATOMIC_RELAXED) != step ||
        !__atomic_compare_exchange_n(&range.begun, &expected, step + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
      return;
    body(step, r, thread);
    __atomic_store_n(&range.done, step + 1, __ATOMIC_RELEASE);
  };
  parallel_for(ctx, ranges, [&](int64_t own, int thread) {
    __atomic_store_n(&all[own].here, 1, __ATOMIC_RELAXED);
    // Who comes late begins with the last step that others may still be at.
    const int64_t done = __atomic_load_n(&all[own].done, __ATOMIC_ACQUIRE);
    for (int64_t step = done > 0 ? done - 1 : 0; step < steps; ++step) {
      attempt(own, step, thread);
      for (int64_t r = 0; r < ranges; ++r)
        for (int64_t tries = 0; __atomic_load_n(&all[r].done, __ATOMIC_ACQUIRE) <= step; ++tries) {
          // Some microseconds' grace for a thread that is here.
          if (tries > 512 || __atomic_load_n(&all[r].here, __ATOMIC_RELAXED) == 0) attempt(r, step, thread);
          lockstep_pause(tries);
        }
    }
  });
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
