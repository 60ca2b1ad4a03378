#include "limit_loops.h"

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

// With two units and a latency of 4 cycles, 8 chains would do for fused multiply-adds; on the portable level, where the
// product and the sum are two instructions, 12. They and their factors fit 16 registers.
constexpr int kChains = 12;

template <class T>
T multiply_add(int64_t rounds, T x, T y) {
  using V = Vec<T>;
  const V factor(x), term(y);
  V acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = V(static_cast<T>(i));
  for (int64_t r = 0; r < rounds; ++r)
    for (int i = 0; i < kChains; ++i) acc[i] = fma(acc[i], factor, term);
  V all = acc[0];
  for (int i = 1; i < kChains; ++i) all = all + acc[i];
  return sum(all);
}

// body(i) for vectors of [0, n), as many at a time as hide the latency of an addition.
constexpr int kUnroll = 8;
template <class T, class Body>
LAMELLA_INLINE void vectors(int64_t n, const Body& body) {
  constexpr int W = Vec<T>::W;
  for (int64_t i = 0; i < n; i += kUnroll * W)
    for (int u = 0; u < kUnroll; ++u) body(i + u * W, u);
}

template <class T>
T read(int64_t n, const T* x) {
  using V = Vec<T>;
  V acc[kUnroll];
  for (int u = 0; u < kUnroll; ++u) acc[u] = V::zero();
  vectors<T>(n, [&](int64_t i, int u) { acc[u] = acc[u] + V::load(x + i); });
  for (int u = 1; u < kUnroll; ++u) acc[0] = acc[0] + acc[u];
  return sum(acc[0]);
}

template <class T>
void write(int64_t n, T* y) {
  vectors<T>(n, [&](int64_t i, int) { Vec<T>(T(1)).store(y + i); });
}

template <class T>
void write_around(int64_t n, T* y) {
  vectors<T>(n, [&](int64_t i, int) { Vec<T>(T(1)).stream(y + i); });
  stream_fence();
}

template <class T>
void copy(int64_t n, const T* x, T* y) {
  vectors<T>(n, [&](int64_t i, int) { Vec<T>::load(x + i).store(y + i); });
}

template <class T>
void copy_around(int64_t n, const T* x, T* y) {
  vectors<T>(n, [&](int64_t i, int) { Vec<T>::load(x + i).stream(y + i); });
  stream_fence();
}

template <class T>
void update(int64_t n, const T* x, T* y) {
  using V = Vec<T>;
  const V half(T(0.5));
  vectors<T>(n, [&](int64_t i, int) { fma(half, V::load(y + i), V::load(x + i)).store(y + i); });
}

template <class T>
void fill_loops(bench::LimitLoops<T>& loops) {
  loops.multiply_add = multiply_add<T>;
  loops.flops_per_round = 2.0 * kChains * Vec<T>::W;
  loops.read = read<T>;
  loops.write = write<T>;
  loops.write_around = write_around<T>;
  loops.copy = copy<T>;
  loops.copy_around = copy_around<T>;
  loops.update = update<T>;
}

}  // namespace

void fill(bench::LimitLoops<float>& loops) { fill_loops(loops); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(bench::LimitLoops<double>& loops) { fill_loops(loops); }
#endif

}  // namespace lamella::LAMELLA_NS
