// Runs CUDA kernels on the CPU: every thread of a block is a fiber, and all of a block's fibers run in turn on the
// calling thread, up to their next barrier or warp operation. What waits for what is checked: a barrier that not all
// threads reach, or a shuffle that misses a lane of its mask, ends the program with a message.
//
// LAMELLA_CUDA_HOST_ORDER=forward|reverse|random sets the order in which threads run between barriers. Results that
// depend on it come from a missing barrier.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

namespace lamella::cuda_host {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

// What the running thread sees.
struct Current {
  Index thread, block, block_size, grid_size;
};
const Current& current();

struct LaunchShape {
  Index grid, block;
  size_t shared_bytes = 0;
  bool cooperative = false;  // blocks wait for each other: all of them run in turn
  const void* workspace = nullptr;
  size_t workspace_bytes = 0;  // what lies behind is not the kernel's, even where the same memory goes on
};
void launch(const LaunchShape& shape, std::function<void()> kernel);

// Between the two, launches (and what is given to `perform`) are kept instead of run; the recording runs them, any
// number of times.
using Work = std::vector<std::function<void()>>;
void begin_recording();
Work end_recording();

// What a device does beside the host is done late here, in the order of its stream: recordings that are launched, and
// all that follows them, when somebody waits; what goes to a stream of its own, when somebody waits for that one. With
// the random order, some of it is done early. Where nothing is waiting, `perform` does the work at once.
// Streams that make_stream has not made are one, of the calling thread.
void perform(std::function<void()> work, const void* stream = nullptr);
void perform_later(std::shared_ptr<const Work> work);
void* make_stream();
void release_stream(const void* stream);
struct Stream;
struct Mark {
  std::shared_ptr<Stream> stream;
  size_t position = 0;  // of what the stream has been given
};
Mark mark(const void* stream);
void wait_for(const Mark& mark);                      // the host does
void let_wait(const void* stream, const Mark& mark);  // the stream does
void finish(const void* stream = nullptr);            // the host waits for all of a stream

// The device's memory. Fresh memory is full of NaNs, so that what nobody writes is seen.
void* allocate(size_t bytes);
void release(void* memory);

void* dynamic_shared_memory();

void block_barrier();
void named_barrier(int id, int threads);
int block_or(int predicate);
int block_count(int predicate);
void grid_barrier();
// Lets other threads run: for loops that wait for what another block writes.
void yield();

int lane();
// Waits until all lanes of `mask` have come here, each with `bytes` at `value`; gives what they brought (see
// from_lane), valid until the lane's next operation.
constexpr size_t kMostExchanged = 128;
const void* warp_exchange(unsigned mask, const void* value, size_t bytes);
[[noreturn]] void fail(const char* what);

template <class T>
T from_lane(const void* all, unsigned mask, int lane) {
  static_assert(sizeof(T) <= kMostExchanged);
  if ((mask >> lane & 1) == 0) fail("a warp operation reads a lane outside its mask");
  T v;
  std::memcpy(&v, static_cast<const char*>(all) + static_cast<size_t>(lane) * kMostExchanged, sizeof v);
  return v;
}

// Copies that arrive when they are waited for, never earlier.
void copy_async(void* to, const void* from, size_t bytes, size_t valid_bytes);
void copy_async_commit();
void copy_async_wait(int groups_in_flight);

}  // namespace lamella::cuda_host
