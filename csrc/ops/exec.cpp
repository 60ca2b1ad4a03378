#include "ops/exec.h"

#include <atomic>
#include <cstdlib>
#include <random>

#include "base/aligned_memory.h"
#include "base/thread_pool.h"

namespace lamella {

namespace {

constexpr size_t kPage = size_t{4} << 10;

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
    const size_t rounded = bytes <= SIZE_MAX - kPage ? (bytes + kPage - 1) / kPage * kPage : bytes;
    workspace_ = aligned_memory(rounded);
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
