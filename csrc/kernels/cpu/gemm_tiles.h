// The register tiles, compiled in gemm_tiles_row.cpp and gemm_tiles_column.cpp: they are many.
#pragma once

#include "kernels/cpu/gemm_epilogue.h"

namespace lamella::LAMELLA_NS {

// A tile of C over one k block of kc steps. Row i, step p of A is a[i*sa + p] for the row tiles, a[i + p*sa] for the
// column tiles; step p of B is at b + p*ldb.
template <class T>
using TileFn = void (*)(int64_t kc, const T* a, int64_t sa, const T* b, int64_t ldb, const TileOut<T>& out);

// Entry r - 1 is for r rows: up to kMR of them for 1 or 2 vectors, up to kWideMR for 3 or 4. tail: the last vector is
// not full. The packing ones (for whole panels of B) leave the panel in out.packed as gemm_pack_b would.
#define LAMELLA_GEMM_TILES(T)                                           \
  const TileFn<T>* gemm_row_tiles(const T*, int vectors, bool tail);    \
  const TileFn<T>* gemm_column_tiles(const T*, int vectors, bool tail); \
  const TileFn<T>* gemm_packing_row_tiles(const T*);                    \
  const TileFn<T>* gemm_packing_column_tiles(const T*);
LAMELLA_GEMM_TILES(float)
#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_GEMM_TILES(double)
#endif
#undef LAMELLA_GEMM_TILES

}  // namespace lamella::LAMELLA_NS
