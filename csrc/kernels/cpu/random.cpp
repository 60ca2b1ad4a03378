#include "kernels/random.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {

void fill(RandomKernels<float>&) {}
#if defined(LAMELLA_ISA_PORTABLE)
void fill(RandomKernels<double>&) {}
#endif

}  // namespace lamella::LAMELLA_NS
