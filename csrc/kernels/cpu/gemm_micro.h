// The register tile: MR rows by NV vectors of C, over one k block. All variants come from one template.
#pragma once

#include <utility>

#include "kernels/cpu/gemm_tiles.h"
#include "kernels/cpu/unroll_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

// a: row i, step p at a[i*sa + p] (RowA) or a[i + p*sa]. b: step p at b[p*ldb], NV vectors. Tail: the last vector holds
// less than W columns. Pack: out.packed gets the NV vectors of every step, one after the other.
template <class T, int MR, int NV, bool RowA, bool Tail, bool Pack = false>
void micro_tile(int64_t kc, const T* a, int64_t sa, const T* b, int64_t ldb, const TileOut<T>& out) {
  using V = Vec<T>;
  constexpr int W = V::W;
  const int64_t last = out.n - (NV - 1) * W;
  V acc[MR][NV];
  unroll<MR>(LAMELLA_UNROLLED(i) { unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = V::zero(); }); });
  // Its stores would wait for lines that are not in the cache.
  if (kc >= 128) {
    const T* row = out.c;
#pragma GCC unroll 1
    for (int i = 0; i < MR; ++i, row += out.ldc) {
      unroll<NV>(LAMELLA_UNROLLED(j) { __builtin_prefetch(row + j.value * W, 1); });
    }
  }
  [[maybe_unused]] T* packed = out.packed;
  // Rows are addressed from every fourth one, in ways the compiler may not merge: one base register and MR multiples of
  // sa would not fit the general registers.
  constexpr int kBases = RowA ? (MR + 3) / 4 : 1;
  const T* base[kBases];
  unroll<kBases>(LAMELLA_UNROLLED(g) {
    base[g.value] = a + 4 * g.value * sa;
    if constexpr (kBases > 1) asm("" : "+r"(base[g.value]));
  });
  const auto step = [&]() __attribute__((always_inline)) {
    V row[NV];
    unroll<NV>(LAMELLA_UNROLLED(j) {
      if constexpr (Tail && j.value == NV - 1)
        row[j.value] = V::load(b + j.value * W, last);
      else
        row[j.value] = V::load(b + j.value * W);
    });
    if constexpr (Pack) {
      // The rows of B may lie far apart, where nobody else fetches them ahead.
      unroll<NV>(LAMELLA_UNROLLED(j) {
        __builtin_prefetch(b + 8 * ldb + j.value * W);
        row[j.value].store(packed + j.value * W);
      });
      packed += NV * W;
    }
    unroll<MR>(LAMELLA_UNROLLED(i) {
      const V x(RowA ? base[i.value / 4][i.value % 4 * sa] : base[0][i.value]);
      unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = fma(x, row[j.value], acc[i.value][j.value]); });
    });
    unroll<kBases>(LAMELLA_UNROLLED(g) { base[g.value] += RowA ? 1 : sa; });
    b += ldb;
  };
  if constexpr (MR * NV >= 8) {  // large bodies hide the loop; unrolling them would only fill the instruction cache
#pragma GCC unroll 1
    for (int64_t p = 0; p < kc; ++p) step();
  } else {
#pragma GCC unroll 4
    for (int64_t p = 0; p < kc; ++p) step();
  }

  T* c = out.c;
  const int64_t ldc = out.ldc;
  const auto each = [&](const auto& f) __attribute__((always_inline)) {
    unroll<MR>(LAMELLA_UNROLLED(i) {
      unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = f(acc[i.value][j.value], i, j); });
    });
  };
  const auto load = [&](const T* p, auto j) __attribute__((always_inline)) {
    if constexpr (Tail && j.value == NV - 1)
      return V::load(p + j.value * W, last);
    else
      return V::load(p + j.value * W);
  };
  const uint32_t flags = out.flags;
  if (flags != 0) {
    if (flags & kTileAlpha) {
      const V alpha(out.alpha);
      each([&](V x, auto, auto) __attribute__((always_inline)) { return alpha * x; });
    }
    if (flags & kTileReadC) {
      const V beta(out.beta);
      each([&](V x, auto i, auto j)
               __attribute__((always_inline)) { return fma(beta, load(c + i.value * ldc, j), x); });
    }
    if (flags & kTileBias) {
      V bias[NV];
      unroll<NV>(LAMELLA_UNROLLED(j) { bias[j.value] = load(out.bias, j); });
      each([&](V x, auto, auto j) __attribute__((always_inline)) { return x + bias[j.value]; });
    }
    if (flags & kTileLinear) {  // NaN passes through: max and min give their second operand then
      const V zero = V::zero();
      if (flags & kTileLeaky) {
        const V slope(out.slope);
        each([&](V x, auto, auto) __attribute__((always_inline)) { return select(lt(x, zero), slope * x, x); });
      } else {
        each([&](V x, auto, auto) __attribute__((always_inline)) { return max(zero, x); });
        if (flags & kTileRelu6) each([&](V x, auto, auto) __attribute__((always_inline)) { return min(V(T(6)), x); });
      }
    }
  }
  unroll<MR>(LAMELLA_UNROLLED(i) {
    unroll<NV>(LAMELLA_UNROLLED(j) {
      if constexpr (Tail && j.value == NV - 1)
        acc[i.value][j.value].store(c + i.value * ldc + j.value * W, last);
      else
        acc[i.value][j.value].store(c + i.value * ldc + j.value * W);
    });
  });
}

// The tables that gemm_tiles.h promises, for one way of reading A.
template <class T, bool RowA, int NV, bool Tail, class Rows>
struct MicroTable;
template <class T, bool RowA, int NV, bool Tail, int... I>
struct MicroTable<T, RowA, NV, Tail, std::integer_sequence<int, I...>> {
  static constexpr TileFn<T> kFn[] = {micro_tile<T, I + 1, NV, RowA, Tail>...};
};
template <class T, bool RowA, class Rows>
struct PackingTable;
template <class T, bool RowA, int... I>
struct PackingTable<T, RowA, std::integer_sequence<int, I...>> {
  static constexpr TileFn<T> kFn[] = {micro_tile<T, I + 1, GemmTile<T>::kNV, RowA, false, true>...};
};
template <class T, bool RowA>
LAMELLA_INLINE const TileFn<T>* packing_tiles() {
  return PackingTable<T, RowA, std::make_integer_sequence<int, GemmTile<T>::kMR>>::kFn;
}
template <class T, bool RowA, int NV>
LAMELLA_INLINE const TileFn<T>* tile_rows(bool tail) {
  using Rows = std::make_integer_sequence<int, NV <= GemmTile<T>::kNV ? GemmTile<T>::kMR : GemmTile<T>::kWideMR>;
  return tail ? MicroTable<T, RowA, NV, true, Rows>::kFn : MicroTable<T, RowA, NV, false, Rows>::kFn;
}
template <class T, bool RowA>
LAMELLA_INLINE const TileFn<T>* tile_functions(int vectors, bool tail) {
  static_assert(GemmTile<T>::kNV == 2);
  switch (vectors) {
    case 1:
      return tile_rows<T, RowA, 1>(tail);
    case 2:
      return tile_rows<T, RowA, 2>(tail);
    case 3:
      return tile_rows<T, RowA, 3>(tail);
    default:
      return tile_rows<T, RowA, 4>(tail);
  }
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
