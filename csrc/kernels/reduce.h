// Reductions over any set of axes. Sums are blocked and combined pairwise, in an order that depends on the shape alone:
// accurate, and the same bits for any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"
#include "kernels/elementwise.h"

namespace lamella {

enum class Reduce : int32_t { kSum, kMean, kMax, kMin, kProd, kSumSquares, kNorm, kCount };

// A contiguous input seen as dims[0] x ... x dims[rank-1]; no dimension is 1 and neighbours alternate between kept and
// reduced. rank 0: a single element, not reduced.
struct ReduceDims {
  static constexpr int kMaxRank = 8;
  int rank = 0;
  int64_t dims[kMaxRank] = {};
  bool reduced[kMaxRank] = {};
};

template <class T>
struct ReduceParams {
  ReduceDims dims;
  const T* x = nullptr;
  T* y = nullptr;  // contiguous over the kept dimensions
  Reduce fn = Reduce::kSum;
};

// dx from dy. Sum and mean read neither x nor y; max and min share dy evenly among equal extrema.
template <class T>
struct ReduceBackwardParams {
  ReduceDims dims;
  const T* x = nullptr;
  const T* y = nullptr;
  const T* dy = nullptr;
  T* dx = nullptr;
  Reduce fn = Reduce::kSum;
};

// var = sum (x - mean)^2 / (count - ddof); with `root`, its square root.
template <class T>
struct VarParams {
  ReduceDims dims;
  const T* x = nullptr;
  T* mean = nullptr;  // out; backward: in
  T* var = nullptr;   // out; backward: in where root
  double ddof = 0;
  bool root = false;
  const T* dy = nullptr;  // backward only
  T* dx = nullptr;
};

// Index of the first extremum (the first NaN where there is one) along the middle of outer x length x inner.
template <class T>
struct ArgParams {
  int64_t outer = 1, length = 0, inner = 1;
  const T* x = nullptr;
  int64_t* y = nullptr;
  bool largest = true;
};

// The sum of squares of each of several arrays, squared and added up in double: for clipping by norm, where gradients
// that explode must still have one.
struct SumSquaresArray {
  const void* x = nullptr;
  int64_t n = 0;
  double sum = 0;  // the result
};
struct SumSquaresParams {
  SumSquaresArray* arrays = nullptr;
  int64_t count = 0;
};

template <class T>
struct ReduceKernels {
  size_t (*reduce_workspace)(const ReduceParams<T>&, int threads) = nullptr;
  void (*reduce)(const Context&, const ReduceParams<T>&) = nullptr;
  size_t (*reduce_backward_workspace)(const ReduceBackwardParams<T>&, int threads) = nullptr;
  void (*reduce_backward)(const Context&, const ReduceBackwardParams<T>&) = nullptr;
  size_t (*var_workspace)(const VarParams<T>&, int threads) = nullptr;
  void (*var)(const Context&, const VarParams<T>&) = nullptr;
  void (*var_backward)(const Context&, const VarParams<T>&) = nullptr;
  size_t (*arg_workspace)(const ArgParams<T>&, int threads) = nullptr;
  void (*arg)(const Context&, const ArgParams<T>&) = nullptr;
  size_t (*sum_squares_workspace)(const SumSquaresParams&, int threads) = nullptr;
  void (*sum_squares)(const Context&, const SumSquaresParams&) = nullptr;
};

}  // namespace lamella
