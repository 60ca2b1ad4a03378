// kernels/cpu/lockstep.h, compiled here as a level of its own.
#define LAMELLA_NS lockstep_test
#include "kernels/cpu/lockstep.h"

#include <chrono>
#include <thread>
#include <vector>

#include "base/thread_pool.h"
#include "testing.h"

namespace lamella {
namespace {

struct ThreadsRestored {
  int before = num_threads();
  ~ThreadsRestored() { set_num_threads(before); }
};

// A recurrence in which each range of a step needs all ranges of the step before; some ranges dawdle.
std::vector<int64_t> recurrence(const Context& ctx, int64_t steps, int64_t ranges) {
  std::vector<int64_t> state[2] = {std::vector<int64_t>(ranges, 1), std::vector<int64_t>(ranges, 1)};
  std::vector<int64_t> scratch(ctx.threads);
  lockstep_test::lockstep(ctx, steps, ranges, [&](int64_t step, int64_t range, int thread) {
    int64_t& sum = scratch[thread];
    sum = step;
    for (int64_t i = 0; i < ranges; ++i) sum += state[step % 2][i] * (i + 1);
    if ((step * 31 + range * 17) % 43 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
    state[1 - step % 2][range] = (sum + range) % 1000003;
  });
  return state[steps % 2];
}

TEST_CASE("lockstep: steps see all of the step before") {
  const ThreadsRestored restored;
  for (int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    const Context ctx = make_context();
    for (int64_t ranges : {1, 2, 3, 8, 32}) {
      CAPTURE(threads);
      CAPTURE(ranges);
      for (int64_t steps : {0, 1, 2, 75}) CHECK(recurrence(ctx, steps, ranges) == recurrence(Context{}, steps, ranges));
    }
  }
}

TEST_CASE("lockstep: nothing hangs where chunks run one after the other") {
  Context ctx;
  ctx.threads = 4;
  ctx.parallel_for = [](void*, int64_t chunks, int, ChunkFn body, void* arg) {
    for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) body(arg, chunk, 0);
  };
  CHECK(recurrence(ctx, 40, 4) == recurrence(Context{}, 40, 4));
}

}  // namespace
}  // namespace lamella
