// reduce_*.cpp fill their parts of the table.
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/reduce.h"

namespace lamella::LAMELLA_NS {

void fill_arg(ReduceKernels<float>&);
void fill_var(ReduceKernels<float>&);
void fill_sum_squares(ReduceKernels<float>&);

#if defined(LAMELLA_ISA_PORTABLE)
void fill_arg(ReduceKernels<double>&);
void fill_var(ReduceKernels<double>&);
void fill_sum_squares(ReduceKernels<double>&);
#endif

}  // namespace lamella::LAMELLA_NS
