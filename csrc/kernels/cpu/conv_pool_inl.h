// A pooling by 2x2 that follows a convolution: its windows on the way forward while their values are in registers, its
// gradient spread over a band of pixels on the way back.
#pragma once

#include <cstdint>

#include "kernels/cpu/conv_epilogue.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/max_inl.h"
#include "kernels/cpu/unroll_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

// Where one window's result goes.
template <class T>
struct PooledTo {
  T* y;
  uint8_t* argmax;  // or nullptr
};

// Taps 0 and 1 above 2 and 3; n: lanes that exist.
template <class T>
LAMELLA_INLINE void pool_window(Vec<T> v0, Vec<T> v1, Vec<T> v2, Vec<T> v3, bool is_relu, PooledTo<T> to, int64_t n) {
  const auto finish = [&](Vec<T> v) __attribute__((always_inline)) {
    if (is_relu) v = relu(v);
    if (n >= Vec<T>::W)
      v.store(to.y);
    else
      v.store(to.y, n);
  };
  if (to.argmax == nullptr) return finish(max_or_nan(max_or_nan(v0, v1), max_or_nan(v2, v3)));
  IVec<T> where(0);
  take_larger(v1, IVec<T>(1), v0, where);
  take_larger(v2, IVec<T>(2), v0, where);
  take_larger(v3, IVec<T>(3), v0, where);
  finish(v0);
  store_narrow<T>(where, to.argmax, n);
}

// The gradient of `rows` x `cols` windows of `c` channels, spread over 2*rows x 2*cols pixels.
template <class T>
LAMELLA_NOINLINE void unpool(const T* gradient, const uint8_t* argmax, int64_t rows, int64_t cols, int64_t c, T* dz) {
  constexpr int64_t W = Vec<T>::W;
  const int64_t row = 2 * cols * c;
  for (int64_t i = 0; i < rows; ++i, dz += 2 * row) {
    for (int64_t j = 0; j < cols; ++j, gradient += c, argmax += c) {
      for (int64_t k = 0; k < c; k += W) {
        const int64_t n = c - k;
        const Vec<T> g = Vec<T>::load(gradient + k, n);
        const IVec<T> where = load_wide<T>(argmax + k, n);
        T* const to = dz + 2 * j * c + k;
        unroll<4>(LAMELLA_UNROLLED(tap) {
          const Mask<T> mine = eq(where, IVec<T>(tap.value));
          select(mine, g, Vec<T>::zero()).store(to + tap.value / 2 * row + tap.value % 2 * c, n);
        });
      }
    }
  }
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
