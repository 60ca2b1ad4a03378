// How a job travels. Threads are nodes of a binary tree: 0 is the caller, w > 0 is worker w. Each worker has a mailbox,
// one atomic word in a cache line of its own, which only moves along these edges:
//
//   kIdle -> kOffered              its tree parent offers the job (the parent has started, so nobody wakes in vain)
//   kIdle -> kParked -> kOffered   likewise, after the worker stopped spinning; the parent then also wakes it
//   kOffered -> kRunning           the worker takes the job
//   kOffered -> kIdle              the caller takes the offer back: all chunks are done, a late riser is not waited for
//   kRunning -> kIdle              the worker has found no chunk left
//   kRunning -> kAwaited -> kIdle  likewise, and the caller sleeps on the mailbox until then
//   kIdle/kParked -> kQuit
//
// The chunks are dealt out in contiguous runs, so that from one kernel to the next the same core tends to see the same
// part of an array; who has finished its own run takes chunks from the others'. A worker that wakes late or not at all
// costs nothing but its help.
#include "base/thread_pool.h"

#include <pthread.h>
#include <signal.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/cpu_quota.h"
#include "base/error.h"

namespace lamella {

namespace {

constexpr int kMaxThreads = 1024;
constexpr size_t kLine = 128;  // two cache lines: x86 prefetches them in pairs
constexpr std::chrono::microseconds kSpin{50};

enum Mail : uint32_t { kIdle, kParked, kOffered, kRunning, kAwaited, kQuit };

void cpu_relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");  // yield is a no-op on most cores; isb gives a pause of some tens of cycles
#endif
}

// Returns when `word` no longer holds `value`, or for no reason: callers look again.
void sleep_while(std::atomic<uint32_t>& word, uint32_t value) {
#if defined(__linux__)
  static_assert(sizeof(word) == sizeof(uint32_t) && std::atomic<uint32_t>::is_always_lock_free);
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
#else
  word.wait(value, std::memory_order_relaxed);
#endif
}

void wake(std::atomic<uint32_t>& word) {
#if defined(__linux__)
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
#else
  word.notify_one();
#endif
}

// Spins until done() or the time is over; true if done.
template <class Done>
bool spin(bool enabled, const Done& done) {
  if (done()) return true;
  if (!enabled) return false;
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      cpu_relax();
      if (done()) return true;
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

// One thread's share of the chunks: [next, end), taken from the front by its owner and by whoever has finished.
struct Share {
  std::atomic<int64_t> next{0};
  int64_t end = 0;

  bool take(int64_t& chunk) {
    if (next.load(std::memory_order_relaxed) >= end) return false;  // keeps the line shared once it is used up
    chunk = next.fetch_add(1, std::memory_order_relaxed);
    return chunk < end;
  }
};

struct alignas(kLine) Node {
  std::atomic<uint32_t> mail{kIdle};
  Share share;
  std::thread thread;
};

struct Job {
  ChunkFn body = nullptr;
  void* arg = nullptr;
  int nodes = 0;
};

// Set on the calling thread while it runs chunks, and for good on workers.
thread_local bool t_in_job = false;

void run_serially(int64_t chunks, ChunkFn body, void* arg) {
  for (int64_t chunk = 0; chunk < chunks; ++chunk) body(arg, chunk, 0);
}

class Pool {
 public:
  static Pool& instance() {
    static Pool* const pool = new Pool;  // never destroyed: threads that outlive static destructors may still call
    return *pool;
  }

  // A chunk that throws ends the process: what the other threads still write to must not go out of scope.
  void run(int64_t chunks, int threads, ChunkFn body, void* arg) noexcept {
    if (threads > kMaxThreads) threads = kMaxThreads;
    if (threads > chunks) threads = static_cast<int>(chunks);
    if (threads <= 1 || t_in_job || !acquire()) return run_serially(chunks, body, arg);
    t_in_job = true;
    job_ = {body, arg, ensure_workers(threads)};
    const int nodes = job_.nodes;
    const int64_t each = chunks / nodes;
    const int64_t extra = chunks % nodes;
    int64_t begin = 0;
    for (int i = 0; i < nodes; ++i) {
      Share& share = nodes_[i]->share;
      share.next.store(begin, std::memory_order_relaxed);
      begin += each + (i < extra ? 1 : 0);
      share.end = begin;
    }
    take_part(0);
    for (int i = 1; i < nodes; ++i) collect(*nodes_[i]);
    t_in_job = false;
    busy_.store(false, std::memory_order_release);
  }

  int threads() {
    const int wanted = wanted_.load(std::memory_order_relaxed);
    if (wanted != 0) return wanted;
    const int standard = default_num_threads();
    set_threads(standard);
    return standard;
  }

  void set_threads(int n) {
    wanted_.store(n, std::memory_order_relaxed);
    spinning_.store(n <= available_cpus(), std::memory_order_relaxed);
  }

 private:
  Pool() {
    nodes_[0] = std::make_unique<Node>();
    pthread_atfork(nullptr, nullptr, [] { instance().forget_workers(); });
  }

  bool acquire() { return !busy_.load(std::memory_order_relaxed) && !busy_.exchange(true, std::memory_order_acquire); }

  // Starts workers until `threads` nodes stand, the caller's included, and gives how many do: the system may refuse.
  int ensure_workers(int threads) {
    if (threads <= nodes_up_ || closed_) return threads <= nodes_up_ ? threads : 1;
    static const AtExit at_exit;
    // Signals are the application's: its own threads shall get them.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      while (nodes_up_ < threads) {
        auto& node = nodes_[nodes_up_];
        if (node == nullptr) node = std::make_unique<Node>();
        node->thread = std::thread(&Pool::work, this, nodes_up_);
        ++nodes_up_;
      }
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return std::min(threads, nodes_up_);
  }

  void work(int index) {
#if defined(__linux__)
    pthread_setname_np(pthread_self(), ("lamella-" + std::to_string(index)).c_str());
#endif
    t_in_job = true;
    Node& node = *nodes_[index];
    for (;;) {
      const auto called = [&] { return node.mail.load(std::memory_order_relaxed) != kIdle; };
      if (!spin(spinning_.load(std::memory_order_relaxed), called)) {
        uint32_t mail = kIdle;
        if (node.mail.compare_exchange_strong(mail, kParked, std::memory_order_relaxed)) do {
            sleep_while(node.mail, kParked);
          } while (node.mail.load(std::memory_order_relaxed) == kParked);
      }
      uint32_t mail = kOffered;
      if (node.mail.compare_exchange_strong(mail, kRunning, std::memory_order_acquire)) {
        take_part(index);
        if (node.mail.exchange(kIdle, std::memory_order_release) == kAwaited) wake(node.mail);
      } else if (mail == kQuit) {
        return;
      }
    }
  }

  void take_part(int index) {
    const Job job = job_;
    for (int child = 2 * index + 1; child <= 2 * index + 2 && child < job.nodes; ++child) {
      std::atomic<uint32_t>& mail = nodes_[child]->mail;
      if (mail.exchange(kOffered, std::memory_order_release) == kParked) wake(mail);
    }
    int64_t chunk = 0;
    int owner = index;
    for (int i = 0; i < job.nodes; ++i) {
      while (nodes_[owner]->share.take(chunk)) job.body(job.arg, chunk, index);
      if (++owner == job.nodes) owner = 0;
    }
  }

  // All chunks are taken: withdraws the offer or waits for the worker to finish its last one. Parents come before their
  // children here, so nobody offers any more once this has passed.
  void collect(Node& node) {
    uint32_t mail = kOffered;
    if (node.mail.compare_exchange_strong(mail, kIdle, std::memory_order_acquire)) return;
    const auto finished = [&] { return node.mail.load(std::memory_order_acquire) < kOffered; };
    if (spin(spinning_.load(std::memory_order_relaxed), finished)) return;
    mail = kRunning;
    if (!node.mail.compare_exchange_strong(mail, kAwaited, std::memory_order_acquire)) return;
    do {
      sleep_while(node.mail, kAwaited);
    } while (!finished());
  }

  // In a forked child only the forking thread lives. The handles of the others are void: they can be neither joined nor
  // destroyed, so new ones are built over them.
  void forget_workers() {
    for (auto& node : nodes_) {
      if (node == nullptr) continue;
      node->mail.store(kIdle, std::memory_order_relaxed);
      new (&node->thread) std::thread;
    }
    nodes_up_ = 1;
    t_in_job = false;
    busy_.store(false, std::memory_order_relaxed);
  }

  // Joins the workers, so that the code they run may be unloaded. Gives up if a job goes on for long or if the exiting
  // thread is inside one: an exit must not hang.
  void close() {
    if (t_in_job) return;
    for (int tries = 0; !acquire(); ++tries) {
      if (tries == 1000) return;
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    closed_ = true;
    for (int i = 1; i < nodes_up_; ++i)
      if (nodes_[i]->mail.exchange(kQuit, std::memory_order_release) == kParked) wake(nodes_[i]->mail);
    for (int i = 1; i < nodes_up_; ++i) nodes_[i]->thread.join();
    nodes_up_ = 1;
    busy_.store(false, std::memory_order_release);
  }

  struct AtExit {
    ~AtExit() { instance().close(); }
  };

  std::atomic<int> wanted_{0};
  std::atomic<bool> spinning_{false};
  // Held by the caller whose job runs; it guards everything below.
  alignas(kLine) std::atomic<bool> busy_{false};
  alignas(kLine) Job job_;
  int nodes_up_ = 1;
  bool closed_ = false;
  std::unique_ptr<Node> nodes_[kMaxThreads];
};

void pool_parallel_for(void*, int64_t chunks, int threads, ChunkFn body, void* arg) {
  Pool::instance().run(chunks, threads, body, arg);
}

struct ParallelFor {
  ParallelForFn fn;
  void* pool;
};
constexpr ParallelFor kBuiltIn{pool_parallel_for, nullptr};
std::atomic<const ParallelFor*> g_parallel_for{&kBuiltIn};

// The whole of `text` as an integer in [1, kMaxThreads]; 0 if it is none.
int parse_threads(const char* text) {
  int n = 0;
  const char* end = text + std::strlen(text);
  const auto result = std::from_chars(text, end, n);
  return result.ec == std::errc() && result.ptr == end && n >= 1 && n <= kMaxThreads ? n : 0;
}

}  // namespace

int default_num_threads(const char* lamella, const char* omp, int available) {
  if (lamella != nullptr && *lamella != '\0') {
    const int n = parse_threads(lamella);
    if (n == 0)
      fail_value("threads", "LAMELLA_NUM_THREADS", "an integer from 1 to 1024", "'" + std::string(lamella) + "'");
    return n;
  }
  // A list gives the sizes of nested levels; the first is the outermost. What does not parse is OpenMP's to report.
  if (omp != nullptr) {
    const int n = parse_threads(std::string(omp).substr(0, std::strcspn(omp, ",")).c_str());
    if (n != 0) return n;
  }
  return std::min(available, kMaxThreads);
}

int default_num_threads() {
  static const int threads =
      default_num_threads(std::getenv("LAMELLA_NUM_THREADS"), std::getenv("OMP_NUM_THREADS"), available_cpus());
  return threads;
}

int num_threads() { return Pool::instance().threads(); }

void set_num_threads(int n) {
  if (n < 1 || n > kMaxThreads) fail_value("set_num_threads", "n", "an integer from 1 to 1024", std::to_string(n));
  Pool::instance().set_threads(n);
}

void set_parallel_for(ParallelForFn fn, void* pool) {
  // Contexts on other threads may be reading the one before, so it stays; an embedder sets this once or twice.
  static std::mutex mutex;
  static auto* const kept = new std::vector<std::unique_ptr<ParallelFor>>;
  const std::lock_guard<std::mutex> lock(mutex);
  if (fn == nullptr) return g_parallel_for.store(&kBuiltIn, std::memory_order_release);
  kept->push_back(std::make_unique<ParallelFor>(ParallelFor{fn, pool}));
  g_parallel_for.store(kept->back().get(), std::memory_order_release);
}

Context make_context() {
  const ParallelFor* parallel = g_parallel_for.load(std::memory_order_acquire);
  Context ctx;
  ctx.threads = t_in_job ? 1 : num_threads();
  ctx.parallel_for = parallel->fn;
  ctx.pool = parallel->pool;
  return ctx;
}

}  // namespace lamella
