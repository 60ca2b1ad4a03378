#include "kernels/shape.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {

void fill(ShapeKernels<float>&) {}
#if defined(LAMELLA_ISA_PORTABLE)
void fill(ShapeKernels<double>&) {}
#endif

}  // namespace lamella::LAMELLA_NS
