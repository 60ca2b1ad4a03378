#include "kernels/pool.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {

void fill(PoolKernels<float>&) {}
#if defined(LAMELLA_ISA_PORTABLE)
void fill(PoolKernels<double>&) {}
#endif

}  // namespace lamella::LAMELLA_NS
