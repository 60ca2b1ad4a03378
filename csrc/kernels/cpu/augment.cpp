#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {

void fill_warp(AugmentKernels<float>&);
void fill_random_images(AugmentKernels<float>&);
void fill(AugmentKernels<float>& k) {
  fill_warp(k);
  fill_random_images(k);
}
#if defined(LAMELLA_ISA_PORTABLE)
void fill_warp(AugmentKernels<double>&);
void fill_random_images(AugmentKernels<double>&);
void fill(AugmentKernels<double>& k) {
  fill_warp(k);
  fill_random_images(k);
}
#endif

}  // namespace lamella::LAMELLA_NS
