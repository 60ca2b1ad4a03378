// What reduce_*.cpp have for each other and for the gradients of broadcast operands.
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/elementwise.h"
#include "kernels/reduce.h"

namespace lamella::LAMELLA_NS {

// Sums over the dimensions that are reduced, divided by `divisor`. y is contiguous over the others; `workspace` holds
// reduce_workspace_bytes<T>(dims).
template <class T>
void sum_array(const Context&, const ReduceDims& dims, const T* x, T* y, T* workspace, double divisor = 1);

// Values that a loop over elements (MapFn in map_inl.h) makes of operands broadcast to dims.
template <class T>
struct Mapped {
  void (*fn)(int64_t n, const void* const* in, const int64_t* mask, void* out, const T* scalars);
  int operands;
  const void* const* in;
  bool bytes_in = false;  // the first operand is an array of bytes
};
// Likewise, over the dimensions of `dims` that are marked; the workspace that of reduce_dims(dims, reduced).
template <class T>
void sum_mapped(const Context&, const Mapped<T>&, const BroadcastDims& dims, const bool* reduced, T* y, T* workspace);

void fill_arg(ReduceKernels<float>&);
void fill_var(ReduceKernels<float>&);
void fill_sum_squares(ReduceKernels<float>&);

#if defined(LAMELLA_ISA_PORTABLE)
void fill_arg(ReduceKernels<double>&);
void fill_var(ReduceKernels<double>&);
void fill_sum_squares(ReduceKernels<double>&);
#endif

}  // namespace lamella::LAMELLA_NS
