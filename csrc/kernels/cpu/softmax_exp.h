// The exponential in softmax and cross-entropy, whose argument, x - max(x), is never above 0.
#pragma once

#include "kernels/cpu/vmath.h"

namespace lamella::LAMELLA_NS {
namespace {

// exp(x) for x <= 0, NaN for NaN.
template <class T>
LAMELLA_INLINE Vec<T> exp_below(Vec<T> x) {
  const ExpSplit<T> e = exp_split(max(Vec<T>(MathConst<T>::kExpMin), x));
  return scale_by_pow2(exp_of_rest(e.r), e);
}

// While exponentials keep the core busy, the next row, so many elements on, is fetched with its result's place; not
// where rows are so long that it would push this one out of L1.
template <class T>
LAMELLA_INLINE int64_t fetched_row(int64_t n) {
  return n * int64_t{sizeof(T)} <= 8192 ? n : 0;
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
