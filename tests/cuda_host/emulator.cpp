#include "emulator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace lamella::cuda_host {

namespace {

// ---- fibers ---------------------------------------------------------------------------------------------------------

constexpr size_t kStack = size_t{256} << 10;

#if defined(__x86_64__)
// Keeps what a called function must keep, and changes stacks. A signal mask is no part of it, unlike in swapcontext.
asm(R"(
.text
.type lamella_switch_fiber, @function
lamella_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size lamella_switch_fiber, .-lamella_switch_fiber
)");
extern "C" void lamella_switch_fiber(void** save, void* to) asm("lamella_switch_fiber");
#endif

struct PendingCopy {
  void* to;
  const void* from;
  size_t bytes, valid;
};

enum class State { kReady, kBarrier, kWarp, kGrid, kDone };

struct Thread {
  Current sees;
  State state = State::kReady;
  int barrier = 0;          // which one it waits for
  int barrier_threads = 0;  // 0: all of the block
  int block = 0, warp = 0, lane = 0;
  unsigned mask = 0;
  size_t exchanges = 0;
  std::vector<std::vector<PendingCopy>> copies;  // groups, the last one open
  char* stack = nullptr;
#if defined(__x86_64__)
  void* sp = nullptr;
#else
  ucontext_t context;
#endif
  void* fake_stack = nullptr;
};

struct Warp {
  char slots[2][32 * kMostExchanged];
};

struct Block {
  std::vector<char> shared;
  std::vector<Warp> warps;
  int votes_or = 0, votes_count = 0;    // being collected
  int result_or = 0, result_count = 0;  // of the last barrier
  int first_thread = 0, threads = 0, alive = 0;
};

struct Machine {
  std::vector<Thread> threads;
  std::vector<Block> blocks;
  std::vector<char*> stacks;
  Thread* running = nullptr;
  const std::function<void()>* kernel = nullptr;
#if defined(__x86_64__)
  void* home = nullptr;
#else
  ucontext_t home;
#endif
  void* home_fake_stack = nullptr;
  const void* home_stack = nullptr;
  size_t home_stack_bytes = 0;
};
Machine machine;
std::mutex machine_mutex;
Current outside;

char* new_stack() {
  void* p = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) fail("no memory for a thread's stack");
  return static_cast<char*>(p);
}

void to_scheduler([[maybe_unused]] bool for_good) {
  Thread& t = *machine.running;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &t.fake_stack, machine.home_stack, machine.home_stack_bytes);
#endif
#if defined(__x86_64__)
  lamella_switch_fiber(&t.sp, machine.home);
#else
  swapcontext(&t.context, &machine.home);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(t.fake_stack, &machine.home_stack, &machine.home_stack_bytes);
#endif
}

void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &machine.home_stack, &machine.home_stack_bytes);
#endif
  (*machine.kernel)();
  machine.running->state = State::kDone;
  to_scheduler(true);
  std::abort();
}

void prepare(Thread& t) {
#if defined(__x86_64__)
  // As if lamella_switch_fiber had been called from fiber_main's first instruction.
  uintptr_t top = reinterpret_cast<uintptr_t>(t.stack + kStack) & ~uintptr_t{15};
  void** sp = reinterpret_cast<void**>(top);
  *--sp = nullptr;  // the return address that fiber_main never uses; keeps the stack as after a call
  *--sp = reinterpret_cast<void*>(&fiber_main);
  for (int i = 0; i < 6; ++i) *--sp = nullptr;
  t.sp = sp;
#else
  getcontext(&t.context);
  t.context.uc_stack.ss_sp = t.stack;
  t.context.uc_stack.ss_size = kStack;
  t.context.uc_link = nullptr;
  makecontext(&t.context, &fiber_main, 0);
#endif
  t.fake_stack = nullptr;
}

void resume(Thread& t) {
  machine.running = &t;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&machine.home_fake_stack, t.stack, kStack);
#endif
#if defined(__x86_64__)
  lamella_switch_fiber(&machine.home, t.sp);
#else
  swapcontext(&machine.home, &t.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(machine.home_fake_stack, nullptr, nullptr);
#endif
  machine.running = nullptr;
}

void wait(State state) {
  machine.running->state = state;
  to_scheduler(false);
}

// ---- who may go on --------------------------------------------------------------------------------------------------

bool release_barriers(Block& b) {
  bool any = false;
  for (int i = 0; i < b.threads; ++i) {
    Thread& first = machine.threads[b.first_thread + i];
    if (first.state != State::kBarrier) continue;
    const int id = first.barrier, wanted = first.barrier_threads == 0 ? b.alive : first.barrier_threads;
    int there = 0;
    for (int k = 0; k < b.threads; ++k) {
      const Thread& t = machine.threads[b.first_thread + k];
      there += t.state == State::kBarrier && t.barrier == id;
    }
    if (there < wanted) continue;
    for (int k = 0; k < b.threads; ++k) {
      Thread& t = machine.threads[b.first_thread + k];
      if (t.state == State::kBarrier && t.barrier == id) t.state = State::kReady;
    }
    if (id == 0) {
      b.result_or = b.votes_or;
      b.result_count = b.votes_count;
      b.votes_or = b.votes_count = 0;
    }
    any = true;
  }
  return any;
}

bool release_warps(Block& b) {
  bool any = false;
  for (int first = 0; first < b.threads; first += 32) {
    const int count = std::min(32, b.threads - first);
    unsigned waiting = 0, alive = 0;
    for (int i = 0; i < count; ++i) {
      const Thread& t = machine.threads[b.first_thread + first + i];
      if (t.state == State::kWarp) waiting |= 1u << i;
      if (t.state != State::kDone) alive |= 1u << i;
    }
    for (int i = 0; i < count; ++i) {
      Thread& t = machine.threads[b.first_thread + first + i];
      if (t.state != State::kWarp) continue;
      const unsigned lanes = count == 32 ? ~0u : (1u << count) - 1;
      const unsigned wanted = t.mask & lanes;
      if ((wanted & ~alive) != 0) fail("a warp operation waits for a lane that has returned");
      if ((waiting & wanted) != wanted) continue;
      for (int k = 0; k < count; ++k) {
        Thread& o = machine.threads[b.first_thread + first + k];
        if ((wanted >> k & 1) == 0) continue;
        if (o.mask != t.mask) fail("lanes name different masks in one warp operation");
        o.state = State::kReady;
        waiting &= ~(1u << k);
      }
      any = true;
    }
  }
  return any;
}

bool release_grid() {
  bool waits = false;
  for (const Thread& t : machine.threads) {
    if (t.state == State::kDone) continue;
    if (t.state != State::kGrid) return false;
    waits = true;
  }
  if (!waits) return false;
  for (Thread& t : machine.threads)
    if (t.state == State::kGrid) t.state = State::kReady;
  return true;
}

// Memory that kernels may not touch, until it is allowed: AddressSanitizer sees to it.
void forbid([[maybe_unused]] const void* begin, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(begin, bytes);
#endif
}
void allow([[maybe_unused]] const void* begin, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(begin, bytes);
#endif
}

// What `allocate` gave: where each piece ends.
std::map<const char*, const char*>& pieces() {
  static auto* all = new std::map<const char*, const char*>;
  return *all;
}
std::mutex pieces_mutex;

// How much of a piece lies behind `at`, which is in it or its end; 0 for other memory.
size_t left_behind(const char* at) {
  const std::lock_guard<std::mutex> lock(pieces_mutex);
  auto next = pieces().upper_bound(at);
  if (next == pieces().begin()) return 0;
  const char* end = std::prev(next)->second;
  return at <= end ? static_cast<size_t>(end - at) : 0;
}

enum class Order { kForward, kReverse, kRandom };
Order order() {
  static const Order chosen = [] {
    const char* text = std::getenv("LAMELLA_CUDA_HOST_ORDER");
    const std::string name = text == nullptr ? "forward" : text;
    return name == "reverse" ? Order::kReverse : name == "random" ? Order::kRandom : Order::kForward;
  }();
  return chosen;
}

void run_to_the_end() {
  static std::mt19937 random(1);
  std::vector<int> turn(machine.threads.size());
  for (size_t i = 0; i < turn.size(); ++i) turn[i] = static_cast<int>(i);
  if (order() == Order::kReverse) std::reverse(turn.begin(), turn.end());
  size_t done = 0;
  while (done < turn.size()) {
    if (order() == Order::kRandom) std::shuffle(turn.begin(), turn.end(), random);
    bool progress = false;
    for (int i : turn) {
      Thread& t = machine.threads[static_cast<size_t>(i)];
      if (t.state != State::kReady) continue;
      resume(t);
      progress = true;
      if (t.state == State::kDone) {
        ++done;
        --machine.blocks[t.block].alive;
      }
    }
    for (Block& b : machine.blocks) progress = release_warps(b) || progress;
    for (Block& b : machine.blocks) progress = release_barriers(b) || progress;
    progress = release_grid() || progress;
    if (!progress && done < turn.size()) fail("threads wait for each other: a barrier that not all of them reach");
  }
}

void set_up(int slot, const LaunchShape& s, Index block) {
  Block& b = machine.blocks[static_cast<size_t>(slot)];
  const int n = static_cast<int>(s.block.x * s.block.y * s.block.z);
  allow(b.shared.data(), b.shared.capacity());
  b.shared.assign(s.shared_bytes, static_cast<char>(0xFF));  // what nobody has written are NaNs
  forbid(b.shared.data() + s.shared_bytes, b.shared.capacity() - s.shared_bytes);
  b.warps.resize(static_cast<size_t>((n + 31) / 32));
  b.first_thread = slot * n;
  b.threads = b.alive = n;
  b.votes_or = b.votes_count = 0;
  for (int i = 0; i < n; ++i) {
    const size_t at = static_cast<size_t>(slot * n + i);
    Thread& t = machine.threads[at];
    while (machine.stacks.size() <= at) machine.stacks.push_back(new_stack());
    t.stack = machine.stacks[at];
    const auto u = static_cast<unsigned>(i);
    t.sees = {{u % s.block.x, u / s.block.x % s.block.y, u / (s.block.x * s.block.y)}, block, s.block, s.grid};
    t.state = State::kReady;
    t.block = slot;
    t.warp = i / 32;
    t.lane = i % 32;
    t.exchanges = 0;
    t.copies.clear();
    prepare(t);
  }
}

}  // namespace

void fail(const char* what) {
  const Current& c = current();
  std::fprintf(stderr, "emulated CUDA: %s (block %u %u %u, thread %u %u %u)\n", what, c.block.x, c.block.y, c.block.z,
               c.thread.x, c.thread.y, c.thread.z);
  std::abort();
}

const Current& current() { return machine.running == nullptr ? outside : machine.running->sees; }

namespace {

void run(const LaunchShape& s, const std::function<void()>& kernel);

}  // namespace

void* allocate(size_t bytes) {
  if (bytes > PTRDIFF_MAX) return nullptr;
  const size_t rounded = std::max<size_t>((bytes + 255) / 256 * 256, 256);
  void* p = std::aligned_alloc(256, rounded);
  if (p == nullptr) return nullptr;
  std::memset(p, 0xFF, rounded);
  char* begin = static_cast<char*>(p);
  forbid(begin + bytes, rounded - bytes);
  const std::lock_guard<std::mutex> lock(pieces_mutex);
  pieces()[begin] = begin + bytes;
  return p;
}
void release(void* p) {
  {
    const std::lock_guard<std::mutex> lock(pieces_mutex);
    pieces().erase(static_cast<const char*>(p));
  }
  std::free(p);
}

void launch(const LaunchShape& s, std::function<void()> kernel) {
  perform([s, kernel = std::move(kernel)] { run(s, kernel); });
}

namespace {

void run(const LaunchShape& s, const std::function<void()>& kernel) {
  const int64_t blocks = int64_t{s.grid.x} * s.grid.y * s.grid.z;
  const int64_t threads = int64_t{s.block.x} * s.block.y * s.block.z;
  if (blocks == 0) return;
  if (threads < 1 || threads > 1024) fail("a block of no or more than 1024 threads");
  if (s.grid.y > 65535 || s.grid.z > 65535 || s.grid.x > 2147483647u) fail("a grid larger than CUDA allows");
  if (s.shared_bytes > (size_t{227} << 10)) fail("more shared memory than a multiprocessor has");
  const std::lock_guard<std::mutex> lock(machine_mutex);
  machine.kernel = &kernel;
  const char* behind = static_cast<const char*>(s.workspace) + s.workspace_bytes;
  const size_t left = s.workspace_bytes == 0 ? 0 : left_behind(behind);  // without any, it may hold an op's operands
  forbid(behind, left);
  const int together = s.cooperative ? static_cast<int>(blocks) : 1;
  machine.blocks.resize(static_cast<size_t>(together));
  machine.threads.resize(static_cast<size_t>(together * threads));
  for (int64_t first = 0; first < blocks; first += together) {
    for (int slot = 0; slot < together; ++slot) {
      const auto i = static_cast<uint64_t>(first + slot);
      set_up(slot, s,
             {static_cast<unsigned>(i % s.grid.x), static_cast<unsigned>(i / s.grid.x % s.grid.y),
              static_cast<unsigned>(i / s.grid.x / s.grid.y)});
    }
    run_to_the_end();
  }
  allow(behind, left);
}

}  // namespace

void* dynamic_shared_memory() { return machine.blocks[static_cast<size_t>(machine.running->block)].shared.data(); }

void block_barrier() { named_barrier(0, 0); }

void named_barrier(int id, int threads) {
  machine.running->barrier = id;
  machine.running->barrier_threads = threads;
  wait(State::kBarrier);
}

int block_or(int predicate) {
  machine.blocks[static_cast<size_t>(machine.running->block)].votes_or |= predicate != 0;
  block_barrier();
  return machine.blocks[static_cast<size_t>(machine.running->block)].result_or;
}

int block_count(int predicate) {
  machine.blocks[static_cast<size_t>(machine.running->block)].votes_count += predicate != 0;
  block_barrier();
  return machine.blocks[static_cast<size_t>(machine.running->block)].result_count;
}

void grid_barrier() { wait(State::kGrid); }

void yield() { wait(State::kReady); }

int lane() { return machine.running->lane; }

const void* warp_exchange(unsigned mask, const void* value, size_t bytes) {
  Thread& t = *machine.running;
  if ((mask >> t.lane & 1) == 0) fail("a lane calls a warp operation whose mask leaves it out");
  // Two sets of slots in turn: a lane that goes ahead writes its next value while others still read this one.
  char* slots =
      machine.blocks[static_cast<size_t>(t.block)].warps[static_cast<size_t>(t.warp)].slots[t.exchanges++ & 1];
  if (bytes > 0) std::memcpy(slots + static_cast<size_t>(t.lane) * kMostExchanged, value, bytes);
  t.mask = mask;
  wait(State::kWarp);
  return slots;
}

void copy_async(void* to, const void* from, size_t bytes, size_t valid_bytes) {
  auto& copies = machine.running->copies;
  if (copies.empty()) copies.emplace_back();
  copies.back().push_back({to, from, bytes, valid_bytes});
}

void copy_async_commit() {
  auto& copies = machine.running->copies;
  if (copies.empty()) copies.emplace_back();
  copies.emplace_back();
}

void copy_async_wait(int groups_in_flight) {
  auto& copies = machine.running->copies;
  while (static_cast<int>(copies.size()) - 1 > groups_in_flight) {
    for (const PendingCopy& c : copies.front()) {
      std::memset(c.to, 0, c.bytes);
      if (c.valid > 0) std::memcpy(c.to, c.from, c.valid);
    }
    copies.erase(copies.begin());
  }
}

}  // namespace lamella::cuda_host
