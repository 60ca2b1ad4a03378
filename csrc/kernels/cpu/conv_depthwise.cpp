// Depthwise convolution (one input channel per group), forward and gradient to data: vectors of channels, a few pixels
// of a row at once, so that neighbouring taps share their loads. With a channel multiplier everything happens in the
// space of the output channels: the source is spread to it beforehand, or the result summed from it afterwards.
#include "kernels/cpu/conv_depthwise_inl.h"
#include "kernels/cpu/conv_epilogue.h"
#include "kernels/cpu/gemm_micro.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

// Pixels of a row in registers at once.
#if defined(LAMELLA_ISA_AVX512)
constexpr int kPixels = 8;
#else
constexpr int kPixels = 4;
#endif

// All strides in elements: between kernel rows (y), kernel columns (x), pixels (p).
template <class T>
struct PixelArgs {
  const T* src;
  int64_t src_y, src_x, src_p;
  const T* w;
  int64_t w_y, w_x;
  int64_t ny, nx;
  T* dst;
  int64_t dst_p, channels;
  const T* bias;
  bool relu;
};

// Adjacent: three taps a pixel apart at stride 1, whose loads the pixels share.
template <class T, int N, bool Adjacent>
void pixels(const PixelArgs<T>& a) {
  using V = Vec<T>;
  constexpr int64_t W = V::W;
  for (int64_t c = 0; c < a.channels; c += W) {
    const int64_t left = a.channels - c;
    V acc[N];
    const V init = a.bias == nullptr ? V::zero() : V::load(a.bias + c, left);
    unroll<N>(LAMELLA_UNROLLED(p) { acc[p.value] = init; });
    const T* src = a.src + c;
    const T* w = a.w + c;
    const auto taps = [&]<bool Full>(std::bool_constant<Full>) __attribute__((always_inline)) {
      const auto load = [&](const T* at) __attribute__((always_inline)) {
        return Full ? V::load(at) : V::load(at, left);
      };
      for (int64_t y = 0; y < a.ny; ++y, src += a.src_y, w += a.w_y) {
        if constexpr (Adjacent) {
          V x[N + 2];
          unroll<N + 2>(LAMELLA_UNROLLED(p) { x[p.value] = load(src + p.value * a.src_p); });
          unroll<3>(LAMELLA_UNROLLED(q) {
            const V k = load(w + q.value * a.w_x);
            unroll<N>(LAMELLA_UNROLLED(p) { acc[p.value] = fma(x[p.value + q.value], k, acc[p.value]); });
          });
        } else {
          for (int64_t q = 0; q < a.nx; ++q) {
            const V k = load(w + q * a.w_x);
            unroll<N>(LAMELLA_UNROLLED(p) {
              acc[p.value] = fma(load(src + q * a.src_x + p.value * a.src_p), k, acc[p.value]);
            });
          }
        }
      }
    };
    if (left >= W)
      taps(std::true_type{});
    else
      taps(std::false_type{});
    unroll<N>(LAMELLA_UNROLLED(p) {
      if (a.relu) acc[p.value] = relu(acc[p.value]);
      acc[p.value].store(a.dst + p.value * a.dst_p + c, left);
    });
  }
}

struct Plan {
  ConvView v;
  int64_t multiplier, channels;  // channels: of the output of forward
  int64_t rows, bands;           // destination rows of a task, tasks per image
  bool spread, fold;             // a multiplier: the source is spread, or the destination summed
};

Plan make_plan(const ConvShape& s, ConvPass pass) {
  Plan p;
  p.v = conv_view(s, pass);
  p.multiplier = s.oc / s.c;
  p.channels = s.oc;
  constexpr int64_t kTaskElements = 16 << 10;
  p.rows = max64(1, min64(p.v.dh, kTaskElements / max64(1, p.v.dw * s.oc)));
  p.bands = ceil_div(max64(1, p.v.dh), p.rows);
  p.spread = p.multiplier > 1 && pass == ConvPass::kForward;
  p.fold = p.multiplier > 1 && pass != ConvPass::kForward;
  return p;
}

// Source rows that a band of forward reads.
int64_t source_rows(const ConvShape& s, const Plan& p) {
  return min64(p.v.sh, (p.rows - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1);
}

template <class T>
struct Scratch {
  T *source, *row;
};
template <class T>
Scratch<T> carve(Carver& c, const ConvShape& s, const Plan& p) {
  Scratch<T> b;
  b.source = c.take<T>(p.spread ? source_rows(s, p) * p.v.sw * p.channels : 0);
  b.row = c.take<T>(p.fold ? p.v.dw * p.channels : 0);
  return b;
}
template <class T>
size_t workspace(const ConvShape& s, ConvPass pass, bool, int threads) {
  Carver c{nullptr};
  carve<T>(c, s, make_plan(s, pass));
  return c.used * static_cast<size_t>(threads);
}

// One destination row i of phase (ay, ...) from an image at `src` whose first row is source row `first`.
template <class T>
void run_row(const ConvShape& s, ConvPass pass, const Plan& plan, const T* src, int64_t first, const T* weight,
             const T* bias, bool relu, int64_t y, T* dst) {
  const ConvView& v = plan.v;
  const int64_t c = plan.channels;
  const ConvAxis ay = ascending(conv_axis_h(s, pass, y % v.phases_h));
  const Range taps_y = valid_range(ay.taps, ay.off_step, (y - ay.out0) / ay.out_step * ay.src_step + ay.off0, v.sh);
  for (int64_t phase = 0; phase < v.phases_w; ++phase) {
    const ConvAxis ax = ascending(conv_axis_w(s, pass, phase));
    PixelArgs<T> a;
    a.src_y = ay.off_step * v.sw * c;
    a.src_x = ax.off_step * c;
    a.src_p = ax.src_step * c;
    a.w_y = ay.tap_step * v.kw * c;
    a.w_x = ax.tap_step * c;
    a.ny = taps_y.end - taps_y.begin;
    a.dst_p = ax.out_step * c;
    a.channels = c;
    a.bias = bias;
    a.relu = relu;
    const int64_t sy = (y - ay.out0) / ay.out_step * ay.src_step + ay.off0 + taps_y.begin * ay.off_step - first;
    const T* const row = src + sy * v.sw * c;
    const T* const w = weight + (ay.tap0 + taps_y.begin * ay.tap_step) * v.kw * c;
    const auto set = [&](int64_t j, int64_t q0, int64_t q1) {
      a.nx = q1 - q0;
      a.src = row + (j * ax.src_step + ax.off0 + q0 * ax.off_step) * c;
      a.w = w + (ax.tap0 + q0 * ax.tap_step) * c;
      a.dst = dst + (ax.out0 + j * ax.out_step) * c;
    };
    // Pixels that see every tap lie between those that see some.
    Range inner{0, ax.count};
    for (int64_t q = 0; q < ax.taps; ++q) {
      const Range r = valid_range(ax.count, ax.src_step, ax.off0 + q * ax.off_step, v.sw);
      inner = {max64(inner.begin, r.begin), min64(inner.end, r.end)};
    }
    const bool adjacent = ax.taps == 3 && ax.off_step == ax.src_step;
    for (int64_t j = 0; j < ax.count;) {
      if (j >= inner.begin && j < inner.end) {
        set(j, 0, ax.taps);
        if (inner.end - j >= kPixels) {
          (adjacent ? pixels<T, kPixels, true> : pixels<T, kPixels, false>)(a);
          j += kPixels;
        } else {
          (adjacent ? pixels<T, 1, true> : pixels<T, 1, false>)(a);
          ++j;
        }
      } else {
        const Range q = valid_range(ax.taps, ax.off_step, j * ax.src_step + ax.off0, v.sw);
        set(j, q.begin, q.end);
        pixels<T, 1, false>(a);
        ++j;
      }
    }
  }
}

template <class T>
void run(const Context& ctx, ConvPass pass, const ConvParams<T>& p) {
  const ConvShape& s = p.shape;
  const Plan plan = make_plan(s, pass);
  const ConvView& v = plan.v;
  Carver one{nullptr};
  carve<T>(one, s, plan);
  parallel_for(ctx, v.n * plan.bands, [&](int64_t task, int thread) {
    Carver carver{static_cast<char*>(ctx.workspace) + one.used * static_cast<size_t>(thread)};
    const Scratch<T> scratch = carve<T>(carver, s, plan);
    const int64_t n = task / plan.bands, y0 = task % plan.bands * plan.rows, y1 = min64(v.dh, y0 + plan.rows);
    const T* src = p.src + n * v.sh * v.sw * v.sc;
    int64_t first = 0;
    if (plan.spread) {
      first = max64(0, min64(v.sh, y0 * s.stride_h - s.pad_top));
      const int64_t end = max64(first, min64(v.sh, (y1 - 1) * s.stride_h - s.pad_top + (s.kh - 1) * s.dilation_h + 1));
      spread_channels((end - first) * v.sw * v.sc, plan.multiplier, src + first * v.sw * v.sc, scratch.source);
      src = scratch.source;
    }
    const bool is_relu = p.act.act == Act::kRelu;
    for (int64_t y = y0; y < y1; ++y) {
      T* const dst = p.dst + (n * v.dh + y) * v.dw * v.dc;
      if (plan.fold) {
        run_row<T>(s, pass, plan, src, first, p.weight, nullptr, false, y, scratch.row);
        for (int64_t x = 0; x < v.dw; ++x) {
          fold_channels(v.dc, plan.multiplier, scratch.row + x * plan.channels, p.bias, dst + x * v.dc);
        }
      } else {
        run_row(s, pass, plan, src, first, p.weight, p.bias, is_relu, y, dst);
      }
      if (!act_in_tile(p.act.act) || (plan.fold && is_relu)) activate_row(p.act, dst, v.dw * v.dc);
    }
  });
}

bool can_run(const ConvShape& s, ConvPass) { return depthwise(s); }
double cost(const ConvShape& s, ConvPass) {
  const double pixels = static_cast<double>(s.n) * static_cast<double>(s.oh * s.ow);
  return pixels * static_cast<double>(s.kh * s.kw * round_up(s.oc, Vec<float>::W)) / 25.0;
}
size_t prepared_bytes(const ConvShape&, ConvPass) { return 0; }

}  // namespace

template <class T>
ConvCandidate<T> conv_depthwise() {
  return {"depthwise", can_run, cost, workspace<T>, run<T>, prepared_bytes, nullptr, true};
}
#define LAMELLA_INSTANTIATE(T) template ConvCandidate<T> conv_depthwise<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
