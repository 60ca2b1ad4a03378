// The recurrent layers' entries of the kernel table.
#include "kernels/cpu/rnn_inl.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
void fill_all(RnnKernels<T>& k) {
  k.rnn_packed_size = rnn_packed_size;
  k.rnn_pack = rnn_pack;
  k.rnn_forward_workspace = rnn_forward_workspace;
  k.rnn_forward = rnn_forward;
  k.rnn_backward_workspace = rnn_backward_workspace;
  k.rnn_backward = rnn_backward;
}

}  // namespace

void fill(RnnKernels<float>& k) { fill_all(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(RnnKernels<double>& k) { fill_all(k); }
#endif

}  // namespace lamella::LAMELLA_NS
