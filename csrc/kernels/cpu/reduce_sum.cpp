// Sums of arrays and of computed values: much code, wanted by several files, so it stands in one.
#include "kernels/cpu/reduce_inl.h"
#include "kernels/cpu/reduce_parts.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
struct MapSource {
  const Walk<T>* walk;
  MapFn<T> fn;
  const T* scalars;
  static constexpr double kNs = 0.6;
  static constexpr bool kDirect = false;
  static constexpr int64_t kFarCols = kReduceCols;
  LAMELLA_INLINE const T* get(int64_t begin, int64_t n, T* buffer) const {
    walk->run(fn, begin, begin + n, buffer, scalars);
    return buffer;
  }
};

}  // namespace

template <class T>
void sum_array(const Context& ctx, const ReduceDims& dims, const T* x, T* y, T* workspace, double divisor) {
  Finish finish;
  finish.divisor = divisor;
  reduce_all<SumOf>(ctx, dims, ArraySource<T>{x}, y, workspace, finish);
}

template <class T>
void sum_mapped(const Context& ctx, const Mapped<T>& mapped, const BroadcastDims& dims, const bool* reduced, T* y,
                T* workspace) {
  const Walk<T> walk(dims, mapped.operands, mapped.in, mapped.bytes_in);
  const T scalars[2] = {0, 0};
  reduce_all<SumOf>(ctx, reduce_dims(dims, reduced), MapSource<T>{&walk, mapped.fn, scalars}, y, workspace, Finish{});
}

#define LAMELLA_INSTANTIATE(T)                                                             \
  template void sum_array<T>(const Context&, const ReduceDims&, const T*, T*, T*, double); \
  template void sum_mapped<T>(const Context&, const Mapped<T>&, const BroadcastDims&, const bool*, T*, T*);
LAMELLA_INSTANTIATE(float)
#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_INSTANTIATE(double)
#endif

}  // namespace lamella::LAMELLA_NS
