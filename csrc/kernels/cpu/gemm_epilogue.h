// What is applied to products on their way to C, in registers or over a finished row: alpha, beta * C, bias,
// activation. The piecewise linear activations are part of it; the others run over the tile just stored
// (activate_block).
#pragma once

#include "kernels/cpu/gemm_core.h"

namespace lamella::LAMELLA_NS {

// Applies act in place to rows x n elements of c.
void gemm_activate(int64_t rows, int64_t n, float* c, int64_t ldc, Activation act);
#if defined(LAMELLA_ISA_PORTABLE)
void gemm_activate(int64_t rows, int64_t n, double* c, int64_t ldc, Activation act);
#endif

enum TileFlags : uint32_t {
  kTileAlpha = 1,
  kTileReadC = 2,
  kTileBias = 4,
  kTileRelu = 8,
  kTileRelu6 = 16,
  kTileLeaky = 32,
  kTilePass = 64,  // an activation that register tiles leave to gemm_activate
  kTileLinear = kTileRelu | kTileRelu6 | kTileLeaky,
};

// Where a tile goes and what is applied on the way.
template <class T>
struct TileOut {
  T* c;
  int64_t ldc;
  int64_t n;  // columns of C that exist: in ((NV-1)*W, NV*W]
  uint32_t flags;
  T alpha, beta, slope;
  const T* bias;
  Activation act;
  T* packed = nullptr;  // where a packing tile puts the panel of B that it reads
};

namespace {

template <class T>
LAMELLA_INLINE TileOut<T> tile_out(T* c, int64_t ldc, const GemmEpilogue<T>& e) {
  TileOut<T> out{c, ldc, 0, 0, e.alpha, e.beta, static_cast<T>(e.act.alpha), e.bias, e.act};
  if (e.alpha != T(1)) out.flags |= kTileAlpha;
  if (e.beta != T(0)) out.flags |= kTileReadC;
  if (e.bias != nullptr) out.flags |= kTileBias;
  switch (e.act.act) {
    case Act::kIdentity:
      break;
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
      out.flags |= kTilePass;
      break;
  }
  return out;
}

// C row <- epilogue of n finished sums.
template <class T>
LAMELLA_INLINE void store_row(const T* sums, int64_t n, T* c, const T* bias, const TileOut<T>& out) {
  using V = Vec<T>;
  const V alpha(out.alpha), beta(out.beta);
  for (int64_t j = 0; j < n; j += V::W) {
    V x = V::load(sums + j, n - j);
    if (out.flags & kTileAlpha) x = alpha * x;
    if (out.flags & kTileReadC) x = fma(beta, V::load(c + j, n - j), x);
    if (out.flags & kTileBias) x = x + V::load(bias + j, n - j);
    x.store(c + j, n - j);
  }
  if (out.flags & (kTileLinear | kTilePass)) gemm_activate(1, n, c, n, out.act);
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
