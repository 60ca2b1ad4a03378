// What reduce_*.cu have for each other.
#pragma once

#include "kernels/reduce.h"

namespace lamella::cuda {

#define LAMELLA_REDUCE_PART(name)     \
  void name(ReduceKernels<float>& k); \
  void name(ReduceKernels<double>& k);
LAMELLA_REDUCE_PART(fill_reduce_backward)
LAMELLA_REDUCE_PART(fill_var)
LAMELLA_REDUCE_PART(fill_arg)
LAMELLA_REDUCE_PART(fill_sum_squares)
#undef LAMELLA_REDUCE_PART

}  // namespace lamella::cuda
