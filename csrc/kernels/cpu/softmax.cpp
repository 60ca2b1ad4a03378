#include "kernels/softmax.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {

void fill(SoftmaxKernels<float>&) {}
#if defined(LAMELLA_ISA_PORTABLE)
void fill(SoftmaxKernels<double>&) {}
#endif

}  // namespace lamella::LAMELLA_NS
