// Winograd's minimal filtering F(m x m, 3 x 3), at stride 1 and 2: the transforms of one tile, one vector of channels.
//
// A tile of P = m + 2 inputs in each direction gives m outputs: Y = A^T [(G g G^T) * (B^T d B)] A, with the product in
// the middle pointwise, so that it becomes P*P matrix products over the channels. The matrices follow from the
// interpolation points 0, +-a, (+-b,) infinity. For m = 4, a = 3/4 and b = 3/2 lose a third of the bits that the usual
// 1 and 2 lose (they balance the powers of the points), and every constant below is exact in binary.
#pragma once

#include "kernels/cpu/conv_geometry.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/unroll_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

// A stride in elements that is no multiple of a power of two, so that rows or points do not fall into the same cache
// sets.
template <class T>
int64_t winograd_stride(int64_t elements) {
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
  const int64_t lines = ceil_div(elements, line);
  return (lines % 8 == 0 ? lines + 1 : lines) * line;
}

// How far ahead of a pixel of a tile of Side x Side to fetch: the same pixel of the next tile, `tile` elements further;
// of large tiles its own next channels, for what is fetched for the next tile does not stay until then.
template <class T, int Side>
constexpr int64_t winograd_ahead(int64_t tile) {
  return Side > 8 ? Vec<T>::W : tile;
}

// Along one axis: kIn inputs, kStep further for the next tile, to kPoints points, to kOut outputs. Points from
// kKernelPoints on have the transformed kernel of the last before them. The gradient to weights runs the transforms of
// output and kernel backwards (_adjoint).
template <int M>
struct Winograd;

template <>
struct Winograd<4> {
  static constexpr int kOut = 4, kIn = 6, kPoints = 6, kKernelPoints = 6, kStep = 4;
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
  template <class T>
  static LAMELLA_INLINE void output_adjoint(const Vec<T> (&y)[4], Vec<T> (&m)[6]) {
    using V = Vec<T>;
    m[0] = y[0];
    const V even_a = fma(V(T(a2)), y[2], y[0]), odd_a = fma(V(T(a * a2)), y[3], V(T(a)) * y[1]);
    m[1] = even_a + odd_a;
    m[2] = even_a - odd_a;
    const V even_b = fma(V(T(b2)), y[2], y[0]), odd_b = fma(V(T(b * b2)), y[3], V(T(b)) * y[1]);
    m[3] = even_b + odd_b;
    m[4] = even_b - odd_b;
    m[5] = y[3];
  }
  template <class T>
  static LAMELLA_INLINE void kernel_adjoint(const Vec<T> (&u)[6], Vec<T> (&g)[3]) {
    using V = Vec<T>;
    constexpr double na = 1 / (2 * a2 * (a2 - b2)), nb = 1 / (2 * b2 * (b2 - a2));
    const V sum_a = u[1] + u[2], diff_a = u[1] - u[2], sum_b = u[3] + u[4], diff_b = u[3] - u[4];
    g[0] = fma(V(T(1 / (a2 * b2))), u[0], fma(V(T(na)), sum_a, V(T(nb)) * sum_b));
    g[1] = fma(V(T(a * na)), diff_a, V(T(b * nb)) * diff_b);
    g[2] = fma(V(T(a2 * na)), sum_a, fma(V(T(b2 * nb)), sum_b, u[5]));
  }
};

// Points 0, 1, -1, infinity.
template <>
struct Winograd<2> {
  static constexpr int kOut = 2, kIn = 4, kPoints = 4, kKernelPoints = 4, kStep = 2;

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

// F(4, 2): two taps. Points +-1/2, +-3/2, infinity.
struct WinogradTwoTaps {
  static constexpr double a = 0.5, b = 1.5;
  static constexpr double a2 = a * a, b2 = b * b, na = 1 / (2 * a * (a2 - b2)), nb = 1 / (2 * b * (b2 - a2));

  template <class T>
  static LAMELLA_INLINE void input(const Vec<T>& d0, const Vec<T>& d1, const Vec<T>& d2, const Vec<T>& d3,
                                   const Vec<T>& d4, Vec<T>* v) {
    using V = Vec<T>;
    const V va2{T(a2)}, vb2{T(b2)}, va{T(a)}, vb{T(b)};
    const V odd_a = fnma(vb2, d1, d3), even_a = fnma(vb2, d0, d2);
    v[0] = fma(va, even_a, odd_a);
    v[1] = fnma(va, even_a, odd_a);
    const V odd_b = fnma(va2, d1, d3), even_b = fnma(va2, d0, d2);
    v[2] = fma(vb, even_b, odd_b);
    v[3] = fnma(vb, even_b, odd_b);
    v[4] = fma(V(T(a2 * b2)), d0, fnma(V(T(a2 + b2)), d2, d4));
  }
  template <class T>
  static LAMELLA_INLINE void kernel(const Vec<T>& g0, const Vec<T>& g1, Vec<T>* u) {
    using V = Vec<T>;
    const V even_a = V(T(na)) * g0, odd_a = V(T(a * na)) * g1, even_b = V(T(nb)) * g0, odd_b = V(T(b * nb)) * g1;
    u[0] = odd_a + even_a;
    u[1] = odd_a - even_a;
    u[2] = odd_b + even_b;
    u[3] = odd_b - even_b;
    u[4] = g1;
  }
  template <class T>
  static LAMELLA_INLINE void output(const Vec<T>* m, Vec<T> (&y)[4]) {
    using V = Vec<T>;
    const V sum_a = m[0] + m[1], diff_a = m[0] - m[1], sum_b = m[2] + m[3], diff_b = m[2] - m[3];
    y[0] = sum_a + sum_b;
    y[1] = fma(V(T(b)), diff_b, V(T(a)) * diff_a);
    y[2] = fma(V(T(b2)), sum_b, V(T(a2)) * sum_a);
    y[3] = fma(V(T(b * b2)), diff_b, fma(V(T(a * a2)), diff_a, m[4]));
  }
};

// Stride 2: outputs see the even inputs with the outer taps and the odd inputs with the middle one, which needs no
// transform.
struct WinogradStride2 {
  static constexpr int kOut = 4, kIn = 9, kPoints = 9, kKernelPoints = 6, kStep = 8;

  template <class T>
  static LAMELLA_INLINE void input(const Vec<T> (&d)[9], Vec<T> (&v)[9]) {
    WinogradTwoTaps::input(d[0], d[2], d[4], d[6], d[8], v);
    unroll<4>(LAMELLA_UNROLLED(i) { v[5 + i.value] = d[1 + 2 * i.value]; });
  }
  template <class T>
  static LAMELLA_INLINE void kernel(const Vec<T> (&g)[3], Vec<T> (&u)[6]) {
    WinogradTwoTaps::kernel(g[0], g[2], u);
    u[5] = g[1];
  }
  template <class T>
  static LAMELLA_INLINE void output(const Vec<T> (&m)[9], Vec<T> (&y)[4]) {
    WinogradTwoTaps::output(m, y);
    unroll<4>(LAMELLA_UNROLLED(i) { y[i.value] = y[i.value] + m[5 + i.value]; });
  }
  template <class T>
  static LAMELLA_INLINE void output_adjoint(const Vec<T> (&y)[4], Vec<T> (&m)[9]) {
    using V = Vec<T>;
    constexpr double a = WinogradTwoTaps::a, b = WinogradTwoTaps::b, a2 = a * a, b2 = b * b;
    const V even_a = fma(V(T(a2)), y[2], y[0]), odd_a = fma(V(T(a * a2)), y[3], V(T(a)) * y[1]);
    m[0] = even_a + odd_a;
    m[1] = even_a - odd_a;
    const V even_b = fma(V(T(b2)), y[2], y[0]), odd_b = fma(V(T(b * b2)), y[3], V(T(b)) * y[1]);
    m[2] = even_b + odd_b;
    m[3] = even_b - odd_b;
    m[4] = y[3];
    unroll<4>(LAMELLA_UNROLLED(i) { m[5 + i.value] = y[i.value]; });
  }
  template <class T>
  static LAMELLA_INLINE void kernel_adjoint(const Vec<T> (&u)[6], Vec<T> (&g)[3]) {
    using V = Vec<T>;
    using W = WinogradTwoTaps;
    g[0] = fma(V(T(W::na)), u[0] - u[1], V(T(W::nb)) * (u[2] - u[3]));
    g[1] = u[5];
    g[2] = fma(V(T(W::a * W::na)), u[0] + u[1], fma(V(T(W::b * W::nb)), u[2] + u[3], u[4]));
  }
};

// Its gradient to data: of every two destination pixels one sees the outer taps of the turned kernel, the other the
// middle one. MiddleFirst: that is the first of the two.
template <bool MiddleFirst>
struct WinogradStride2Data {
  static constexpr int kOut = 8, kIn = 5, kPoints = 9, kKernelPoints = 6, kStep = 4;
  static constexpr bool kMiddleFirst = MiddleFirst;

  template <class T>
  static LAMELLA_INLINE void input(const Vec<T> (&d)[5], Vec<T> (&v)[9]) {
    WinogradTwoTaps::input(d[0], d[1], d[2], d[3], d[4], v);
    unroll<4>(LAMELLA_UNROLLED(i) { v[5 + i.value] = d[i.value + (MiddleFirst ? 0 : 1)]; });
  }
  template <class T>
  static LAMELLA_INLINE void kernel(const Vec<T> (&g)[3], Vec<T> (&u)[6]) {
    WinogradStride2::kernel(g, u);
  }
  template <class T>
  static LAMELLA_INLINE void output(const Vec<T> (&m)[9], Vec<T> (&y)[8]) {
    Vec<T> outer[4];
    WinogradTwoTaps::output(m, outer);
    unroll<4>(LAMELLA_UNROLLED(i) {
      y[2 * i.value + (MiddleFirst ? 1 : 0)] = outer[i.value];
      y[2 * i.value + (MiddleFirst ? 0 : 1)] = m[5 + i.value];
    });
  }
};

// A transform of a square of From x From vectors to To x To: along the columns, then along the rows. load(r, c) gives,
// store(r, c, value) takes a vector.
template <class T, int From, int To, class Along, class Load, class Store>
LAMELLA_INLINE void winograd_transform(const Along& along, const Load& load, const Store& store) {
  Vec<T> half[To][From];
#pragma GCC unroll 16
  for (int c = 0; c < From; ++c) {
    Vec<T> from[From], to[To];
#pragma GCC unroll 16
    for (int r = 0; r < From; ++r) from[r] = load(r, c);
    along(from, to);
#pragma GCC unroll 16
    for (int r = 0; r < To; ++r) half[r][c] = to[r];
  }
#pragma GCC unroll 16
  for (int r = 0; r < To; ++r) {
    Vec<T> to[To];
    along(half[r], to);
#pragma GCC unroll 16
    for (int c = 0; c < To; ++c) store(r, c, to[c]);
  }
}

template <class W, class T, class Load, class Store>
LAMELLA_INLINE void winograd_input(const Load& load, const Store& store) {
  winograd_transform<T, W::kIn, W::kPoints>(
      [](const auto& d, auto& v) __attribute__((always_inline)) { W::input(d, v); }, load, store);
}
template <class W, class T, class Load, class Store>
LAMELLA_INLINE void winograd_kernel(const Load& load, const Store& store) {
  winograd_transform<T, 3, W::kKernelPoints>(
      [](const auto& g, auto& u) __attribute__((always_inline)) { W::kernel(g, u); }, load, store);
}
template <class W, class T, class Load, class Store>
LAMELLA_INLINE void winograd_output(const Load& load, const Store& store) {
  winograd_transform<T, W::kPoints, W::kOut>(
      [](const auto& m, auto& y) __attribute__((always_inline)) { W::output(m, y); }, load, store);
}
template <class W, class T, class Load, class Store>
LAMELLA_INLINE void winograd_output_adjoint(const Load& load, const Store& store) {
  winograd_transform<T, W::kOut, W::kPoints>(
      [](const auto& y, auto& m) __attribute__((always_inline)) { W::output_adjoint(y, m); }, load, store);
}
template <class W, class T, class Load, class Store>
LAMELLA_INLINE void winograd_kernel_adjoint(const Load& load, const Store& store) {
  winograd_transform<T, W::kKernelPoints, 3>(
      [](const auto& u, auto& g) __attribute__((always_inline)) { W::kernel_adjoint(u, g); }, load, store);
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
