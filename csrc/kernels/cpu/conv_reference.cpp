// The definition, loop by loop: what every other candidate is measured against.
#include "kernels/cpu/conv_epilogue.h"
#include "kernels/cpu/conv_geometry.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
void run(const Context& ctx, ConvPass pass, const ConvParams<T>& p) {
  const ConvShape& s = p.shape;
  const ConvView v = conv_view(s, pass);
  parallel_for(ctx, v.n * v.dh, [&](int64_t row, int) {
    const int64_t n = row / v.dh, y = row % v.dh;
    const ConvAxis ay = conv_axis_h(s, pass, y % v.phases_h);
    const int64_t i = (y - ay.out0) / ay.out_step;
    for (int64_t x = 0; x < v.dw; ++x) {
      const ConvAxis ax = conv_axis_w(s, pass, x % v.phases_w);
      const int64_t j = (x - ax.out0) / ax.out_step;
      T* dst = p.dst + (row * v.dw + x) * v.dc;
      for (int64_t o = 0; o < v.dc; ++o) {
        const int64_t g = o / v.nc;
        T sum = p.bias != nullptr ? p.bias[o] : T(0);
        for (int64_t qy = 0; qy < ay.taps; ++qy) {
          const int64_t sy = i * ay.src_step + ay.off0 + qy * ay.off_step;
          if (sy < 0 || sy >= v.sh) continue;
          for (int64_t qx = 0; qx < ax.taps; ++qx) {
            const int64_t sx = j * ax.src_step + ax.off0 + qx * ax.off_step;
            if (sx < 0 || sx >= v.sw) continue;
            const T* src = p.src + ((n * v.sh + sy) * v.sw + sx) * v.sc + g * v.kc;
            const int64_t tap = (ay.tap0 + qy * ay.tap_step) * v.kw + ax.tap0 + qx * ax.tap_step;
            const T* w = p.weight + tap * v.w_tap + g * v.w_group + (o % v.nc) * v.w_j;
            for (int64_t k = 0; k < v.kc; ++k) sum += src[k] * w[k * v.w_k];
          }
        }
        dst[o] = sum;
      }
      activate_row(p.act, dst, v.dc);
    }
  });
}

template <class T>
void run_weight(const Context& ctx, const ConvWeightParams<T>& p) {
  const ConvShape& s = p.shape;
  const int64_t cg = s.c / s.groups, og = s.oc / s.groups;
  parallel_for(ctx, s.kh * s.kw * cg, [&](int64_t row, int) {
    const int64_t q = row % cg, tap = row / cg;
    const int64_t oy = tap / s.kw * s.dilation_h - s.pad_top, ox = tap % s.kw * s.dilation_w - s.pad_left;
    const Range ry = valid_range(s.oh, s.stride_h, oy, s.h), rx = valid_range(s.ow, s.stride_w, ox, s.w);
    for (int64_t o = 0; o < s.oc; ++o) {
      T total = 0;  // row by row: long sums lose less
      for (int64_t n = 0; n < s.n; ++n) {
        for (int64_t i = ry.begin; i < ry.end; ++i) {
          T sum = 0;
          for (int64_t j = rx.begin; j < rx.end; ++j) {
            const int64_t pixel = (n * s.h + i * s.stride_h + oy) * s.w + j * s.stride_w + ox;
            sum += p.x[pixel * s.c + o / og * cg + q] * p.dy[((n * s.oh + i) * s.ow + j) * s.oc + o];
          }
          total += sum;
        }
      }
      p.dweight[row * s.oc + o] = total;
    }
  });
}

bool can_run(const ConvShape&, ConvPass) { return true; }
bool can_run_weight(const ConvShape&) { return true; }
double macs(const ConvShape& s) {
  return static_cast<double>(s.n * s.oh * s.ow) * static_cast<double>(s.kh * s.kw * s.oc) *
         static_cast<double>(s.c / s.groups);
}
double cost(const ConvShape& s, ConvPass) { return 2.0 * macs(s); }
double cost_weight(const ConvShape& s) { return 4.0 * macs(s); }
size_t workspace(const ConvShape&, ConvPass, bool, int) { return 0; }
size_t workspace_weight(const ConvShape&, int) { return 0; }
size_t prepared_bytes(const ConvShape&, ConvPass) { return 0; }

}  // namespace

template <class T>
ConvCandidate<T> conv_reference() {
  return {"reference", can_run, cost, workspace, run<T>, prepared_bytes, nullptr, true};
}
template <class T>
ConvWeightCandidate<T> conv_weight_reference() {
  return {"reference", can_run_weight, cost_weight, workspace_weight, run_weight<T>, false, true};
}
#define LAMELLA_INSTANTIATE(T)                   \
  template ConvCandidate<T> conv_reference<T>(); \
  template ConvWeightCandidate<T> conv_weight_reference<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
