// Where an op runs: the backend's kernel tables, threads, a grow-only workspace, the random streams.
#pragma once

#include <atomic>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "base/philox.h"
#include "base/tensor.h"
#include "kernels/backend.h"

namespace lamella {

// A source of random streams; lamella.seed(n) resets the global one.
class Generator {
 public:
  explicit Generator(uint64_t seed = 0) : seed_(seed) {}
  void seed(uint64_t seed, uint64_t next_stream = 0) {
    seed_ = seed;
    next_stream_ = next_stream;
  }
  PhiloxKey next() { return {seed_, take(1)}; }
  uint64_t take(uint64_t streams) { return next_stream_.fetch_add(streams, std::memory_order_relaxed); }
  uint64_t seed_value() const { return seed_; }
  uint64_t next_stream() const { return next_stream_; }

 private:
  std::atomic<uint64_t> seed_, next_stream_ = 0;
};

class Exec {
 public:
  // backend: nullptr for the CPU; `stream` as in Context.
  explicit Exec(Generator* generator, const Backend* backend = nullptr, void* stream = nullptr);
  ~Exec();
  Exec(const Exec&) = delete;
  Exec& operator=(const Exec&) = delete;

  template <class T>
  const KernelTable<T>& kernels() const {
    if constexpr (std::is_same_v<T, f16>) {
      return *backend_->half;  // see takes_halves()
    } else if constexpr (std::is_same_v<T, bf16>) {
      return *backend_->brain;
    } else if (backend_ == nullptr) {
      return cpu_kernels<T>();
    } else if constexpr (std::is_same_v<T, float>) {
      return *backend_->f32;
    } else {
      return *backend_->f64;
    }
  }
  const Backend* backend() const { return backend_; }
  void* stream() const { return stream_; }
  // Another device or stream from here on.
  void set_device(const Backend* backend, void* stream);
  // A kernel context whose workspace holds at least `bytes` (64-byte aligned, contents undefined). The buffer only
  // grows, so a plan's second step finds it large enough and allocates nothing.
  Context context(size_t bytes = 0);

  // Memory apart from the workspace, for whoever calls an op; as it is, until the next call.
  void* scratch(size_t bytes);

  // Memory of the device, filled and copied in the order of its stream.
  void* allocate(int64_t bytes, const char* what);  // throws where there is none
  void release(void* memory);
  void copy(void* to, const void* from, int64_t bytes, CopyKind kind);
  void zero(void* to, int64_t bytes);
  void synchronize();  // and raises what went wrong on the device
  // Raises what is known to have gone wrong on the device, without waiting for it. Nothing on the CPU.
  void check_device() {
    if (backend_ != nullptr) raise_device_errors();
  }

  // Where the next random op draws: the generator's next stream, or that stream of another seed.
  PhiloxKey next_key();
  PhiloxKey next_key(uint64_t seed);
  // Another stream of the same device for a while: where launches are recorded.
  void* use_stream(void* stream) { return std::exchange(stream_, stream); }
  // While launches are recorded, streams count from 0 and kernels find the rest on the device: `step` points to the
  // generator's {seed, stream} and then {0, stream}, as they will be when the recording runs. nullptr ends it; returns
  // how many streams have been taken since it began.
  uint64_t record_keys(const uint64_t* step);

  bool training = false;  // dropout and batch norm behave accordingly
  Generator& generator() { return *generator_; }

 private:
  void raise_device_errors();
  void check(const char* error);
  void* take(size_t bytes);  // nullptr: there is none
  void drop_workspace();
  // A buffer of at least `bytes` in place of one that has `has`; returns how many there are.
  size_t grow(void*& memory, size_t has, size_t bytes);

  Generator* generator_;
  const Backend* backend_;
  void* stream_;
  const uint64_t* step_key_ = nullptr;
  uint64_t recorded_keys_ = 0;
  void* workspace_ = nullptr;
  size_t workspace_bytes_ = 0;
  void* scratch_ = nullptr;
  size_t scratch_bytes_ = 0;
};

// The position of the first index that `check` finds out of range, or -1. On a device, -1: see IndexCheckParams.
int64_t first_bad_index(Exec& exec, IndexCheckParams p, IndexCheckFn check);

Generator& global_generator();  // lamella.seed(n) sets it
bool strict_precision();        // lamella.set_precision("strict")
void set_strict_precision(bool strict);
// How far devices with matrix units may round the factors of float32 products; strict precision comes first.
enum class MatmulPrecision : int32_t { kHighest, kTf32, kBf16 };
MatmulPrecision matmul_precision();
void set_matmul_precision(MatmulPrecision precision);

// Calls f.template operator()<T>() for the float type of `dtype`; throws Error(kType) naming op and argument otherwise.
template <class F>
decltype(auto) dispatch_float(DType dtype, const char* op, const char* argument, F&& f) {
  switch (dtype) {
    case DType::kF32:
      return f.template operator()<float>();
    case DType::kF64:
      return f.template operator()<double>();
    default:
      fail_type(op, argument, "float32 or float64", dtype_name(dtype));
  }
}

// Likewise where the op takes 16-bit floats on devices (Op::kOnDevice).
template <class F>
decltype(auto) dispatch_real(DType dtype, const char* op, const char* argument, F&& f) {
  if (dtype == DType::kF16) return f.template operator()<f16>();
  if (dtype == DType::kBF16) return f.template operator()<bf16>();
  return dispatch_float(dtype, op, argument, std::forward<F>(f));
}

}  // namespace lamella
