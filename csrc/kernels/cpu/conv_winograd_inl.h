// Winograd's minimal filtering F(m x m, 3 x 3): the transforms of one tile, one vector of channels.
//
// A tile of P = m + 2 inputs in each direction gives m outputs: Y = A^T [(G g G^T) * (B^T d B)] A, with the product in
// the middle pointwise, so that it becomes P*P matrix products over the channels. The matrices follow from the
// interpolation points 0, +-a, (+-b,) infinity. For m = 4, a = 3/4 and b = 3/2 lose a third of the bits that the usual
// 1 and 2 lose (they balance the powers of the points), and every constant below is exact in binary.
#pragma once

#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

template <int M>
struct Winograd;

template <>
struct Winograd<4> {
  static constexpr int kOut = 4, kIn = 6;
  static constexpr double a = 0.75, b = 1.5;
  static constexpr double a2 = a * a, b2 = b * b;

  template <class T>
  static LAMELLA_INLINE void input(const Vec<T> (&d)[6], Vec<T> (&v)[6]) {
    using V = Vec<T>;
    const V sum{T(a2 + b2)}, product{T(a2 * b2)}, va2{T(a2)}, vb2{T(b2)}, va{T(a)}, vb{T(b)};
    v[0] = fma(product, d[0], fnma(sum, d[2], d[4]));
    v[5] = fma(product, d[1], fnma(sum, d[3], d[5]));
    const V even_a = fnma(vb2, d[2], d[4]), odd_a = fnma(vb2, d[1], d[3]);
    v[1] = fma(va, odd_a, even_a);
    v[2] = fnma(va, odd_a, even_a);
    const V even_b = fnma(va2, d[2], d[4]), odd_b = fnma(va2, d[1], d[3]);
    v[3] = fma(vb, odd_b, even_b);
    v[4] = fnma(vb, odd_b, even_b);
  }
  template <class T>
  static LAMELLA_INLINE void kernel(const Vec<T> (&g)[3], Vec<T> (&u)[6]) {
    using V = Vec<T>;
    constexpr double na = 1 / (2 * a2 * (a2 - b2)), nb = 1 / (2 * b2 * (b2 - a2));
    u[0] = V(T(1 / (a2 * b2))) * g[0];
    const V even_a = fma(V(T(a2 * na)), g[2], V(T(na)) * g[0]), odd_a = V(T(a * na)) * g[1];
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    const V even_b = fma(V(T(b2 * nb)), g[2], V(T(nb)) * g[0]), odd_b = V(T(b * nb)) * g[1];
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[2];
  }
  template <class T>
  static LAMELLA_INLINE void output(const Vec<T> (&m)[6], Vec<T> (&y)[4]) {
    using V = Vec<T>;
    const V sum_a = m[1] + m[2], diff_a = m[1] - m[2], sum_b = m[3] + m[4], diff_b = m[3] - m[4];
    y[0] = m[0] + (sum_a + sum_b);
    y[1] = fma(V(T(b)), diff_b, V(T(a)) * diff_a);
    y[2] = fma(V(T(b2)), sum_b, V(T(a2)) * sum_a);
    y[3] = fma(V(T(b * b2)), diff_b, fma(V(T(a * a2)), diff_a, m[5]));
  }
};

// Points 0, 1, -1, infinity.
template <>
struct Winograd<2> {
  static constexpr int kOut = 2, kIn = 4;

  template <class T>
  static LAMELLA_INLINE void input(const Vec<T> (&d)[4], Vec<T> (&v)[4]) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[3] - d[1];
  }
  template <class T>
  static LAMELLA_INLINE void kernel(const Vec<T> (&g)[3], Vec<T> (&u)[4]) {
    const Vec<T> half(T(0.5)), even = half * (g[0] + g[2]), odd = half * g[1];
    u[0] = g[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = g[2];
  }
  template <class T>
  static LAMELLA_INLINE void output(const Vec<T> (&m)[4], Vec<T> (&y)[2]) {
    y[0] = m[0] + (m[1] + m[2]);
    y[1] = (m[1] - m[2]) + m[3];
  }
};

// The transforms of a tile: along the columns, then along the rows. load(r, c) gives, store(r, c, value) takes a
// vector.
template <class W, class T, class Load, class Store>
LAMELLA_INLINE void winograd_input(const Load& load, const Store& store) {
  constexpr int P = W::kIn;
  Vec<T> half[P][P];
#pragma GCC unroll 8
  for (int c = 0; c < P; ++c) {
    Vec<T> d[P], v[P];
#pragma GCC unroll 8
    for (int r = 0; r < P; ++r) d[r] = load(r, c);
    W::input(d, v);
#pragma GCC unroll 8
    for (int r = 0; r < P; ++r) half[r][c] = v[r];
  }
#pragma GCC unroll 8
  for (int r = 0; r < P; ++r) {
    Vec<T> v[P];
    W::input(half[r], v);
#pragma GCC unroll 8
    for (int c = 0; c < P; ++c) store(r, c, v[c]);
  }
}

template <class W, class T, class Load, class Store>
LAMELLA_INLINE void winograd_kernel(const Load& load, const Store& store) {
  constexpr int P = W::kIn;
  Vec<T> half[P][3];
#pragma GCC unroll 8
  for (int c = 0; c < 3; ++c) {
    Vec<T> g[3], u[P];
#pragma GCC unroll 8
    for (int r = 0; r < 3; ++r) g[r] = load(r, c);
    W::kernel(g, u);
#pragma GCC unroll 8
    for (int r = 0; r < P; ++r) half[r][c] = u[r];
  }
#pragma GCC unroll 8
  for (int r = 0; r < P; ++r) {
    Vec<T> u[P];
    W::kernel(half[r], u);
#pragma GCC unroll 8
    for (int c = 0; c < P; ++c) store(r, c, u[c]);
  }
}

template <class W, class T, class Load, class Store>
LAMELLA_INLINE void winograd_output(const Load& load, const Store& store) {
  constexpr int P = W::kIn, M = W::kOut;
  Vec<T> half[M][P];
#pragma GCC unroll 8
  for (int c = 0; c < P; ++c) {
    Vec<T> m[P], y[M];
#pragma GCC unroll 8
    for (int r = 0; r < P; ++r) m[r] = load(r, c);
    W::output(m, y);
#pragma GCC unroll 8
    for (int r = 0; r < M; ++r) half[r][c] = y[r];
  }
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
    Vec<T> y[M];
    W::output(half[r], y);
#pragma GCC unroll 8
    for (int c = 0; c < M; ++c) store(r, c, y[c]);
  }
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
