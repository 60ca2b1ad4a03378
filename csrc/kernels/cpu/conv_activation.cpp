// Backward through the fused bias and activation.
#include "kernels/cpu/act_bias_inl.h"
#include "kernels/cpu/conv_geometry.h"

namespace lamella::LAMELLA_NS {

template <class T>
size_t conv_activation_backward_workspace(const ConvActivationParams<T>& p) {
  return act_bias_workspace<T>(p.rows, p.cols, p.dbias != nullptr);
}
template <class T>
void conv_activation_backward(const Context& ctx, const ConvActivationParams<T>& p) {
  act_bias_backward(ctx, p.rows, p.cols, p.act, p.from_output, p.value, p.dy, p.dz, p.dbias, ctx.workspace);
}
#define LAMELLA_INSTANTIATE(T)                                                           \
  template size_t conv_activation_backward_workspace<T>(const ConvActivationParams<T>&); \
  template void conv_activation_backward<T>(const Context&, const ConvActivationParams<T>&);
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
