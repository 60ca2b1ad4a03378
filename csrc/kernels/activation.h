// The activations that GEMM and convolution can apply in their epilogue and that the elementwise kernels run on their
// own.
#pragma once

#include <cstdint>

namespace lamella {

enum class Act : int32_t {
  kIdentity,
  kRelu,
  kLeakyRelu,  // alpha: slope for x < 0
  kElu,        // alpha
  kSelu,
  kSigmoid,
  kTanh,
  kSoftplus,
  kSilu,
  kGelu,         // exact (erf)
  kGeluTanh,     // tanh approximation
  kHardSigmoid,  // clip(x/6 + 1/2, 0, 1)
  kHardSwish,    // x * hard_sigmoid(x)
  kRelu6,
  kSoftsign,
  kExp,
  kMish,
  kCount
};

struct Activation {
  Act act = Act::kIdentity;
  double alpha = 0.0;
};

// True where the derivative can be written in terms of the output alone, so that a fused layer need not keep its input.
constexpr bool act_grad_from_output(Act a) {
  switch (a) {
    case Act::kIdentity:
    case Act::kRelu:
    case Act::kLeakyRelu:  // alpha >= 0
    case Act::kElu:        // alpha >= 0
    case Act::kSelu:
    case Act::kSigmoid:
    case Act::kTanh:
    case Act::kSoftplus:
    case Act::kHardSigmoid:
    case Act::kRelu6:
    case Act::kExp:
      return true;
    default:
      return false;
  }
}

}  // namespace lamella
