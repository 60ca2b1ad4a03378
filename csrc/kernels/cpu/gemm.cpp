// Threads around the product.
#include "kernels/cpu/gemm_core.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
size_t gemm_workspace(const GemmParams<T>& params, int) {
  return gemm_serial_workspace(params);
}

template <class T>
void gemm(const Context& ctx, const GemmParams<T>& params) {
  gemm_serial(params, ctx.workspace);
}

template <class T>
void fill_all(GemmKernels<T>& k) {
  k.gemm_workspace = gemm_workspace<T>;
  k.gemm = gemm<T>;
}

}  // namespace

void fill(GemmKernels<float>& k) { fill_all(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(GemmKernels<double>& k) { fill_all(k); }
#endif

}  // namespace lamella::LAMELLA_NS
