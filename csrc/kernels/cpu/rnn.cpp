#include "kernels/rnn.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {

void fill(RnnKernels<float>&) {}
#if defined(LAMELLA_ISA_PORTABLE)
void fill(RnnKernels<double>&) {}
#endif

}  // namespace lamella::LAMELLA_NS
