// The macro kernel over panels, and products on one thread.
#include "kernels/cpu/gemm_core.h"

#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/gemm_plan.h"
#include "kernels/cpu/gemm_tiles.h"

namespace lamella::LAMELLA_NS {
namespace {

// Columns of B packed at once: a packed block of kKC x kNC stays in L3.
constexpr int64_t kNC = 2048;

template <class T>
LAMELLA_INLINE void macro(int64_t m, int64_t n, int64_t kc, const GemmA<T>& a, const GemmB<T>& b, T* c, int64_t ldc,
                          const GemmEpilogue<T>& e, T* pack) {
  constexpr int64_t W = Vec<T>::W;
  TileOut<T> out = tile_out(c, ldc, e);
  const bool wide = a.mr <= GemmTile<T>::kWideMR && b.panel == kGemmNR<T> && pack == nullptr;
  const int64_t step = wide ? 2 * kGemmNR<T> : kGemmNR<T>, b_step = wide ? 2 * b.panel : b.panel;
  const bool row_a = a.rs != 1;
  const int64_t sa = row_a ? a.rs : a.cs;
  const T* pb = b.b;
  for (int64_t j = 0; j < n; j += step, pb += b_step) {
    const int64_t width = min64(n - j, step);
    const int vectors = static_cast<int>((width + W - 1) / W);
    const bool tail = width % W != 0;
    const TileFn<T>* fn = row_a ? gemm_row_tiles(pb, vectors, tail) : gemm_column_tiles(pb, vectors, tail);
    out.n = width;
    const T *pa = a.a, *panel = pb;
    int64_t ld = b.ld, i = 0;
    const auto tile = [&](const TileFn<T>* with) __attribute__((always_inline)) {
      const int64_t rows = min64(a.mr, m - i);
      out.c = c + i * out.ldc + j;
      with[rows - 1](kc, pa, sa, panel, ld, out);
      if (out.flags & kTilePass) gemm_activate(rows, width, out.c, out.ldc, out.act);
      i += a.mr;
      pa += a.panel;
    };
    if (pack != nullptr) {
      out.packed = pack + j * kc;
      if (width == kGemmNR<T>) {
        tile(row_a ? gemm_packing_row_tiles(pb) : gemm_packing_column_tiles(pb));
      } else {
        gemm_pack_b(kc, width, pb, ld, 1, out.packed);
      }
      panel = out.packed;
      ld = kGemmNR<T>;
    }
    while (i < m) tile(fn);
    out.bias = offset(out.bias, step);
  }
}

// m rows as equal blocks of about kMC, and those as equal panels: neither leaves a remnant of a few rows.
template <class T>
struct RowCut {
  int64_t mr, mc;

  explicit RowCut(int64_t m) {
    const int64_t block = div_up(m, div_up(m, GemmTile<T>::kMC));
    mr = gemm_mr<T>(block);
    mc = round_up(block, mr);
  }
};

template <class T>
GemmPlan make_plan(const GemmParams<T>& p, bool prepacked) {
  constexpr int64_t W = Vec<T>::W;
  GemmPlan plan;
  plan.path = GemmPath::kTiles;
  plan.kc = gemm_kc<T>(p.k);
  plan.rs_a = p.m == 1 ? 1 : p.rs_a;
  plan.cs_a = p.k == 1 && plan.rs_a != 1 ? 1 : p.cs_a;
  const bool a_plain = plan.rs_a == 1 || plan.cs_a == 1;
  const bool b_rows = p.cs_b == 1 || p.n == 1, b_columns = p.rs_b == 1;
  // Rows at a multiple of 2 KiB fall into the same two sets of L1.
  const bool crowded = plan.rs_a == 1 || plan.rs_a * static_cast<int64_t>(sizeof(T)) % 2048 == 0 || p.n >= 768;
  plan.pack_a = !a_plain || (crowded && p.n >= 256 && p.m >= 4 * kGemmMR<T> && p.k >= 64);
  plan.pack_b = !b_rows || (p.m >= 4 * kGemmMR<T> && p.k * p.n >= 65536);
  plan.nc = plan.pack_b ? min64(round_up(p.n, kGemmNR<T>), kNC) : p.n;
  if (prepacked) {
    plan.pack_b = false;
    return plan;
  }
  // Dots: the rows of A and the columns of B are contiguous, or the one that is not is small.
  const bool few_rows = p.m <= GemmTile<T>::kDotMax && b_columns && (p.cs_a == 1 || p.m <= 4);
  const bool few_columns = p.n <= 4 && p.cs_a == 1;
  if (p.k >= 2 * W && (few_rows || few_columns)) {
    plan.path = GemmPath::kDots;
    plan.pack_a = p.cs_a != 1;
    plan.pack_b = p.rs_b != 1;
  } else if (b_rows && p.n >= 8 * W && p.k >= 16 && p.m <= GemmTile<T>::kStreamMax &&
             p.k * p.n >= (p.m <= 3 ? 32768 : 262144)) {
    plan.path = GemmPath::kRows;
    plan.pack_a = plan.pack_b = false;
  }
  return plan;
}

template <class T>
int64_t range_elements(const GemmParams<T>& p, const GemmPlan& plan) {
  return plan.pack_a ? gemm_pack_a_size<T>(min64(p.m, GemmTile<T>::kMC) + kGemmMR<T>, 1, plan.kc) : 0;
}

// One k block of rows [i0, i1) and columns [j, j + n). b: that block of B, its first column being column j. pack_b: see
// gemm_macro.
template <class T>
void k_block(const GemmParams<T>& p, const GemmPlan& plan, int64_t i0, int64_t i1, int64_t j, int64_t n, int64_t p0,
             GemmB<T> b, T* pack_a, T* pack_b = nullptr) {
  const int64_t kc = min64(plan.kc, p.k - p0);
  GemmEpilogue<T> e = gemm_epilogue(p, p0 == 0, p0 + kc >= p.k);
  e.bias = offset(e.bias, j);
  const RowCut<T> cut(i1 - i0);
  for (int64_t i = i0; i < i1; i += cut.mc) {
    const int64_t mc = min64(cut.mc, i1 - i);
    const T* a = p.a + i * plan.rs_a + p0 * plan.cs_a;
    GemmA<T> panels = gemm_plain_a(a, plan.rs_a, plan.cs_a, cut.mr);
    if (plan.pack_a) {
      gemm_pack_a(mc, kc, a, plan.rs_a, plan.cs_a, cut.mr, pack_a);
      panels = gemm_packed_a(pack_a, cut.mr, kc);
    }
    macro(mc, n, kc, panels, b, p.c + i * p.ldc + j, p.ldc, e, pack_b);
    if (pack_b != nullptr) b = gemm_packed_b(static_cast<const T*>(pack_b), kc);
    pack_b = nullptr;
  }
}

template <class T>
void tiles_range(const GemmParams<T>& p, const GemmPlan& plan, int64_t i0, int64_t i1, int64_t j0, int64_t j1,
                 const T* packed, int64_t pack_j, int64_t pack_n, T* workspace) {
  const int64_t width = round_up(pack_n, kGemmNR<T>);
  int64_t p0 = 0;
  do {  // once even when k is 0: C is still to be written
    const int64_t kc = min64(plan.kc, p.k - p0);
    const GemmB<T> b = packed != nullptr ? gemm_packed_b(packed + p0 * width + (j0 - pack_j) * kc, kc)
                                         : gemm_plain_b(p.b + p0 * p.rs_b + j0, p.rs_b);
    k_block(p, plan, i0, i1, j0, j1 - j0, p0, b, workspace);
    p0 += plan.kc;
  } while (p0 < p.k);
}

template <class T>
int64_t dots_elements(const GemmParams<T>& p, const GemmPlan& plan) {
  return ((plan.pack_a ? p.m : 0) + (plan.pack_b ? p.n : 0)) * p.k;
}

// The rows of A, then the columns of B, those that the plan wants contiguous.
template <class T>
void dots_pack(const GemmParams<T>& p, const GemmPlan& plan, T* packed) {
  if (plan.pack_a) {
    gemm_pack_a(p.k, p.m, p.a, p.cs_a, p.rs_a, p.k, packed);
    packed += p.m * p.k;
  }
  if (plan.pack_b) gemm_pack_a(p.k, p.n, p.b, p.rs_b, p.cs_b, p.k, packed);
}

template <class T>
void dots_range(const GemmParams<T>& params, const GemmPlan& plan, int64_t i0, int64_t i1, int64_t j0, int64_t j1,
                const T* packed) {
  GemmParams<T> p = params;
  if (plan.pack_a) {
    p.a = packed;
    p.rs_a = p.k;
    packed += p.m * p.k;
  }
  if (plan.pack_b) {
    p.b = packed;
    p.cs_b = p.k;
  }
  gemm_dots(p, i0, i1, j0, j1);
}

template <class T>
void range(const GemmParams<T>& p, const GemmPlan& plan, int64_t i0, int64_t i1, int64_t j0, int64_t j1,
           const T* packed, int64_t pack_j, int64_t pack_n, T* workspace) {
  switch (plan.path) {
    case GemmPath::kTiles:
      return tiles_range(p, plan, i0, i1, j0, j1, packed, pack_j, pack_n, workspace);
    case GemmPath::kRows:
      return gemm_rows(p, plan.kc, j0, j1);
    case GemmPath::kDots:
      return dots_range(p, plan, i0, i1, j0, j1, packed);
  }
}

template <class T>
int64_t alone_elements(const GemmParams<T>& p, const GemmPlan& plan) {
  if (plan.path == GemmPath::kDots) return dots_elements(p, plan);
  return range_elements(p, plan) + (plan.pack_b ? gemm_pack_b_size<T>(plan.nc, plan.kc) : 0);
}

template <class T>
void alone(const GemmParams<T>& p, const GemmPlan& plan, T* workspace) {
  if (plan.path == GemmPath::kDots) dots_pack(p, plan, workspace);
  if (plan.path != GemmPath::kTiles || !plan.pack_b)
    return range(p, plan, 0, p.m, 0, p.n, plan.path == GemmPath::kDots ? workspace : nullptr, 0, p.n, workspace);
  T* pack_b = workspace + range_elements(p, plan);
  for (int64_t j = 0; j < p.n; j += plan.nc) {
    const int64_t n = min64(plan.nc, p.n - j);
    int64_t p0 = 0;
    do {  // once even when k is 0: C is still to be written
      const int64_t kc = min64(plan.kc, p.k - p0);
      const T* b = p.b + p0 * p.rs_b + j * p.cs_b;
      if (p.cs_b == 1) {
        k_block(p, plan, 0, p.m, j, n, p0, gemm_plain_b(b, p.rs_b), workspace, pack_b);
      } else {
        gemm_pack_b(kc, n, b, p.rs_b, p.cs_b, pack_b);
        k_block(p, plan, 0, p.m, j, n, p0, gemm_packed_b(static_cast<const T*>(pack_b), kc), workspace);
      }
      p0 += plan.kc;
    } while (p0 < p.k);
  }
}

template <class T>
void serial(const GemmParams<T>& params, void* workspace) {
  if (params.m <= 0 || params.n <= 0) return;
  const GemmPlan plan = make_plan(params, false);
  GemmParams<T> p = params;
  for (int64_t i = 0; i < params.batch; ++i) {
    alone(p, plan, static_cast<T*>(workspace));
    p.a += params.batch_stride_a;
    p.b += params.batch_stride_b;
    p.c += params.batch_stride_c;
  }
}

template <class T>
void prepack(int64_t n, int64_t k, const T* b, int64_t rs, int64_t cs, T* packed) {
  const int64_t kc = gemm_kc<T>(k), width = round_up(n, kGemmNR<T>);
  for (int64_t p0 = 0; p0 < k; p0 += kc) gemm_pack_b(min64(kc, k - p0), n, b + p0 * rs, rs, cs, packed + p0 * width);
}

template <class T>
void serial_prepacked(const GemmParams<T>& p, const T* packed, int64_t begin, int64_t end, void* workspace) {
  if (p.m <= 0 || begin >= end) return;
  tiles_range(p, make_plan(p, true), 0, p.m, begin, end, packed, 0, p.n, static_cast<T*>(workspace));
}

}  // namespace

#define LAMELLA_GEMM(T)                                                                                                \
  void gemm_macro(int64_t m, int64_t n, int64_t kc, const GemmA<T>& a, const GemmB<T>& b, T* c, int64_t ldc,           \
                  const GemmEpilogue<T>& e, T* pack) {                                                                 \
    macro(m, n, kc, a, b, c, ldc, e, pack);                                                                            \
  }                                                                                                                    \
  GemmPlan gemm_plan(const GemmParams<T>& params, bool prepacked) { return make_plan(params, prepacked); }             \
  int64_t gemm_range_elements(const GemmParams<T>& params, const GemmPlan& plan) {                                     \
    return plan.path == GemmPath::kTiles ? range_elements(params, plan) : 0;                                           \
  }                                                                                                                    \
  void gemm_alone(const GemmParams<T>& params, const GemmPlan& plan, T* workspace) { alone(params, plan, workspace); } \
  int64_t gemm_alone_elements(const GemmParams<T>& params, const GemmPlan& plan) {                                     \
    return alone_elements(params, plan);                                                                               \
  }                                                                                                                    \
  int64_t gemm_dots_elements(const GemmParams<T>& params, const GemmPlan& plan) {                                      \
    return dots_elements(params, plan);                                                                                \
  }                                                                                                                    \
  void gemm_dots_pack(const GemmParams<T>& params, const GemmPlan& plan, T* packed) {                                  \
    dots_pack(params, plan, packed);                                                                                   \
  }                                                                                                                    \
  void gemm_range(const GemmParams<T>& params, const GemmPlan& plan, int64_t i0, int64_t i1, int64_t j0, int64_t j1,   \
                  const T* packed, int64_t pack_j, int64_t pack_n, T* workspace) {                                     \
    range(params, plan, i0, i1, j0, j1, packed, pack_j, pack_n, workspace);                                            \
  }                                                                                                                    \
  size_t gemm_serial_workspace(const GemmParams<T>& params) {                                                          \
    return static_cast<size_t>(alone_elements(params, make_plan(params, false))) * sizeof(T);                          \
  }                                                                                                                    \
  void gemm_serial(const GemmParams<T>& params, void* workspace) { serial(params, workspace); }                        \
  int64_t gemm_prepacked_size(const T*, int64_t n, int64_t k) { return round_up(n, kGemmNR<T>) * k; }                  \
  void gemm_prepack_b(int64_t n, int64_t k, const T* b, int64_t rs, int64_t cs, T* packed) {                           \
    prepack(n, k, b, rs, cs, packed);                                                                                  \
  }                                                                                                                    \
  size_t gemm_prepacked_workspace(const GemmParams<T>& params) {                                                       \
    return static_cast<size_t>(range_elements(params, make_plan(params, true))) * sizeof(T);                           \
  }                                                                                                                    \
  void gemm_serial_prepacked(const GemmParams<T>& params, const T* packed, int64_t begin, int64_t end,                 \
                             void* workspace) {                                                                        \
    serial_prepacked(params, packed, begin, end, workspace);                                                           \
  }

LAMELLA_GEMM(float)
#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_GEMM(double)
#endif

}  // namespace lamella::LAMELLA_NS
