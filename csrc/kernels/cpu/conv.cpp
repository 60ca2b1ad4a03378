#include "kernels/conv.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {

void fill(ConvKernels<float>&) {}
#if defined(LAMELLA_ISA_PORTABLE)
void fill(ConvKernels<double>&) {}
#endif

}  // namespace lamella::LAMELLA_NS
