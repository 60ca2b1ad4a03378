// Gradient to weights of depthwise convolution: vectors of channels, a few taps of a kernel row at once.
#include "kernels/cpu/conv_depthwise_inl.h"
#include "kernels/cpu/gemm_micro.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

// dw[q] += sum over pixels of x[pixel + q] * dy[pixel] for N taps, over one row of `count` pixels.
template <class T>
struct TapArgs {
  const T* x;
  int64_t x_q, x_p;
  const T* dy;
  int64_t dy_p, count;
  T* dw;
  int64_t dw_q, channels;
};

template <class T, int N>
void taps(const TapArgs<T>& a) {
  using V = Vec<T>;
  for (int64_t c = 0; c < a.channels; c += V::W) {
    const int64_t left = a.channels - c;
    V even[N], odd[N];
    unroll<N>(LAMELLA_UNROLLED(q) { even[q.value] = odd[q.value] = V::zero(); });
    const T* x = a.x + c;
    const T* dy = a.dy + c;
    const auto rows = [&]<bool Full>(std::bool_constant<Full>) __attribute__((always_inline)) {
      const auto load = [&](const T* at) __attribute__((always_inline)) {
        return Full ? V::load(at) : V::load(at, left);
      };
      int64_t p = 0;
      for (; p + 2 <= a.count; p += 2, x += 2 * a.x_p, dy += 2 * a.dy_p) {
        const V g0 = load(dy), g1 = load(dy + a.dy_p);
        unroll<N>(LAMELLA_UNROLLED(q) {
          even[q.value] = fma(load(x + q.value * a.x_q), g0, even[q.value]);
          odd[q.value] = fma(load(x + a.x_p + q.value * a.x_q), g1, odd[q.value]);
        });
      }
      if (p < a.count) {
        const V g = load(dy);
        unroll<N>(LAMELLA_UNROLLED(q) { even[q.value] = fma(load(x + q.value * a.x_q), g, even[q.value]); });
      }
    };
    if (left >= V::W)
      rows(std::true_type{});
    else
      rows(std::false_type{});
    unroll<N>(LAMELLA_UNROLLED(q) {
      T* w = a.dw + q.value * a.dw_q + c;
      (V::load(w, left) + (even[q.value] + odd[q.value])).store(w, left);
    });
  }
}

struct Plan {
  int64_t rows, parts, elements, stride;  // rows: (image, output row) pairs
};
template <class T>
Plan make_plan(const ConvShape& s) {
  Plan p;
  p.rows = s.n * s.oh;
  constexpr int64_t kParts = 32, kPartRows = 4;
  p.parts = max64(1, min64(kParts, p.rows / kPartRows));
  p.elements = s.kh * s.kw * s.oc;
  p.stride = round_up(p.elements, 16);
  return p;
}

template <class T>
struct Buffers {
  T *sums, *spread;
  int64_t spread_row;  // elements per thread
};
template <class T>
Buffers<T> carve(Carver& c, const ConvShape& s, const Plan& p, int threads) {
  Buffers<T> b;
  b.spread_row = s.oc > s.c ? round_up(s.w * s.oc, 16) : 0;
  b.sums = c.take<T>(p.parts * p.stride);
  b.spread = c.take<T>(b.spread_row * threads);
  return b;
}
template <class T>
size_t workspace(const ConvShape& s, int threads) {
  Carver c{nullptr};
  carve<T>(c, s, make_plan<T>(s), threads);
  return c.used;
}

// Kernel row r over one pair of rows; x: the source row, spread to the output channels.
template <class T>
void run_row(const ConvShape& s, const T* x, const T* dy, T* dw) {
  constexpr int64_t kTaps = 4;
  TapArgs<T> a;
  a.x_q = s.dilation_w * s.oc;
  a.x_p = s.stride_w * s.oc;
  a.dy_p = s.oc;
  a.dw_q = s.oc;
  a.channels = s.oc;
  const auto run = [&](int64_t q, int64_t n, Range r) {
    if (r.begin >= r.end) return;
    a.count = r.end - r.begin;
    a.x = x + (r.begin * s.stride_w - s.pad_left + q * s.dilation_w) * s.oc;
    a.dy = dy + r.begin * s.oc;
    a.dw = dw + q * s.oc;
    switch (n) {
      case 1:
        return taps<T, 1>(a);
      case 2:
        return taps<T, 2>(a);
      case 3:
        return taps<T, 3>(a);
      default:
        return taps<T, 4>(a);
    }
  };
  for (int64_t q0 = 0; q0 < s.kw; q0 += kTaps) {
    const int64_t n = min64(kTaps, s.kw - q0);
    const auto range = [&](int64_t q) { return valid_range(s.ow, s.stride_w, q * s.dilation_w - s.pad_left, s.w); };
    // Pixels that all these taps see, then what single taps see beyond them.
    Range inner{0, s.ow};
    for (int64_t q = q0; q < q0 + n; ++q) inner = {max64(inner.begin, range(q).begin), min64(inner.end, range(q).end)};
    if (inner.begin >= inner.end) inner = {0, 0};
    run(q0, n, inner);
    for (int64_t q = q0; q < q0 + n; ++q) {
      const Range r = range(q);
      if (inner.end == 0) {
        run(q, 1, r);
        continue;
      }
      run(q, 1, {r.begin, min64(r.end, inner.begin)});
      run(q, 1, {max64(r.begin, inner.end), r.end});
    }
  }
}

template <class T>
void run(const Context& ctx, const ConvWeightParams<T>& p) {
  const ConvShape& s = p.shape;
  const Plan plan = make_plan<T>(s);
  Carver carver{static_cast<char*>(ctx.workspace)};
  const Buffers<T> b = carve<T>(carver, s, plan, ctx.threads);
  const int64_t multiplier = s.oc / s.c;
  parallel_for(ctx, plan.parts, [&](int64_t part, int thread) {
    T* const dw = b.sums + part * plan.stride;
    T* const spread = b.spread + thread * b.spread_row;
    for (int64_t i = 0; i < plan.elements; ++i) dw[i] = T(0);
    for (int64_t row = plan.rows * part / plan.parts; row < plan.rows * (part + 1) / plan.parts; ++row) {
      const int64_t n = row / s.oh, i = row % s.oh;
      for (int64_t r = 0; r < s.kh; ++r) {
        const int64_t y = i * s.stride_h - s.pad_top + r * s.dilation_h;
        if (y < 0 || y >= s.h) continue;
        const T* x = p.x + (n * s.h + y) * s.w * s.c;
        if (multiplier > 1) {
          spread_channels(s.w * s.c, multiplier, x, spread);
          x = spread;
        }
        run_row(s, x, p.dy + row * s.ow * s.oc, dw + r * s.kw * s.oc);
      }
    }
  });
  for (int64_t i = 0; i < plan.elements; i += Vec<T>::W) {
    Vec<T> sum = Vec<T>::load(b.sums + i, plan.elements - i);
    for (int64_t part = 1; part < plan.parts; ++part) {
      sum = sum + Vec<T>::load(b.sums + part * plan.stride + i, plan.elements - i);
    }
    sum.store(p.dweight + i, plan.elements - i);
  }
}

bool can_run(const ConvShape& s) { return depthwise(s); }
double cost(const ConvShape& s) {
  const double pixels = static_cast<double>(s.n) * static_cast<double>(s.oh * s.ow);
  return pixels * static_cast<double>(s.kh * s.kw * round_up(s.oc, Vec<float>::W)) / 25.0;
}

}  // namespace

template <class T>
ConvWeightCandidate<T> conv_weight_depthwise() {
  return {"depthwise", can_run, cost, workspace<T>, run<T>, false, true};
}
#define LAMELLA_INSTANTIATE(T) template ConvWeightCandidate<T> conv_weight_depthwise<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
