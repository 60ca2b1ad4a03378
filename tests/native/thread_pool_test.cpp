#include "base/thread_pool.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "testing.h"

namespace lamella {
namespace {

using testing::contains;
using testing::error_of;

// parallel_for with a lambda, as the kernels call it.
template <class Body>
void run(const Context& ctx, int64_t chunks, const Body& body) {
  ctx.parallel_for(
      ctx.pool, chunks, ctx.threads,
      [](void* arg, int64_t chunk, int thread) { (*static_cast<const Body*>(arg))(chunk, thread); },
      const_cast<Body*>(&body));
}

// Every chunk once, thread numbers in range, and no number in use twice at the same time (they index scratch memory).
bool exactly_once(const Context& ctx, int64_t chunks) {
  const auto hits = std::make_unique<std::atomic<int>[]>(static_cast<size_t>(chunks));
  const auto inside = std::make_unique<std::atomic<int>[]>(static_cast<size_t>(ctx.threads));
  std::atomic<bool> good{true};
  run(ctx, chunks, [&](int64_t chunk, int thread) {
    if (chunk < 0 || chunk >= chunks || thread < 0 || thread >= ctx.threads) {
      good = false;
      return;
    }
    if (inside[thread].fetch_add(1) != 0) good = false;
    hits[chunk].fetch_add(1);
    inside[thread].fetch_sub(1);
  });
  for (int64_t i = 0; i < chunks; ++i) good = good && hits[i].load() == 1;
  return good;
}

struct ThreadsRestored {
  int before = num_threads();
  ~ThreadsRestored() { set_num_threads(before); }
};

// ThreadSanitizer keeps the parent's threads on its books in a forked child and gives up when one of their ids comes up
// again; tests whose child starts threads stay out of its builds.
#if defined(__SANITIZE_THREAD__)
constexpr bool kNoFork = true;
#else
constexpr bool kNoFork = false;
#endif
// GCC's AddressSanitizer does not hold its allocator's locks over a fork: where another thread is allocating just then,
// the child waits for it at its first allocation, forever.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kNoForkInJob = true;
#else
constexpr bool kNoForkInJob = false;
#endif

// Runs f in a forked child; its wait status, or -1 if it has not ended after 20 seconds.
template <class F>
int in_child(const F& f) {
  std::cout.flush();  // else the child prints it again
  const pid_t pid = fork();
  if (pid == 0) {
    for (int s : {SIGABRT, SIGSEGV, SIGTERM}) signal(s, SIG_DFL);  // the test framework's handlers are the parent's
    f();
    _exit(0);
  }
  for (int i = 0; i < 2000; ++i) {
    int status = 0;
    if (waitpid(pid, &status, WNOHANG) == pid) return status;
    usleep(10'000);
  }
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  return -1;
}

TEST_CASE("the pool runs every chunk exactly once") {
  const ThreadsRestored restored;
  for (int threads : {1, 2, 3, 4, 7, 16}) {
    set_num_threads(threads);
    const Context ctx = make_context();
    CHECK(ctx.threads == threads);
    for (int64_t chunks : {0, 1, 2, 3, 5, 16, 17, 100, 1000}) {
      CAPTURE(threads);
      CAPTURE(chunks);
      for (int i = 0; i < 50; ++i) REQUIRE(exactly_once(ctx, chunks));
    }
  }
}

TEST_CASE("jobs that follow one another closely do not mix") {
  const ThreadsRestored restored;
  for (int threads : {2, 4}) {
    set_num_threads(threads);
    const Context ctx = make_context();
    int64_t total = 0;  // plain memory: the pool itself must order the jobs
    std::vector<int64_t> part(64);
    for (int64_t job = 1; job <= 5000; ++job) {
      const int64_t chunks = 1 + job % 63;
      run(ctx, chunks, [&](int64_t chunk, int) { part[static_cast<size_t>(chunk)] = job + chunk; });
      for (int64_t i = 0; i < chunks; ++i) total += part[static_cast<size_t>(i)] - job - i;
    }
    CHECK(total == 0);
  }
}

TEST_CASE("parked workers come back") {
  const ThreadsRestored restored;
  set_num_threads(4);
  const Context ctx = make_context();
  for (int i = 0; i < 20; ++i) {
    REQUIRE(exactly_once(ctx, 37));
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // far beyond the spin
  }
}

TEST_CASE("several threads take part in a long job") {
  const ThreadsRestored restored;
  set_num_threads(2);
  std::atomic<int> by[2] = {};
  run(make_context(), 100, [&](int64_t, int thread) {
    std::this_thread::sleep_for(std::chrono::microseconds(500));  // not CPU time: holds on a loaded machine, too
    by[thread].fetch_add(1);
  });
  CHECK(by[0].load() > 0);
  CHECK(by[1].load() > 0);
  CHECK(by[0].load() + by[1].load() == 100);
}

TEST_CASE("nested calls run on their caller") {
  const ThreadsRestored restored;
  set_num_threads(4);
  const Context ctx = make_context();
  std::atomic<int> count{0};
  std::atomic<bool> serial{true};
  run(ctx, 8, [&](int64_t, int) {
    if (make_context().threads != 1) serial = false;
    const auto self = std::this_thread::get_id();
    int64_t expected = 0;  // plain memory: in order, on this thread
    run(ctx, 10, [&](int64_t chunk, int thread) {
      if (std::this_thread::get_id() != self || thread != 0 || chunk != expected++) serial = false;
      count.fetch_add(1);
    });
  });
  CHECK(count.load() == 80);
  CHECK(serial.load());
  CHECK(make_context().threads == 4);
}

TEST_CASE("several threads may call at once") {
  const ThreadsRestored restored;
  set_num_threads(3);
  std::atomic<int> bad{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&bad, c] {
      for (int i = 0; i < 300; ++i)
        if (!exactly_once(make_context(), 1 + (i * 7 + c) % 50)) ++bad;
    });
  for (std::thread& t : callers) t.join();
  CHECK(bad.load() == 0);
}

TEST_CASE("the number of threads can change between jobs") {
  const ThreadsRestored restored;
  for (int i = 0; i < 200; ++i) {
    set_num_threads(1 + i % 9);
    CHECK(num_threads() == 1 + i % 9);
    REQUIRE(exactly_once(make_context(), 40));
  }
  for (int n : {0, -1, 1025})
    CHECK(contains(error_of(ErrorKind::kValue, [&] { set_num_threads(n); }), "an integer from 1 to 1024"));
}

TEST_CASE("a thread that calls set_num_threads while others run disturbs nobody") {
  const ThreadsRestored restored;
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    for (int i = 0; !stop; ++i) set_num_threads(1 + i % 5);
  });
  bool good = true;
  for (int i = 0; i < 500; ++i) good = good && exactly_once(make_context(), 20);
  stop = true;
  changer.join();
  CHECK(good);
}

TEST_CASE("a forked child starts its own workers" * doctest::test_suite("fork") * doctest::skip(kNoFork)) {
  const ThreadsRestored restored;
  set_num_threads(4);
  REQUIRE(exactly_once(make_context(), 50));
  const int status = in_child([] {
    for (int i = 0; i < 50; ++i)
      if (!exactly_once(make_context(), 50)) _exit(1);
    if (in_child([] { _exit(exactly_once(make_context(), 50) ? 0 : 1); }) != 0) _exit(2);
  });
  CHECK(status == 0);
  CHECK(exactly_once(make_context(), 50));
}

TEST_CASE("a fork in the middle of another thread's job leaves a working pool on both sides" *
          doctest::test_suite("fork") * doctest::skip(kNoForkInJob)) {
  const ThreadsRestored restored;
  set_num_threads(3);
  const Context ctx = make_context();
  std::atomic<bool> stop{false};
  std::atomic<bool> good{true};
  std::thread caller([&] {
    while (!stop)
      if (!exactly_once(ctx, 30)) good = false;
  });
  for (int i = 0; i < 10; ++i) CHECK(in_child([&] { _exit(exactly_once(ctx, 30) ? 0 : 1); }) == 0);
  stop = true;
  caller.join();
  CHECK(good.load());
}

TEST_CASE("a process exits at once, whatever its workers do" * doctest::test_suite("fork") * doctest::skip(kNoFork)) {
  const ThreadsRestored restored;
  set_num_threads(2);
  const auto begin = std::chrono::steady_clock::now();
  CHECK(in_child([] {
          exactly_once(make_context(), 50);  // the worker still spins
          exit(0);
        }) == 0);
  CHECK(in_child([] {
          exactly_once(make_context(), 50);
          usleep(5000);  // the worker is parked
          exit(0);
        }) == 0);
  CHECK(in_child([] {  // another thread is inside a job for longer than we are willing to wait
          std::thread([] {
            run(make_context(), 2, [](int64_t, int) { std::this_thread::sleep_for(std::chrono::seconds(30)); });
          }).detach();
          usleep(50'000);
          exit(0);
        }) == 0);
  CHECK(in_child([] { run(make_context(), 2, [](int64_t, int) { exit(0); }); }) == 0);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
}

TEST_CASE("a chunk that throws ends the process" * doctest::test_suite("fork") * doctest::skip(kNoFork)) {
  const ThreadsRestored restored;
  set_num_threads(2);
  const int status = in_child([] {
    std::set_terminate([] { _exit(42); });
    run(make_context(), 4, [](int64_t, int) { throw std::runtime_error("not allowed"); });
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 42);
}

TEST_CASE("an embedder's own parallel-for is used until it is taken back") {
  const ThreadsRestored restored;
  set_num_threads(2);
  int calls = 0;
  set_parallel_for(
      [](void* pool, int64_t chunks, int, ChunkFn body, void* arg) {
        ++*static_cast<int*>(pool);
        for (int64_t i = chunks; i-- > 0;) body(arg, i, 0);
      },
      &calls);
  CHECK(exactly_once(make_context(), 10));
  CHECK(calls == 1);
  set_parallel_for(nullptr, nullptr);
  CHECK(exactly_once(make_context(), 10));
  CHECK(calls == 1);
}

TEST_CASE("the default number of threads") {
  CHECK(default_num_threads(nullptr, nullptr, 6) == 6);
  CHECK(default_num_threads("", nullptr, 6) == 6);
  CHECK(default_num_threads(nullptr, nullptr, 5000) == 1024);
  CHECK(default_num_threads("3", "2", 6) == 3);
  CHECK(default_num_threads("1024", nullptr, 6) == 1024);
  CHECK(default_num_threads(nullptr, "2", 6) == 2);
  CHECK(default_num_threads(nullptr, "2,4", 6) == 2);
  for (const char* not_ours : {"", "x", "0", "-1", ",2"}) CHECK(default_num_threads(nullptr, not_ours, 6) == 6);
  for (const char* wrong : {"0", "-1", "two", "2x", "1.5", " 2", "1025", "99999999999"}) {
    const std::string message = error_of(ErrorKind::kValue, [&] { default_num_threads(wrong, "2", 6); });
    CHECK(contains(message, "LAMELLA_NUM_THREADS: expected an integer from 1 to 1024, got '" + std::string(wrong)));
  }
}

}  // namespace
}  // namespace lamella
