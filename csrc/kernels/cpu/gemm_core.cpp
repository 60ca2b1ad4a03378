// The macro kernel over panels, and the whole product on one thread.
#include "kernels/cpu/gemm_core.h"

#include "kernels/cpu/gemm_micro.h"

namespace lamella::LAMELLA_NS {
namespace {

// Columns of B packed at once: a packed block of kKC x kNC stays in L3.
constexpr int64_t kNC = 2048;

constexpr int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t round_up(int64_t a, int64_t to) { return (a + to - 1) / to * to; }

template <class T>
LAMELLA_INLINE TileOut<T> tile_out(T* c, int64_t ldc, const GemmEpilogue<T>& e) {
  TileOut<T> out{c, ldc, 0, 0, e.alpha, e.beta, static_cast<T>(e.act.alpha), e.bias};
  if (e.alpha != T(1)) out.flags |= kTileAlpha;
  if (e.beta != T(0)) out.flags |= kTileReadC;
  if (e.bias != nullptr) out.flags |= kTileBias;
  switch (e.act.act) {
    case Act::kRelu:
      out.flags |= kTileRelu;
      break;
    case Act::kRelu6:
      out.flags |= kTileRelu6;
      break;
    case Act::kLeakyRelu:
      out.flags |= kTileLeaky;
      break;
    default:
      break;
  }
  return out;
}

template <class T, int NV, int Rows>
LAMELLA_INLINE void macro_panels(int64_t m, int64_t n, int64_t kc, const GemmA<T>& a, const T* b, int64_t b_panel,
                                 int64_t ldb, T* c, TileOut<T>& out) {
  constexpr int64_t W = Vec<T>::W;
  const bool row_a = a.rs != 1;
  const int64_t sa = row_a ? a.rs : a.cs;
  for (int64_t j = 0; j < n; j += NV * W, b += b_panel) {
    const int64_t width = min64(n - j, NV * W);
    const bool tail = width % W != 0;
    const MicroFn<T>* fn;
    if constexpr (NV == 4) {
      fn = width > 3 * W   ? micro_rows<T, 4, Rows>(row_a, tail)
           : width > 2 * W ? micro_rows<T, 3, Rows>(row_a, tail)
           : width > W     ? micro_rows<T, 2, Rows>(row_a, tail)
                           : micro_rows<T, 1, Rows>(row_a, tail);
    } else {
      static_assert(NV == 2);
      fn = width > W ? micro_rows<T, 2, Rows>(row_a, tail) : micro_rows<T, 1, Rows>(row_a, tail);
    }
    out.n = width;
    const T* pa = a.a;
    for (int64_t i = 0; i < m; i += a.mr, pa += a.panel) {
      out.c = c + i * out.ldc + j;
      fn[min64(a.mr, m - i) - 1](kc, pa, sa, b, ldb, out);
    }
    out.bias += out.flags & kTileBias ? NV * W : 0;
  }
}

template <class T>
LAMELLA_INLINE void macro(int64_t m, int64_t n, int64_t kc, const GemmA<T>& a, const GemmB<T>& b, T* c, int64_t ldc,
                          const GemmEpilogue<T>& e) {
  constexpr int NV = GemmTile<T>::kNV;
  TileOut<T> out = tile_out(c, ldc, e);
  if (m <= GemmTile<T>::kWideMR && m <= a.mr && b.panel == kGemmNR<T>)
    macro_panels<T, 2 * NV, GemmTile<T>::kWideMR>(m, n, kc, a, b.b, 2 * b.panel, b.ld, c, out);
  else
    macro_panels<T, NV, GemmTile<T>::kMR>(m, n, kc, a, b.b, b.panel, b.ld, c, out);
}

// How a product is run; a function of the shape and the strides only.
template <class T>
struct Plan {
  int64_t kc, mr, mc, nc;
  bool pack_a, pack_b;
  int64_t rs_a, cs_a;
};

template <class T>
Plan<T> make_plan(const GemmParams<T>& p, bool prepacked) {
  Plan<T> plan;
  plan.kc = gemm_kc<T>(p.k);
  plan.mr = gemm_mr<T>(p.m);
  plan.mc = min64(p.m, GemmTile<T>::kMC / plan.mr * plan.mr);
  // A stride that only a single row or step uses may be taken for 1.
  plan.rs_a = p.m == 1 ? 1 : p.rs_a;
  plan.cs_a = p.k == 1 && plan.rs_a != 1 ? 1 : p.cs_a;
  const bool a_plain = plan.rs_a == 1 || plan.cs_a == 1;
  const bool b_plain = p.cs_b == 1 || p.n == 1;
  plan.pack_a = !a_plain || (p.n >= 256 && p.m >= 4 * kGemmMR<T> && p.k >= 64);
  plan.pack_b = !prepacked && (!b_plain || (p.m >= 4 * kGemmMR<T> && p.k * p.n >= 65536));
  plan.nc = plan.pack_b ? min64(round_up(p.n, kGemmNR<T>), kNC) : p.n;
  return plan;
}

template <class T>
int64_t pack_a_elements(const Plan<T>& plan) {
  return plan.pack_a ? gemm_pack_a_size<T>(plan.mc, plan.mr, plan.kc) : 0;
}

// C of columns [j, j + n) += the k block at p0, for all rows. b: that block of B, its first column being column j.
template <class T>
void k_block(const GemmParams<T>& p, const Plan<T>& plan, int64_t j, int64_t n, int64_t p0, const GemmB<T>& b,
             T* pack_a) {
  const int64_t kc = min64(plan.kc, p.k - p0);
  GemmEpilogue<T> e = gemm_epilogue(p, p0 == 0, p0 + kc >= p.k);
  if (e.bias != nullptr) e.bias += j;
  for (int64_t i = 0; i < p.m; i += plan.mc) {
    const int64_t mc = min64(plan.mc, p.m - i);
    const T* a = p.a + i * plan.rs_a + p0 * plan.cs_a;
    GemmA<T> panels = gemm_plain_a(a, plan.rs_a, plan.cs_a, plan.mr);
    if (plan.pack_a) {
      gemm_pack_a(mc, kc, a, plan.rs_a, plan.cs_a, plan.mr, pack_a);
      panels = gemm_packed_a(pack_a, plan.mr, kc);
    }
    macro(mc, n, kc, panels, b, p.c + i * p.ldc + j, p.ldc, e);
  }
}

template <class T>
size_t serial_workspace(const GemmParams<T>& p) {
  const Plan<T> plan = make_plan(p, false);
  const int64_t pack_b = plan.pack_b ? gemm_pack_b_size<T>(plan.nc, plan.kc) : 0;
  return static_cast<size_t>(pack_a_elements(plan) + pack_b) * sizeof(T);
}

template <class T>
void serial_one(const GemmParams<T>& p, const Plan<T>& plan, T* pack_a, T* pack_b) {
  for (int64_t j = 0; j < p.n; j += plan.nc) {
    const int64_t n = min64(plan.nc, p.n - j);
    int64_t p0 = 0;
    do {  // once even when k is 0: C is still to be written
      const T* b = p.b + p0 * p.rs_b + j * p.cs_b;
      const int64_t kc = min64(plan.kc, p.k - p0);
      GemmB<T> panels = gemm_plain_b(b, p.rs_b);
      if (plan.pack_b) {
        gemm_pack_b(kc, n, b, p.rs_b, p.cs_b, pack_b);
        panels = gemm_packed_b(pack_b, kc);
      }
      k_block(p, plan, j, n, p0, panels, pack_a);
      p0 += plan.kc;
    } while (p0 < p.k);
  }
}

template <class T>
void serial(const GemmParams<T>& params, void* workspace) {
  if (params.m <= 0 || params.n <= 0) return;
  const Plan<T> plan = make_plan(params, false);
  T* pack_a = static_cast<T*>(workspace);
  T* pack_b = pack_a + pack_a_elements(plan);
  GemmParams<T> p = params;
  for (int64_t i = 0; i < params.batch; ++i) {
    serial_one(p, plan, pack_a, pack_b);
    p.a += params.batch_stride_a;
    p.b += params.batch_stride_b;
    p.c += params.batch_stride_c;
  }
}

template <class T>
int64_t prepacked_size(int64_t n, int64_t k) {
  return round_up(n, kGemmNR<T>) * k;
}

template <class T>
void prepack(int64_t n, int64_t k, const T* b, int64_t rs, int64_t cs, T* packed) {
  const int64_t kc = gemm_kc<T>(k), width = round_up(n, kGemmNR<T>);
  for (int64_t p0 = 0; p0 < k; p0 += kc) gemm_pack_b(min64(kc, k - p0), n, b + p0 * rs, rs, cs, packed + p0 * width);
}

template <class T>
size_t prepacked_workspace(const GemmParams<T>& p) {
  return static_cast<size_t>(pack_a_elements(make_plan(p, true))) * sizeof(T);
}

template <class T>
void serial_prepacked(const GemmParams<T>& p, const T* packed, int64_t begin, int64_t end, void* workspace) {
  if (p.m <= 0 || begin >= end) return;
  const Plan<T> plan = make_plan(p, true);
  const int64_t width = round_up(p.n, kGemmNR<T>);
  int64_t p0 = 0;
  do {
    const int64_t kc = min64(plan.kc, p.k - p0);
    k_block(p, plan, begin, end - begin, p0, gemm_packed_b(packed + p0 * width + begin * kc, kc),
            static_cast<T*>(workspace));
    p0 += plan.kc;
  } while (p0 < p.k);
}

}  // namespace

#define LAMELLA_GEMM_CORE(T)                                                                                 \
  void gemm_macro(int64_t m, int64_t n, int64_t kc, const GemmA<T>& a, const GemmB<T>& b, T* c, int64_t ldc, \
                  const GemmEpilogue<T>& e) {                                                                \
    macro(m, n, kc, a, b, c, ldc, e);                                                                        \
  }                                                                                                          \
  size_t gemm_serial_workspace(const GemmParams<T>& params) { return serial_workspace(params); }             \
  void gemm_serial(const GemmParams<T>& params, void* workspace) { serial(params, workspace); }              \
  int64_t gemm_prepacked_size(const T*, int64_t n, int64_t k) { return prepacked_size<T>(n, k); }            \
  void gemm_prepack_b(int64_t n, int64_t k, const T* b, int64_t rs, int64_t cs, T* packed) {                 \
    prepack(n, k, b, rs, cs, packed);                                                                        \
  }                                                                                                          \
  size_t gemm_prepacked_workspace(const GemmParams<T>& params) { return prepacked_workspace(params); }       \
  void gemm_serial_prepacked(const GemmParams<T>& params, const T* packed, int64_t begin, int64_t end,       \
                             void* workspace) {                                                              \
    serial_prepacked(params, packed, begin, end, workspace);                                                 \
  }

LAMELLA_GEMM_CORE(float)
#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_GEMM_CORE(double)
#endif

}  // namespace lamella::LAMELLA_NS
