// The larger of two values, and where it was: NaN wins over everything, as in PyTorch and NumPy.
#pragma once

#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
LAMELLA_INLINE Vec<T> max_or_nan(Vec<T> a, Vec<T> b) {
  return select(is_nan(a), a, max(a, b));
}

// m, which came from `where`, becomes v, which comes from `tap`, where that is larger. Ties go to the first; of several
// NaN the last is taken, as in PyTorch.
template <class T>
LAMELLA_INLINE void take_larger(Vec<T> v, IVec<T> tap, Vec<T>& m, IVec<T>& where) {
  const Mask<T> take = gt(v, m) | is_nan(v);
  m = select(take, v, m);
  where = select(take, tap, where);
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
