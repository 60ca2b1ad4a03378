// Comparisons and choices: bytes out, bytes in.
#include "kernels/cpu/elementwise_parts.h"
#include "kernels/cpu/reduce_inl.h"
#include "kernels/cpu/reduce_parts.h"

namespace lamella::LAMELLA_NS {
namespace {

// body(i, n): n elements from i on, at most kSplat of them, so that broadcast operands need not walk.
template <class Body>
LAMELLA_INLINE void by_splat(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kSplat <= n; i += kSplat) body(i, kSplat);
  if (i < n) body(i, n - i);
}

template <class T, class F>
LAMELLA_NOINLINE void compare_loop(int64_t n, const void* const* in, const int64_t* mask, void* out, const T*) {
  const F f{};
  const T* pa = static_cast<const T*>(in[0]);
  const T* pb = static_cast<const T*>(in[1]);
  uint8_t* y = static_cast<uint8_t*>(out);
  const int64_t ma = mask[0], mb = mask[1];
  by_splat(n, [&](int64_t i, int64_t len) {
    const T* LAMELLA_RESTRICT a = pa + (i & ma);
    const T* LAMELLA_RESTRICT b = pb + (i & mb);
    uint8_t* LAMELLA_RESTRICT to = y + i;
    for (int64_t j = 0; j < len; ++j) to[j] = f(a[j], b[j]) ? 1 : 0;
  });
}

template <class T, class F>
LAMELLA_INLINE MapFn<T> compare_fn(const F&) {
  return &compare_loop<T, F>;
}

template <class T>
MapFn<T> compare_map(Compare fn) {
  switch (fn) {
    case Compare::kEqual:
      return compare_fn<T>([](T a, T b) { return a == b; });
    case Compare::kNotEqual:
      return compare_fn<T>([](T a, T b) { return a != b; });
    case Compare::kLess:
      return compare_fn<T>([](T a, T b) { return a < b; });
    case Compare::kLessEqual:
      return compare_fn<T>([](T a, T b) { return a <= b; });
    case Compare::kGreater:
      return compare_fn<T>([](T a, T b) { return a > b; });
    case Compare::kGreaterEqual:
    case Compare::kCount:
      return compare_fn<T>([](T a, T b) { return a >= b; });
  }
  return nullptr;
}

template <class T>
void compare(const Context& ctx, const CompareParams<T>& p) {
  const Map<T> map{compare_map<T>(p.fn), nullptr, 2, 0.3};
  const void* in[] = {p.a, p.b};
  run_map(ctx, map, Walk<T>(p.dims, 2, in, false, true), false, p.y, 1, T(0), T(0));
}

// Operands: condition, a, b.
template <class T>
LAMELLA_NOINLINE void where_loop(int64_t n, const void* const* in, const int64_t* mask, void* out, const T*) {
  const uint8_t* pc = static_cast<const uint8_t*>(in[0]);
  const T* pa = static_cast<const T*>(in[1]);
  const T* pb = static_cast<const T*>(in[2]);
  T* y = static_cast<T*>(out);
  const int64_t mc = mask[0], ma = mask[1], mb = mask[2];
  by_splat(n, [&](int64_t i, int64_t len) {
    const uint8_t* LAMELLA_RESTRICT c = pc + (i & mc);
    const T* a = pa + (i & ma);
    const T* b = pb + (i & mb);
    T* to = y + i;
#pragma GCC ivdep
    for (int64_t j = 0; j < len; ++j) {
      const T va = a[j], vb = b[j];
      to[j] = c[j] != 0 ? va : vb;
    }
  });
}

// Operands: condition, dy; dy where the condition is Taken.
template <class T, bool Taken>
LAMELLA_NOINLINE void where_backward_loop(int64_t n, const void* const* in, const int64_t* mask, void* out, const T*) {
  const uint8_t* pc = static_cast<const uint8_t*>(in[0]);
  const T* pd = static_cast<const T*>(in[1]);
  T* y = static_cast<T*>(out);
  const int64_t mc = mask[0], md = mask[1];
  by_splat(n, [&](int64_t i, int64_t len) {
    const uint8_t* LAMELLA_RESTRICT c = pc + (i & mc);
    const T* d = pd + (i & md);
    T* to = y + i;
#pragma GCC ivdep
    for (int64_t j = 0; j < len; ++j) {
      const T v = d[j];
      to[j] = (c[j] != 0) == Taken ? v : T(0);
    }
  });
}

template <class T>
void where(const Context& ctx, const WhereParams<T>& p) {
  const Map<T> map{where_loop<T>, nullptr, 3, 0.5};
  const void* in[] = {p.condition, p.a, p.b};
  run_map(ctx, map, Walk<T>(p.dims, 3, in, true), false, p.y, sizeof(T), T(0), T(0));
}

template <class T>
size_t where_backward_workspace(const WhereParams<T>& p, int) {
  size_t bytes = 0;
  bool reduced[BroadcastDims::kMaxRank];
  for (int k = 0; k < 2; ++k) {
    if ((k == 0 ? p.da : p.db) == nullptr || !broadcast_over(p.dims, k + 1, reduced)) continue;
    const size_t need = reduce_workspace_bytes<T>(reduce_dims(p.dims, reduced));
    bytes = need > bytes ? need : bytes;
  }
  return bytes;
}

template <class T>
void where_backward(const Context& ctx, const WhereParams<T>& p) {
  BroadcastDims dims = p.dims;
  int64_t stride = 1;
  for (int i = dims.rank - 1; i >= 0; --i) {
    dims.strides[1][i] = stride;
    stride *= dims.dims[i];
  }
  const void* in[] = {p.condition, p.dy};
  const Walk<T> walk(dims, 2, in, true);
  for (int k = 0; k < 2; ++k) {
    T* to = k == 0 ? p.da : p.db;
    if (to == nullptr) continue;
    const Map<T> map{k == 0 ? where_backward_loop<T, true> : where_backward_loop<T, false>, nullptr, 2, 0.5};
    bool reduced[BroadcastDims::kMaxRank];
    if (broadcast_over(p.dims, k + 1, reduced)) {
      sum_mapped(ctx, Mapped<T>{map.fn, 2, in, true}, dims, reduced, to, static_cast<T*>(ctx.workspace));
    } else {
      run_map(ctx, map, walk, false, to, sizeof(T), T(0), T(0));
    }
  }
}

template <class T>
void fill_part(ElementwiseKernels<T>& k) {
  k.compare = compare<T>;
  k.where = where<T>;
  k.where_backward_workspace = where_backward_workspace<T>;
  k.where_backward = where_backward<T>;
}

}  // namespace

void fill_select(ElementwiseKernels<float>& k) { fill_part(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_select(ElementwiseKernels<double>& k) { fill_part(k); }
#endif

}  // namespace lamella::LAMELLA_NS
