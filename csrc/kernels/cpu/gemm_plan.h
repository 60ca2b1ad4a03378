// How a product is run: a function of its shape and strides only, for it decides the order of additions.
#pragma once

#include "kernels/cpu/gemm_core.h"

namespace lamella::LAMELLA_NS {

enum class GemmPath {
  kTiles,  // register tiles over row and column panels, packed or not
  kRows,   // few rows of C: B is streamed row by row, as memory likes it
  kDots,   // dot products along k, where both sides are contiguous in k (or are made so at little cost)
};

struct GemmPlan {
  GemmPath path;
  int64_t kc;           // length of a k block
  int64_t nc;           // kTiles: columns packed at once
  int64_t rs_a, cs_a;   // the strides of A, with those that no second element uses made 1
  bool pack_a, pack_b;  // kDots: make the rows of A / the columns of B contiguous in k
};

#define LAMELLA_GEMM_PLAN(T)                                                                                           \
  GemmPlan gemm_plan(const GemmParams<T>& params, bool prepacked);                                                     \
  /* C of rows [i0, i1), columns [j0, j1) under a plan for the whole. packed: for kTiles with pack_b, B as             \
     gemm_prepack_b leaves it for the columns [pack_j, pack_j + pack_n), j0 - pack_j being a multiple of kGemmNR; for  \
     kDots, what gemm_dots_pack left. workspace: gemm_range_elements, enough for any range. */                         \
  void gemm_range(const GemmParams<T>& params, const GemmPlan& plan, int64_t i0, int64_t i1, int64_t j0, int64_t j1,   \
                  const T* packed, int64_t pack_j, int64_t pack_n, T* workspace);                                      \
  int64_t gemm_range_elements(const GemmParams<T>& params, const GemmPlan& plan);                                      \
  /* A product, or a block of C of one, on this thread; it packs what the plan wants packed for itself. batch is 1. */ \
  void gemm_alone(const GemmParams<T>& params, const GemmPlan& plan, T* workspace);                                    \
  int64_t gemm_alone_elements(const GemmParams<T>& params, const GemmPlan& plan);                                      \
  int64_t gemm_dots_elements(const GemmParams<T>& params, const GemmPlan& plan);                                       \
  void gemm_dots_pack(const GemmParams<T>& params, const GemmPlan& plan, T* packed);                                   \
  /* kRows and kDots, everything packed that is to be. */                                                              \
  void gemm_rows(const GemmParams<T>& params, int64_t kc, int64_t j0, int64_t j1);                                     \
  void gemm_dots(const GemmParams<T>& params, int64_t i0, int64_t i1, int64_t j0, int64_t j1);

LAMELLA_GEMM_PLAN(float)
#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_GEMM_PLAN(double)
#endif
#undef LAMELLA_GEMM_PLAN

namespace {

constexpr int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t to) { return (a + to - 1) / to * to; }
template <class T>
LAMELLA_INLINE const T* offset(const T* p, int64_t n) {
  return p == nullptr ? nullptr : p + n;
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
