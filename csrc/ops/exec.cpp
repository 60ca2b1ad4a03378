#include "ops/exec.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <random>
#include <utility>

#include "base/aligned_memory.h"
#include "base/thread_pool.h"

namespace lamella {

namespace {

constexpr size_t kPage = size_t{4} << 10;

uint64_t os_seed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

[[noreturn]] void fail_memory(const char* what, const std::string& bytes) {
  throw Error(ErrorKind::kMemory, what, "cannot allocate " + bytes + " bytes");
}

std::atomic<bool> g_strict{false};
std::atomic<MatmulPrecision> g_matmul{MatmulPrecision::kHighest};

}  // namespace

Exec::Exec(Generator* generator, const Backend* backend, void* stream)
    : generator_(generator), backend_(backend), stream_(stream) {}

Exec::~Exec() { drop_workspace(); }

void Exec::drop_workspace() {
  release(std::exchange(workspace_, nullptr));
  release(std::exchange(scratch_, nullptr));
  workspace_bytes_ = scratch_bytes_ = 0;
}

size_t Exec::grow(void*& memory, size_t has, size_t bytes) {
  if (bytes <= has) return has;
  // The contents need not survive, so the old buffer goes first: the peak is the larger of the two, not their sum.
  release(std::exchange(memory, nullptr));
  const size_t rounded = bytes <= SIZE_MAX - kPage ? (bytes + kPage - 1) / kPage * kPage : bytes;
  memory = take(rounded);
  if (memory == nullptr) fail_memory("workspace", std::to_string(bytes));
  return rounded;
}

void* Exec::scratch(size_t bytes) {
  scratch_bytes_ = grow(scratch_, std::exchange(scratch_bytes_, 0), bytes);
  return scratch_;
}

void Exec::set_device(const Backend* backend, void* stream) {
  if (backend == backend_ && stream == stream_) return;
  drop_workspace();
  backend_ = backend;
  stream_ = stream;
}

Context Exec::context(size_t bytes) {
  if (bytes > workspace_bytes_) workspace_bytes_ = grow(workspace_, std::exchange(workspace_bytes_, 0), bytes);
  Context ctx;
  if (backend_ == nullptr) ctx = make_context();
  ctx.stream = stream_;
  ctx.workspace = workspace_;
  ctx.workspace_bytes = bytes;
  ctx.strict = strict_precision();
  if (!ctx.strict) {
    ctx.tf32 = matmul_precision() == MatmulPrecision::kTf32;
    ctx.bf16 = matmul_precision() == MatmulPrecision::kBf16;
  }
  return ctx;
}

void* Exec::take(size_t bytes) {
  return backend_ == nullptr ? aligned_memory(bytes) : backend_->allocate(bytes, stream_);
}

void* Exec::allocate(int64_t bytes, const char* what) {
  void* p = take(static_cast<size_t>(bytes));
  if (p == nullptr) fail_memory(what, std::to_string(bytes));
  return p;
}

void Exec::release(void* memory) {
  if (backend_ == nullptr) {
    std::free(memory);
  } else if (memory != nullptr) {
    backend_->release(memory, stream_);
  }
}

void Exec::check(const char* error) {
  if (error != nullptr) throw Error(ErrorKind::kInternal, backend_->name, error);
}

void Exec::copy(void* to, const void* from, int64_t bytes, CopyKind kind) {
  if (bytes <= 0 || to == from) return;
  if (backend_ == nullptr) {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  } else {
    check(backend_->copy(to, from, static_cast<size_t>(bytes), kind, stream_));
  }
}

void Exec::zero(void* to, int64_t bytes) {
  if (bytes <= 0) return;
  if (backend_ == nullptr) {
    std::memset(to, 0, static_cast<size_t>(bytes));
  } else {
    check(backend_->zero(to, static_cast<size_t>(bytes), stream_));
  }
}

void Exec::synchronize() {
  if (backend_ == nullptr) return;
  check(backend_->synchronize(stream_));
  raise_device_errors();
}

void Exec::raise_device_errors() {
  check(backend_->last_error());
  IndexError& e = *backend_->index_error();
  const std::atomic_ref<const char*> op(e.op);
  const char* name = op.load(std::memory_order_acquire);
  if (name == nullptr) return;
  const std::string argument = e.argument, got = std::to_string(e.value) + " at position " + std::to_string(e.position);
  const std::string expected = "values in [0, " + std::to_string(e.limit) + ")";
  op.store(nullptr, std::memory_order_release);
  fail_value(name, argument, expected, got);
}

PhiloxKey Exec::next_key() {
  return step_key_ == nullptr ? generator_->next() : PhiloxKey{0, recorded_keys_++, step_key_};
}

PhiloxKey Exec::next_key(uint64_t seed) {
  if (step_key_ == nullptr) return {seed, generator_->next().stream};
  return {seed, recorded_keys_++, step_key_ + 2};
}

uint64_t Exec::record_keys(const uint64_t* step) {
  step_key_ = step;
  return std::exchange(recorded_keys_, 0);
}

int64_t first_bad_index(Exec& exec, IndexCheckParams p, IndexCheckFn check) {
  int64_t bad = -1;
  p.first_bad = &bad;
  check(exec.context(), p);
  return bad;
}

Generator& global_generator() {
  static Generator generator(os_seed());
  return generator;
}

bool strict_precision() { return g_strict.load(std::memory_order_relaxed); }
MatmulPrecision matmul_precision() { return g_matmul.load(std::memory_order_relaxed); }
void set_matmul_precision(MatmulPrecision precision) { g_matmul.store(precision, std::memory_order_relaxed); }
void set_strict_precision(bool strict) { g_strict.store(strict, std::memory_order_relaxed); }

}  // namespace lamella
