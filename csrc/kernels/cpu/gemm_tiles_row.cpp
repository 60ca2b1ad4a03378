#include "kernels/cpu/gemm_micro.h"

namespace lamella::LAMELLA_NS {

const TileFn<float>* gemm_row_tiles(const float*, int vectors, bool tail) {
  return tile_functions<float, true>(vectors, tail);
}
#if defined(LAMELLA_ISA_PORTABLE)
const TileFn<double>* gemm_row_tiles(const double*, int vectors, bool tail) {
  return tile_functions<double, true>(vectors, tail);
}
#endif

}  // namespace lamella::LAMELLA_NS
