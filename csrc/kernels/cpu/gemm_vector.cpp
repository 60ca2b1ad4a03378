// Products with few rows or columns, bound by memory: rows of B streamed into a buffer of sums, and dot products.
#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/gemm_plan.h"
#include "kernels/cpu/unroll_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

// Each row of B begins a new run of memory: its first lines are fetched ahead, till the hardware has seen the pattern.
constexpr int64_t kAheadLines = 8;

// sums[i*ld + j] += a[i*rs_a + r*cs_a] * b[r*ldb + j] for r < R: M rows, R steps, j < n. One pass over the sums serves
// R rows of B, read side by side.
template <class T, int M, int R>
LAMELLA_INLINE void add_rows(int64_t n, const T* a, int64_t rs_a, int64_t cs_a, const T* b, int64_t ldb, T* sums,
                             int64_t ld) {
  using V = Vec<T>;
  V x[M][R];
  unroll<M>(LAMELLA_UNROLLED(i) {
    unroll<R>(LAMELLA_UNROLLED(r) { x[i.value][r.value] = V(a[i.value * rs_a + r.value * cs_a]); });
  });
  const auto step = [&](int64_t j, auto load) __attribute__((always_inline)) {
    V s[M];
    unroll<M>(LAMELLA_UNROLLED(i) { s[i.value] = V::load(sums + i.value * ld + j); });
    unroll<R>(LAMELLA_UNROLLED(r) {
      const V y = load(b + r.value * ldb + j);
      unroll<M>(LAMELLA_UNROLLED(i) { s[i.value] = fma(x[i.value][r.value], y, s[i.value]); });
    });
    unroll<M>(LAMELLA_UNROLLED(i) { s[i.value].store(sums + i.value * ld + j); });
  };
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t l = 0; l < kAheadLines * kLine && l < n; l += kLine)
    unroll<R>(LAMELLA_UNROLLED(r) { __builtin_prefetch(b + (r.value + R) * ldb + l); });
  int64_t j = 0;
  for (; j + V::W <= n; j += V::W)
    step(
        j, [](const T* p) __attribute__((always_inline)) { return V::load(p); });
  if (j < n)
    step(
        j, [&](const T* p) __attribute__((always_inline)) { return V::load(p, n - j); });
}

template <class T, int R>
LAMELLA_INLINE void add_rows(int64_t m, int64_t n, const T* a, int64_t rs_a, int64_t cs_a, const T* b, int64_t ldb,
                             T* sums, int64_t ld) {
  constexpr int M = GemmTile<T>::kStreamRows;
  for (; m >= M; m -= M, a += M * rs_a, sums += M * ld) add_rows<T, M, R>(n, a, rs_a, cs_a, b, ldb, sums, ld);
  if constexpr (M > 3)
    if (m == 3) return add_rows<T, 3, R>(n, a, rs_a, cs_a, b, ldb, sums, ld);
  if constexpr (M > 2)
    if (m == 2) return add_rows<T, 2, R>(n, a, rs_a, cs_a, b, ldb, sums, ld);
  if (m == 1) add_rows<T, 1, R>(n, a, rs_a, cs_a, b, ldb, sums, ld);
}

template <class T>
LAMELLA_INLINE void rows_path(const GemmParams<T>& p, int64_t kc, int64_t j0, int64_t j1) {
  constexpr int64_t kSums = 16384 / sizeof(T);  // in L1, beside the rows that pass by
  alignas(64) T sums[kSums];
  const int64_t chunk = kSums / p.m / Vec<T>::W * Vec<T>::W;
  for (int64_t j = j0; j < j1; j += chunk) {
    const int64_t n = min64(chunk, j1 - j), ld = round_up(n, Vec<T>::W);
    for (int64_t p0 = 0; p0 < p.k; p0 += kc) {
      constexpr int R = 4;
      const int64_t steps = min64(kc, p.k - p0);
      const T* a = p.a + p0 * p.cs_a;
      const T* b = p.b + p0 * p.rs_b + j;
      for (int64_t i = 0; i < p.m * ld; i += Vec<T>::W) Vec<T>::zero().store(sums + i);
      int64_t r = 0;
      for (; r + R <= steps; r += R)
        add_rows<T, R>(p.m, n, a + r * p.cs_a, p.rs_a, p.cs_a, b + r * p.rs_b, p.rs_b, sums, ld);
      for (; r < steps; ++r) add_rows<T, 1>(p.m, n, a + r * p.cs_a, p.rs_a, p.cs_a, b + r * p.rs_b, p.rs_b, sums, ld);
      const TileOut<T> out = tile_out(p.c, p.ldc, gemm_epilogue(p, p0 == 0, p0 + steps >= p.k));
      for (int64_t i = 0; i < p.m; ++i) store_row(sums + i * ld, n, p.c + i * p.ldc + j, offset(out.bias, j), out);
    }
  }
}

// d[0..3] = the sums of the lanes of v[0..3].
template <class T>
LAMELLA_INLINE void sum4(const Vec<T>* v, T* d) {
#if defined(LAMELLA_ISA_AVX512) || defined(LAMELLA_ISA_AVX2)
  const auto half = [](Vec<T> x) __attribute__((always_inline)) {
#if defined(LAMELLA_ISA_AVX512)
    return _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
#else
    return x.v;
#endif
  };
  const __m256 a = _mm256_hadd_ps(half(v[0]), half(v[1])), b = _mm256_hadd_ps(half(v[2]), half(v[3]));
  const __m256 c = _mm256_hadd_ps(a, b);
  _mm_storeu_ps(d, _mm_add_ps(_mm256_castps256_ps128(c), _mm256_extractf128_ps(c, 1)));
#else
  for (int i = 0; i < 4; ++i) d[i] = sum(v[i]);
#endif
}

// d[i*ld + j] = sum over p of a[i*rs + p] * b[j*cs + p]: M rows, N columns, N a multiple of 4 or less than 4 (then d
// has room for 4).
template <class T, int M, int N>
void dot_tile(int64_t k, const T* a, int64_t rs, const T* b, int64_t cs, T* d, int64_t ld) {
  using V = Vec<T>;
  V acc[M][N];
  unroll<M>(LAMELLA_UNROLLED(i) { unroll<N>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = V::zero(); }); });
  const auto step = [&](int64_t p, auto load) __attribute__((always_inline)) {
    V x[M];
    unroll<M>(LAMELLA_UNROLLED(i) { x[i.value] = load(a + i.value * rs + p); });
    unroll<N>(LAMELLA_UNROLLED(j) {
      const V y = load(b + j.value * cs + p);
      unroll<M>(LAMELLA_UNROLLED(i) { acc[i.value][j.value] = fma(x[i.value], y, acc[i.value][j.value]); });
    });
  };
  int64_t p = 0;
  for (; p + V::W <= k; p += V::W)
    step(
        p, [](const T* q) __attribute__((always_inline)) { return V::load(q); });
  if (p < k)
    step(
        p, [&](const T* q) __attribute__((always_inline)) { return V::load(q, k - p); });
  unroll<M>(LAMELLA_UNROLLED(i) {
    if constexpr (N >= 4) {
      unroll<N / 4>(LAMELLA_UNROLLED(q) { sum4<T>(acc[i.value] + 4 * q.value, d + i.value * ld + 4 * q.value); });
    } else {
      V v[4] = {acc[i.value][0], acc[i.value][N - 1], V::zero(), V::zero()};
      if constexpr (N == 3) v[1] = acc[i.value][1], v[2] = acc[i.value][2];
      sum4<T>(v, d + i.value * ld);
    }
  });
}

template <class T, int M>
LAMELLA_INLINE void dot_columns(int64_t k, int64_t n, const T* a, int64_t rs, const T* b, int64_t cs, T* d,
                                int64_t ld) {
  constexpr int N = M == 1 ? 8 : 4;  // enough chains to hide the latency of fma
  int64_t j = 0;
  for (; j + N <= n; j += N) dot_tile<T, M, N>(k, a, rs, b + j * cs, cs, d + j, ld);
  if constexpr (N == 8)
    for (; j + 4 <= n; j += 4) dot_tile<T, M, 4>(k, a, rs, b + j * cs, cs, d + j, ld);
  switch (n - j) {
    case 3:
      return dot_tile<T, M, 3>(k, a, rs, b + j * cs, cs, d + j, ld);
    case 2:
      return dot_tile<T, M, 2>(k, a, rs, b + j * cs, cs, d + j, ld);
    case 1:
      return dot_tile<T, M, 1>(k, a, rs, b + j * cs, cs, d + j, ld);
    default:
      return;
  }
}

template <class T>
LAMELLA_INLINE void dots_path(const GemmParams<T>& p, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  constexpr int kM = GemmTile<T>::kDotRows;
  constexpr int64_t kColumns = 256;
  alignas(64) T sums[kM * kColumns];
  const TileOut<T> out = tile_out(p.c, p.ldc, gemm_epilogue(p, true, true));
  // Several row tiles share the columns of a chunk: those should still be in L1 then.
  const int64_t fits = 6144 / max64(p.k, 1) / 8 * 8;
  const int64_t chunk = i1 - i0 <= kM ? kColumns : min64(kColumns, max64(8, fits));
  for (int64_t j = j0; j < j1; j += chunk) {
    const int64_t n = min64(chunk, j1 - j), ld = round_up(n, 4);
    const T* b = p.b + j * p.cs_b;
    for (int64_t i = i0; i < i1; i += kM) {
      const T* a = p.a + i * p.rs_a;
      const int64_t rows = min64(kM, i1 - i);
      switch (rows) {
        case 1:
          dot_columns<T, 1>(p.k, n, a, p.rs_a, b, p.cs_b, sums, ld);
          break;
        case 2:
          dot_columns<T, 2>(p.k, n, a, p.rs_a, b, p.cs_b, sums, ld);
          break;
        case 3:
          if constexpr (kM >= 3) dot_columns<T, 3>(p.k, n, a, p.rs_a, b, p.cs_b, sums, ld);
          break;
        default:
          if constexpr (kM >= 4) dot_columns<T, 4>(p.k, n, a, p.rs_a, b, p.cs_b, sums, ld);
          break;
      }
      for (int64_t r = 0; r < rows; ++r)
        store_row(sums + r * ld, n, p.c + (i + r) * p.ldc + j, offset(out.bias, j), out);
    }
  }
}

}  // namespace

void gemm_rows(const GemmParams<float>& p, int64_t kc, int64_t j0, int64_t j1) { rows_path(p, kc, j0, j1); }
void gemm_dots(const GemmParams<float>& p, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  dots_path(p, i0, i1, j0, j1);
}
#if defined(LAMELLA_ISA_PORTABLE)
void gemm_rows(const GemmParams<double>& p, int64_t kc, int64_t j0, int64_t j1) { rows_path(p, kc, j0, j1); }
void gemm_dots(const GemmParams<double>& p, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  dots_path(p, i0, i1, j0, j1);
}
#endif

}  // namespace lamella::LAMELLA_NS
