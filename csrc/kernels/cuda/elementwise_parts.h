// Each elementwise_*.cu fills its part of the table.
#pragma once

#include "kernels/elementwise.h"

namespace lamella::cuda {

#define LAMELLA_ELEMENTWISE_PART(fill_part)    \
  void fill_part(ElementwiseKernels<float>&);  \
  void fill_part(ElementwiseKernels<double>&); \
  void fill_part(ElementwiseKernels<f16>&);    \
  void fill_part(ElementwiseKernels<bf16>&);

LAMELLA_ELEMENTWISE_PART(fill_activation)
LAMELLA_ELEMENTWISE_PART(fill_unary)
LAMELLA_ELEMENTWISE_PART(fill_binary)
LAMELLA_ELEMENTWISE_PART(fill_binary_backward)
LAMELLA_ELEMENTWISE_PART(fill_select)

#undef LAMELLA_ELEMENTWISE_PART

}  // namespace lamella::cuda
