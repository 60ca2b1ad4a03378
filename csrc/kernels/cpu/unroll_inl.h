// Loops unrolled by construction: the index is a constant, so that arrays of vectors stay in registers.
//
//   unroll<4>(LAMELLA_UNROLLED(i) { acc[i.value] = V::zero(); });
#pragma once

#include <utility>

#include "kernels/cpu/isa.h"

namespace lamella::LAMELLA_NS {
namespace {

template <int I>
struct Index {
  static constexpr int value = I;
};
template <class F, int... I>
LAMELLA_INLINE void unroll_each(const F& f, std::integer_sequence<int, I...>) {
  (f(Index<I>{}), ...);
}
template <int N, class F>
LAMELLA_INLINE void unroll(const F& f) {
  unroll_each(f, std::make_integer_sequence<int, N>{});
}
#define LAMELLA_UNROLLED(i) [&]([[maybe_unused]] auto i) __attribute__((always_inline))

}  // namespace
}  // namespace lamella::LAMELLA_NS
