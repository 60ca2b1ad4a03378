// The recurrent layers' entries of the kernel table.
#include "kernels/cuda/rnn_common.h"

namespace lamella::cuda {
namespace {

// Persistent kernels take the weights as they stand, once per sequence: there is nothing to prepare.
template <class T>
int64_t packed_size(const RnnParams<T>&) {
  return 0;
}
template <class T>
void pack(const Context&, const RnnParams<T>&, int, T*) {}

template <class T>
void fill_kernels(RnnKernels<T>& k) {
  k.rnn_packed_size = packed_size;
  k.rnn_pack = pack;
  k.rnn_forward_workspace = rnn_forward_workspace;
  k.rnn_forward = rnn_forward;
  k.rnn_backward_workspace = rnn_backward_workspace;
  k.rnn_backward = rnn_backward;
}

}  // namespace

void fill(RnnKernels<float>& k) { fill_kernels(k); }
void fill(RnnKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
