#include "kernels/elementwise.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {

void fill(ElementwiseKernels<float>&) {}
#if defined(LAMELLA_ISA_PORTABLE)
void fill(ElementwiseKernels<double>&) {}
#endif

}  // namespace lamella::LAMELLA_NS
