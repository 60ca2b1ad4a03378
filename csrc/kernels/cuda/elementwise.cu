// Fills the table of elementwise kernels; most stand in elementwise_*.cu. Here: expand, axpy, fill.
#include "kernels/cuda/elementwise_parts.h"
#include "kernels/cuda/functors.h"
#include "kernels/cuda/map.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

// y + alpha x; the general form is fused.
template <class T_, bool kPlain>
struct Axpy : Functor<T_, 2> {
  using T = T_;
  T alpha;
  explicit Axpy(T a) : alpha(a) {}
  __device__ T operator()(const T (&v)[2]) const { return kPlain ? v[1] + v[0] : fma(alpha, v[0], v[1]); }
};

template <class T>
void expand(const Context& ctx, const ExpandParams<T>& p) {
  const void* in[] = {p.x};
  broadcast_map(ctx, on<T>(Scaled<Real<T>>(p.scale)), p.dims, in, p.y);
}

template <class T>
void axpy(const Context& ctx, const AxpyParams<T>& p) {
  const void* in[] = {p.x, p.y};
  if (p.alpha == Real<T>(1)) {
    flat_map(ctx, on<T>(Axpy<Real<T>, true>(p.alpha)), p.n, in, p.y);
  } else {
    flat_map(ctx, on<T>(Axpy<Real<T>, false>(p.alpha)), p.n, in, p.y);
  }
}

template <class T>
void fill_value(const Context& ctx, const FillParams<T>& p) {
  if constexpr (kIsHalf<T>) {
    fill_array(ctx, reinterpret_cast<uint16_t*>(p.y), p.n, narrowed<T>(p.value).bits);
  } else {
    fill_array(ctx, p.y, p.n, p.value);
  }
}

template <class T>
void fill_kernels(ElementwiseKernels<T>& k) {
  fill_activation(k);
  fill_unary(k);
  fill_binary(k);
  fill_binary_backward(k);
  fill_select(k);
  k.expand = expand<T>;
  k.axpy = axpy<T>;
  k.fill = fill_value<T>;
}

}  // namespace

void fill(ElementwiseKernels<float>& k) { fill_kernels(k); }
void fill(ElementwiseKernels<double>& k) { fill_kernels(k); }
void fill(ElementwiseKernels<f16>& k) { fill_kernels(k); }
void fill(ElementwiseKernels<bf16>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
