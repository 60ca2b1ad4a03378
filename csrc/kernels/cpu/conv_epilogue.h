// Activations on finished rows of the destination. ReLU is cheap enough to stand in the register tiles themselves; the
// others run over a tile's rows just after they were stored, while those are in L1.
#pragma once

#include "kernels/cpu/act_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr bool act_in_tile(Act a) { return a == Act::kIdentity || a == Act::kRelu; }

template <class T>
LAMELLA_INLINE Vec<T> relu(Vec<T> x) {
  return max(Vec<T>::zero(), x);
}

// y[r][i] = act(y[r][i]) for `rows` rows of n values; row r starts at rows_at[r] + offset.
template <class T>
LAMELLA_NOINLINE void activate_rows(const Activation& act, T* const* rows_at, int64_t offset, int64_t rows, int64_t n) {
  const Vec<T> alpha(static_cast<T>(act.alpha));
  with_act(act.act, [&](auto tag) {
    for (int64_t r = 0; r < rows; ++r) {
      T* y = rows_at[r] + offset;
      for (int64_t i = 0; i < n; i += Vec<T>::W) {
        act_forward<decltype(tag)::value>(Vec<T>::load(y + i, n - i), alpha).store(y + i, n - i);
      }
    }
  });
}
template <class T>
LAMELLA_INLINE void activate_row(const Activation& act, T* y, int64_t n) {
  activate_rows(act, &y, 0, 1, n);
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
