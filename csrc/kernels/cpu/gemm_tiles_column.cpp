#include "kernels/cpu/gemm_micro.h"

namespace lamella::LAMELLA_NS {

const TileFn<float>* gemm_column_tiles(const float*, int vectors, bool tail) {
  return tile_functions<float, false>(vectors, tail);
}
#if defined(LAMELLA_ISA_PORTABLE)
const TileFn<double>* gemm_column_tiles(const double*, int vectors, bool tail) {
  return tile_functions<double, false>(vectors, tail);
}
#endif

}  // namespace lamella::LAMELLA_NS
