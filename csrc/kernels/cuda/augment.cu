#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill_warp(AugmentKernels<float>&);
void fill_random_images(AugmentKernels<float>&);
void fill(AugmentKernels<float>& k) {
  fill_warp(k);
  fill_random_images(k);
}
void fill_warp(AugmentKernels<double>&);
void fill_random_images(AugmentKernels<double>&);
void fill(AugmentKernels<double>& k) {
  fill_warp(k);
  fill_random_images(k);
}

}  // namespace lamella::cuda
