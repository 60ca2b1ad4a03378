// Recurrent layers, forward. The input's part of the gates is one product over all steps. Then
//
//   persistent   one kernel for all steps, whose blocks keep their units' recurrent weights on chip: a step costs the
//                product from shared memory, the state's way through L2 and a barrier of some microseconds;
//   by steps     where weights or batch are too large for that, or there are but two steps: a product and the cell's
//                kernel per step.
#include "kernels/cuda/grid_barrier.h"
#include "kernels/cuda/rnn_slice.h"

namespace lamella::cuda {
namespace {

constexpr int kForwardLanes = 16;
constexpr int64_t kLeastPersistentSteps = 3;
constexpr int64_t kMostInputGates = int64_t{1} << 26;  // elements of one run of steps

template <class T>
struct ForwardArgs {
  RnnParams<T> p;
  RnnActs<T> acts;
  // Gates from the input: of (n, t) at gx + n*gx_n + (t - t0)*gx_t.
  T* gx[2];
  int64_t gx_n, gx_t, t0[2];
  T* state[2];  // two of n x h per direction: step s reads the first where s is even
  T* c[2];
  int64_t s0, s1;  // the steps of this launch
  // Persistent:
  int units, unit_blocks, groups;
  SliceShape slice;
  unsigned* counters;
  // By steps:
  T* gh[2];  // gates from the state, n x G*h
  T* z[2];   // gru, reset before: from its first part to the second, as rh
  T* rh[2];
};

// What a step leaves behind of unit `unit` of row n; u.h and u.c are those after the step. But for its gates.
template <class T>
__device__ __forceinline__ void store_unit(const RnnParams<T>& p, const RnnDirection<T>& d, int64_t n, int64_t s,
                                           int64_t unit, bool active, const RnnUnit<T>& u) {
  const int64_t at = rnn_row(p, n, rnn_time(p, d, s)), place = rnn_row(p, n, rnn_place(p, d, s));
  if (d.y != nullptr) d.y[place * d.ldy + unit] = active || !p.zero_masked ? u.h : T(0);
  if (d.states != nullptr && d.states != d.y) d.states[place * d.ld_states + unit] = u.h;
  if (d.cells != nullptr) d.cells[at * p.h + unit] = u.c;
}
template <class T>
__device__ __forceinline__ void store_gates(const RnnParams<T>& p, const RnnDirection<T>& d, int64_t n, int64_t s,
                                            int64_t unit, const RnnUnit<T>& u) {
  if (d.gates == nullptr) return;
  const int gates = static_cast<int>(rnn_saved_gates(p));
  T* const to = d.gates + rnn_row(p, n, rnn_time(p, d, s)) * gates * p.h + unit;
#pragma unroll
  for (int g = 0; g < 4; ++g)
    if (g < gates) to[g * p.h] = u.saved[g];
}

// ---- persistent -----------------------------------------------------------------------------------------------------

// A block has `units` units of up to slice.rows rows of one direction: all gates of a unit stand side by side among its
// columns. Cell e of a block is row e / units, unit e % units; one thread has it at every step.
template <class Tile, class T>
__global__ void __launch_bounds__(kSliceThreads, 1) persistent_forward(const __grid_constant__ ForwardArgs<T> a) {
  const RnnParams<T>& p = a.p;
  const SliceShape& f = a.slice;
  constexpr int V = Pack<T>::kSize;
  const int thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  const int group = block / a.unit_blocks, direction = group / a.groups;
  const RnnDirection<T>& d = p.dir[direction];
  const int gates = static_cast<int>(rnn_gates(p.cell));
  const int64_t h = p.h, u0 = static_cast<int64_t>(block % a.unit_blocks) * a.units;
  const int64_t r0 = static_cast<int64_t>(group % a.groups) * f.rows;
  const int units = static_cast<int>(min(static_cast<int64_t>(a.units), h - u0));
  const int rows = static_cast<int>(min(static_cast<int64_t>(f.rows), p.n - r0));
  const int cells = rows * units, most_cells = f.rows * a.units;

  T* const weights = dynamic_shared<T>();
  Pack<T>* const stages = reinterpret_cast<Pack<T>*>(weights + f.weights_size<T>());
  T* const partial = weights + f.weights_size<T>() + f.stages_size<T>();
  T* const sum = partial + f.partial_size();
  T* const x = sum + most_cells * gates;
  T* const own_h = x + most_cells * gates;
  T* const own_c = own_h + most_cells;
  T* const bias = own_c + most_cells;
  int* const active = reinterpret_cast<int*>(bias + a.units * gates);

  // Neighbouring threads read neighbouring units.
  for (int e = thread; e < f.ld * V * units * gates; e += kSliceThreads) {
    const int unit = e % units, rest = e / units;
    const int gate = rest % gates, k = rest / gates;
    weights[(unit * gates + gate) * f.ld * V + k] = k < f.depth ? d.w_hh[k * gates * h + gate * h + u0 + unit] : T(0);
  }
  for (int e = thread; e < units * gates; e += kSliceThreads) bias[e] = early_bias(p, d, e % gates, u0 + e / gates);
  const bool first = a.s0 == 0;
  const int64_t size = p.n * h;
  {
    const T* const h_from = first ? d.h0 : a.state[direction] + a.s0 % 2 * size;
    const T* const c_from = first ? d.c0 : a.c[direction];
    for (int e = thread; e < cells; e += kSliceThreads) {
      const int64_t at = (r0 + e / units) * h + u0 + e % units;
      own_h[e] = h_from == nullptr ? T(0) : h_from[at];
      if (p.cell == RnnCell::kLstm) own_c[e] = c_from == nullptr ? T(0) : c_from[at];
    }
  }

  // What the next step needs of the input, while others still write their states.
  const auto prefetch = [&](int64_t s) {
    const int64_t t = rnn_time(p, d, s);
    for (int e = thread; e < cells; e += kSliceThreads) {
      const int r = e / units;
      const T* from = a.gx[direction] + (r0 + r) * a.gx_n + (t - a.t0[direction]) * a.gx_t + u0 + (e - r * units);
      for (int g = 0; g < gates; ++g) copy_async<sizeof(T)>(x + e * gates + g, from + g * h);
    }
    for (int r = kSliceThreads - 1 - thread; r < rows; r += kSliceThreads) active[r] = rnn_active(p, r0 + r, t);
  };
  const GridBarrier barrier = {a.counters + group * kBarrierStride, static_cast<unsigned>(a.unit_blocks)};

  prefetch(a.s0);
  __syncthreads();
  for (int64_t s = a.s0; s < a.s1; ++s) {
    if (s > a.s0) {
      if (a.unit_blocks > 1) {
        barrier.wait(static_cast<unsigned>(s));
      } else {
        __syncthreads();
      }
    }
    const T* const before = s > 0 ? a.state[direction] + s % 2 * size : d.h0;
    if (before != nullptr) {
      slice_product<Tile>(f, rows, units * gates, reinterpret_cast<const Pack<T>*>(weights), before + r0 * h, h, stages,
                          partial, sum);
    } else {
      copy_async_commit();
      copy_async_wait<0>();
    }
    T* const after = a.state[direction] + (s + 1) % 2 * size;
    for (int e = thread; e < cells; e += kSliceThreads) {
      const int r = e / units, j = e - r * units;
      RnnUnit<T> u;
      u.h = own_h[e];
      u.c = p.cell == RnnCell::kLstm ? own_c[e] : T(0);
      const bool on = active[r] != 0;
      if (on) {
#pragma unroll
        for (int g = 0; g < 4; ++g) {
          u.x[g] = g < gates ? x[e * gates + g] + bias[j * gates + g] : T(0);
          u.r[g] = g < gates && before != nullptr ? sum[r * f.columns + j * gates + g] : T(0);
        }
        rnn_cell(p.cell, a.acts, late_bias(p, d, u0 + j), u);
        store_gates(p, d, r0 + r, s, u0 + j, u);
        own_h[e] = u.h;
        if (p.cell == RnnCell::kLstm) own_c[e] = u.c;
      }
      after[(r0 + r) * h + u0 + j] = u.h;
      store_unit(p, d, r0 + r, s, u0 + j, on, u);
    }
    if (a.unit_blocks > 1) {
      barrier.arrive();
    } else {
      __syncthreads();
    }
    if (s + 1 < a.s1) prefetch(s + 1);
  }

  const bool last = a.s1 == p.t;
  for (int e = thread; e < cells; e += kSliceThreads) {
    const int64_t at = (r0 + e / units) * h + u0 + e % units;
    if (last && d.hn != nullptr) d.hn[at] = own_h[e];
    if (p.cell != RnnCell::kLstm) continue;
    T* const c_to = last ? d.cn : a.c[direction];
    if (c_to != nullptr) c_to[at] = own_c[e];
  }
}

// ---- by steps -------------------------------------------------------------------------------------------------------

// One thread per unit; blockIdx.y: the direction. part: of a GRU that resets before its product, 0 or 1.
template <class T>
__global__ void __launch_bounds__(256) step_forward(const __grid_constant__ ForwardArgs<T> a, int64_t s, int part) {
  const RnnParams<T>& p = a.p;
  const int direction = static_cast<int>(blockIdx.y);
  const RnnDirection<T>& d = p.dir[direction];
  const int64_t h = p.h, size = p.n * h, t = rnn_time(p, d, s);
  const int gates = static_cast<int>(rnn_gates(p.cell));
  const T* const before = s > 0 ? a.state[direction] + s % 2 * size : d.h0;
  T* const after = a.state[direction] + (s + 1) % 2 * size;
  for (int64_t i = thread_number(); i < size; i += thread_count()) {
    const int64_t n = i / h, unit = i - n * h;
    const T* const x = a.gx[direction] + n * a.gx_n + (t - a.t0[direction]) * a.gx_t + unit;
    const T* const r = a.gh[direction] + n * gates * h + unit;
    const bool on = rnn_active(p, n, t);
    RnnUnit<T> u;
    u.h = before == nullptr ? T(0) : before[i];
    u.c = 0;
    if (p.cell == RnnCell::kLstm) u.c = s > 0 ? a.c[direction][i] : d.c0 == nullptr ? T(0) : d.c0[i];
#pragma unroll
    for (int g = 0; g < 4; ++g) {
      const bool used = on && g < gates && !(resets_before(p) && (g < 2) != (part == 0));
      u.x[g] = used ? x[g * h] + early_bias(p, d, g, unit) : T(0);
      u.r[g] = used && (before != nullptr || (resets_before(p) && part == 1)) ? r[g * h] : T(0);
    }
    if (resets_before(p)) {
      T* const saved = d.gates == nullptr ? nullptr : d.gates + rnn_row(p, n, t) * 3 * h + unit;
      if (part == 0) {
        const T reset = a.acts.gate(u.x[0] + u.r[0]), z = a.acts.gate(u.x[1] + u.r[1]);
        a.z[direction][i] = z;
        a.rh[direction][i] = reset * u.h;
        if (saved != nullptr) saved[0] = reset, saved[h] = z;
        continue;
      }
      if (on) {
        const T fresh = a.acts.state(u.x[2] + u.r[2]);
        if (saved != nullptr) saved[2 * h] = fresh;
        u.h = fma(a.z[direction][i], u.h - fresh, fresh);
      }
    } else {
      if (on) {
        rnn_cell(p.cell, a.acts, late_bias(p, d, unit), u);
        store_gates(p, d, n, s, unit, u);
      }
      if (p.cell == RnnCell::kLstm) a.c[direction][i] = u.c;
    }
    after[i] = u.h;
    store_unit(p, d, n, s, unit, on, u);
    if (s + 1 < p.t) continue;
    if (d.hn != nullptr) d.hn[i] = u.h;
    if (d.cn != nullptr) d.cn[i] = u.c;
  }
}

// The final states where there are no steps.
template <class T>
__global__ void __launch_bounds__(256) keep_states(const __grid_constant__ RnnParams<T> p) {
  const RnnDirection<T>& d = p.dir[blockIdx.y];
  for (int64_t i = thread_number(); i < p.n * p.h; i += thread_count()) {
    if (d.hn != nullptr) d.hn[i] = d.h0 == nullptr ? T(0) : d.h0[i];
    if (d.cn != nullptr) d.cn[i] = d.c0 == nullptr ? T(0) : d.c0[i];
  }
}

// ---- the host's side ------------------------------------------------------------------------------------------------

template <class T>
struct ForwardPlan {
  SlicePlan slices;
  bool persistent = false;
  bool in_place = false;  // gates from the input are written where backward's gates will be
  int64_t steps = 0;      // of a run
  int64_t ld = 0;         // of the gates from the input

  ForwardPlan(const RnnParams<T>& p, SliceUnits kind) {
    const int64_t gates = rnn_gates(p.cell);
    if (p.t >= kLeastPersistentSteps && !resets_before(p)) {
      slices = plan_slices(p, kind, kForwardLanes, p.h, gates, gates, gates + 2);
      persistent = slices.fits;
    }
    in_place = p.t > 0;
    for (int i = 0; i < p.directions; ++i) in_place = in_place && p.dir[i].gates != nullptr;
    ld = (in_place ? rnn_saved_gates(p) : gates) * p.h;
    steps = in_place ? p.t : most(1, least(p.t, kMostInputGates / most(1, p.n * gates * p.h)));
  }
};

template <class T>
struct ForwardLayout {
  T* gx[2] = {};
  T* state[2] = {};
  T* c[2] = {};
  T* gh[2] = {};
  T* z[2] = {};
  T* rh[2] = {};
  unsigned* counters = nullptr;
  int64_t count = 0;
  Arena arena;

  ForwardLayout(const RnnParams<T>& p, const ForwardPlan<T>& plan, void* base) : arena{static_cast<char*>(base)} {
    const int64_t gates = rnn_gates(p.cell) * p.h, size = p.n * p.h;
    for (int i = 0; i < p.directions; ++i) {
      gx[i] = plan.in_place ? p.dir[i].gates : arena.take<T>(p.n * plan.steps * gates);
      state[i] = arena.take<T>(2 * size);
      if (p.cell == RnnCell::kLstm) c[i] = arena.take<T>(size);
      if (plan.persistent) continue;
      gh[i] = arena.take<T>(p.n * gates);
      if (resets_before(p)) z[i] = arena.take<T>(size), rh[i] = arena.take<T>(size);
    }
    if (plan.persistent && plan.slices.unit_blocks > 1) {
      count = int64_t{p.directions} * plan.slices.groups * kBarrierStride;
      counters = arena.take<unsigned>(count);
    }
  }
};

// Gates from the input of `steps` steps, the first of which in time is t0.
template <class T>
GemmParams<T> input_product(const RnnParams<T>& p, const ForwardPlan<T>& plan, int direction, int64_t t0, int64_t steps,
                            T* gx) {
  const RnnDirection<T>& d = p.dir[direction];
  GemmParams<T> g;
  g.n = rnn_gates(p.cell) * p.h;
  g.k = p.in;
  g.rs_a = p.in;
  g.b = d.w_ih;
  g.rs_b = g.n;
  g.c = gx;
  g.ldc = plan.ld;
  g.bias = d.b_ih;
  if (p.time_major || steps == p.t) {
    g.m = p.n * steps;
    g.a = p.x + (p.time_major ? t0 * p.n * p.in : 0);
  } else {
    g.m = steps;
    g.a = p.x + t0 * p.in;
    g.batch = p.n;
    g.batch_stride_a = p.t * p.in;
    g.batch_stride_c = steps * plan.ld;
  }
  return g;
}
// Gates [first, first + count) from the state, or from r * h.
template <class T>
GemmParams<T> state_product(const RnnParams<T>& p, int direction, int64_t first, int64_t count, const T* from, T* gh) {
  GemmParams<T> g;
  g.m = p.n;
  g.n = count * p.h;
  g.k = p.h;
  g.a = from;
  g.rs_a = p.h;
  g.b = p.dir[direction].w_hh + first * p.h;
  g.rs_b = rnn_gates(p.cell) * p.h;
  g.c = gh + first * p.h;
  g.ldc = rnn_gates(p.cell) * p.h;
  return g;
}

template <class T>
size_t products_workspace(const RnnParams<T>& p, const ForwardPlan<T>& plan, int threads) {
  size_t bytes = 0;
  const auto count = [&](const GemmParams<T>& g) {
    const size_t needed = device_gemm<T>().gemm_workspace(g, threads);
    if (needed > bytes) bytes = needed;
  };
  T* none = nullptr;
  if (p.t > 0) {
    const int64_t runs[] = {plan.steps, p.t % plan.steps};
    for (const int64_t steps : runs) {
      if (steps == 0) continue;
      for (int i = 0; i < p.directions; ++i) count(input_product(p, plan, i, 0, steps, none));
    }
  }
  if (!plan.persistent && !resets_before(p)) count(state_product<T>(p, 0, 0, rnn_gates(p.cell), nullptr, none));
  if (resets_before(p)) {
    count(state_product<T>(p, 0, 0, 2, nullptr, none));
    count(state_product<T>(p, 0, 2, 1, nullptr, none));
  }
  return bytes;
}

template <class T>
size_t forward_workspace(const RnnParams<T>& p, int threads) {
  // Whatever precision the context will ask for.
  size_t bytes = 0;
  for (int kind = 0; kind < 3; ++kind) {
    const ForwardPlan<T> plan(p, static_cast<SliceUnits>(kind));
    const size_t needed = ForwardLayout<T>(p, plan, nullptr).arena.used + products_workspace(p, plan, threads);
    if (needed > bytes) bytes = needed;
  }
  return bytes;
}

template <class T>
void run_persistent(const Context& ctx, const SlicePlan& s, const ForwardArgs<T>& a) {
  const Launch l = {dim3(static_cast<unsigned>(s.unit_blocks * s.groups * a.p.directions)), dim3(kSliceThreads),
                    static_cast<size_t>(s.shared_bytes), s.unit_blocks > 1};
  with_tile<T, kForwardLanes>(s.shape, [&](auto tile) { launch(ctx, persistent_forward<decltype(tile), T>, l, a); });
}

template <class T>
void forward(const Context& ctx, const RnnParams<T>& p) {
  const SliceUnits kind = slice_units<T>(ctx);
  const ForwardPlan<T> plan(p, kind);
  const ForwardLayout<T> layout(p, plan, ctx.workspace);
  const int64_t size = p.n * p.h, gates = rnn_gates(p.cell);
  if (size == 0) return;
  Context products = ctx;
  products.workspace = static_cast<char*>(ctx.workspace) + layout.arena.used;
  products.workspace_bytes = ctx.workspace_bytes - layout.arena.used;
  const GemmKernels<T>& gemm = device_gemm<T>();

  ForwardArgs<T> a = {};
  a.p = p;
  a.acts = rnn_acts(p);
  for (int i = 0; i < 2; ++i) {
    a.gx[i] = layout.gx[i];
    a.state[i] = layout.state[i];
    a.c[i] = layout.c[i];
    a.gh[i] = layout.gh[i];
    a.z[i] = layout.z[i];
    a.rh[i] = layout.rh[i];
  }
  a.gx_n = (p.time_major ? 1 : plan.steps) * plan.ld;
  a.gx_t = (p.time_major ? p.n : 1) * plan.ld;
  a.units = plan.slices.units;
  a.unit_blocks = plan.slices.unit_blocks;
  a.groups = plan.slices.groups;
  a.slice = plan.slices.shape;
  a.counters = layout.counters;

  Launch cells = flat(size);
  cells.grid.y = static_cast<unsigned>(p.directions);
  if (p.t == 0) return launch(ctx, keep_states<T>, cells, p);
  if (layout.count > 0) launch(ctx, zero_counters, flat(layout.count), layout.counters, layout.count);
  for (int64_t s0 = 0; s0 < p.t; s0 += plan.steps) {
    a.s0 = s0;
    a.s1 = least(p.t, s0 + plan.steps);
    if (!p.time_major) a.gx_n = (a.s1 - a.s0) * plan.ld;
    for (int i = 0; i < p.directions; ++i) {
      const RnnDirection<T>& d = p.dir[i];
      a.t0[i] = d.reverse ? p.t - a.s1 : s0;
      gemm.gemm(products, input_product(p, plan, i, a.t0[i], a.s1 - a.s0, layout.gx[i]));
    }
    if (plan.persistent) {
      run_persistent(ctx, plan.slices, a);
      continue;
    }
    for (int64_t s = a.s0; s < a.s1; ++s) {
      const auto product = [&](int64_t first, int64_t count, bool reset) {
        for (int i = 0; i < p.directions; ++i) {
          const T* from = reset ? a.rh[i] : s > 0 ? a.state[i] + s % 2 * size : p.dir[i].h0;
          if (from != nullptr) gemm.gemm(products, state_product(p, i, first, count, from, a.gh[i]));
        }
      };
      product(0, resets_before(p) ? 2 : gates, false);
      launch(ctx, step_forward<T>, cells, a, s, 0);
      if (!resets_before(p)) continue;
      product(2, 1, true);
      launch(ctx, step_forward<T>, cells, a, s, 1);
    }
  }
}

}  // namespace

#define LAMELLA_RNN(T)                                                                                       \
  size_t rnn_forward_workspace(const RnnParams<T>& p, int threads) { return forward_workspace(p, threads); } \
  void rnn_forward(const Context& ctx, const RnnParams<T>& p) { forward(ctx, p); }
LAMELLA_RNN(float)
LAMELLA_RNN(double)

}  // namespace lamella::cuda
