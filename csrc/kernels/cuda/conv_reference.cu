// The definition, a thread per result: what every other candidate is measured against, and what runs shapes whose sizes
// do not fit the others' 32-bit indices.
#include "kernels/cuda/activation.h"
#include "kernels/cuda/conv_geometry.h"

namespace lamella::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(256) gather(ConvView<int64_t> v, ConvParams<T> p) {
  const int64_t total = v.n * v.h.dst_size * v.w.dst_size * v.dc;
  for (int64_t at = thread_number(); at < total; at += thread_count()) {
    const int64_t o = at % v.dc, pixel = at / v.dc;
    const int64_t x = pixel % v.w.dst_size, row = pixel / v.w.dst_size;
    const int64_t y = row % v.h.dst_size, n = row / v.h.dst_size;
    const ConvAxis<int64_t> ay = v.h.axis(y % v.h.phases), ax = v.w.axis(x % v.w.phases);
    const int64_t i = (y - ay.out0) / ay.out_step, j = (x - ax.out0) / ax.out_step;
    const int64_t g = o / v.nc;
    const T* const weight = p.weight + g * v.w_group + o % v.nc * v.w_j;
    T sum = p.bias != nullptr ? p.bias[o] : T(0);
    for (int64_t qy = 0; qy < ay.taps; ++qy) {
      const int64_t sy = i * ay.src_step + ay.off0 + qy * ay.off_step;
      if (sy < 0 || sy >= ay.src_size) continue;
      for (int64_t qx = 0; qx < ax.taps; ++qx) {
        const int64_t sx = j * ax.src_step + ax.off0 + qx * ax.off_step;
        if (sx < 0 || sx >= ax.src_size) continue;
        const T* const src = p.src + ((n * ay.src_size + sy) * ax.src_size + sx) * v.sc + g * v.kc;
        const T* const w = weight + ((ay.tap0 + qy * ay.tap_step) * v.w.kernel + ax.tap0 + qx * ax.tap_step) * v.w_tap;
        for (int64_t k = 0; k < v.kc; ++k) sum = fma(src[k], w[k * v.w_k], sum);
      }
    }
    p.dst[at] = act_value(p.act, sum);
  }
}

template <class T>
__global__ void __launch_bounds__(256) gather_weight(ConvShape s, ConvWeightParams<T> p) {
  const int64_t cg = s.c / s.groups, og = s.oc / s.groups, total = s.kh * s.kw * cg * s.oc;
  for (int64_t at = thread_number(); at < total; at += thread_count()) {
    const int64_t o = at % s.oc, row = at / s.oc, q = row % cg, tap = row / cg;
    const int64_t oy = tap / s.kw * s.dilation_h - s.pad_top, ox = tap % s.kw * s.dilation_w - s.pad_left;
    T total_sum = 0;  // row by row: long sums lose less
    for (int64_t n = 0; n < s.n; ++n) {
      for (int64_t i = 0; i < s.oh; ++i) {
        const int64_t y = i * s.stride_h + oy;
        if (y < 0 || y >= s.h) continue;
        T sum = 0;
        for (int64_t j = 0; j < s.ow; ++j) {
          const int64_t x = j * s.stride_w + ox;
          if (x < 0 || x >= s.w) continue;
          sum = fma(p.x[((n * s.h + y) * s.w + x) * s.c + o / og * cg + q],
                    p.dy[((n * s.oh + i) * s.ow + j) * s.oc + o], sum);
        }
        total_sum += sum;
      }
    }
    p.dweight[at] = total_sum;
  }
}

template <class T>
void run(const Context& ctx, ConvPass pass, const ConvParams<T>& p) {
  const auto v = conv_view<int64_t>(p.shape, pass);
  launch(ctx, gather<T>, flat(v.n * v.h.dst_size * v.w.dst_size * v.dc), v, p);
}
template <class T>
void run_weight(const Context& ctx, const ConvWeightParams<T>& p) {
  const ConvShape& s = p.shape;
  launch(ctx, gather_weight<T>, flat(s.kh * s.kw * (s.c / s.groups) * s.oc), s, p);
}

bool can_run(const ConvShape&, ConvPass) { return true; }
size_t workspace(const ConvShape&, ConvPass) { return 0; }
bool can_run_weight(const ConvShape&) { return true; }
size_t workspace_weight(const ConvShape&) { return 0; }

}  // namespace

template <class T>
ConvCandidate<T> conv_reference() {
  return {"reference", can_run, run<T>, workspace};
}
template <class T>
ConvWeightCandidate<T> conv_weight_reference() {
  return {"reference", can_run_weight, workspace_weight, run_weight<T>};
}
template ConvCandidate<float> conv_reference();
template ConvCandidate<double> conv_reference();
template ConvWeightCandidate<float> conv_weight_reference();
template ConvWeightCandidate<double> conv_weight_reference();

}  // namespace lamella::cuda
