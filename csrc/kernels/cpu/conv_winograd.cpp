// 3x3, stride 1 or 2, forward and gradient to data by Winograd's algorithm: tiles of the source are transformed to P*P
// points, at every point a matrix product over the channels runs, and the products are transformed back. Edges read
// zeros and are clipped at the store. Here are the schedules (see conv_winograd_plan.h) and the candidates.
#include "kernels/cpu/conv_geometry.h"
#include "kernels/cpu/conv_winograd_stages_inl.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
struct Buffers {
  T *zeros, *weights, *v, *m;
};
template <class T, class A>
Buffers<T> carve(Carver& c, const WinogradPlan<T, A>& p, bool prepared) {
  Buffers<T> b;
  b.zeros = c.take<T>(round_up(p.k, Vec<T>::W));
  b.weights = prepared || p.few ? nullptr : c.take<T>(weight_elements(p));
  return b;
}
template <class T, class A>
void carve_block(Carver& c, const WinogradPlan<T, A>& p, Buffers<T>& b) {
  b.v = c.take<T>(p.block * p.ld_v);
  b.m = c.take<T>(p.block * p.ld_m);
}
// What each thread of the schedule for few tiles has to itself: products, and some weights where none are prepared.
template <class T, class A>
void carve_few(Carver& c, const WinogradPlan<T, A>& p, bool prepared, Buffers<T>& b) {
  b.weights = prepared ? nullptr : c.take<T>(WinogradPlan<T, A>::kKernels * winograd_stride<T>(p.kc * kGemmNR<T>));
  b.m = c.take<T>(p.block * p.ld_m);
}

template <class T, class A>
size_t workspace_as(const ConvShape& s, ConvPass pass, bool prepared, int threads) {
  const WinogradPlan<T, A> p = winograd_plan<T, A>(s, pass);
  Carver c{nullptr}, block{nullptr};
  Buffers<T> b = carve(c, p, prepared);
  if (p.few) {
    c.take<T>(p.block * p.ld_v);
    carve_few(block, p, prepared, b);
    return c.used + block.used * static_cast<size_t>(threads);
  }
  carve_block(block, p, b);
  return c.used + block.used * static_cast<size_t>(p.staged ? 1 : threads);
}

template <class T, class A>
void run_blocked(const Context& ctx, const WinogradPlan<T, A>& p, const ConvParams<T>& params, const Buffers<T>& shared,
                 const T* u, char* scratch) {
  Carver one{nullptr};
  Buffers<T> size;
  carve_block(one, p, size);
  parallel_for(ctx, ceil_div(p.tiles, p.block), [&](int64_t task, int thread) {
    Carver c{scratch + one.used * static_cast<size_t>(thread)};
    Buffers<T> b;
    carve_block(c, p, b);
    const int64_t t0 = task * p.block, count = min64(p.block, p.tiles - t0);
    transform_input(p, params.src, shared.zeros, t0, count, 0, p.k, b.v);
    for (int64_t j = 0; j < p.n; j += p.columns) {
      const int64_t n = min64(p.columns, p.n - j);
      for (int64_t point = 0; point < WinogradPlan<T, A>::kPoints; ++point)
        multiply(p, u, point, count, j, n, b.v, b.m);
      put_output(p, params, t0, count, j, n, b.m);
    }
  });
}

template <class T, class A>
void transform_all_input(const Context& ctx, const WinogradPlan<T, A>& p, const ConvParams<T>& params, const T* zeros,
                         int64_t t0, int64_t count, T* v) {
  constexpr int64_t kTiles = 4, kChannels = 128;
  const int64_t groups = ceil_div(count, kTiles);
  parallel_for(ctx, groups * ceil_div(p.k, kChannels), [&](int64_t task, int) {
    const int64_t t = task % groups * kTiles, k = task / groups * kChannels;
    transform_input(p, params.src, zeros, t0 + t, min64(kTiles, count - t), k, min64(k + kChannels, p.k),
                    v + t * p.ld_v);
  });
}

template <class T, class A>
void run_few(const Context& ctx, ConvPass pass, const WinogradPlan<T, A>& p, const ConvParams<T>& params,
             const Buffers<T>& shared, char* scratch) {
  constexpr int64_t NR = kGemmNR<T>;
  const T* prepared = static_cast<const T*>(params.prepared);
  Carver all{scratch}, one{nullptr};
  T* const v = all.take<T>(p.block * p.ld_v);
  Buffers<T> size;
  carve_few(one, p, prepared != nullptr, size);
  transform_all_input(ctx, p, params, shared.zeros, 0, p.tiles, v);
  parallel_for(ctx, p.n_pad / NR, [&](int64_t panel, int thread) {
    Carver c{scratch + all.used + one.used * static_cast<size_t>(thread)};
    Buffers<T> b;
    carve_few(c, p, prepared != nullptr, b);
    const int64_t j = panel * NR, n = min64(NR, p.n - j);
    for (int64_t k = 0; k < p.k; k += p.kc) {
      const int64_t block = min64(p.kc, p.k - k);
      const T* u = b.weights;
      int64_t stride = winograd_stride<T>(block * NR);
      if (prepared == nullptr) {
        transform_panel(p, pass, params.weight, j, k, block, b.weights, stride);
      } else {
        u = prepared + k * p.n_pad + j * block;
        stride = p.point_u;
      }
      for (int64_t point = 0; point < WinogradPlan<T, A>::kPoints; ++point) {
        multiply_block(p, u + kernel_point<A>(point) * stride, point, p.tiles, k, block, n, v, b.m);
      }
    }
    put_output(p, params, 0, p.tiles, j, n, b.m);
  });
}

template <class T, class A>
void run_staged(const Context& ctx, const WinogradPlan<T, A>& p, const ConvParams<T>& params, const Buffers<T>& shared,
                const T* u, char* scratch) {
  Carver c{scratch};
  Buffers<T> b;
  carve_block(c, p, b);
  constexpr int64_t kTiles = 4;
  const int64_t column_step = max64(1, 128 / kGemmNR<T>) * kGemmNR<T>;
  for (int64_t t0 = 0; t0 < p.tiles; t0 += p.block) {
    const int64_t count = min64(p.block, p.tiles - t0), groups = ceil_div(count, kTiles);
    transform_all_input(ctx, p, params, shared.zeros, t0, count, b.v);
    const int64_t steps = ceil_div(p.n, column_step);
    parallel_for(ctx, WinogradPlan<T, A>::kPoints * steps, [&](int64_t task, int) {
      const int64_t j = task % steps * column_step;
      multiply(p, u, task / steps, count, j, min64(column_step, p.n - j), b.v, b.m + j);
    });
    parallel_for(ctx, groups * steps, [&](int64_t task, int) {
      const int64_t t = task % groups * kTiles, j = task / groups * column_step;
      put_output(p, params, t0 + t, min64(kTiles, count - t), j, min64(column_step, p.n - j), b.m + t * p.ld_m + j);
    });
  }
}

template <class T, class A>
void run_as(const Context& ctx, ConvPass pass, const ConvParams<T>& params) {
  const WinogradPlan<T, A> p = winograd_plan<T, A>(params.shape, pass);
  if (p.tiles == 0) return;
  Carver c{static_cast<char*>(ctx.workspace)};
  const Buffers<T> b = carve(c, p, params.prepared != nullptr);
  for (int64_t i = 0; i < p.k; ++i) b.zeros[i] = T(0);
  if (p.few) return run_few(ctx, pass, p, params, b, c.base + c.used);
  const T* u = static_cast<const T*>(params.prepared);
  if (u == nullptr) {
    pack_weights<T, A>(ctx, params.shape, pass, params.weight, b.weights);
    u = b.weights;
  }
  (p.staged ? run_staged<T, A> : run_blocked<T, A>)(ctx, p, params, b, u, c.base + c.used);
}

// ---- the candidates: one algorithm for each pass --------------------------------------------------------------------

// DOdd: the gradient to data where the padding is odd on both axes.
template <class F, class D, class DOdd = D>
struct Passes {
  using Forward = F;
  using Data = D;
  using DataOdd = DOdd;
};
template <class P, class Use>
LAMELLA_INLINE auto with_algorithm(const ConvShape& s, ConvPass pass, const Use& use) {
  if (pass == ConvPass::kForward) return use(typename P::Forward{});
  return s.pad_top % 2 == 1 && s.pad_left % 2 == 1 ? use(typename P::DataOdd{}) : use(typename P::Data{});
}

template <class T, class P>
size_t workspace(const ConvShape& s, ConvPass pass, bool prepared, int threads) {
  return with_algorithm<P>(s, pass, [&]<class A>(A) { return workspace_as<T, A>(s, pass, prepared, threads); });
}
template <class T, class P>
void run(const Context& ctx, ConvPass pass, const ConvParams<T>& params) {
  with_algorithm<P>(params.shape, pass, [&]<class A>(A) { run_as<T, A>(ctx, pass, params); });
}
template <class T, class P>
size_t prepared_bytes(const ConvShape& s, ConvPass pass) {
  // Where few tiles are multiplied with large weights, to read the transformed ones, which are larger still, takes
  // longer than to transform them.
  constexpr size_t kWorthKeeping = 4 << 20;
  return with_algorithm<P>(s, pass, [&]<class A>(A) {
    const WinogradPlan<T, A> p = winograd_plan<T, A>(s, pass);
    const size_t bytes = static_cast<size_t>(weight_elements(p)) * sizeof(T);
    return p.few && bytes > kWorthKeeping ? 0 : bytes;
  });
}
template <class T, class P>
void prepare(const Context& ctx, const ConvShape& s, ConvPass pass, const T* weight, void* prepared) {
  with_algorithm<P>(s, pass, [&]<class A>(A) { pack_weights<T, A>(ctx, s, pass, weight, static_cast<T*>(prepared)); });
}

template <class P>
bool can_run(const ConvShape& s, ConvPass) {
  constexpr int64_t stride = P::Forward::kStep / P::Forward::kOut;
  return s.kh == 3 && s.kw == 3 && s.stride_h == stride && s.stride_w == stride && s.dilation_h == 1 &&
         s.dilation_w == 1 && s.groups == 1;
}

// Few channels: the transforms cost more than they save. A transform costs about what it loads and stores.
template <class P>
double cost(const ConvShape& s, ConvPass pass) {
  const ConvView v = conv_view(s, pass);
  const auto k = static_cast<double>(round_up(v.kc, Vec<float>::W)),
             n = static_cast<double>(round_up(v.nc, Vec<float>::W));
  return with_algorithm<P>(s, pass, [&]<class A>(A) {
    int64_t off, shift, tiles_h, tiles_w;
    place<A>(pass, s.pad_top, v.dh, off, shift, tiles_h);
    place<A>(pass, s.pad_left, v.dw, off, shift, tiles_w);
    const auto tiles = static_cast<double>(v.n * tiles_h * tiles_w);
    constexpr double points = A::kPoints * A::kPoints, kernels = A::kKernelPoints * A::kKernelPoints;
    constexpr double input = 0.1 * (A::kIn * A::kIn + points), output = 0.12 * (A::kOut * A::kOut + points);
    return tiles * (points * k * n / 45.0 + k * input + n * output) + k * n * 0.07 * kernels;
  });
}

template <class T, class P>
ConvCandidate<T> candidate(const char* name) {
  return {name, can_run<P>, cost<P>, workspace<T, P>, run<T, P>, prepared_bytes<T, P>, prepare<T, P>, false, true};
}

}  // namespace

template <class T>
ConvCandidate<T> conv_winograd4() {
  return candidate<T, Passes<Winograd<4>, Winograd<4>>>("winograd4");
}
template <class T>
ConvCandidate<T> conv_winograd2() {
  return candidate<T, Passes<Winograd<2>, Winograd<2>>>("winograd2");
}
template <class T>
ConvCandidate<T> conv_winograd_stride2() {
  return candidate<T, Passes<WinogradStride2, WinogradStride2Data<false>, WinogradStride2Data<true>>>(
      "winograd_stride2");
}
#define LAMELLA_INSTANTIATE(T)                   \
  template ConvCandidate<T> conv_winograd4<T>(); \
  template ConvCandidate<T> conv_winograd2<T>(); \
  template ConvCandidate<T> conv_winograd_stride2<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
