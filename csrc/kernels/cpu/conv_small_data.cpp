// Gradient to data of convolutions with few input channels. Columns of a tile for so few channels would be mostly
// empty, so the product runs the other way round: weights (taps and channels) times pixels of dy, which fill vectors.
// What it gives for a tap belongs to pixels a constant distance away: rows are shifted and added.
#include <cstring>

#include "kernels/cpu/conv_epilogue.h"
#include "kernels/cpu/conv_geometry.h"
#include "kernels/cpu/gemm_core.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr int64_t kMostChannels = 16;

struct Plan {
  int64_t rows, bands;     // rows of x of a task, tasks per image
  int64_t m;               // rows of the product: taps and channels
  int64_t out_rows, cols;  // of dy in one product: whole rows, or a part of one
};
template <class T>
Plan make_plan(const ConvShape& s) {
  constexpr int64_t kProductElements = 48 << 10, kTasks = 16;
  Plan p;
  // Neighbouring tasks both compute what reaches across their border: bands are much higher than the kernel.
  const int64_t least = 8 * (s.kh - 1) * s.dilation_h + s.stride_h;
  p.rows = max64(1, min64(s.h, max64(least, ceil_div(s.n * s.h, kTasks))));
  p.bands = ceil_div(s.h, p.rows);
  p.rows = ceil_div(s.h, p.bands);
  p.m = s.kh * s.kw * s.c;
  const int64_t pixels = max64(kGemmNR<T>, kProductElements / p.m / kGemmNR<T> * kGemmNR<T>);
  p.cols = min64(pixels, max64(1, s.ow));
  p.out_rows = p.cols < s.ow ? 1 : max64(1, pixels / max64(1, s.ow));
  return p;
}

template <class T>
struct Buffers {
  T *packed, *products, *row;
};
template <class T>
Buffers<T> carve(Carver& c, const ConvShape& s, const Plan& p) {
  const int64_t pixels = p.out_rows * p.cols;
  Buffers<T> b;
  b.packed = c.take<T>(gemm_pack_b_size<T>(pixels, gemm_kc<T>(s.oc)));
  b.products = c.take<T>(p.m * round_up(pixels, 16));
  b.row = c.take<T>(s.w * s.c);
  return b;
}
template <class T>
size_t workspace(const ConvShape& s, ConvPass, bool, int threads) {
  Carver c{nullptr};
  carve<T>(c, s, make_plan<T>(s));
  return c.used * static_cast<size_t>(threads);
}

// Until it is finished, a row of dx holds [channel][remainder modulo the stride] runs of pixels.
LAMELLA_INLINE int64_t run_length(const ConvShape& s, int64_t phase) {
  return s.w > phase ? (s.w - phase + s.stride_w - 1) / s.stride_w : 0;
}
LAMELLA_INLINE int64_t run_start(const ConvShape& s, int64_t phase) {
  // Phases before the remainder of w have one pixel more.
  const int64_t whole = s.w / s.stride_w;
  return phase * whole + min64(phase, s.w % s.stride_w);
}

// Adds the products of one row of dy, columns [j0, j0 + cols), for kernel row r to a row of dx.
template <class T>
LAMELLA_NOINLINE void add_row(const ConvShape& s, int64_t r, int64_t j0, int64_t cols, const T* products, int64_t ld,
                              T* dx) {
  for (int64_t q = 0; q < s.kw; ++q) {
    // Pixel j of dy reaches x = j*stride + off = (j + shift)*stride + phase.
    const int64_t off = q * s.dilation_w - s.pad_left, shift = floor_div(off, s.stride_w);
    const int64_t phase = off - shift * s.stride_w;
    const int64_t begin = max64(0, -shift - j0), end = min64(cols, run_length(s, phase) - shift - j0);
    for (int64_t k = 0; k < s.c; ++k) {
      const T* from = products + ((r * s.kw + q) * s.c + k) * ld;
      T* to = dx + k * s.w + run_start(s, phase) + shift + j0;
      for (int64_t j = begin; j < end; j += Vec<T>::W) {
        (Vec<T>::load(to + j, end - j) + Vec<T>::load(from + j, end - j)).store(to + j, end - j);
      }
    }
  }
}

template <class T>
LAMELLA_NOINLINE void finish_row(const ConvShape& s, T* dx, T* scratch) {
  if (s.c == 1 && s.stride_w == 1) return;
  std::memcpy(scratch, dx, static_cast<size_t>(s.w * s.c) * sizeof(T));
  for (int64_t k = 0; k < s.c; ++k) {
    for (int64_t phase = 0; phase < min64(s.stride_w, s.w); ++phase) {
      const T* from = scratch + k * s.w + run_start(s, phase);
      const int64_t step = s.stride_w * s.c, count = run_length(s, phase);
      T* to = dx + phase * s.c + k;
      for (int64_t i = 0; i < count; ++i) to[i * step] = from[i];
    }
  }
}

template <class T>
void run(const Context& ctx, ConvPass, const ConvParams<T>& params) {
  const ConvShape& s = params.shape;
  const Plan p = make_plan<T>(s);
  Carver one{nullptr};
  carve<T>(one, s, p);
  const int64_t kc = gemm_kc<T>(s.oc), mr = gemm_mr<T>(p.m), line = s.w * s.c;
  parallel_for(ctx, s.n * p.bands, [&](int64_t task, int thread) {
    Carver c{static_cast<char*>(ctx.workspace) + one.used * static_cast<size_t>(thread)};
    const Buffers<T> b = carve<T>(c, s, p);
    const int64_t n = task / p.bands, y0 = task % p.bands * p.rows, y1 = min64(s.h, y0 + p.rows);
    T* const image = params.dst + n * s.h * line;
    for (int64_t y = y0; y < y1; ++y) {
      for (int64_t k = 0; k < s.c; ++k) {
        const T init = params.bias == nullptr ? T(0) : params.bias[k];
        for (int64_t x = 0; x < s.w; ++x) image[y * line + k * s.w + x] = init;
      }
    }
    // Rows of dy that reach [y0, y1).
    const int64_t extent = (s.kh - 1) * s.dilation_h;
    const int64_t i0 = max64(0, ceil_div(max64(0, y0 + s.pad_top - extent), s.stride_h));
    const int64_t i1 = min64(s.oh, floor_div(y1 - 1 + s.pad_top, s.stride_h) + 1);
    for (int64_t i = i0; i < i1; i += p.out_rows) {
      const int64_t rows = min64(p.out_rows, i1 - i);
      for (int64_t j = 0; j < s.ow; j += p.cols) {
        const int64_t cols = min64(p.cols, s.ow - j), pixels = rows * cols, ld = round_up(pixels, 16);
        const T* dy = params.src + ((n * s.oh + i) * s.ow + j) * s.oc;
        GemmEpilogue<T> e;
        for (int64_t k = 0; k < s.oc; k += kc) {
          const int64_t depth = min64(kc, s.oc - k);
          e.beta = k == 0 ? T(0) : T(1);
          gemm_pack_b(depth, pixels, dy + k, 1, s.oc, b.packed);
          gemm_macro(p.m, pixels, depth, gemm_plain_a(params.weight + k, s.oc, 1, mr),
                     gemm_packed_b(static_cast<const T*>(b.packed), depth), b.products, ld, e);
        }
        for (int64_t row = 0; row < rows; ++row) {
          for (int64_t r = 0; r < s.kh; ++r) {
            const int64_t y = (i + row) * s.stride_h - s.pad_top + r * s.dilation_h;
            if (y < y0 || y >= y1) continue;
            add_row(s, r, j, cols, static_cast<const T*>(b.products) + row * cols, ld, image + y * line);
          }
        }
      }
    }
    for (int64_t y = y0; y < y1; ++y) finish_row(s, image + y * line, b.row);
    if (params.act.act != Act::kIdentity) activate_row(params.act, image + y0 * line, (y1 - y0) * line);
  });
}

bool can_run(const ConvShape& s, ConvPass pass) {
  return pass == ConvPass::kBackwardData && s.groups == 1 && s.c <= kMostChannels;
}
double cost(const ConvShape& s, ConvPass) {
  const double pixels = static_cast<double>(s.n) * static_cast<double>(s.oh * s.ow);
  return pixels * static_cast<double>(s.kh * s.kw * s.c) * (static_cast<double>(s.oc) / 45.0 + 0.5);
}
size_t prepared_bytes(const ConvShape&, ConvPass) { return 0; }

}  // namespace

template <class T>
ConvCandidate<T> conv_small_channels_data() {
  return {"small_channels", can_run, cost, workspace<T>, run<T>, prepared_bytes, nullptr, true};
}
#define LAMELLA_INSTANTIATE(T) template ConvCandidate<T> conv_small_channels_data<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
