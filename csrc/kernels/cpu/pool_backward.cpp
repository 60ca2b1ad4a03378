// Backward pooling. Every gradient of an input is gathered from the outputs that see it, in their order: no two threads
// write to one place and the sum never depends on their number.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pool_windows.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

LAMELLA_INLINE size_t round_up_64(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Calls body(image, input row, begin, end) for pieces of input rows.
template <class T, class Body>
LAMELLA_INLINE void for_input_rows(const Context& ctx, const PoolShape& s, const Body& body) {
  const int64_t step = grain(0.2);
  const int64_t piece = larger(1, smaller(s.w.in, 2 * step / s.c));
  const int64_t pieces = (s.w.in + piece - 1) / piece;
  const int64_t per_chunk = larger(1, step / (piece * s.c));
  parallel_range(ctx, s.n * s.h.in * pieces, per_chunk, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t r = i / pieces, from = i % pieces * piece;
      body(r / s.h.in, r % s.h.in, from, smaller(s.w.in, from + piece), thread);
    }
    stream_fence();
  });
}

template <class T>
bool streams(const PoolShape& s, const T* grad_in) {
  const int64_t bytes = s.n * s.h.in * s.w.in * s.c * static_cast<int64_t>(sizeof(T));
  return bytes >= kStreamBytes && s.c % Vec<T>::W == 0 && vector_aligned(grad_in);
}

template <class T>
LAMELLA_INLINE void put(Vec<T> v, T* p, bool stream) {
  if (stream) return v.stream(p);
  v.store(p);
}

// ---- max, pixels of at least a vector ------------------------------------------------------------------------------

template <class T, class Index>
struct MaxGather {
  const MaxPoolBackwardParams<T>& p;
  Cover rows, cols;
  bool stream;

  template <int U>
  LAMELLA_INLINE void tile(int64_t n, int64_t ih, int64_t iw, int64_t ch, int64_t lanes) const {
    using I = typename IntOf<T>::type;
    constexpr int W = Vec<T>::W;
    const PoolShape& s = p.shape;
    const Index* argmax = static_cast<const Index*>(p.argmax);
    Vec<T> acc[U];
    for (int u = 0; u < U; ++u) acc[u] = Vec<T>::zero();
    for (int32_t a = rows.first[ih]; a < rows.first[ih + 1]; ++a) {
      const int64_t row = (n * s.h.out + rows.seen[a].out) * s.w.out;
      const int64_t number = rows.seen[a].tap * s.w.window;
      for (int32_t b = cols.first[iw]; b < cols.first[iw + 1]; ++b) {
        const int64_t at = (row + cols.seen[b].out) * s.c + ch;
        const IVec<T> tap(static_cast<I>(number + cols.seen[b].tap));
        for (int u = 0; u < U; ++u) {
          const Vec<T> g = lanes < W ? Vec<T>::load(p.grad_out + at, lanes) : Vec<T>::load(p.grad_out + at + u * W);
          const Mask<T> mine = eq(load_wide<T>(argmax + at + u * W, lanes), tap);
          acc[u] = acc[u] + select(mine, g, Vec<T>::zero());
        }
      }
    }
    T* out = p.grad_in + ((n * s.h.in + ih) * s.w.in + iw) * s.c + ch;
    if (lanes < W) return acc[0].store(out, lanes);
    for (int u = 0; u < U; ++u) put(acc[u], out + u * W, stream);
  }

  LAMELLA_NOINLINE void run(int64_t n, int64_t ih, int64_t begin, int64_t end) const {
    constexpr int W = Vec<T>::W;
    const int64_t c = p.shape.c;
    for (int64_t iw = begin; iw < end; ++iw) {
      int64_t ch = 0;
      for (; ch + 4 * W <= c; ch += 4 * W) tile<4>(n, ih, iw, ch, W);
      for (; ch + W <= c; ch += W) tile<1>(n, ih, iw, ch, W);
      if (ch < c) tile<1>(n, ih, iw, ch, c - ch);
    }
  }
};

// ---- max, narrow pixels: each output adds its gradient to one input
// ---------------------------------------------------

struct TapPlace {
  int64_t row, offset;  // relative to the window's start, in rows and in elements
};

// Bands of input rows; outputs whose windows cross a band's edge are visited by both bands.
LAMELLA_INLINE int64_t band_rows(const PoolShape& s) {
  return larger(1, smaller(s.h.in, larger(32768 / (s.w.in * s.c), 2 * s.h.window)));
}

template <class T, class Index>
void scatter_band(const MaxPoolBackwardParams<T>& p, const Cover& rows, const TapPlace* place, int64_t n, int64_t begin,
                  int64_t end) {
  const PoolShape& s = p.shape;
  const int64_t c = s.c, row_size = s.w.in * c;
  T* image = p.grad_in + n * s.h.in * row_size;
  std::memset(image + begin * row_size, 0, sizeof(T) * static_cast<size_t>((end - begin) * row_size));
  const Cover::Seen* from = rows.seen + rows.first[begin];
  const Cover::Seen* to = rows.seen + rows.first[end];
  int64_t least = s.h.out, most = -1;
  for (const Cover::Seen* q = from; q < to; ++q) {
    least = smaller(least, q->out);
    most = larger(most, q->out);
  }
  for (int64_t oh = least; oh <= most; ++oh) {
    const Window wh = window_of(s.h, oh);
    const bool whole = wh.start + wh.lo * s.h.dilation >= begin && wh.start + (wh.hi - 1) * s.h.dilation < end;
    const int64_t out = (n * s.h.out + oh) * s.w.out * c;
    const T* g = p.grad_out + out;
    const Index* argmax = static_cast<const Index*>(p.argmax) + out;
    for (int64_t ow = 0; ow < s.w.out; ++ow, g += c, argmax += c) {
      const int64_t start_w = s.w.adaptive ? ow * s.w.in / s.w.out : ow * s.w.stride - s.w.pad_lo;
      const int64_t start = (wh.start * s.w.in + start_w) * c;
      for (int64_t ch = 0; ch < c; ++ch) {
        const TapPlace t = place[argmax[ch]];
        const int64_t row = wh.start + t.row;
        if (whole || (row >= begin && row < end)) image[start + t.offset + ch] += g[ch];
      }
    }
  }
}

template <class T, class Index>
void max_backward_narrow(const Context& ctx, const MaxPoolBackwardParams<T>& p) {
  const PoolShape& s = p.shape;
  const Cover rows = make_cover(s.h, ctx.workspace);
  TapPlace* place = reinterpret_cast<TapPlace*>(static_cast<char*>(ctx.workspace) + cover_bytes(s.h));
  for (int64_t t = 0; t < s.taps(); ++t) {
    const int64_t row = t / s.w.window * s.h.dilation, col = t % s.w.window * s.w.dilation;
    place[t] = {row, (row * s.w.in + col) * s.c};
  }
  const int64_t band = band_rows(s), bands = (s.h.in + band - 1) / band;
  const int64_t per_chunk = larger(1, 32768 / (band * s.w.in * s.c));
  parallel_range(ctx, s.n * bands, per_chunk, [&](int64_t from, int64_t to, int) {
    for (int64_t i = from; i < to; ++i) {
      const int64_t begin = i % bands * band;
      scatter_band<T, Index>(p, rows, place, i / bands, begin, smaller(s.h.in, begin + band));
    }
  });
}

template <class T>
size_t max_backward_workspace(const MaxPoolBackwardParams<T>& p, int) {
  const PoolShape& s = p.shape;
  if (s.c < Vec<T>::W) return cover_bytes(s.h) + sizeof(TapPlace) * static_cast<size_t>(s.taps());
  return cover_bytes(s.h) + cover_bytes(s.w);
}

template <class T, class Index>
void max_backward_by(const Context& ctx, const MaxPoolBackwardParams<T>& p) {
  const PoolShape& s = p.shape;
  if (s.c < Vec<T>::W) return max_backward_narrow<T, Index>(ctx, p);
  char* memory = static_cast<char*>(ctx.workspace);
  const MaxGather<T, Index> pool{p, make_cover(s.h, memory), make_cover(s.w, memory + cover_bytes(s.h)),
                                 streams(s, p.grad_in)};
  for_input_rows<T>(ctx, s,
                    [&](int64_t n, int64_t ih, int64_t begin, int64_t end, int) { pool.run(n, ih, begin, end); });
}

template <class T>
void max_backward(const Context& ctx, const MaxPoolBackwardParams<T>& p) {
  if (p.shape.n * p.shape.c == 0) return;
  if (p.shape.wide_argmax()) return max_backward_by<T, int32_t>(ctx, p);
  max_backward_by<T, uint8_t>(ctx, p);
}

// ---- average
// -----------------------------------------------------------------------------------------------------------

template <class T>
struct AvgGather {
  const AvgPoolParams<T>& p;
  Cover rows, cols;
  const T* scale_h;  // [oh], [ow]: the reciprocal of an output's divisor is their product
  const T* scale_w;
  T* lines;  // one of ow * c per thread, for narrow pixels
  bool stream;

  template <int U>
  LAMELLA_INLINE void tile(int64_t n, int64_t ih, int64_t iw, int64_t ch, int64_t lanes) const {
    constexpr int W = Vec<T>::W;
    const PoolShape& s = p.shape;
    Vec<T> acc[U];
    for (int u = 0; u < U; ++u) acc[u] = Vec<T>::zero();
    for (int32_t a = rows.first[ih]; a < rows.first[ih + 1]; ++a) {
      const int64_t oh = rows.seen[a].out;
      for (int32_t b = cols.first[iw]; b < cols.first[iw + 1]; ++b) {
        const int64_t ow = cols.seen[b].out;
        const T* g = p.x + ((n * s.h.out + oh) * s.w.out + ow) * s.c + ch;
        const Vec<T> scale(scale_h[oh] * scale_w[ow]);
        for (int u = 0; u < U; ++u)
          acc[u] = fma(lanes < W ? Vec<T>::load(g, lanes) : Vec<T>::load(g + u * W), scale, acc[u]);
      }
    }
    T* out = p.y + ((n * s.h.in + ih) * s.w.in + iw) * s.c + ch;
    if (lanes < W) return acc[0].store(out, lanes);
    for (int u = 0; u < U; ++u) put(acc[u], out + u * W, stream);
  }

  LAMELLA_NOINLINE void wide(int64_t n, int64_t ih, int64_t begin, int64_t end) const {
    constexpr int W = Vec<T>::W;
    const int64_t c = p.shape.c;
    for (int64_t iw = begin; iw < end; ++iw) {
      int64_t ch = 0;
      for (; ch + 4 * W <= c; ch += 4 * W) tile<4>(n, ih, iw, ch, W);
      for (; ch + W <= c; ch += W) tile<1>(n, ih, iw, ch, W);
      if (ch < c) tile<1>(n, ih, iw, ch, c - ch);
    }
  }

  // Output rows first, over whole rows of pixels and channels; then along the row.
  LAMELLA_NOINLINE void narrow(int64_t n, int64_t ih, int64_t begin, int64_t end, int thread) const {
    constexpr int W = Vec<T>::W;
    const PoolShape& s = p.shape;
    const int64_t c = s.c, size = s.w.out * c;
    T* line = lines + thread * size;
    const int32_t a0 = rows.first[ih], a1 = rows.first[ih + 1];
    T* out = p.y + (n * s.h.in + ih) * s.w.in * c;
    const int32_t seen_begin = cols.first[begin], seen_end = cols.first[end];
    if (a0 == a1 || seen_begin == seen_end) {
      std::memset(out + begin * c, 0, sizeof(T) * static_cast<size_t>((end - begin) * c));
      return;
    }
    int64_t least = s.w.out, most = 0;
    for (int32_t b = seen_begin; b < seen_end; ++b) {
      least = smaller(least, cols.seen[b].out);
      most = larger(most, cols.seen[b].out);
    }
    for (int64_t f = least * c; f < (most + 1) * c; f += W) {
      const int64_t lanes = (most + 1) * c - f;
      Vec<T> acc = Vec<T>::zero();
      for (int32_t a = a0; a < a1; ++a) {
        const T* g = p.x + (n * s.h.out + rows.seen[a].out) * size + f;
        acc = fma(Vec<T>::load(g, lanes), Vec<T>(scale_h[rows.seen[a].out]), acc);
      }
      acc.store(line + f, lanes);
    }
    for (int64_t iw = begin; iw < end; ++iw) {
      for (int64_t ch = 0; ch < c; ++ch) {
        T sum = 0;
        for (int32_t b = cols.first[iw]; b < cols.first[iw + 1]; ++b)
          sum += line[cols.seen[b].out * c + ch] * scale_w[cols.seen[b].out];
        out[iw * c + ch] = sum;
      }
    }
  }
};

template <class T>
size_t avg_backward_workspace(const AvgPoolParams<T>& p, int threads) {
  const PoolShape& s = p.shape;
  const size_t line = s.c < Vec<T>::W ? static_cast<size_t>(threads * s.w.out * s.c) : 0;
  return cover_bytes(s.h) + cover_bytes(s.w) + round_up_64(sizeof(T) * static_cast<size_t>(s.h.out + s.w.out)) +
         sizeof(T) * line;
}

template <class T>
void avg_backward(const Context& ctx, const AvgPoolParams<T>& p) {
  const PoolShape& s = p.shape;
  if (s.n * s.c == 0) return;
  char* memory = static_cast<char*>(ctx.workspace);
  const Cover rows = make_cover(s.h, memory);
  memory += cover_bytes(s.h);
  const Cover cols = make_cover(s.w, memory);
  memory += cover_bytes(s.w);
  T* scale_h = reinterpret_cast<T*>(memory);
  T* scale_w = scale_h + s.h.out;
  memory += round_up_64(sizeof(T) * static_cast<size_t>(s.h.out + s.w.out));
  const bool fixed = p.divisor > 0;
  for (int64_t o = 0; o < s.h.out; ++o)
    scale_h[o] = T(1) / static_cast<T>(fixed ? p.divisor : divisor_of(s.h, o, p.count_include_pad));
  for (int64_t o = 0; o < s.w.out; ++o)
    scale_w[o] = fixed ? T(1) : T(1) / static_cast<T>(divisor_of(s.w, o, p.count_include_pad));
  const AvgGather<T> pool{p, rows, cols, scale_h, scale_w, reinterpret_cast<T*>(memory), streams(s, p.y)};
  const bool narrow = s.c < Vec<T>::W;
  for_input_rows<T>(ctx, s, [&](int64_t n, int64_t ih, int64_t begin, int64_t end, int thread) {
    if (narrow) return pool.narrow(n, ih, begin, end, thread);
    pool.wide(n, ih, begin, end);
  });
}

template <class T>
void fill_backward(PoolKernels<T>& k) {
  k.max_backward_workspace = max_backward_workspace<T>;
  k.max_backward = max_backward<T>;
  k.avg_backward_workspace = avg_backward_workspace<T>;
  k.avg_backward = avg_backward<T>;
}

}  // namespace

void fill_pool_backward(PoolKernels<float>& k) { fill_backward(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_pool_backward(PoolKernels<double>& k) { fill_backward(k); }
#endif

}  // namespace lamella::LAMELLA_NS
