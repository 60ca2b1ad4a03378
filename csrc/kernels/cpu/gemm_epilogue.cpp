#include "kernels/cpu/gemm_epilogue.h"

#include "kernels/cpu/act_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
LAMELLA_INLINE void activate(int64_t rows, int64_t n, T* c, int64_t ldc, Activation act) {
  const Vec<T> alpha(static_cast<T>(act.alpha));
  with_act(act.act, [&](auto tag) {
    constexpr Act A = decltype(tag)::value;
    if constexpr (A == Act::kIdentity) return;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < n; j += Vec<T>::W)
        act_forward<A>(Vec<T>::load(c + i * ldc + j, n - j), alpha).store(c + i * ldc + j, n - j);
  });
}

}  // namespace

void gemm_activate(int64_t rows, int64_t n, float* c, int64_t ldc, Activation act) { activate(rows, n, c, ldc, act); }
#if defined(LAMELLA_ISA_PORTABLE)
void gemm_activate(int64_t rows, int64_t n, double* c, int64_t ldc, Activation act) { activate(rows, n, c, ldc, act); }
#endif

}  // namespace lamella::LAMELLA_NS
