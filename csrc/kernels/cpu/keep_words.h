// What is kept and what is dropped, by random words.
#pragma once

#include "kernels/cpu/normal.h"

namespace lamella::LAMELLA_NS {
namespace {

// Whether word >= threshold, as unsigned numbers.
LAMELLA_INLINE Mask<float> at_least(IVec<float> word, uint32_t threshold) {
  const IVec<float> sign(INT32_MIN);
  const IVec<float> t(static_cast<int32_t>(threshold ^ 0x80000000u));
  return !gt(t, word ^ sign);
}

// y[i] = words[i] >= threshold ? a(i) : b(i).
template <class T, class A, class B>
LAMELLA_INLINE void select_by_word(int64_t n, const uint32_t* words, uint32_t threshold, T* y, const A& a, const B& b) {
  if constexpr (sizeof(T) == sizeof(float)) {
    for_each_vec<T>(0, n, [&](int64_t i, auto step) {
      store(y + i, select(at_least(load_words(words + i), threshold), a(i, step), b(i, step)), step);
    });
  } else {
    for_each_vec<T>(0, n, [&](int64_t i, auto step) {
      T keep[Vec<T>::W];
      for (int l = 0; l < Vec<T>::W; ++l) keep[l] = words[i + l] >= threshold ? T(1) : T(0);
      store(y + i, select(gt(Vec<T>::load(keep), Vec<T>::zero()), a(i, step), b(i, step)), step);
    });
  }
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
