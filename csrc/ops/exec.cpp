#include "ops/exec.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <atomic>
#include <cstdlib>
#include <random>

#include "base/thread_pool.h"

namespace lamella {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kPage = size_t{4} << 10;
constexpr size_t kHugePage = size_t{2} << 20;

constexpr size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

// Packed panels and im2col tiles are walked with long strides: on 4 KiB pages they would thrash the TLB.
void* allocate(size_t bytes) {
  void* p = nullptr;
  const bool huge = bytes >= kHugePage;
  if (posix_memalign(&p, huge ? kHugePage : kAlignment, bytes) != 0) return nullptr;
#if defined(__linux__)
  if (huge) madvise(p, bytes, MADV_HUGEPAGE);  // a hint: without transparent huge pages nothing is lost
#endif
  return p;
}

uint64_t os_seed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

std::atomic<bool> g_strict{false};

}  // namespace

Exec::Exec(Generator* generator) : generator_(generator) {}

Exec::~Exec() { std::free(workspace_); }

Context Exec::context(size_t bytes) {
  if (bytes > workspace_bytes_) {
    // The contents need not survive, so the old buffer goes first: the peak is the larger of the two, not their sum.
    std::free(workspace_);
    workspace_ = nullptr;
    workspace_bytes_ = 0;
    const bool fits = bytes <= SIZE_MAX - kHugePage;
    const size_t rounded = fits ? round_up(bytes, bytes >= kHugePage ? kHugePage : kPage) : bytes;
    workspace_ = fits ? allocate(rounded) : nullptr;
    if (workspace_ == nullptr)
      throw Error(ErrorKind::kMemory, "workspace", "cannot allocate " + std::to_string(bytes) + " bytes");
    workspace_bytes_ = rounded;
  }
  Context ctx = make_context();
  ctx.workspace = workspace_;
  ctx.workspace_bytes = workspace_bytes_;
  ctx.strict = strict_precision();
  return ctx;
}

Generator& global_generator() {
  static Generator generator(os_seed());
  return generator;
}

bool strict_precision() { return g_strict.load(std::memory_order_relaxed); }
void set_strict_precision(bool strict) { g_strict.store(strict, std::memory_order_relaxed); }

}  // namespace lamella
