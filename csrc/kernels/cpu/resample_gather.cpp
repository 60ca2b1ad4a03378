// Rows by index along an axis, and the gradient that goes back to them.
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

LAMELLA_INLINE int64_t index_of(const IndexList& l, int64_t i) { return l.i32 ? l.i32[i] : l.i64[i]; }

template <class E>
void gather_typed(const Context& ctx, const GatherParams& p) {
  const E* src = static_cast<const E*>(p.src);
  E* dst = static_cast<E*>(p.dst);
  const int64_t items = p.outer * p.index.n;
  const double ns = 2.0 + 0.1 * static_cast<double>(p.inner) * sizeof(E);
  parallel_range(ctx, items, 1 + static_cast<int64_t>(20000.0 / ns), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const E* from = src + (i / p.index.n * p.rows + index_of(p.index, i % p.index.n)) * p.inner;
      if (p.inner == 1) {
        dst[i] = *from;
      } else {
        std::memcpy(dst + i * p.inner, from, static_cast<size_t>(p.inner) * sizeof(E));
      }
    }
  });
}

void gather_rows(const Context& ctx, const GatherParams& p) {
  if (p.inner == 0) return;
  if (p.element_bytes == 4) {
    gather_typed<uint32_t>(ctx, p);
  } else if (p.element_bytes == 8) {
    gather_typed<uint64_t>(ctx, p);
  } else if (p.element_bytes == 2) {
    gather_typed<uint16_t>(ctx, p);
  } else {
    gather_typed<uint8_t>(ctx, p);
  }
}

// Work items are strips of columns of one outer slice: each goes through all indices and writes its own columns only.
template <class T>
void gather_grad(const Context& ctx, const GatherGradParams<T>& p) {
  constexpr int W = Vec<T>::W;
  constexpr int64_t kStrip = 256;
  if (p.inner == 0 || p.rows == 0) return;
  const int64_t strips = (p.inner + kStrip - 1) / kStrip, strip = p.inner < kStrip ? p.inner : kStrip;
  const int64_t per_task = 1 + grain(0.3) / ((p.index.n + p.rows) * strip);
  parallel_range(ctx, p.outer * strips, per_task, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t outer = i / strips, j0 = i % strips * kStrip;
      const int64_t j1 = j0 + kStrip < p.inner ? j0 + kStrip : p.inner;
      T* to = p.grad_in + outer * p.rows * p.inner;
      const T* from = p.grad_out + outer * p.index.n * p.inner;
      for (int64_t r = 0; r < p.rows; ++r)
        std::memset(to + r * p.inner + j0, 0, sizeof(T) * static_cast<size_t>(j1 - j0));
      for (int64_t k = 0; k < p.index.n; ++k) {
        T* a = to + index_of(p.index, k) * p.inner;
        const T* g = from + k * p.inner;
        int64_t j = j0;
        for (; j + W <= j1; j += W) (Vec<T>::load(a + j) + Vec<T>::load(g + j)).store(a + j);
        for (; j < j1; ++j) a[j] += g[j];
      }
    }
  });
}

template <class T>
void fill_typed(ResampleKernels<T>& k) {
  k.gather = gather_rows;
  k.gather_grad = gather_grad<T>;
}

}  // namespace

void fill_gather(ResampleKernels<float>& k) { fill_typed(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_gather(ResampleKernels<double>& k) { fill_typed(k); }
#endif

}  // namespace lamella::LAMELLA_NS
