// The two halves of the resample kernels.
#pragma once

#include "kernels/resample.h"

namespace lamella::cuda {

void fill_gather(ResampleKernels<float>& k);
void fill_gather(ResampleKernels<double>& k);
void fill_resize(ResampleKernels<float>& k);
void fill_resize(ResampleKernels<double>& k);

}  // namespace lamella::cuda
