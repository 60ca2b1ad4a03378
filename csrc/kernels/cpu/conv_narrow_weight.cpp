// Gradient to weights where a vector of output channels holds several groups: depthwise convolutions and groups of few
// channels. For some kernel rows and channels of a group, the sums of a row of pixels stay in registers. Rows of pixels
// are shared out to parts with their own sums, which are added in order.
#include "kernels/cpu/conv_depthwise_inl.h"
#include "kernels/cpu/conv_narrow_inl.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

// dw[r][q][k] += sum over pixels p of x[r][p + q][channel k of the group] * dy[p] for one vector of channels.
template <class T>
struct RowArgs {
  const T* x;  // first kernel row and tap, first pixel
  int64_t x_r, x_p;
  const T* dy;
  int64_t dy_p, count;
  const typename IntOf<T>::type* lanes;  // [K][W]
  int64_t from, to;                      // channels of x and dy that exist
  T* dw;
  int64_t dw_r, dw_q, dw_k;
  bool before, after;  // adjacent taps: one more pixel that sees all but the first (or the last) tap
};

template <class T, int R, int K, int Q>
LAMELLA_INLINE void add_sums(const RowArgs<T>& a, const Vec<T> (&acc)[R][K][Q]) {
  unroll<R>(LAMELLA_UNROLLED(r) {
    unroll<Q>(LAMELLA_UNROLLED(q) {
      unroll<K>(LAMELLA_UNROLLED(k) {
        T* w = a.dw + r.value * a.dw_r + q.value * a.dw_q + k.value * a.dw_k;
        (Vec<T>::load(w, a.to) + acc[r.value][k.value][q.value]).store(w, a.to);
      });
    });
  });
}
template <class T, int K, bool Grouped>
struct Lanes {
  IVec<T> at[K];
  LAMELLA_INLINE explicit Lanes(const RowArgs<T>& a) {
    if constexpr (Grouped) {
      unroll<K>(LAMELLA_UNROLLED(k) { at[k.value] = IVec<T>::load(a.lanes + k.value * Vec<T>::W); });
    }
  }
  template <int I>
  LAMELLA_INLINE Vec<T> take(Vec<T> x) const {
    if constexpr (Grouped)
      return permute(x, at[I]);
    else
      return x;
  }
};

// Three taps a pixel apart at stride 1: every pixel of x is loaded once for all of them.
template <class T, int R, int K, bool Grouped>
void adjacent_taps(const RowArgs<T>& a) {
  using V = Vec<T>;
  const Lanes<T, K, Grouped> lanes(a);
  V acc[R][K][3];
  unroll<R>(LAMELLA_UNROLLED(r) {
    unroll<K>(LAMELLA_UNROLLED(k) { unroll<3>(LAMELLA_UNROLLED(q) { acc[r.value][k.value][q.value] = V::zero(); }); });
  });
  const auto pixels = [&]<bool Full>(std::bool_constant<Full>) __attribute__((always_inline)) {
    const auto load_x = [&](const T* at) __attribute__((always_inline)) {
      return Full ? V::load(at) : V::load(at, a.from);
    };
    const auto load_dy = [&](const T* at) __attribute__((always_inline)) {
      return Full ? V::load(at) : V::load(at, a.to);
    };
    // Pixel u of x meets the pixels u, u - 1 and u - 2 of dy.
    const auto meet = [&](int64_t u, const auto& with) __attribute__((always_inline)) {
      unroll<R>(LAMELLA_UNROLLED(r) {
        const V x = load_x(a.x + r.value * a.x_r + u * a.x_p);
        unroll<K>(LAMELLA_UNROLLED(k) { with(r, k, lanes.template take<k.value>(x)); });
      });
    };
    const int64_t least = a.before ? -1 : 0, end = a.count + (a.after ? 1 : 0);
    const auto edge = [&](int64_t u) __attribute__((always_inline)) {
      unroll<3>(LAMELLA_UNROLLED(q) {
        const int64_t p = u - q.value;
        if (p < least || p >= end) return;
        const V g = load_dy(a.dy + p * a.dy_p);
        meet(
            u, [&](auto r, auto k, V x) __attribute__((always_inline)) {
              acc[r.value][k.value][q.value] = fma(x, g, acc[r.value][k.value][q.value]);
            });
      });
    };
    int64_t u = 0;
#pragma GCC unroll 1
    for (; u < 2; ++u) edge(u);
#pragma GCC unroll 1
    for (; u < a.count; ++u) {
      const T* dy = a.dy + u * a.dy_p;
      const V g0 = load_dy(dy), g1 = load_dy(dy - a.dy_p), g2 = load_dy(dy - 2 * a.dy_p);
      meet(
          u, [&](auto r, auto k, V x) __attribute__((always_inline)) {
            V(&sums)[3] = acc[r.value][k.value];
            sums[0] = fma(x, g0, sums[0]);
            sums[1] = fma(x, g1, sums[1]);
            sums[2] = fma(x, g2, sums[2]);
          });
    }
#pragma GCC unroll 1
    for (; u < a.count + 2; ++u) edge(u);
  };
  if (a.from == V::W && a.to == V::W)
    pixels(std::true_type{});
  else
    pixels(std::false_type{});
  add_sums(a, acc);
}

// One tap of any kernel.
template <class T, int R, int K, bool Grouped>
void single_tap(const RowArgs<T>& a) {
  using V = Vec<T>;
  const Lanes<T, K, Grouped> lanes(a);
  V even[R][K][1], odd[R][K][1];
  unroll<R>(LAMELLA_UNROLLED(r) {
    unroll<K>(LAMELLA_UNROLLED(k) { even[r.value][k.value][0] = odd[r.value][k.value][0] = V::zero(); });
  });
  const auto pixels = [&]<bool Full>(std::bool_constant<Full>) __attribute__((always_inline)) {
    const auto add = [&](int64_t p, V(&acc)[R][K][1]) __attribute__((always_inline)) {
      const V g = Full ? V::load(a.dy + p * a.dy_p) : V::load(a.dy + p * a.dy_p, a.to);
      unroll<R>(LAMELLA_UNROLLED(r) {
        const T* at = a.x + r.value * a.x_r + p * a.x_p;
        const V x = Full ? V::load(at) : V::load(at, a.from);
        unroll<K>(LAMELLA_UNROLLED(k) {
          acc[r.value][k.value][0] = fma(lanes.template take<k.value>(x), g, acc[r.value][k.value][0]);
        });
      });
    };
    int64_t p = 0;
    for (; p + 2 <= a.count; p += 2) {
      add(p, even);
      add(p + 1, odd);
    }
    if (p < a.count) add(p, even);
  };
  if (a.from == V::W && a.to == V::W)
    pixels(std::true_type{});
  else
    pixels(std::false_type{});
  unroll<R>(LAMELLA_UNROLLED(r) {
    unroll<K>(
        LAMELLA_UNROLLED(k) { even[r.value][k.value][0] = even[r.value][k.value][0] + odd[r.value][k.value][0]; });
  });
  add_sums(a, even);
}

// Kernel rows at once where groups have one channel, channels at once where they have more.
constexpr int64_t kRows = 3;
#if defined(LAMELLA_ISA_AVX512)
constexpr int64_t kChannels = 4;
#else
constexpr int64_t kChannels = 2;
#endif
template <class T, bool Grouped>
LAMELLA_INLINE void run_taps(const RowArgs<T>& a, bool adjacent, int64_t n) {
  using Fn = void (*)(const RowArgs<T>&);
  if constexpr (!Grouped) {
    static constexpr Fn kFn[2][kRows] = {
        {single_tap<T, 1, 1, false>, single_tap<T, 2, 1, false>, single_tap<T, 3, 1, false>},
        {adjacent_taps<T, 1, 1, false>, adjacent_taps<T, 2, 1, false>, adjacent_taps<T, 3, 1, false>}};
    kFn[adjacent][n - 1](a);
  } else if constexpr (kChannels == 4) {
    static constexpr Fn kFn[2][kChannels] = {
        {single_tap<T, 1, 1, true>, single_tap<T, 1, 2, true>, single_tap<T, 1, 3, true>, single_tap<T, 1, 4, true>},
        {adjacent_taps<T, 1, 1, true>, adjacent_taps<T, 1, 2, true>, adjacent_taps<T, 1, 3, true>,
         adjacent_taps<T, 1, 4, true>}};
    kFn[adjacent][n - 1](a);
  } else {
    static constexpr Fn kFn[2][kChannels] = {{single_tap<T, 1, 1, true>, single_tap<T, 1, 2, true>},
                                             {adjacent_taps<T, 1, 1, true>, adjacent_taps<T, 1, 2, true>}};
    kFn[adjacent][n - 1](a);
  }
}

template <class T, bool Grouped>
struct Plan {
  int64_t rows, parts, elements, stride;  // rows: (image, output row) pairs
  int64_t cg, og, vectors, from_step, to_step;
  bool spread;  // x to the output channels
};
template <class T, bool Grouped>
Plan<T, Grouped> make_plan(const ConvShape& s) {
  Plan<T, Grouped> p;
  p.rows = s.n * s.oh;
  constexpr int64_t kParts = 32, kPartRows = 4;
  p.parts = max64(1, min64(kParts, p.rows / kPartRows));
  p.cg = s.c / s.groups;
  p.og = s.oc / s.groups;
  p.elements = s.kh * s.kw * p.cg * s.oc;
  p.stride = round_up(p.elements, 16);
  const NarrowGroups<T> groups(s.groups, p.cg, p.og);
  p.vectors = Grouped ? groups.vectors : ceil_div(s.oc, Vec<T>::W);
  p.from_step = Grouped ? groups.in_vector * p.cg : Vec<T>::W;
  p.to_step = Grouped ? groups.in_vector * p.og : Vec<T>::W;
  p.spread = !Grouped && s.oc > s.c;
  return p;
}

template <class T>
struct Buffers {
  T *sums, *spread;
  int64_t spread_row;  // elements per thread
  typename IntOf<T>::type* lanes;
};
template <class T, bool Grouped>
Buffers<T> carve(Carver& c, const ConvShape& s, const Plan<T, Grouped>& p, int threads) {
  Buffers<T> b;
  b.spread_row = p.spread ? round_up(s.kh * s.w * s.oc, 16) : 0;
  b.sums = c.take<T>(p.parts * p.stride);
  b.spread = c.take<T>(b.spread_row * threads);
  b.lanes = c.take<typename IntOf<T>::type>(Grouped ? p.cg * Vec<T>::W : 0);
  return b;
}
template <class T, bool Grouped>
size_t workspace(const ConvShape& s, int threads) {
  Carver c{nullptr};
  carve(c, s, make_plan<T, Grouped>(s), threads);
  return c.used;
}

// Adds one row of output pixels. x: the source row of the first of the kernel rows [r.begin, r.end), rows x_r apart.
template <class T, bool Grouped>
LAMELLA_NOINLINE void run_row(const ConvShape& s, const Plan<T, Grouped>& p, const typename IntOf<T>::type* lanes,
                              Range rows, const T* x, int64_t x_r, int64_t x_c, const T* dy, T* dw) {
  const auto range = [&](int64_t q) { return valid_range(s.ow, s.stride_w, q * s.dilation_w - s.pad_left, s.w); };
  Range inner{0, 0};
  if (s.kw == 3 && s.stride_w == 1 && s.dilation_w == 1) {
    inner = {range(0).begin, range(2).end};
    if (inner.begin >= inner.end) inner = {0, 0};
  }
  RowArgs<T> a;
  a.x_r = x_r;
  a.x_p = s.stride_w * x_c;
  a.dy_p = s.oc;
  a.dw_k = s.oc;
  a.dw_q = p.cg * s.oc;
  a.dw_r = s.kw * a.dw_q;
  for (int64_t i = 0; i < p.vectors; ++i) {
    a.from = min64(p.from_step, x_c - i * p.from_step);
    a.to = min64(p.to_step, s.oc - i * p.to_step);
    const auto run = [&](int64_t q, Range pixels, bool adjacent) {
      if (pixels.begin >= pixels.end) return;
      a.count = pixels.end - pixels.begin;
      a.dy = dy + pixels.begin * s.oc + i * p.to_step;
      const T* at = x + (pixels.begin * s.stride_w - s.pad_left + q * s.dilation_w) * x_c + i * p.from_step;
      T* const to = dw + rows.begin * a.dw_r + q * a.dw_q + i * p.to_step;
      if constexpr (Grouped) {
        for (int64_t r = 0; r < rows.end - rows.begin; ++r) {
          for (int64_t k = 0; k < p.cg; k += kChannels) {
            a.x = at + r * x_r;
            a.dw = to + r * a.dw_r + k * a.dw_k;
            a.lanes = lanes + k * Vec<T>::W;
            run_taps<T, true>(a, adjacent, min64(kChannels, p.cg - k));
          }
        }
      } else {
        for (int64_t r = 0; r < rows.end - rows.begin; r += kRows) {
          a.x = at + r * x_r;
          a.dw = to + r * a.dw_r;
          run_taps<T, false>(a, adjacent, min64(kRows, rows.end - rows.begin - r));
        }
      }
    };
    a.before = inner.end > 0 && inner.begin > 0;
    a.after = inner.end > 0 && inner.end < s.ow;
    run(0, inner, true);
    for (int64_t q = 0; q < s.kw; ++q) {
      const Range r = range(q);
      if (inner.end == 0) {
        run(q, r, false);
        continue;
      }
      // What lies further out than the pixel next to the inner ones.
      run(q, {r.begin, min64(r.end, inner.begin - 1)}, false);
      run(q, {max64(r.begin, inner.end + 1), r.end}, false);
    }
  }
}

template <class T, bool Grouped>
void run(const Context& ctx, const ConvWeightParams<T>& params) {
  const ConvShape& s = params.shape;
  const Plan<T, Grouped> p = make_plan<T, Grouped>(s);
  Carver carver{static_cast<char*>(ctx.workspace)};
  const Buffers<T> b = carve(carver, s, p, ctx.threads);
  if constexpr (Grouped) NarrowGroups<T>(s.groups, p.cg, p.og).lanes(p.cg, p.og, b.lanes);
  parallel_for(ctx, p.parts, [&](int64_t part, int thread) {
    T* const dw = b.sums + part * p.stride;
    T* const spread = b.spread + thread * b.spread_row;
    for (int64_t i = 0; i < p.elements; ++i) dw[i] = T(0);
    for (int64_t row = p.rows * part / p.parts; row < p.rows * (part + 1) / p.parts; ++row) {
      const int64_t n = row / s.oh, y = row % s.oh * s.stride_h - s.pad_top;
      const Range rows = valid_range(s.kh, s.dilation_h, y, s.h);
      if (rows.begin >= rows.end) continue;
      const T* const dy = params.dy + row * s.ow * s.oc;
      const T* const x = params.x + (n * s.h + y + rows.begin * s.dilation_h) * s.w * s.c;
      if (p.spread) {
        for (int64_t r = 0; r < rows.end - rows.begin; ++r) {
          spread_channels(s.w * s.c, s.oc / s.c, x + r * s.dilation_h * s.w * s.c, spread + r * s.w * s.oc);
        }
        run_row(s, p, b.lanes, rows, static_cast<const T*>(spread), s.w * s.oc, s.oc, dy, dw);
      } else {
        run_row(s, p, b.lanes, rows, x, s.dilation_h * s.w * s.c, s.c, dy, dw);
      }
    }
  });
  constexpr int64_t kStep = 4096;
  parallel_range(ctx, p.elements, kStep, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i += Vec<T>::W) {
      Vec<T> sum = Vec<T>::load(b.sums + i, end - i);
      for (int64_t part = 1; part < p.parts; ++part) sum = sum + Vec<T>::load(b.sums + part * p.stride + i, end - i);
      sum.store(params.dweight + i, end - i);
    }
  });
}

bool can_run_depthwise(const ConvShape& s) { return depthwise(s); }
double cost_depthwise(const ConvShape& s) {
  const double pixels = static_cast<double>(s.n) * static_cast<double>(s.oh * s.ow);
  return pixels * static_cast<double>(s.kh * s.kw * round_up(s.oc, Vec<float>::W)) / 25.0;
}

template <class T>
bool can_run_grouped(const ConvShape& s) {
  return narrow_groups<T>(s);
}
double cost_grouped(const ConvShape& s) {
  const double pixels = static_cast<double>(s.n) * static_cast<double>(s.oh * s.ow);
  const NarrowGroups<float> groups(s.groups, s.c / s.groups, s.oc / s.groups);
  return pixels * static_cast<double>(s.kh * s.kw * groups.vectors * (s.c / s.groups) * Vec<float>::W) / 25.0;
}

}  // namespace

template <class T>
ConvWeightCandidate<T> conv_weight_depthwise() {
  return {"depthwise", can_run_depthwise, cost_depthwise, workspace<T, false>, run<T, false>, false, true};
}
template <class T>
ConvWeightCandidate<T> conv_weight_grouped() {
  return {"grouped", can_run_grouped<T>, cost_grouped, workspace<T, true>, run<T, true>, false, true};
}
#define LAMELLA_INSTANTIATE(T)                                \
  template ConvWeightCandidate<T> conv_weight_depthwise<T>(); \
  template ConvWeightCandidate<T> conv_weight_grouped<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
