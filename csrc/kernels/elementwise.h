// Maps over arrays, flat or broadcasting, and their derivatives. Inputs and outputs may be the same array wherever both
// have the same layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/half.h"
#include "kernels/activation.h"
#include "kernels/context.h"

namespace lamella {

enum class Unary : int32_t {
  kNeg,
  kAbs,
  kSign,
  kSquare,
  kSqrt,
  kRsqrt,
  kReciprocal,
  kExp,
  kExpm1,
  kLog,
  kLog1p,
  kSin,
  kCos,
  kErf,
  kFloor,
  kCeil,
  kRound,
  kCount
};

enum class Binary : int32_t { kAdd, kSub, kMul, kDiv, kMaximum, kMinimum, kPow, kCount };

enum class Compare : int32_t { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kCount };

// What the derivative of a unary function is written in.
constexpr bool unary_grad_from_output(Unary f) {
  switch (f) {
    case Unary::kSqrt:
    case Unary::kRsqrt:
    case Unary::kReciprocal:
    case Unary::kExp:
    case Unary::kExpm1:
      return true;
    default:
      return false;
  }
}
constexpr bool unary_grad_from_input(Unary f) {
  switch (f) {
    case Unary::kAbs:
    case Unary::kSquare:
    case Unary::kLog:
    case Unary::kLog1p:
    case Unary::kSin:
    case Unary::kCos:
    case Unary::kErf:
      return true;
    default:
      return false;  // from the output, or a constant
  }
}

// An iteration space and how each operand lies in it: element strides, 0 where the operand is broadcast. No dimension
// is 1, and neighbours that could be walked as one are one (see collapse() in ops/broadcast.h); operands are contiguous
// but for the zeros, so innermost strides are 0 or 1. rank 0: a single element.
struct BroadcastDims {
  static constexpr int kMaxRank = 8;
  static constexpr int kMaxOperands = 4;
  int rank = 0;
  int64_t dims[kMaxRank] = {};
  int64_t strides[kMaxOperands][kMaxRank] = {};
};

template <class T>
struct ActivationParams {
  int64_t n = 0;
  const T* x = nullptr;
  T* y = nullptr;
  Activation act;
};

template <class T>
struct ActivationBackwardParams {
  int64_t n = 0;
  const T* value = nullptr;  // y where from_output, else x
  bool from_output = false;  // only where act_grad_from_output()
  const T* dy = nullptr;
  T* dx = nullptr;
  Activation act;
};

template <class T>
struct UnaryParams {
  int64_t n = 0;
  const T* x = nullptr;
  T* y = nullptr;
  Unary fn = Unary::kNeg;
};

template <class T>
struct UnaryBackwardParams {
  int64_t n = 0;
  const T* value = nullptr;  // y or x as unary_grad_from_*() say; nullptr where neither does
  const T* dy = nullptr;
  T* dx = nullptr;
  Unary fn = Unary::kNeg;
};

template <class T>
struct ClipParams {
  int64_t n = 0;
  const T* x = nullptr;
  T* y = nullptr;             // backward: dx
  const T* dy = nullptr;      // backward only
  Real<T> low = 0, high = 0;  // infinite: no bound; NaN passes through
};

// y = fn(a, b); operands of `dims`: a, b.
template <class T>
struct BinaryParams {
  BroadcastDims dims;
  const T* a = nullptr;
  const T* b = nullptr;
  T* y = nullptr;
  Binary fn = Binary::kAdd;
};

// da and db have the layout of a and b: broadcast dimensions are summed over in a fixed order. Operands: a, b.
template <class T>
struct BinaryBackwardParams {
  BroadcastDims dims;
  const T* a = nullptr;  // read as binary_backward_reads() says
  const T* b = nullptr;
  const T* y = nullptr;  // pow only
  const T* dy = nullptr;
  T* da = nullptr;  // nullptr: not wanted
  T* db = nullptr;
  Binary fn = Binary::kAdd;
};

template <class T>
struct CompareParams {
  BroadcastDims dims;  // operands: a, b
  const T* a = nullptr;
  const T* b = nullptr;
  uint8_t* y = nullptr;  // 0 or 1
  Compare fn = Compare::kEqual;
};

// y = condition ? a : b, with dims' operands condition, a, b. Backward: dy, da, db (nullptr: not wanted).
template <class T>
struct WhereParams {
  BroadcastDims dims;
  const uint8_t* condition = nullptr;
  const T* a = nullptr;
  const T* b = nullptr;
  T* y = nullptr;
  const T* dy = nullptr;
  T* da = nullptr;
  T* db = nullptr;
};

// y = scale * x with x broadcast (operand 0).
template <class T>
struct ExpandParams {
  BroadcastDims dims;
  const T* x = nullptr;
  T* y = nullptr;
  Real<T> scale = 1;
};

// y += alpha * x.
template <class T>
struct AxpyParams {
  int64_t n = 0;
  Real<T> alpha = 1;
  const T* x = nullptr;
  T* y = nullptr;
};

template <class T>
struct FillParams {
  int64_t n = 0;
  Real<T> value = 0;
  T* y = nullptr;
};

template <class T>
struct ElementwiseKernels {
  void (*activation)(const Context&, const ActivationParams<T>&) = nullptr;
  void (*activation_backward)(const Context&, const ActivationBackwardParams<T>&) = nullptr;
  void (*unary)(const Context&, const UnaryParams<T>&) = nullptr;
  void (*unary_backward)(const Context&, const UnaryBackwardParams<T>&) = nullptr;
  void (*clip)(const Context&, const ClipParams<T>&) = nullptr;
  void (*clip_backward)(const Context&, const ClipParams<T>&) = nullptr;
  void (*binary)(const Context&, const BinaryParams<T>&) = nullptr;
  size_t (*binary_backward_workspace)(const BinaryBackwardParams<T>&, int threads) = nullptr;
  void (*binary_backward)(const Context&, const BinaryBackwardParams<T>&) = nullptr;
  void (*compare)(const Context&, const CompareParams<T>&) = nullptr;
  void (*where)(const Context&, const WhereParams<T>&) = nullptr;
  size_t (*where_backward_workspace)(const WhereParams<T>&, int threads) = nullptr;
  void (*where_backward)(const Context&, const WhereParams<T>&) = nullptr;
  void (*expand)(const Context&, const ExpandParams<T>&) = nullptr;
  void (*axpy)(const Context&, const AxpyParams<T>&) = nullptr;
  void (*fill)(const Context&, const FillParams<T>&) = nullptr;
};

}  // namespace lamella
