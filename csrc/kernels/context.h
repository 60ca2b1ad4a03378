// What a kernel may know of the world: how to split work, and scratch memory. Plain C types only, so that this header
// emits no inline code that an ISA object could share with others.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lamella {

// body(arg, chunk, thread): chunk in [0, chunks), thread in [0, Context::threads).
using ChunkFn = void (*)(void* arg, int64_t chunk, int thread);

// Runs every chunk exactly once, on at most `threads` threads, and returns when all are done. Which thread takes which
// chunk is not fixed; kernels keep their results independent of it (disjoint outputs, or partial results per chunk that
// are combined in chunk order), so the bits never depend on the number of threads.
using ParallelForFn = void (*)(void* pool, int64_t chunks, int threads, ChunkFn body, void* arg);

struct Context {
  int threads = 1;                       // upper bound on the threads that take part
  ParallelForFn parallel_for = nullptr;  // nullptr: run serially
  void* pool = nullptr;                  // first argument of parallel_for
  void* workspace = nullptr;             // 64-byte aligned; at least what the kernel's *_workspace function asked for
  size_t workspace_bytes = 0;
  bool strict = false;  // set_precision("strict"): no Winograd, no reassociation beyond blocked sums
  // Of devices with matrix units: float32 products may round their factors, to the 10 bits of tf32, or to 7 of
  // bfloat16.
  bool tf32 = false, bf16 = false;
  void* stream = nullptr;  // of a device: where kernels are launched
};

}  // namespace lamella
