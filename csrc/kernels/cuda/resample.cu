#include "kernels/cuda/resample_parts.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {

void fill(ResampleKernels<float>& k) {
  fill_gather(k);
  fill_resize(k);
}
void fill(ResampleKernels<double>& k) {
  fill_gather(k);
  fill_resize(k);
}

}  // namespace lamella::cuda
