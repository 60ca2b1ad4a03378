#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {

void fill_gather(ResampleKernels<float>&);
void fill_resize(ResampleKernels<float>&);
void fill(ResampleKernels<float>& k) {
  fill_gather(k);
  fill_resize(k);
}
#if defined(LAMELLA_ISA_PORTABLE)
void fill_gather(ResampleKernels<double>&);
void fill_resize(ResampleKernels<double>&);
void fill(ResampleKernels<double>& k) {
  fill_gather(k);
  fill_resize(k);
}
#endif

}  // namespace lamella::LAMELLA_NS
