// The gradient to weights without copies: for one kernel tap, a tile of input channels x output channels stays in
// registers while it sums x * dy over a band of pixels. Bands are added up in order; where the weights are small, the
// images are shared out to parts with their own sums, which are added in order too.
#include "kernels/cpu/conv_geometry.h"
#include "kernels/cpu/conv_weight_tile_inl.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

struct Plan {
  int64_t images, rows;      // of a band
  int64_t row_bands, bands;  // bands per image (or 1), in all
  int64_t parts;             // groups of bands with their own sums
  int64_t splits;            // of the (group, column panel, tap) units among tasks
  int64_t col_blocks, units;
};

template <class T>
Plan make_plan(const ConvShape& s) {
  Plan p;
  const int64_t pixels = max64(1, s.oh * s.ow);
  p.images = max64(1, min64(s.n, kBandPixels / pixels));
  p.rows = p.images > 1 ? s.oh : max64(1, min64(s.oh, kBandPixels / max64(1, s.ow)));
  p.row_bands = ceil_div(max64(1, s.oh), max64(1, p.rows));
  p.bands = ceil_div(s.n, p.images) * p.row_bands;
  p.col_blocks = ceil_div(s.oc / s.groups, kWeightNR<T>);
  p.units = s.groups * p.col_blocks * s.kh * s.kw;
  constexpr int64_t kTasks = 32, kPartialBytes = int64_t{4} << 20;
  const int64_t weight_bytes = s.kh * s.kw * (s.c / s.groups) * s.oc * static_cast<int64_t>(sizeof(T));
  p.parts = max64(1, min64(min64(p.bands, kTasks), kPartialBytes / max64(1, weight_bytes)));
  p.splits = min64(p.units, ceil_div(kTasks, p.parts));
  return p;
}

int64_t weight_elements(const ConvShape& s) { return s.kh * s.kw * (s.c / s.groups) * s.oc; }

template <class T>
size_t workspace(const ConvShape& s, int) {
  const Plan p = make_plan<T>(s);
  Carver c{nullptr};
  if (p.parts > 1) c.take<T>(p.parts * round_up(weight_elements(s), 16));
  return c.used;
}

// Adds the tile sums of one band for one unit to dw (or sets them, where `first`).
template <class T>
void run_unit(const ConvWeightParams<T>& p, const Plan& plan, int64_t band, int64_t unit, bool first, T* dw) {
  const ConvShape& s = p.shape;
  const int64_t cg = s.c / s.groups, og = s.oc / s.groups;
  const int64_t tap = unit % (s.kh * s.kw), col = unit / (s.kh * s.kw) % plan.col_blocks;
  const int64_t g = unit / (s.kh * s.kw) / plan.col_blocks;
  const int64_t r = tap / s.kw, q = tap % s.kw;
  const int64_t off_y = r * s.dilation_h - s.pad_top, off_x = q * s.dilation_w - s.pad_left;
  const int64_t n0 = band / plan.row_bands * plan.images, i0 = band % plan.row_bands * plan.rows;
  Range ry = valid_range(s.oh, s.stride_h, off_y, s.h);
  const Range rx = valid_range(s.ow, s.stride_w, off_x, s.w);
  ry = {max64(ry.begin, i0), min64(ry.end, i0 + plan.rows)};

  WeightTileArgs<T> t;
  t.images = min64(plan.images, s.n - n0);
  t.rows = max64(0, ry.end - ry.begin);
  t.cols = rx.end - rx.begin;
  t.x_image = s.h * s.w * s.c;
  t.x_row = s.stride_h * s.w * s.c;
  t.x_col = s.stride_w * s.c;
  t.dy_image = s.oh * s.ow * s.oc;
  t.dy_row = s.ow * s.oc;
  t.dy_col = s.oc;
  t.ldw = s.oc;
  t.accumulate = !first;
  if (t.rows * t.cols == 0) {
    if (!first) return;
    t.rows = t.cols = 0;
    ry.begin = 0;
  }
  // The first of the units that read these channels of x fetches those of the next band.
  t.ahead = tap > 0 || col > 0 ? 0 : plan.images > 1 ? plan.images * t.x_image : plan.rows * t.x_row;
  const int64_t j0 = col * kWeightNR<T>;
  t.n = min64(kWeightNR<T>, og - j0);
  const int64_t x_at =
      t.rows == 0 ? 0 : ((n0 * s.h + ry.begin * s.stride_h + off_y) * s.w + rx.begin * s.stride_w + off_x) * s.c;
  const T* x = p.x + x_at + g * cg;
  t.dy = p.dy + ((n0 * s.oh + ry.begin) * s.ow + rx.begin) * s.oc + g * og + j0;
  const int64_t mr = ceil_div(cg, ceil_div(cg, WeightTile<T>::kMR));
  const auto* fn = WeightTiles<T>::kFn[t.n > Vec<T>::W ? 1 : 0];
  for (int64_t i = 0; i < cg; i += mr) {
    t.x = x + i;
    t.dw = dw + (tap * cg + i) * s.oc + g * og + j0;
    fn[min64(mr, cg - i) - 1](t);
  }
}

template <class T>
void run(const Context& ctx, const ConvWeightParams<T>& p) {
  const ConvShape& s = p.shape;
  const Plan plan = make_plan<T>(s);
  const int64_t elements = weight_elements(s), part_stride = round_up(elements, 16);
  if (plan.bands == 0 || s.oh * s.ow == 0) {
    for (int64_t i = 0; i < elements; ++i) p.dweight[i] = T(0);
    return;
  }
  T* const partial = plan.parts > 1 ? static_cast<T*>(ctx.workspace) : p.dweight;
  parallel_for(ctx, plan.parts * plan.splits, [&](int64_t task, int) {
    const int64_t part = task / plan.splits, split = task % plan.splits;
    const int64_t begin = plan.bands * part / plan.parts, end = plan.bands * (part + 1) / plan.parts;
    const int64_t u0 = plan.units * split / plan.splits, u1 = plan.units * (split + 1) / plan.splits;
    for (int64_t band = begin; band < end; ++band) {
      for (int64_t u = u0; u < u1; ++u) run_unit(p, plan, band, u, band == begin, partial + part * part_stride);
    }
  });
  if (plan.parts == 1) return;
  constexpr int64_t kStep = 4096;
  parallel_range(ctx, elements, kStep, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i += Vec<T>::W) {
      Vec<T> sum = Vec<T>::load(partial + i, end - i);
      for (int64_t part = 1; part < plan.parts; ++part)
        sum = sum + Vec<T>::load(partial + part * part_stride + i, end - i);
      sum.store(p.dweight + i, end - i);
    }
  });
}

bool can_run(const ConvShape&) { return true; }
double cost(const ConvShape& s) {
  const double pixels = static_cast<double>(s.n) * static_cast<double>(s.oh * s.ow);
  const int64_t cg = s.c / s.groups, og = s.oc / s.groups;
  return pixels * static_cast<double>(s.kh * s.kw * s.groups * (cg + 4) * round_up(og, Vec<float>::W)) / 50.0;
}

}  // namespace

template <class T>
ConvWeightCandidate<T> conv_weight_direct() {
  return {"direct", can_run, cost, workspace<T>, run<T>, false, true};
}
#define LAMELLA_INSTANTIATE(T) template ConvWeightCandidate<T> conv_weight_direct<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
