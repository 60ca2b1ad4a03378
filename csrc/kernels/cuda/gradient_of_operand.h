// The gradient of an operand that may have been broadcast: a map where it was not, the sums of one where it was.
#pragma once

#include <initializer_list>

#include "kernels/cuda/map.h"
#include "kernels/cuda/sum_map.h"

namespace lamella::cuda {
namespace {

// An operand of the gradient's functor, and which operand of the forward function it lies as.
constexpr int kLikeOutput = -1;
struct OperandOf {
  const void* p;
  int like;
};

inline bool was_broadcast(const BroadcastDims& d, int operand) {
  for (int i = 0; i < d.rank; ++i)
    if (d.strides[operand][i] == 0) return true;
  return false;
}

inline SumDims gradient_sum_dims(const BroadcastDims& d, int operand) {
  SumDims s;
  s.dims = d;
  for (int i = 0; i < d.rank; ++i) s.reduced[i] = d.strides[operand][i] == 0;
  return s;
}

template <class T>
size_t gradient_of_operand_workspace(const BroadcastDims& d, int operand) {
  return was_broadcast(d, operand) ? sum_map_workspace<T>(gradient_sum_dims(d, operand)) : 0;
}

// out, which lies as `operand` of d, from f of `in`. The workspace is ctx's.
template <class F, class Y>
void gradient_of_operand(const Context& ctx, const F& f, const BroadcastDims& d, int operand,
                         std::initializer_list<OperandOf> in, Y* out) {
  SumSpace<F> s;
  static_cast<SumDims&>(s) = gradient_sum_dims(d, operand);
  int k = 0;
  for (const OperandOf& o : in) {
    s.in[k] = o.p;
    int64_t natural = 1;
    for (int i = d.rank - 1; i >= 0; --i) {
      s.dims.strides[k][i] = o.like == kLikeOutput ? natural : d.strides[o.like][i];
      natural *= d.dims[i];
    }
    ++k;
  }
  if (was_broadcast(d, operand)) {
    sum_map(ctx, f, s, out, ctx.workspace);
  } else {
    broadcast_map(ctx, f, s.dims, s.in, out);
  }
}

}  // namespace
}  // namespace lamella::cuda
