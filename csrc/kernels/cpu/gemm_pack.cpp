// Packing of A and B into the panels that the macro kernel streams.
#include "kernels/cpu/gemm_core.h"
#include "kernels/cpu/transpose_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

// dst[p*ldd + r] = src[p*lds + r] for r < width.
template <class T>
LAMELLA_INLINE void copy_rows(int64_t steps, int64_t width, const T* src, int64_t lds, T* dst, int64_t ldd) {
  constexpr int W = Vec<T>::W;
  if (width == 2 * W) {
    for (int64_t p = 0; p < steps; ++p, src += lds, dst += ldd) {
      const Vec<T> x = Vec<T>::load(src), y = Vec<T>::load(src + W);
      x.store(dst);
      y.store(dst + W);
    }
    return;
  }
  for (int64_t p = 0; p < steps; ++p, src += lds, dst += ldd)
    for (int64_t r = 0; r < width; r += W) Vec<T>::load(src + r, width - r).store(dst + r, width - r);
}

// dst[p*ldd + r] = src[r*lds + p] for r < width.
template <class T>
LAMELLA_INLINE void transpose_rows(int64_t steps, int64_t width, const T* src, int64_t lds, T* dst, int64_t ldd) {
  constexpr int W = Vec<T>::W;
  for (int64_t r = 0; r < width; r += W) {
    const int64_t rows = width - r < W ? width - r : W;
    int64_t p = 0;
    for (; p < steps; p += W) {
      const int64_t cols = steps - p < W ? steps - p : W;
      transpose_tile(rows, cols, src + r * lds + p, lds, dst + p * ldd + r, ldd);
    }
  }
}

template <class T>
LAMELLA_INLINE void pack_panel(int64_t steps, int64_t width, const T* src, int64_t step_stride, int64_t lane_stride,
                               T* dst, int64_t ldd) {
  if (lane_stride == 1) {
    copy_rows(steps, width, src, step_stride, dst, ldd);
  } else if (step_stride == 1) {
    transpose_rows(steps, width, src, lane_stride, dst, ldd);
  } else {
    for (int64_t p = 0; p < steps; ++p)
      for (int64_t r = 0; r < width; ++r) dst[p * ldd + r] = src[p * step_stride + r * lane_stride];
  }
}

// A panel of A from row-major memory: as transpose_rows, but whole vectors are stored, each over the one before. Up to
// W elements past the panel are written: gemm_pack_a_size has room.
template <class T>
LAMELLA_INLINE void transpose_panel(int64_t steps, int64_t rows, const T* src, int64_t lds, T* dst, int64_t mr) {
  constexpr int W = Vec<T>::W;
  int64_t p = 0;
  for (; p + W <= steps; p += W, src += W, dst += W * mr) {
    Vec<T> v[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) v[i] = i < rows ? Vec<T>::load(src + i * lds) : Vec<T>::zero();
    transpose_vectors(v);
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) v[i].store(dst + i * mr);
  }
  if (p < steps) transpose_tile(rows, steps - p, src, lds, dst, mr);
}

template <class T>
LAMELLA_INLINE void pack_a(int64_t m, int64_t kc, const T* a, int64_t rs, int64_t cs, int64_t mr, T* ap) {
  for (int64_t i = 0; i < m; i += mr) {
    const int64_t rows = m - i < mr ? m - i : mr;
    if (cs == 1 && rs != 1 && mr <= kGemmMR<T> && mr <= Vec<T>::W)
      transpose_panel(kc, rows, a + i * rs, rs, ap, mr);
    else
      pack_panel(kc, rows, a + i * rs, cs, rs, ap, mr);
    ap += mr * kc;
  }
}

template <class T>
LAMELLA_INLINE void pack_b(int64_t kc, int64_t n, const T* b, int64_t rs, int64_t cs, T* bp) {
  constexpr int64_t NR = kGemmNR<T>;
  constexpr int W = Vec<T>::W;
  // Rows of B are read in runs of several panels: short strided reads would miss the prefetchers and the TLB.
  constexpr int64_t kRun = 4;
  int64_t j = 0;
  if (cs == 1) {
    for (; j + kRun * NR <= n; j += kRun * NR) {
      const T* src = b + j;
      T* dst = bp + j * kc;
      for (int64_t p = 0; p < kc; ++p, src += rs, dst += NR)
        for (int64_t q = 0; q < kRun; ++q)
          for (int64_t r = 0; r < NR; r += W) Vec<T>::load(src + q * NR + r).store(dst + q * NR * kc + r);
    }
  }
  for (; j < n; j += NR) {
    const int64_t width = n - j < NR ? n - j : NR;
    T* dst = bp + j * kc;
    if (width < NR)
      for (int64_t p = 0; p < kc; ++p)
        for (int64_t r = width / W * W; r < NR; r += W) Vec<T>::zero().store(dst + p * NR + r);
    pack_panel(kc, width, b + j * cs, rs, cs, dst, NR);
  }
}

}  // namespace

void gemm_pack_a(int64_t m, int64_t kc, const float* a, int64_t rs, int64_t cs, int64_t mr, float* ap) {
  pack_a(m, kc, a, rs, cs, mr, ap);
}
void gemm_pack_b(int64_t kc, int64_t n, const float* b, int64_t rs, int64_t cs, float* bp) {
  pack_b(kc, n, b, rs, cs, bp);
}
#if defined(LAMELLA_ISA_PORTABLE)
void gemm_pack_a(int64_t m, int64_t kc, const double* a, int64_t rs, int64_t cs, int64_t mr, double* ap) {
  pack_a(m, kc, a, rs, cs, mr, ap);
}
void gemm_pack_b(int64_t kc, int64_t n, const double* b, int64_t rs, int64_t cs, double* bp) {
  pack_b(kc, n, b, rs, cs, bp);
}
#endif

}  // namespace lamella::LAMELLA_NS
