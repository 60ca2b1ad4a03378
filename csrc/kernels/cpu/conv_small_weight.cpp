// Gradient to weights of convolutions with few input channels. What one row of the kernel sees is a run of kw * c
// values, which takes the place of the channels in the register tile. A first layer's gradient to data is seldom
// wanted, so the way back through bias and activation is done here too, a band of pixels at a time, and never written
// to memory.
#include <cstring>

#include "kernels/cpu/act_bias_inl.h"
#include "kernels/cpu/conv_pool_inl.h"
#include "kernels/cpu/conv_small_inl.h"
#include "kernels/cpu/conv_weight_tile_inl.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

struct Plan {
  int64_t rows, row_bands, bands;  // output rows of a band, bands per image and in all
  int64_t parts;                   // groups of bands with their own sums
  int64_t elements, stride;        // of the weights; of a part's sums (weights, then bias)
};

template <class T>
Plan make_plan(const ConvShape& s) {
  Plan p;
  // Even, for windows of pooling.
  p.rows = round_up(max64(1, min64(s.oh, kBandPixels / max64(1, s.ow))), 2);
  p.row_bands = ceil_div(max64(1, s.oh), p.rows);
  p.bands = s.n * p.row_bands;
  constexpr int64_t kParts = 32, kPartBands = 4;
  p.parts = max64(1, min64(kParts, p.bands / kPartBands));
  p.elements = s.kh * s.kw * s.c * s.oc;
  p.stride = round_up(p.elements, 16) + round_up(s.oc, 16);
  return p;
}

template <class T>
struct Buffers {
  T *sums, *bands, *dz, *pooled, *band_bias;
  int64_t band, gradient, bias;  // elements per thread
};
template <class T>
Buffers<T> carve(Carver& c, const ConvShape& s, const Plan& p, int threads) {
  Buffers<T> b;
  b.sums = c.take<T>(p.parts * p.stride);
  b.band = round_up(band_elements(s, p.rows), 16);
  b.gradient = round_up(p.rows * s.ow * s.oc, 16);
  b.bias = round_up(s.oc, 16);
  b.bands = c.take<T>(b.band * threads);
  b.dz = c.take<T>(b.gradient * threads);
  b.pooled = c.take<T>(b.gradient / 4 * threads);
  b.band_bias = c.take<T>(b.bias * threads);
  return b;
}
template <class T>
size_t workspace(const ConvShape& s, int threads) {
  Carver c{nullptr};
  carve<T>(c, s, make_plan<T>(s), threads);
  return c.used;
}

// Adds the band's sums of x * dy to dw (or sets them, where `first`).
template <class T>
void run_band(const ConvShape& s, const Band<T>& band, int64_t rows, const T* dy, bool first, T* dw) {
  const int64_t run = s.kw * s.c, mr = ceil_div(run, ceil_div(run, WeightTile<T>::kMR));
  WeightTileArgs<T> t;
  t.images = 1;
  t.rows = rows;
  t.cols = s.ow;
  t.x_image = t.dy_image = 0;
  t.x_row = s.stride_h * band.row;
  t.x_col = s.stride_w * s.c;
  t.dy_row = s.ow * s.oc;
  t.dy_col = s.oc;
  t.ldw = s.oc;
  t.accumulate = !first;
  t.ahead = 0;
  if (s.kh == 3 && run == 3) {
    // As many vectors as leave registers for the rest.
    constexpr int NV = WeightTile<T>::kMR >= 9 ? WeightTile<T>::kNV : 1;
    const int64_t x_tap = s.dilation_h * band.row;
    t.x = band.x;
    for (int64_t j = 0; j < s.oc; j += NV * Vec<T>::W) {
      t.n = min64(NV * Vec<T>::W, s.oc - j);
      t.dy = dy + j;
      t.dw = dw + j;
      (t.n > Vec<T>::W ? weight_tile_3x3<T, NV> : weight_tile_3x3<T, 1>)(t, x_tap);
    }
    return;
  }
  for (int64_t j = 0; j < s.oc; j += kWeightNR<T>) {
    t.n = min64(kWeightNR<T>, s.oc - j);
    t.dy = dy + j;
    const auto* fn = WeightTiles<T>::kFn[t.n > Vec<T>::W];
    for (int64_t r = 0; r < s.kh; ++r) {
      for (int64_t i = 0; i < run; i += mr) {
        t.x = band.x + r * s.dilation_h * band.row + i;
        t.dw = dw + (r * run + i) * s.oc + j;
        fn[min64(mr, run - i) - 1](t);
      }
    }
  }
}

template <class T>
void add(int64_t n, const T* x, T* y) {
  for (int64_t i = 0; i < n; i += Vec<T>::W) {
    (Vec<T>::load(y + i, n - i) + Vec<T>::load(x + i, n - i)).store(y + i, n - i);
  }
}

template <class T>
void run(const Context& ctx, const ConvWeightParams<T>& p) {
  const ConvShape& s = p.shape;
  const Plan plan = make_plan<T>(s);
  Carver carver{static_cast<char*>(ctx.workspace)};
  const Buffers<T> b = carve<T>(carver, s, plan, ctx.threads);
  const int64_t bias_at = round_up(plan.elements, 16);
  const bool through = p.act.act != Act::kIdentity;
  const int64_t window = p.argmax == nullptr ? 1 : 4;
  parallel_for(ctx, plan.parts, [&](int64_t part, int thread) {
    T* const sums = b.sums + part * plan.stride;
    T* const dz = b.dz + thread * b.gradient;
    T* const inner = p.argmax == nullptr ? dz : b.pooled + thread * (b.gradient / 4);  // gradient of the activation
    T* const band_bias = b.band_bias + thread * b.bias;
    const int64_t begin = plan.bands * part / plan.parts, end = plan.bands * (part + 1) / plan.parts;
    for (int64_t at = begin; at < end; ++at) {
      const int64_t n = at / plan.row_bands, i0 = at % plan.row_bands * plan.rows, rows = min64(plan.rows, s.oh - i0);
      const int64_t pixels = rows * s.ow / window, offset = (n * s.oh + i0) * s.ow / window * s.oc;
      const T* dy = p.dy + offset;
      if (through || p.dbias != nullptr) {
        T* const bias = p.dbias == nullptr ? nullptr : at == begin ? sums + bias_at : band_bias;
        act_bias_range(p.act, p.from_output, through ? p.value + offset : nullptr, dy, through ? inner : nullptr, bias,
                       0, pixels, s.oc);
        if (bias == band_bias) add(s.oc, static_cast<const T*>(band_bias), sums + bias_at);
        if (through) dy = inner;
      }
      if (p.argmax != nullptr) {
        unpool(dy, p.argmax + offset, rows / 2, s.ow / 2, s.oc, dz);
        dy = dz;
      }
      const Band<T> band = make_band(s, p.x, n, i0, rows, b.bands + thread * b.band);
      run_band(s, band, rows, dy, at == begin, sums);
    }
  });
  for (int64_t part = 1; part < plan.parts; ++part) add(plan.stride, b.sums + part * plan.stride, b.sums);
  std::memcpy(p.dweight, b.sums, static_cast<size_t>(plan.elements) * sizeof(T));
  if (p.dbias != nullptr) std::memcpy(p.dbias, b.sums + bias_at, static_cast<size_t>(s.oc) * sizeof(T));
}

bool can_run(const ConvShape& s) { return small_channels(s) && s.n > 0 && s.oh > 0 && s.ow > 0; }
double cost(const ConvShape& s) {
  const double pixels = static_cast<double>(s.n) * static_cast<double>(s.oh * s.ow);
  return pixels * static_cast<double>(s.kh * (s.kw * s.c + 2) * round_up(s.oc, Vec<float>::W)) / 50.0;
}

}  // namespace

template <class T>
ConvWeightCandidate<T> conv_weight_small_channels() {
  return {"small_channels", can_run, cost, workspace<T>, run<T>, true, true};
}
#define LAMELLA_INSTANTIATE(T) template ConvWeightCandidate<T> conv_weight_small_channels<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
