// Implicit matrix products each way: the choice of tiles, and the sums of what is cut along k.
#include "kernels/cuda/activation.h"
#include "kernels/cuda/conv_igemm_plan.h"
#include "kernels/cuda/conv_parts.h"
#include "kernels/cuda/gemm_epilogue.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

// Shapes are chosen for this device, whichever runs them: results do not depend on it.
constexpr double kMultiprocessors = 132;
constexpr int64_t kMostGrid = 65535;

int64_t round_up(int64_t n, int64_t to) { return ceil_div(n, to) * to; }

constexpr int64_t kLengthStep = 32;  // of parts of k

// Whether packs of sums can be stored as T.
template <class T>
bool aligned_sums(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % (sizeof(T) * Pack<Real<T>>::kSize) == 0;
}

// Multiplications per cycle of a multiprocessor that has enough to do, by ConvUnits; 0: there is no such tile.
struct TileCost {
  ConvTile name;
  int64_t m, n, threads;
  double resident, resident_mma;  // blocks that a multiprocessor holds
  double rate[3];
  bool narrow_loads, narrow_loads_mma, of_double;
};
constexpr TileCost kTiles[] = {
    {ConvTile::k128x128, 128, 128, 256, 1, 1, {112, 420, 520}, false, false, false},
    {ConvTile::k128x64, 128, 64, 128, 3, 2, {105, 350, 420}, true, true, false},
    {ConvTile::k128x32, 128, 32, 128, 4, 0, {90, 0, 0}, true, false, false},
    {ConvTile::k64x64, 64, 64, 128, 4, 3, {90, 260, 310}, false, false, true},
    {ConvTile::k32x32, 32, 32, 64, 8, 0, {54, 0, 0}, true, false, true},
};

// Half the tiles are there for numbers of at most four bytes.
template <class T>
constexpr bool kSingle = sizeof(T) <= 4;

template <class T>
ConvUnits units_of(const Context& ctx) {
  if (kIsHalf<T>) return ConvUnits::kBf16;
  return !kSingle<T> ? ConvUnits::kSimt : ctx.bf16 ? ConvUnits::kBf16 : ctx.tf32 ? ConvUnits::kTf32 : ConvUnits::kSimt;
}

// What was planned for packs is not aligned: a tile that loads element by element. Sums are cut as planned, so that
// alignment does not change a bit.
void narrow_loads(ConvTilePlan& plan, int64_t m, int64_t n) {
  if (plan.units == ConvUnits::kSimt && plan.tile != ConvTile::k128x128 && plan.tile != ConvTile::k64x64) return;
  plan.tile = ConvTile::k128x64;
  plan.row_tiles = ceil_div(m, 128);
  plan.column_tiles = ceil_div(n, 64);
}

// ---- convolutions that are matrix products as they stand ------------------------------------------------------------

bool is_product(const ConvShape& s) {
  return s.kh == 1 && s.kw == 1 && s.stride_h == 1 && s.stride_w == 1 && s.pad_top == 0 && s.pad_left == 0 &&
         s.oh == s.h && s.ow == s.w && s.groups == 1;
}

template <class T>
const GemmKernels<T>& gemm_kernels();
template <>
const GemmKernels<float>& gemm_kernels<float>() {
  return table_f32().gemm;
}
template <>
const GemmKernels<double>& gemm_kernels<double>() {
  return table_f64().gemm;
}

template <>
const GemmKernels<f16>& gemm_kernels<f16>() {
  return table_f16().gemm;
}
template <>
const GemmKernels<bf16>& gemm_kernels<bf16>() {
  return table_bf16().gemm;
}

template <class T>
GemmParams<T> product(const ConvShape& s, ConvPass pass) {
  GemmParams<T> g;
  const int64_t pixels = s.n * s.h * s.w;
  const bool forward = pass == ConvPass::kForward;
  if (pass == ConvPass::kBackwardWeight) {
    g.m = s.c;
    g.n = s.oc;
    g.k = pixels;
    g.rs_a = 1;
    g.cs_a = s.c;
    g.rs_b = s.oc;
    g.cs_b = 1;
  } else {
    g.m = pixels;
    g.n = forward ? s.oc : s.c;
    g.k = forward ? s.c : s.oc;
    g.rs_a = g.k;
    g.cs_a = 1;
    g.rs_b = forward ? s.oc : 1;
    g.cs_b = forward ? 1 : s.oc;
  }
  g.ldc = g.n;
  return g;
}

// ---- forward and the gradient to data
// --------------------------------------------------------------------------------

// The gradient to data of a stride: a product per phase.
bool in_phases(const ConvShape& s, ConvPass pass) {
  return pass == ConvPass::kBackwardData && (s.stride_h > 1 || s.stride_w > 1);
}

template <class T>
bool packs_along_channels(const ConvShape& s, ConvPass pass) {
  const int64_t kc = pass == ConvPass::kBackwardData ? s.oc / s.groups : s.c / s.groups;
  return kSingle<T> && kc % Pack<T>::kSize == 0;
}

template <class T>
ConvProblem gather_problem(const ConvShape& s, ConvPass pass, const ConvView<int>& v, bool pool) {
  const int64_t phases = int64_t{v.h.phases} * v.w.phases;
  const int64_t rows = int64_t{v.n} * v.h.count(0) * v.w.count(0);  // no phase has more
  const int64_t k = s.kh * s.kw * v.kc;
  return {rows,
          v.nc,
          ceil_div(k, phases),
          s.groups * phases,
          kSingle<T>,
          packs_along_channels<T>(s, pass),
          in_phases(s, pass) || pool ? 1 : 64};
}

// Which units will multiply is not known here.
template <class T, class F>
size_t most_for_units(const F& bytes) {
  size_t most = bytes(kIsHalf<T> ? ConvUnits::kBf16 : ConvUnits::kSimt);
  if constexpr (sizeof(T) == 4) {
    for (ConvUnits units : {ConvUnits::kTf32, ConvUnits::kBf16}) {
      const size_t more = bytes(units);
      if (more > most) most = more;
    }
  }
  return most;
}

template <class T>
size_t gather_workspace(const ConvShape& s, ConvPass pass) {
  if (s.n == 0) return 0;
  if (is_product(s)) return gemm_kernels<T>().gemm_workspace(product<T>(s, pass), 1);
  const ConvView<int> v = conv_view<int>(s, pass);
  const auto each = static_cast<size_t>(int64_t{v.n} * v.h.dst_size * v.w.dst_size * v.dc) * sizeof(Real<T>);
  return most_for_units<T>([&](ConvUnits units) {
    const int64_t splits = plan_conv_tiles(gather_problem<T>(s, pass, v, false), units).splits;
    return splits == 1 ? 0 : static_cast<size_t>(splits) * each;
  });
}

// Adds up splits of k, in their order; bias and activation. Reads splits + 1 numbers per one that it writes.
template <class T, int V, class R = Real<T>>
__global__ void __launch_bounds__(256)
    finish_splits(const R* partial, int splits, int64_t n, FastDiv columns, const T* bias, Activation act, T* dst) {
  for (int64_t at = thread_number() * V; at < n; at += thread_count() * V) {
    Few<R, V> sum = load_few<R, V>(partial + at);
#pragma unroll 4
    for (int i = 1; i < splits; ++i) {
      const Few<R, V> more = load_few<R, V>(partial + i * n + at);
#pragma unroll
      for (int j = 0; j < V; ++j) sum.v[j] += more.v[j];
    }
    auto row = static_cast<uint32_t>(at);
    const auto column = static_cast<int>(columns.split(row));
#pragma unroll
    for (int j = 0; j < V; ++j) {
      if (bias != nullptr) sum.v[j] += widened(bias[column + j]);
      sum.v[j] = act_value(act, sum.v[j]);
    }
    if constexpr (V == 1) {
      dst[at] = rounded_to<T>(sum.v[0]);
    } else {
      Pack<R> v;
#pragma unroll
      for (int j = 0; j < V; ++j) v.v[j] = sum.v[j];
      store_reals(dst + at, v, true, V);
    }
  }
}

template <class T>
void run(const Context& ctx, ConvPass pass, const ConvParams<T>& p) {
  constexpr int V = Pack<T>::kSize, kSums = Pack<Real<T>>::kSize;
  const ConvShape& s = p.shape;
  if (s.n == 0) return;
  if (is_product(s) && !p.pool) {
    GemmParams<T> g = product<T>(s, pass);
    g.a = p.src;
    g.b = p.weight;
    g.c = p.dst;
    g.bias = p.bias;
    g.act = p.act;
    return gemm_kernels<T>().gemm(ctx, g);
  }
  const bool forward = pass == ConvPass::kForward;
  IgemmArgs<T> a;
  a.view = conv_view<int>(s, pass);
  a.p = p;
  const ConvView<int>& v = a.view;
  ConvTilePlan plan = plan_conv_tiles(gather_problem<T>(s, pass, v, p.pool), units_of<T>(ctx));
  const bool packs = packs_along_channels<T>(s, pass) && aligned16(p.src) && (forward || aligned16(p.weight));
  if (!packs && kSingle<T>) narrow_loads(plan, int64_t{v.n} * v.h.count(0) * v.w.count(0), v.nc);
  const int window = p.pool ? 2 : 1;
  a.channels = FastDiv(v.kc);
  a.taps_w = FastDiv(v.w.kernel);
  a.row = FastDiv(v.w.dst_size / window);
  a.image = FastDiv(v.h.dst_size / window);
  a.row_tiles = static_cast<unsigned>(plan.row_tiles);
  a.column_tiles = static_cast<unsigned>(plan.column_tiles);
  a.splits = static_cast<int>(plan.splits);
  // The phases' sums are of different lengths; none is cut.
  a.split_length = plan.splits > 1 ? static_cast<int>(plan.split_length) : 1 << 30;
  a.partial = static_cast<Real<T>*>(ctx.workspace);
  a.packed_weight = v.nc % V == 0 && aligned16(p.weight);
  a.packed_dst = v.nc % kSums == 0 && (plan.splits > 1 || aligned_sums(p.dst));
  const int64_t phases = int64_t{v.h.phases} * v.w.phases;
  const dim3 grid(static_cast<unsigned>(plan.row_tiles * plan.column_tiles), static_cast<unsigned>(s.groups),
                  static_cast<unsigned>(plan.splits * phases));
  const bool phased = in_phases(s, pass);
  using Launcher = void (*)(const Context&, const ConvTilePlan&, bool, dim3, const IgemmArgs<T>&);
  Launcher launcher = nullptr;
  if constexpr (kSingle<T>) {
    launcher = p.pool    ? static_cast<Launcher>(launch_igemm_pool_mma)
               : forward ? static_cast<Launcher>(launch_igemm_forward_mma)
               : phased  ? static_cast<Launcher>(launch_igemm_phases_mma)
                         : static_cast<Launcher>(launch_igemm_data_mma);
  }
  if constexpr (!kIsHalf<T>) {
    if (plan.units == ConvUnits::kSimt) {
      launcher = p.pool    ? static_cast<Launcher>(launch_igemm_pool)
                 : forward ? static_cast<Launcher>(launch_igemm_forward)
                 : phased  ? static_cast<Launcher>(launch_igemm_phases)
                           : static_cast<Launcher>(launch_igemm_data);
    }
  }
  launcher(ctx, plan, packs, grid, a);
  if (plan.splits == 1) return;
  const int64_t n = int64_t{v.n} * v.h.dst_size * v.w.dst_size * v.dc;
  const auto finish = [&](auto kernel, int width) {
    launch(ctx, kernel, flat(n / width), a.partial, a.splits, n, FastDiv(v.dc), p.bias, p.act, p.dst);
  };
  if (v.dc % kSums == 0 && aligned_sums(p.dst))
    finish(finish_splits<T, kSums>, kSums);
  else
    finish(finish_splits<T, 1>, 1);
}

bool can_run(const ConvShape& s, ConvPass pass) {
  if (!small_enough(s) || s.groups > kMostGrid) return false;
  if (pass != ConvPass::kBackwardData) return true;
  const ConvView<int> v = conv_view<int>(s, pass);
  return int64_t{v.h.phases} * v.w.phases <= kMostGrid;
}

// ---- the gradient to weights
// -----------------------------------------------------------------------------------------

template <class T>
bool weight_packs(const ConvShape& s) {
  return kSingle<T> && s.c / s.groups % Pack<T>::kSize == 0;
}

template <class T>
ConvProblem weight_problem(const ConvShape& s) {
  return {s.kh * s.kw * (s.c / s.groups),
          s.oc / s.groups,
          s.n * s.oh * s.ow,
          s.groups,
          kSingle<T>,
          weight_packs<T>(s),
          512};
}

template <class T>
size_t weight_workspace(const ConvShape& s) {
  if (s.n * s.oh * s.ow == 0) return 0;
  if (is_product(s)) return gemm_kernels<T>().gemm_workspace(product<T>(s, ConvPass::kBackwardWeight), 1);
  const auto each = static_cast<size_t>(s.kh * s.kw * (s.c / s.groups) * s.oc) * sizeof(Real<T>);
  return most_for_units<T>([&](ConvUnits units) {
    const int64_t splits = plan_conv_tiles(weight_problem<T>(s), units).splits;
    return splits == 1 ? 0 : static_cast<size_t>(splits) * each;
  });
}

template <class T>
void run_weight(const Context& ctx, const ConvWeightParams<T>& p) {
  constexpr int V = Pack<T>::kSize, kSums = Pack<Real<T>>::kSize;
  const ConvShape& s = p.shape;
  if (s.n * s.oh * s.ow == 0) return;
  if (is_product(s)) {
    GemmParams<T> g = product<T>(s, ConvPass::kBackwardWeight);
    g.a = p.x;
    g.b = p.dy;
    g.c = p.dweight;
    return gemm_kernels<T>().gemm(ctx, g);
  }
  ConvTilePlan plan = plan_conv_tiles(weight_problem<T>(s), units_of<T>(ctx));
  const bool packs = weight_packs<T>(s) && aligned16(p.x);
  if (!packs && kSingle<T>) narrow_loads(plan, s.kh * s.kw * (s.c / s.groups), s.oc / s.groups);
  const int64_t n = s.kh * s.kw * (s.c / s.groups) * s.oc;
  IgemmWeightArgs<T> a;
  a.shape = s;
  a.x = p.x;
  a.dy = p.dy;
  a.dweight = p.dweight;
  a.sums = plan.splits > 1 ? static_cast<Real<T>*>(ctx.workspace) : nullptr;
  a.row = FastDiv(s.ow);
  a.image = FastDiv(s.oh);
  a.channels = FastDiv(s.c / s.groups);
  a.kernel_w = FastDiv(s.kw);
  a.row_tiles = static_cast<unsigned>(plan.row_tiles);
  a.column_tiles = static_cast<unsigned>(plan.column_tiles);
  a.split_length = static_cast<int>(plan.split_length);
  const int64_t columns = s.oc / s.groups;
  a.packed_dy = columns % V == 0 && aligned16(p.dy);
  a.packed_sums = columns % kSums == 0 && (plan.splits > 1 || aligned_sums(p.dweight));
  const dim3 grid(static_cast<unsigned>(plan.row_tiles * plan.column_tiles), static_cast<unsigned>(s.groups),
                  static_cast<unsigned>(plan.splits));
  if constexpr (kIsHalf<T>) {
    launch_igemm_weight_mma(ctx, plan, packs, grid, a);
  } else if constexpr (kSingle<T>) {
    if (plan.units != ConvUnits::kSimt)
      launch_igemm_weight_mma(ctx, plan, packs, grid, a);
    else
      launch_igemm_weight(ctx, plan, packs, grid, a);
  } else {
    launch_igemm_weight(ctx, plan, packs, grid, a);
  }
  if (plan.splits > 1) sum_parts(ctx, a.sums, static_cast<int>(plan.splits), n, p.dweight);
}

bool can_run_weight(const ConvShape& s) { return small_enough(s) && s.groups <= kMostGrid; }

}  // namespace

// The least cycles, roughly: tiles in turn on each multiprocessor, whose units are idle where it has few warps; and,
// where k is cut, another launch that reads all sums.
ConvTilePlan plan_conv_tiles(const ConvProblem& p, ConvUnits units) {
  constexpr double kLaunch = 4000, kBytesPerCycle = 1000, kStart = 1000, kMostPartial = 64 << 20;
  constexpr int64_t kLeastLength = 128;
  const bool mma = units != ConvUnits::kSimt;
  const int64_t k = p.k < 1 ? 1 : p.k;
  ConvTilePlan best;
  double least = -1;
  for (const TileCost& t : kTiles) {
    const double rate = t.rate[static_cast<int>(units)];
    if (rate == 0 || (!p.is_float && !t.of_double)) continue;
    if (p.is_float && !p.packed && !(mma ? t.narrow_loads_mma : t.narrow_loads)) continue;
    const int64_t rows = ceil_div(p.m, t.m), columns = ceil_div(p.n, t.n);
    const double products = static_cast<double>(p.products);
    const double tiles = static_cast<double>(rows) * static_cast<double>(columns) * products;
    const double bytes = static_cast<double>(p.m) * static_cast<double>(p.n) * products * 4;
    const double resident = mma ? t.resident_mma : t.resident;
    for (int64_t wanted = 1; wanted <= p.most_splits; wanted *= 2) {
      const int64_t length = round_up(ceil_div(k, wanted), kLengthStep), splits = ceil_div(k, length);
      const auto parts = static_cast<double>(splits);
      if (splits > 1 && (length < kLeastLength || bytes * parts > kMostPartial)) break;
      const double each = tiles * parts <= kMultiprocessors ? 1 : tiles * parts / kMultiprocessors;
      const double warps = (each < resident ? each : resident) * static_cast<double>(t.threads) / 32;
      const double rounds = each < 8 ? static_cast<double>(static_cast<int64_t>(each + 0.999)) : each;
      double cycles = kStart + rounds * static_cast<double>(length * t.m * t.n) / (rate * (warps < 8 ? warps / 8 : 1));
      if (splits > 1) cycles += kLaunch + bytes * (2 * parts + 1) / kBytesPerCycle;
      if (least >= 0 && cycles >= least) continue;
      least = cycles;
      best = {units, t.name, rows, columns, splits, length};
    }
  }
  return best;
}

template <class T>
ConvCandidate<T> conv_igemm() {
  return {"igemm", can_run, run<T>, gather_workspace<T>, true};
}
template <class T>
ConvWeightCandidate<T> conv_weight_igemm() {
  return {"igemm", can_run_weight, weight_workspace<T>, run_weight<T>};
}
template ConvCandidate<float> conv_igemm();
template ConvCandidate<double> conv_igemm();
template ConvCandidate<f16> conv_igemm();
template ConvCandidate<bf16> conv_igemm();
template ConvWeightCandidate<float> conv_weight_igemm();
template ConvWeightCandidate<double> conv_weight_igemm();
template ConvWeightCandidate<f16> conv_weight_igemm();
template ConvWeightCandidate<bf16> conv_weight_igemm();

}  // namespace lamella::cuda
