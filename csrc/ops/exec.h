// Where an op runs: the backend's kernel tables, threads, a grow-only workspace, the random streams.
#pragma once

#include <atomic>
#include <cstddef>

#include "base/philox.h"
#include "base/tensor.h"
#include "kernels/kernels.h"

namespace lamella {

// A source of random streams; lamella.seed(n) resets the global one.
class Generator {
 public:
  explicit Generator(uint64_t seed = 0) : seed_(seed) {}
  void seed(uint64_t seed, uint64_t next_stream = 0) {
    seed_ = seed;
    next_stream_ = next_stream;
  }
  PhiloxKey next() { return {seed_, next_stream_.fetch_add(1, std::memory_order_relaxed)}; }
  uint64_t seed_value() const { return seed_; }
  uint64_t next_stream() const { return next_stream_; }

 private:
  std::atomic<uint64_t> seed_, next_stream_ = 0;
};

class Exec {
 public:
  explicit Exec(Generator* generator);
  ~Exec();
  Exec(const Exec&) = delete;
  Exec& operator=(const Exec&) = delete;

  template <class T>
  const KernelTable<T>& kernels() const {
    return cpu_kernels<T>();
  }
  // A kernel context whose workspace holds at least `bytes` (64-byte aligned, contents undefined). The buffer only
  // grows, so a plan's second step finds it large enough and allocates nothing.
  Context context(size_t bytes = 0);

  bool training = false;  // dropout and batch norm behave accordingly
  Generator& generator() { return *generator_; }

 private:
  Generator* generator_;
  void* workspace_ = nullptr;
  size_t workspace_bytes_ = 0;
};

Generator& global_generator();  // lamella.seed(n) sets it
bool strict_precision();        // lamella.set_precision("strict")
void set_strict_precision(bool strict);

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

}  // namespace lamella
