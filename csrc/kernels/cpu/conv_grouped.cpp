// Convolution in groups of few channels, forward and gradient to data: a vector holds several groups.
#include "kernels/cpu/conv_narrow_inl.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
struct Plan {
  ConvView v;
  NarrowGroups<T> groups;
  int64_t rows, bands;  // destination rows of a task, tasks per image
  int64_t vector;       // packed weights of one vector of groups
};
template <class T>
Plan<T> make_plan(const ConvShape& s, ConvPass pass) {
  const ConvView v = conv_view(s, pass);
  const int64_t rows = narrow_band(v);
  return {v, {v.groups, v.kc, v.nc}, rows, ceil_div(max64(1, v.dh), rows), v.kh * v.kw * v.kc * Vec<T>::W};
}

template <class T>
struct Buffers {
  typename IntOf<T>::type* lanes;
  T* packed;  // [vector][tap][k][W]
};
template <class T>
Buffers<T> carve(Carver& c, const Plan<T>& p) {
  Buffers<T> b;
  b.lanes = c.take<typename IntOf<T>::type>(p.v.kc * Vec<T>::W);
  b.packed = c.take<T>(p.groups.vectors * p.vector);
  return b;
}
template <class T>
size_t workspace(const ConvShape& s, ConvPass pass, bool, int) {
  Carver c{nullptr};
  carve(c, make_plan<T>(s, pass));
  return c.used;
}

template <class T>
void pack(const Plan<T>& p, const T* weight, T* packed) {
  const ConvView& v = p.v;
  for (int64_t i = 0; i < p.groups.vectors; ++i) {
    for (int64_t tap = 0; tap < v.kh * v.kw; ++tap) {
      for (int64_t k = 0; k < v.kc; ++k, packed += Vec<T>::W) {
        for (int64_t lane = 0; lane < Vec<T>::W; ++lane) {
          const int64_t g = i * p.groups.in_vector + lane / v.nc;
          const bool exists = lane < p.groups.in_vector * v.nc && g < v.groups;
          packed[lane] = exists ? weight[tap * v.w_tap + g * v.w_group + k * v.w_k + lane % v.nc * v.w_j] : T(0);
        }
      }
    }
  }
}

template <class T>
void run(const Context& ctx, ConvPass pass, const ConvParams<T>& params) {
  const ConvShape& s = params.shape;
  const Plan<T> p = make_plan<T>(s, pass);
  const ConvView& v = p.v;
  Carver carver{static_cast<char*>(ctx.workspace)};
  const Buffers<T> b = carve(carver, p);
  p.groups.lanes(v.kc, v.nc, b.lanes);
  pack(p, params.weight, b.packed);
  NarrowTile<T> tile{};
  tile.w = b.packed;
  tile.w_k = Vec<T>::W;
  tile.w_v = p.vector;
  tile.nk = v.kc;
  tile.lanes = b.lanes;
  tile.vectors = p.groups.vectors;
  tile.from_step = p.groups.in_vector * v.kc;
  tile.to_step = p.groups.in_vector * v.nc;
  tile.last_from = v.sc - (tile.vectors - 1) * tile.from_step;
  tile.last_to = v.dc - (tile.vectors - 1) * tile.to_step;
  tile.bias = params.bias;
  tile.relu = params.act.act == Act::kRelu;
  parallel_for(ctx, v.n * p.bands, [&](int64_t task, int) {
    const int64_t n = task / p.bands, y0 = task % p.bands * p.rows, y1 = min64(v.dh, y0 + p.rows);
    NarrowTile<T> row = tile;
    row.src = params.src + n * v.sh * v.sw * v.sc;
    for (int64_t y = y0; y < y1; ++y) {
      row.dst = params.dst + (n * v.dh + y) * v.dw * v.dc;
      narrow_row<T, true>(s, pass, v, y, 0, v.sc, v.dc, v.kc * Vec<T>::W, row);
      if (!act_in_tile(params.act.act)) activate_row(params.act, row.dst, v.dw * v.dc);
    }
  });
}

template <class T>
bool can_run(const ConvShape& s, ConvPass) {
  return narrow_groups<T>(s);
}
double cost(const ConvShape& s, ConvPass pass) {
  const ConvView v = conv_view(s, pass);
  const double pairs = static_cast<double>(s.n) * static_cast<double>(s.oh * s.ow) * static_cast<double>(s.kh * s.kw);
  const NarrowGroups<float> groups(v.groups, v.kc, v.nc);
  return pairs * static_cast<double>(groups.vectors * v.kc * Vec<float>::W) / 35.0;
}
size_t prepared_bytes(const ConvShape&, ConvPass) { return 0; }

}  // namespace

template <class T>
ConvCandidate<T> conv_grouped() {
  return {"grouped", can_run<T>, cost, workspace<T>, run<T>, prepared_bytes, nullptr, true};
}
#define LAMELLA_INSTANTIATE(T) template ConvCandidate<T> conv_grouped<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
