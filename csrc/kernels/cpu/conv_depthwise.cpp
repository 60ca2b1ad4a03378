// Depthwise convolution (one input channel per group), forward and gradient to data: vectors of channels, tiles of
// pixels of a row. With a channel multiplier everything happens in the
// space of the output channels: the source is spread to it beforehand, or the result summed from it afterwards.
#include "kernels/cpu/conv_depthwise_inl.h"
#include "kernels/cpu/conv_narrow_inl.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

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
  p.rows = narrow_band(p.v);
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

template <class T>
void run(const Context& ctx, ConvPass pass, const ConvParams<T>& p) {
  const ConvShape& s = p.shape;
  const Plan plan = make_plan(s, pass);
  const ConvView& v = plan.v;
  Carver one{nullptr};
  carve<T>(one, s, plan);
  const int64_t c = plan.channels;
  const bool is_relu = p.act.act == Act::kRelu;
  NarrowTile<T> all{};
  all.w = p.weight;
  all.vectors = ceil_div(c, Vec<T>::W);
  all.w_v = all.from_step = all.to_step = Vec<T>::W;
  all.last_from = all.last_to = c - (all.vectors - 1) * Vec<T>::W;
  all.bias = plan.fold ? nullptr : p.bias;
  all.relu = is_relu && !plan.fold;
  parallel_for(ctx, v.n * plan.bands, [&](int64_t task, int thread) {
    Carver carver{static_cast<char*>(ctx.workspace) + one.used * static_cast<size_t>(thread)};
    const Scratch<T> scratch = carve<T>(carver, s, plan);
    const int64_t n = task / plan.bands, y0 = task % plan.bands * plan.rows, y1 = min64(v.dh, y0 + plan.rows);
    NarrowTile<T> tile = all;
    tile.src = p.src + n * v.sh * v.sw * v.sc;
    int64_t first = 0;
    if (plan.spread) {
      first = max64(0, min64(v.sh, y0 * s.stride_h - s.pad_top));
      const int64_t end = max64(first, min64(v.sh, (y1 - 1) * s.stride_h - s.pad_top + (s.kh - 1) * s.dilation_h + 1));
      spread_channels((end - first) * v.sw * v.sc, plan.multiplier, tile.src + first * v.sw * v.sc, scratch.source);
      tile.src = scratch.source;
    }
    for (int64_t y = y0; y < y1; ++y) {
      T* const dst = p.dst + (n * v.dh + y) * v.dw * v.dc;
      tile.dst = plan.fold ? scratch.row : dst;
      narrow_row<T, false>(s, pass, v, y, first, c, c, c, tile);
      if (plan.fold) {
        for (int64_t x = 0; x < v.dw; ++x) {
          fold_channels(v.dc, plan.multiplier, scratch.row + x * c, p.bias, dst + x * v.dc);
        }
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
