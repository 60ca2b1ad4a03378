#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {

void fill_channel_norm(NormKernels<float>&);
void fill_row_norm(NormKernels<float>&);
void fill(NormKernels<float>& k) {
  fill_channel_norm(k);
  fill_row_norm(k);
}
#if defined(LAMELLA_ISA_PORTABLE)
void fill_channel_norm(NormKernels<double>&);
void fill_row_norm(NormKernels<double>&);
void fill(NormKernels<double>& k) {
  fill_channel_norm(k);
  fill_row_norm(k);
}
#endif

}  // namespace lamella::LAMELLA_NS
