// Forward pooling: rows of outputs, split into the borders that see padding and the interior that does not.
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pool_fold.h"
#include "kernels/cpu/pool_global.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

// How average divides; max ignores it.
struct Divide {
  bool include_pad = false;
  int64_t fixed = 0;
};

template <class Acc, class T = typename Acc::Real>
struct RowPool {
  const PoolShape& s;
  const T* x;
  PoolOut<T> out;
  Divide divide;

  PoolOut<T> out_at(int64_t pixel, int64_t index_bytes, int64_t divisor) const {
    PoolOut<T> o = out;
    o.y += pixel * s.c;
    if (o.argmax) o.argmax = static_cast<char*>(o.argmax) + pixel * s.c * index_bytes;
    o.divisor = static_cast<T>(divisor);
    return o;
  }

  // Outputs [begin, end) of output row `oh` of image n.
  void run(int64_t n, int64_t oh, int64_t begin, int64_t end) const {
    const int64_t index_bytes = s.wide_argmax() ? 4 : 1;
    const Window wh = window_of(s.h, oh);
    const int64_t divisor_h = divide.fixed > 0 ? divide.fixed : divisor_of(s.h, oh, divide.include_pad);
    const T* image = x + n * s.h.in * s.w.in * s.c;
    const T* image_end = image + s.h.in * s.w.in * s.c;
    const T* row = image + (wh.start + wh.lo * s.h.dilation) * s.w.in * s.c;
    const int64_t first = (n * s.h.out + oh) * s.w.out;
    Taps k{wh.count(), 0, s.h.dilation * s.w.in * s.c, s.w.dilation * s.c, 0, s.w.window};

    const auto border = [&](int64_t from, int64_t to) {
      for (int64_t ow = from; ow < to; ++ow) {
        const Window ww = window_of(s.w, ow);
        k.cols = ww.count();
        k.number = wh.lo * s.w.window + ww.lo;
        const int64_t d = divide.fixed > 0 ? divide.fixed : divisor_h * divisor_of(s.w, ow, divide.include_pad);
        fold_channels<Acc, 0, 0>(k, row + (ww.start + ww.lo * s.w.dilation) * s.c, out_at(first + ow, index_bytes, d),
                                 0, s.c);
      }
    };
    const Interior in = interior_of(s.w);
    const int64_t from = smaller(larger(in.begin, begin), end), to = larger(from, smaller(in.end, end));
    border(begin, from);
    if (from < to) {
      k.cols = s.w.window;
      k.number = wh.lo * s.w.window;
      const PoolOut<T> o = out_at(first + from, index_bytes, divide.fixed > 0 ? divide.fixed : divisor_h * s.w.window);
      const T* at = row + (from * s.w.stride - s.w.pad_lo) * s.c;
      if (k.rows == 2 && k.cols == 2) {
        interior<2, 2>(k, at, image_end, o, to - from);
      } else if (k.rows == 3 && k.cols == 3) {
        interior<3, 3>(k, at, image_end, o, to - from);
      } else {
        interior<0, 0>(k, at, image_end, o, to - from);
      }
    }
    border(to, end);
  }

  template <int KH, int KW>
  LAMELLA_NOINLINE void interior(const Taps& k, const T* at, const T* image_end, const PoolOut<T>& o,
                                 int64_t count) const {
    if (s.c < Vec<T>::W) {
      fold_narrow<Acc, KH, KW>(k, at, image_end, s.w.stride, o, count, s.c);
    } else {
      fold_wide<Acc, KH, KW>(k, at, s.w.stride, o, count, s.c);
    }
  }
};

template <class Acc, class T = typename Acc::Real>
void pool_rows(const Context& ctx, const PoolShape& s, const T* x, T* y, void* argmax, Divide divide) {
  const int64_t outputs = s.n * s.h.out * s.w.out * s.c;
  if (outputs == 0) return;
  const bool stream =
      outputs * static_cast<int64_t>(sizeof(T)) >= kStreamBytes && s.c % Vec<T>::W == 0 && vector_aligned(y);
  const RowPool<Acc> pool{s, x, {y, argmax, T(1), stream}, divide};
  // A chunk is some rows, or a piece of one where rows are very long (1-D pooling of a few long sequences).
  const int64_t per_pixel = s.c * larger(smaller(s.w.stride * s.h.stride, s.taps()), 1);
  const int64_t step = grain(0.2);
  const int64_t piece = larger(1, smaller(s.w.out, 2 * step / per_pixel));
  const int64_t pieces = (s.w.out + piece - 1) / piece;
  const int64_t items = s.n * s.h.out * pieces;
  const int64_t per_chunk = larger(1, step / (piece * per_pixel));
  parallel_range(ctx, items, per_chunk, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t r = i / pieces, from = i % pieces * piece;
      pool.run(r / s.h.out, r % s.h.out, from, smaller(from + piece, s.w.out));
    }
    if (stream) stream_fence();
  });
}

template <class T>
size_t max_forward_workspace(const MaxPoolParams<T>& p, int) {
  return p.shape.global() ? global_workspace<T>(p.shape, p.argmax != nullptr) : 0;
}

template <class T>
void max_forward(const Context& ctx, const MaxPoolParams<T>& p) {
  if (p.shape.global()) {
    if (p.argmax) return global_pool<GlobalMax<T, true>>(ctx, p.shape, p.x, p.y, p.argmax, 0);
    return global_pool<GlobalMax<T, false>>(ctx, p.shape, p.x, p.y, nullptr, 0);
  }
  if (!p.argmax) return pool_rows<MaxAcc<T>>(ctx, p.shape, p.x, p.y, nullptr, {});
  if (p.shape.wide_argmax()) return pool_rows<ArgMaxAcc<T, int32_t>>(ctx, p.shape, p.x, p.y, p.argmax, {});
  pool_rows<ArgMaxAcc<T, uint8_t>>(ctx, p.shape, p.x, p.y, p.argmax, {});
}

template <class T>
size_t avg_forward_workspace(const AvgPoolParams<T>& p, int) {
  return p.shape.global() ? global_workspace<T>(p.shape, false) : 0;
}

template <class T>
void avg_forward(const Context& ctx, const AvgPoolParams<T>& p) {
  if (p.shape.global()) {
    const int64_t d = divisor_of(p.shape.h, 0, p.count_include_pad) * divisor_of(p.shape.w, 0, p.count_include_pad);
    return global_pool<GlobalMean<T>>(ctx, p.shape, p.x, p.y, nullptr, p.divisor > 0 ? p.divisor : d);
  }
  pool_rows<MeanAcc<T>>(ctx, p.shape, p.x, p.y, nullptr, {p.count_include_pad, p.divisor});
}

template <class T>
void fill_forward(PoolKernels<T>& k) {
  k.max_forward_workspace = max_forward_workspace<T>;
  k.max_forward = max_forward<T>;
  k.avg_forward_workspace = avg_forward_workspace<T>;
  k.avg_forward = avg_forward<T>;
}

}  // namespace

void fill_pool_forward(PoolKernels<float>& k) { fill_forward(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_pool_forward(PoolKernels<double>& k) { fill_forward(k); }
#endif

}  // namespace lamella::LAMELLA_NS
