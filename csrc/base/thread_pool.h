// One persistent pool for the process. Workers are started at the first parallel call, spin briefly for the next job,
// then park. The caller takes part. A second Python thread that calls in while the pool is busy, and nested calls, run
// serially on the caller. fork: the child finds no workers and starts its own when it needs them.
#pragma once

#include "kernels/context.h"

namespace lamella {

// Size that new pools get: LAMELLA_NUM_THREADS, else OMP_NUM_THREADS, else min(CPU affinity, cgroup v2/v1 quota).
int default_num_threads();  // throws Error(kValue) where LAMELLA_NUM_THREADS is no number from 1 to 1024
int default_num_threads(const char* lamella, const char* omp, int available);  // the rule; nullptr: variable not set
int num_threads();            // threads that a kernel may use now, the caller included
void set_num_threads(int n);  // 1 <= n <= 1024, else Error(kValue); takes effect at the next parallel call
// An embedder's own parallel-for (must run every chunk exactly once, blocking); nullptr restores the built-in pool.
void set_parallel_for(ParallelForFn fn, void* pool);
// A context for kernels on the calling thread: threads, parallel_for and pool filled in, no workspace.
Context make_context();

}  // namespace lamella
