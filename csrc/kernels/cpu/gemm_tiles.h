// The register tiles, compiled in gemm_tiles_row.cpp and gemm_tiles_column.cpp: they are many.
#pragma once

#include "kernels/cpu/gemm_epilogue.h"

namespace lamella::LAMELLA_NS {

// A tile of C over one k block of kc steps. Row i, step p of A is a[i*sa + p] for the row tiles, a[i + p*sa] for the
// column tiles; step p of B is at b + p*ldb.
template <class T>
using TileFn = void (*)(int64_t kc, const T* a, int64_t sa, const T* b, int64_t ldb, const TileOut<T>& out);

// Entry r - 1 is for r rows: up to kMR of them for 1 or 2 vectors, up to kWideMR for 3 or 4. tail: the last vector is
// not full.
const TileFn<float>* gemm_row_tiles(const float*, int vectors, bool tail);
const TileFn<float>* gemm_column_tiles(const float*, int vectors, bool tail);
#if defined(LAMELLA_ISA_PORTABLE)
const TileFn<double>* gemm_row_tiles(const double*, int vectors, bool tail);
const TileFn<double>* gemm_column_tiles(const double*, int vectors, bool tail);
#endif

}  // namespace lamella::LAMELLA_NS
