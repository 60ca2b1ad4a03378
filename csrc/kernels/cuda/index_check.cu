// Finds indices out of range. Reads 4 or 8 bytes per index and writes nothing where all is well.
#include <type_traits>

#include "kernels/backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/index_check.h"

namespace lamella::cuda {

IndexError* index_error_record();

namespace {

// Not 0 while a thread fills the record.
__device__ int reporting = 0;

// The first to come wins; its fields are there before `op` says so. A thread that finds another at work leaves: that
// one reports an index as bad as its own.
__device__ void report(IndexError* error, const char* op, const char* argument, int64_t position, int64_t value,
                       int64_t limit) {
  if (atomicCAS(&reporting, 0, 1) != 0) return;
  const char* volatile* const done = const_cast<const char* volatile*>(&error->op);
  if (*done == nullptr) {
    error->argument = argument;
    error->position = position;
    error->value = value;
    error->limit = limit;
    __threadfence_system();
    *done = op;
  }
  __threadfence_system();
  atomicExch(&reporting, 0);
}

template <class I>
__global__ void __launch_bounds__(256)
    find_bad(const I* index, int64_t n, int64_t limit, bool has_allowed, int64_t allowed, IndexError* error,
             const char* op, const char* argument) {
  for (int64_t i = thread_number(); i < n; i += thread_count()) {
    const int64_t v = index[i];
    if ((v < 0 || v >= limit) && !(has_allowed && v == allowed)) {
      report(error, op, argument, i, v, limit);
      return;
    }
  }
}

}  // namespace

void check_indices(const Context& ctx, const IndexCheckParams& p) {
  const auto run = [&](auto* index) {
    if (index == nullptr || p.index.n == 0) return;
    launch(ctx, find_bad<std::remove_const_t<std::remove_pointer_t<decltype(index)>>>, flat(p.index.n), index,
           p.index.n, p.limit, p.has_allowed, p.allowed, index_error_record(), p.op, p.argument);
  };
  run(p.index.i32);
  run(p.index.i64);
}

}  // namespace lamella::cuda
