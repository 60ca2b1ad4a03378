#include "kernels/cpu/gemm_micro.h"

namespace lamella::LAMELLA_NS {

#define LAMELLA_INSTANTIATE(T)                                                                                         \
  const TileFn<T>* gemm_row_tiles(const T*, int vectors, bool tail) { return tile_functions<T, true>(vectors, tail); } \
  const TileFn<T>* gemm_packing_row_tiles(const T*) { return packing_tiles<T, true>(); }
LAMELLA_INSTANTIATE(float)
#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_INSTANTIATE(double)
#endif

}  // namespace lamella::LAMELLA_NS
