#include "kernels/softmax.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/softmax_exp.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

// Rows (outer x inner of them) per chunk when one element costs about `ns`.
LAMELLA_INLINE int64_t rows_per_chunk(int64_t axis, double ns) {
  const int64_t rows = grain(ns) / (axis > 0 ? axis : 1);
  return rows > 0 ? rows : 1;
}

// ---- inner == 1: a row is contiguous
// ---------------------------------------------------------------------------------

template <class T>
LAMELLA_INLINE void softmax_row(const T* x, T* y, int64_t n) {
  const Vec<T> top(row_max(x, n));
  const int64_t next = fetched_row<T>(n);
  const double total = sum_vecs<T>(0, n, [&](int64_t i, auto step) {
    __builtin_prefetch(x + i + next);
    __builtin_prefetch(y + i + next, 1);
    const Vec<T> e = exp_below(load(x + i, step) - top);
    store(y + i, e, step);
    return e;
  });
  const Vec<T> scale(static_cast<T>(1.0 / total));
  for_each_vec<T>(0, n, [&](int64_t i, auto step) { store(y + i, load(y + i, step) * scale, step); });
}

template <class T>
LAMELLA_INLINE void log_softmax_row(const T* x, T* y, int64_t n) {
  const Vec<T> top(row_max(x, n));
  const double total = sum_vecs<T>(0, n, [&](int64_t i, auto step) { return exp_below(load(x + i, step) - top); });
  const Vec<T> log_total = vlog(Vec<T>(static_cast<T>(total)));
  for_each_vec<T>(0, n, [&](int64_t i, auto step) { store(y + i, (load(x + i, step) - top) - log_total, step); });
}

template <class T>
LAMELLA_INLINE void softmax_grad_row(const T* y, const T* g, T* dx, int64_t n) {
  const Vec<T> dot(
      static_cast<T>(sum_vecs<T>(0, n, [&](int64_t i, auto step) { return load(y + i, step) * load(g + i, step); })));
  for_each_vec<T>(0, n,
                  [&](int64_t i, auto step) { store(dx + i, load(y + i, step) * (load(g + i, step) - dot), step); });
}

template <class T>
LAMELLA_INLINE void log_softmax_grad_row(const T* y, const T* g, T* dx, int64_t n) {
  const Vec<T> total(static_cast<T>(sum_vecs<T>(0, n, [&](int64_t i, auto step) { return load(g + i, step); })));
  for_each_vec<T>(0, n, [&](int64_t i, auto step) {
    store(dx + i, fnma(vexp(load(y + i, step)), total, load(g + i, step)), step);
  });
}

// ---- inner > 1: one vector of neighbouring rows at a time, every element a stride of `inner` apart
// -------------------

template <class T, class Step>
LAMELLA_INLINE Vec<T> column_max(const T* x, int64_t n, int64_t stride, Step step) {
  Vec<T> m(static_cast<T>(-__builtin_inf()));
  for (int64_t a = 0; a < n; ++a) m = max(load(x + a * stride, step), m);
  return m;
}

template <class T, class Step>
LAMELLA_INLINE void softmax_columns(const T* x, T* y, int64_t n, int64_t stride, Step step) {
  const Vec<T> top = column_max(x, n, stride, step);
  Vec<T> total = Vec<T>::zero();
  for (int64_t a = 0; a < n; ++a) {
    const Vec<T> e = exp_below(load(x + a * stride, step) - top);
    total = total + e;
    store(y + a * stride, e, step);
  }
  const Vec<T> scale = Vec<T>(T(1)) / total;
  for (int64_t a = 0; a < n; ++a) store(y + a * stride, load(y + a * stride, step) * scale, step);
}

template <class T, class Step>
LAMELLA_INLINE void log_softmax_columns(const T* x, T* y, int64_t n, int64_t stride, Step step) {
  const Vec<T> top = column_max(x, n, stride, step);
  Vec<T> total = Vec<T>::zero();
  for (int64_t a = 0; a < n; ++a) total = total + exp_below(load(x + a * stride, step) - top);
  const Vec<T> log_total = vlog(total);
  for (int64_t a = 0; a < n; ++a) store(y + a * stride, (load(x + a * stride, step) - top) - log_total, step);
}

template <class T, class Step>
LAMELLA_INLINE void softmax_grad_columns(const T* y, const T* g, T* dx, int64_t n, int64_t stride, Step step) {
  Vec<T> dot = Vec<T>::zero();
  for (int64_t a = 0; a < n; ++a) dot = fma(load(y + a * stride, step), load(g + a * stride, step), dot);
  for (int64_t a = 0; a < n; ++a) {
    store(dx + a * stride, load(y + a * stride, step) * (load(g + a * stride, step) - dot), step);
  }
}

template <class T, class Step>
LAMELLA_INLINE void log_softmax_grad_columns(const T* y, const T* g, T* dx, int64_t n, int64_t stride, Step step) {
  Vec<T> total = Vec<T>::zero();
  for (int64_t a = 0; a < n; ++a) total = total + load(g + a * stride, step);
  for (int64_t a = 0; a < n; ++a) {
    store(dx + a * stride, fnma(vexp(load(y + a * stride, step)), total, load(g + a * stride, step)), step);
  }
}

// ---- splitting
// -------------------------------------------------------------------------------------------------------

// row(offset) for contiguous rows, columns(offset, Whole or Part) else.
template <class T, class Row, class Columns>
LAMELLA_INLINE void for_rows(const Context& ctx, int64_t outer, int64_t axis, int64_t inner, double ns, const Row& row,
                             const Columns& columns) {
  if (axis == 0) return;
  const int64_t per_chunk = rows_per_chunk(axis, ns);
  if (inner == 1) {
    parallel_range(ctx, outer, per_chunk, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) row(r * axis);
    });
    return;
  }
  constexpr int W = Vec<T>::W;
  const int64_t blocks = (inner + W - 1) / W;
  parallel_range(ctx, outer * blocks, (per_chunk + W - 1) / W, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t i = b % blocks * W, offset = b / blocks * axis * inner + i;
      if (i + W <= inner)
        columns(offset, Whole{});
      else
        columns(offset, Part{inner - i});
    }
  });
}

template <class T>
void softmax(const Context& ctx, const SoftmaxParams<T>& p) {
  for_rows<T>(
      ctx, p.outer, p.axis, p.inner, 0.6, [&](int64_t o) { softmax_row(p.x + o, p.y + o, p.axis); },
      [&](int64_t o, auto step) { softmax_columns(p.x + o, p.y + o, p.axis, p.inner, step); });
}

template <class T>
void log_softmax(const Context& ctx, const SoftmaxParams<T>& p) {
  for_rows<T>(
      ctx, p.outer, p.axis, p.inner, 0.6, [&](int64_t o) { log_softmax_row(p.x + o, p.y + o, p.axis); },
      [&](int64_t o, auto step) { log_softmax_columns(p.x + o, p.y + o, p.axis, p.inner, step); });
}

template <class T>
void softmax_grad(const Context& ctx, const SoftmaxGradParams<T>& p) {
  for_rows<T>(
      ctx, p.outer, p.axis, p.inner, 0.4,
      [&](int64_t o) { softmax_grad_row(p.y + o, p.grad_out + o, p.grad_in + o, p.axis); },
      [&](int64_t o, auto step) {
        softmax_grad_columns(p.y + o, p.grad_out + o, p.grad_in + o, p.axis, p.inner, step);
      });
}

template <class T>
void log_softmax_grad(const Context& ctx, const SoftmaxGradParams<T>& p) {
  for_rows<T>(
      ctx, p.outer, p.axis, p.inner, 0.6,
      [&](int64_t o) { log_softmax_grad_row(p.y + o, p.grad_out + o, p.grad_in + o, p.axis); },
      [&](int64_t o, auto step) {
        log_softmax_grad_columns(p.y + o, p.grad_out + o, p.grad_in + o, p.axis, p.inner, step);
      });
}

template <class T>
void fill_softmax(SoftmaxKernels<T>& k) {
  k.softmax = softmax<T>;
  k.log_softmax = log_softmax<T>;
  k.softmax_grad = softmax_grad<T>;
  k.log_softmax_grad = log_softmax_grad<T>;
}

}  // namespace

void fill(SoftmaxKernels<float>& k) { fill_softmax(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(SoftmaxKernels<double>& k) { fill_softmax(k); }
#endif

}  // namespace lamella::LAMELLA_NS
