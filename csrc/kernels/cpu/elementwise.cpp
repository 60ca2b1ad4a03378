// Fills the table of elementwise kernels; the kernels stand in elementwise_*.cpp.
#include "kernels/elementwise.h"

#include "kernels/cpu/elementwise_parts.h"
#include "kernels/cpu/map_inl.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
void expand(const Context& ctx, const ExpandParams<T>& p) {
  const Map<T> map = make_map<T, 1, 4>(0.3, [](const Vec<T>* v, const Vec<T>* s) { return s[0] * v[0]; });
  const void* in[] = {p.x};
  broadcast_map(ctx, map, p.dims, in, p.y, p.scale);
}

template <class T>
void axpy(const Context& ctx, const AxpyParams<T>& p) {
  const Map<T> add = make_map<T, 2, 4>(0.3, [](const Vec<T>* v, const Vec<T>*) { return v[1] + v[0]; });
  const Map<T> general = make_map<T, 2, 4>(0.3, [](const Vec<T>* v, const Vec<T>* s) { return fma(s[0], v[0], v[1]); });
  const void* in[] = {p.x, p.y};
  flat_map(ctx, p.alpha == T(1) ? add : general, p.n, in, p.y, p.alpha);
}

template <class T>
void fill_value(const Context& ctx, const FillParams<T>& p) {
  // One broadcast operand.
  const Map<T> map = make_map<T, 1, 4>(0.2, [](const Vec<T>* v, const Vec<T>*) { return v[0]; });
  BroadcastDims dims;
  dims.rank = 1;
  dims.dims[0] = p.n;
  const void* in[] = {&p.value};
  broadcast_map(ctx, map, dims, in, p.y);
}

template <class T>
void fill_kernels(ElementwiseKernels<T>& k) {
  fill_activation(k);
  fill_unary(k);
  fill_binary(k);
  fill_select(k);
  k.expand = expand<T>;
  k.axpy = axpy<T>;
  k.fill = fill_value<T>;
}

}  // namespace

void fill(ElementwiseKernels<float>& k) { fill_kernels(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(ElementwiseKernels<double>& k) { fill_kernels(k); }
#endif

}  // namespace lamella::LAMELLA_NS
