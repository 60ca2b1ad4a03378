// The matrix product inside one thread, for the kernels that are made of products: gemm.cpp puts threads around it,
// convolution packs its im2col tiles into the same panels, the recurrent layers run it on weights packed once.
//
// Every path (packed or not, any tile, any tail) accumulates each element of C in one chain of fma over k inside a
// block of gemm_kc(k) steps, and adds the blocks up in order: tiling and threads never change a bit.
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/cpu/simd.h"
#include "kernels/gemm.h"

namespace lamella::LAMELLA_NS {
namespace {

// The sizes that depend on the ISA level.
//   kMR x kNV vectors: register tile      kKC: depth of a k block      kMC: rows of an A block (in half of L2)
//   kWideMR: up to so many rows, tiles on unpacked B are 2 * kNV vectors wide, for longer runs along its rows
//   kStreamRows, kStreamMax: rows of C taken together, and at most, where B is streamed row by row
//   kDotRows: rows of a tile of dot products (by 4 columns)
//   kDotMax: up to so many rows, products of contiguous rows with contiguous columns are dot products along k
//   kGflops: what one core does, roughly: for deciding what is worth a thread
template <class T>
struct GemmTile;
#if defined(LAMELLA_ISA_AVX512)
template <>
struct GemmTile<float> {
  static constexpr int kMR = 14, kNV = 2, kKC = 384, kMC = 224, kWideMR = 6, kStreamRows = 4, kStreamMax = 4,
                       kDotRows = 4, kDotMax = 16, kGflops = 100;
};
#elif defined(LAMELLA_ISA_AVX2)
template <>
struct GemmTile<float> {
  static constexpr int kMR = 6, kNV = 2, kKC = 256, kMC = 192, kWideMR = 3, kStreamRows = 3, kStreamMax = 12,
                       kDotRows = 3, kDotMax = 9, kGflops = 80;
};
#elif defined(__aarch64__)
template <class T>
struct GemmTile {
  static constexpr int kMR = 8, kNV = 2, kKC = 256, kMC = 128, kWideMR = 4, kStreamRows = 4, kStreamMax = 4,
                       kDotRows = 4, kDotMax = 8, kGflops = 20;
};
#else
template <class T>
struct GemmTile {
  static constexpr int kMR = 4, kNV = 2, kKC = 256, kMC = 128, kWideMR = 2, kStreamRows = 2, kStreamMax = 4,
                       kDotRows = 2, kDotMax = 4, kGflops = 12;
};
#endif

template <class T>
inline constexpr int kGemmMR = GemmTile<T>::kMR;
template <class T>
inline constexpr int kGemmNR = GemmTile<T>::kNV* Vec<T>::W;

// Length of the blocks that k is cut into: equal blocks of at most kKC. It depends on k alone, for it decides rounding.
template <class T>
constexpr int64_t gemm_kc(int64_t k) {
  constexpr int64_t kMax = GemmTile<T>::kKC;
  if (k <= kMax) return k > 0 ? k : 1;
  const int64_t blocks = (k + kMax - 1) / kMax;
  return ((k + blocks - 1) / blocks + 7) / 8 * 8;
}
// Height of the row panels for m rows: equal panels of at most kMR, so that no panel is left with a row or two.
template <class T>
constexpr int64_t gemm_mr(int64_t m) {
  constexpr int64_t kMax = kGemmMR<T>;
  if (m <= kMax) return m > 0 ? m : 1;
  const int64_t panels = (m + kMax - 1) / kMax;
  return (m + panels - 1) / panels;
}

}  // namespace

// The argument types stand outside the anonymous namespace: the entry points below have external linkage.

// m x kc of A as the macro kernel reads it: row panels of mr rows, `panel` elements apart; element (i, p) of a panel is
// at i*rs + p*cs, where rs or cs is 1.
template <class T>
struct GemmA {
  const T* a;
  int64_t mr, panel, rs, cs;
};
// kc x n of B: column panels of kGemmNR columns, `panel` elements apart, with contiguous rows ld elements apart.
template <class T>
struct GemmB {
  const T* b;
  int64_t panel, ld;
};
// What happens to a tile of products on its way to C: act(alpha * AB + beta * C + bias). beta == 0: C is not read.
// Over several k blocks: beta on the first and 1 on the later ones, bias and act on the last alone.
template <class T>
struct GemmEpilogue {
  T alpha = 1, beta = 0;
  const T* bias = nullptr;
  Activation act;
};

namespace {

// A packed by gemm_pack_a with this mr and kc.
template <class T>
LAMELLA_INLINE GemmA<T> gemm_packed_a(const T* ap, int64_t mr, int64_t kc) {
  return {ap, mr, mr * kc, 1, mr};
}
// A where it stands: needs rs == 1 or cs == 1.
template <class T>
LAMELLA_INLINE GemmA<T> gemm_plain_a(const T* a, int64_t rs, int64_t cs, int64_t mr) {
  return {a, mr, mr * rs, rs, cs};
}
// kc steps of B packed by gemm_pack_b.
template <class T>
LAMELLA_INLINE GemmB<T> gemm_packed_b(const T* bp, int64_t kc) {
  return {bp, kGemmNR<T> * kc, kGemmNR<T>};
}
// B where it stands: its rows are contiguous, ld elements apart.
template <class T>
LAMELLA_INLINE GemmB<T> gemm_plain_b(const T* b, int64_t ld) {
  return {b, kGemmNR<T>, ld};
}
template <class T>
LAMELLA_INLINE GemmEpilogue<T> gemm_epilogue(const GemmParams<T>& p, bool first, bool last) {
  return {p.alpha, first ? p.beta : T(1), last ? p.bias : nullptr, last ? p.act : Activation{}};
}

// Elements that gemm_pack_a / gemm_pack_b write (buffers 64-byte aligned).
template <class T>
constexpr int64_t gemm_pack_a_size(int64_t m, int64_t mr, int64_t kc) {
  return ((m + mr - 1) / mr * mr * kc + 64 + 15) / 16 * 16;
}
template <class T>
constexpr int64_t gemm_pack_b_size(int64_t n, int64_t kc) {
  return (n + kGemmNR<T> - 1) / kGemmNR<T> * kGemmNR<T> * kc;
}

}  // namespace

#define LAMELLA_GEMM_CORE(T)                                                                                          \
  /* Row panels [p][mr] of m x kc elements a[i*rs + p*cs]. */                                                         \
  void gemm_pack_a(int64_t m, int64_t kc, const T* a, int64_t rs, int64_t cs, int64_t mr, T* ap);                     \
  /* Column panels [p][kGemmNR] of kc x n elements b[p*rs + j*cs]; missing columns of the last panel become zeros. */ \
  void gemm_pack_b(int64_t kc, int64_t n, const T* b, int64_t rs, int64_t cs, T* bp);                                 \
  /* C (m x n) from one k block of kc steps (kc may be 0). pack, or nullptr: B stands where it is (gemm_plain_b), and \
     is left there as gemm_pack_b would leave it, on the way. */                                                      \
  void gemm_macro(int64_t m, int64_t n, int64_t kc, const GemmA<T>& a, const GemmB<T>& b, T* c, int64_t ldc,          \
                  const GemmEpilogue<T>& e, T* pack = nullptr);                                                       \
  /* The whole of params on this thread, batch included. workspace: gemm_serial_workspace(params) bytes, 64-byte      \
     aligned. */                                                                                                      \
  size_t gemm_serial_workspace(const GemmParams<T>& params);                                                          \
  void gemm_serial(const GemmParams<T>& params, void* workspace);                                                     \
  /* All of B, packed once for many products: k blocks in order, each as gemm_pack_b leaves it. Elements, pack, and   \
     the product of columns [begin, end) of C (begin a multiple of kGemmNR) with B taken from `packed`; params.b and  \
     its strides are not looked at, params.n is the whole width, batch must be 1. */                                  \
  int64_t gemm_prepacked_size(const T*, int64_t n, int64_t k);                                                        \
  void gemm_prepack_b(int64_t n, int64_t k, const T* b, int64_t rs, int64_t cs, T* packed);                           \
  size_t gemm_prepacked_workspace(const GemmParams<T>& params);                                                       \
  void gemm_serial_prepacked(const GemmParams<T>& params, const T* packed, int64_t begin, int64_t end, void* workspace);

LAMELLA_GEMM_CORE(float)
#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_GEMM_CORE(double)
#endif
#undef LAMELLA_GEMM_CORE

}  // namespace lamella::LAMELLA_NS
