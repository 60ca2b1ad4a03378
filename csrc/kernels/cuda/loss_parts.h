// The files that make up the loss family.
#pragma once

#include "kernels/loss.h"

namespace lamella::cuda {

void fill_cross_entropy(LossKernels<float>& k);
void fill_cross_entropy(LossKernels<double>& k);
void fill_element_losses(LossKernels<float>& k);
void fill_element_losses(LossKernels<double>& k);
void fill_accuracy(LossKernels<float>& k);
void fill_accuracy(LossKernels<double>& k);

}  // namespace lamella::cuda
