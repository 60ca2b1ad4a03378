#include "kernels/cpu/gemm_micro.h"

namespace lamella::LAMELLA_NS {

#define LAMELLA_INSTANTIATE(T)                                           \
  const TileFn<T>* gemm_column_tiles(const T*, int vectors, bool tail) { \
    return tile_functions<T, false>(vectors, tail);                      \
  }                                                                      \
  const TileFn<T>* gemm_packing_column_tiles(const T*) { return packing_tiles<T, false>(); }
LAMELLA_INSTANTIATE(float)
#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_INSTANTIATE(double)
#endif

}  // namespace lamella::LAMELLA_NS
