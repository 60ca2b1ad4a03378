// From blocks' sums to a loss, and from a loss's gradient back to what multiplies each row or element.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/loss.h"

namespace lamella::cuda {

// What one block contributes; blocks are added up in a fixed order.
struct LossSums {
  double loss = 0, weight = 0, count = 0;
};
constexpr int kMostLossBlocks = 2048;

namespace {

__device__ inline LossSums block_sums(const LossSums& s) {
  __shared__ double scratch[32];
  return {block_sum(s.loss, scratch), block_sum(s.weight, scratch), block_sum(s.count, scratch)};
}

// scale: a factor of kSum alone.
template <class T>
__device__ void write_loss(const LossResult<T>& r, const LossSums& s, double scale) {
  double norm = scale;
  if (r.reduction == Reduction::kMean) norm = s.count > 0 ? 1.0 / s.count : 0.0;
  if (r.reduction == Reduction::kWeightedMean) norm = 1.0 / s.weight;
  *r.total = static_cast<T>(s.loss * norm);
  if (r.norm != nullptr) *r.norm = static_cast<T>(norm);
}

// By all threads of a block, with what each has: a single block gives the loss, several leave their sums in `parts`.
template <class T>
__device__ void leave_sums(const LossResult<T>& r, LossSums s, double scale, LossSums* parts) {
  if (r.reduction == Reduction::kNone) return;
  s = block_sums(s);
  if (threadIdx.x != 0) return;
  if (gridDim.x == 1) {
    write_loss(r, s, scale);
  } else {
    parts[blockIdx.x] = s;
  }
}

template <class T>
__global__ void __launch_bounds__(256) add_up(LossResult<T> r, const LossSums* parts, int count, double scale) {
  LossSums s;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    s.loss += parts[i].loss;
    s.weight += parts[i].weight;
    s.count += parts[i].count;
  }
  s = block_sums(s);
  if (threadIdx.x == 0) write_loss(r, s, scale);
}

template <class T>
void finish_loss(const Context& ctx, const LossResult<T>& r, unsigned blocks, double scale) {
  if (r.reduction == Reduction::kNone || blocks == 1) return;
  launch(ctx, add_up<T>, {dim3(1), dim3(256)}, r, static_cast<const LossSums*>(ctx.workspace), static_cast<int>(blocks),
         scale);
}

template <class T>
__device__ T loss_seed(const LossSeed<T>& s) {
  return s.reduction == Reduction::kNone ? T(1) : s.grad[0] * s.norm[0];
}

// As NumPy's, for numbers; of NaNs the second.
template <class T>
__device__ T larger(T a, T b) {
  return a > b ? a : b;
}
template <class T>
__device__ T smaller(T a, T b) {
  return a < b ? a : b;
}

}  // namespace
}  // namespace lamella::cuda
