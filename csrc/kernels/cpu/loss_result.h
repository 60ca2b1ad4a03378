// From per-chunk sums to a loss, and from a loss's gradient back to what multiplies each row or element.
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/loss.h"

namespace lamella::LAMELLA_NS {
namespace {

// What one chunk contributes; chunks are added up in their order.
struct LossSums {
  double loss = 0, weight = 0, count = 0;
};

// scale: a factor of kSum alone.
template <class T>
LAMELLA_INLINE void finish_loss(const LossResult<T>& r, const LossSums* sums, int64_t chunks, double scale) {
  if (r.reduction == Reduction::kNone) return;
  LossSums s;
  for (int64_t i = 0; i < chunks; ++i) {
    s.loss += sums[i].loss;
    s.weight += sums[i].weight;
    s.count += sums[i].count;
  }
  double norm = scale;
  if (r.reduction == Reduction::kMean) norm = s.count > 0 ? 1.0 / s.count : 0.0;
  if (r.reduction == Reduction::kWeightedMean) norm = 1.0 / s.weight;
  *r.total = static_cast<T>(s.loss * norm);
  if (r.norm) *r.norm = static_cast<T>(norm);
}

template <class T>
LAMELLA_INLINE T loss_seed(const LossSeed<T>& s) {
  return s.reduction == Reduction::kNone ? T(1) : s.grad[0] * s.norm[0];
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
