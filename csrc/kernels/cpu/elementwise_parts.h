// Each elementwise_*.cpp fills its part of the table.
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/elementwise.h"

namespace lamella::LAMELLA_NS {

void fill_activation(ElementwiseKernels<float>&);
void fill_unary(ElementwiseKernels<float>&);
void fill_binary(ElementwiseKernels<float>&);
void fill_select(ElementwiseKernels<float>&);

#if defined(LAMELLA_ISA_PORTABLE)
void fill_activation(ElementwiseKernels<double>&);
void fill_unary(ElementwiseKernels<double>&);
void fill_binary(ElementwiseKernels<double>&);
void fill_select(ElementwiseKernels<double>&);
#endif

}  // namespace lamella::LAMELLA_NS
