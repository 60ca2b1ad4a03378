#include "kernels/norm.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {

void fill(NormKernels<float>&) {}
#if defined(LAMELLA_ISA_PORTABLE)
void fill(NormKernels<double>&) {}
#endif

}  // namespace lamella::LAMELLA_NS
