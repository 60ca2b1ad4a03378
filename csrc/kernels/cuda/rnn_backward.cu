// Recurrent layers, backward: steps in the opposite order, each the cell's derivative and one product with the
// transposed recurrent weights, in one persistent kernel or with launches per step (see rnn_forward.cu). They keep the
// gates' gradients of all steps, from which the gradients of input, weights and biases are a few products and sums.
#include "kernels/cuda/grid_barrier.h"
#include "kernels/cuda/rnn_slice.h"

namespace lamella::cuda {
namespace {

constexpr int kBackwardLanes = 8;
constexpr int64_t kLeastPersistentSteps = 3;

template <class T>
struct BackwardArgs {
  RnnBackwardParams<T> b;
  RnnActs<T> acts;
  T* dg[2];           // gates' gradients, rows as in x
  T* h_prev[2];       // the state before each step, rows as in x; or nullptr
  T* rh[2];           // gru, reset before: r times that
  bool state_wanted;  // whether anybody wants dh0
  // Persistent:
  int units, unit_blocks, groups;
  SliceShape slice;
  unsigned* counters;
  // By steps, n x h each:
  T* dh[2];
  T* dc[2];
  T* drh[2];
};

// Which gates' gradients the product with w_hh^T takes, in columns of dg: its first, and how many.
template <class T>
__host__ __device__ constexpr int64_t back_first(const RnnParams<T>& p) {
  return resets_after(p) ? p.h : 0;
}
template <class T>
__host__ __device__ constexpr int64_t back_depth(const RnnParams<T>& p) {
  return rnn_gates(p.cell) * p.h;
}

// Where the state before step s stands of row n; nullptr: zeros.
template <class T>
__device__ __forceinline__ const T* state_before(const RnnParams<T>& p, const RnnDirection<T>& d, int64_t n,
                                                 int64_t s) {
  if (s == 0) return d.h0 == nullptr ? nullptr : d.h0 + n * p.h;
  return d.states == nullptr ? nullptr : d.states + rnn_row(p, n, rnn_place(p, d, s - 1)) * d.ld_states;
}
template <class T>
__device__ __forceinline__ const T* cell_before(const RnnParams<T>& p, const RnnDirection<T>& d, int64_t n, int64_t s) {
  if (s == 0) return d.c0 == nullptr ? nullptr : d.c0 + n * p.h;
  return d.cells + rnn_row(p, n, rnn_time(p, d, s - 1)) * p.h;
}

// ---- persistent -----------------------------------------------------------------------------------------------------

// What a cell reads at a step; it comes while the step before is still under way.
enum Input { kSaved0, kSaved1, kSaved2, kSaved3, kState, kStateBefore, kCellBefore, kGradient, kInputs };

// Blocks, units and cells as in persistent_forward. A block keeps the rows of w_hh of its units.
template <class Tile, class T>
__global__ void __launch_bounds__(kSliceThreads, 1) persistent_backward(const __grid_constant__ BackwardArgs<T> a) {
  const RnnParams<T>& p = a.b.f;
  const SliceShape& f = a.slice;
  constexpr int V = Pack<T>::kSize;
  const int thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  const int group = block / a.unit_blocks, direction = group / a.groups;
  const RnnDirection<T>& d = p.dir[direction];
  const RnnGradients<T>& grad = a.b.grad[direction];
  const bool lstm = p.cell == RnnCell::kLstm;
  const int saved = d.gates == nullptr ? 0 : static_cast<int>(rnn_saved_gates(p)), kept = static_cast<int>(rnn_kept(p));
  const int64_t h = p.h, u0 = static_cast<int64_t>(block % a.unit_blocks) * a.units;
  const int64_t r0 = static_cast<int64_t>(group % a.groups) * f.rows;
  const int units = static_cast<int>(min(static_cast<int64_t>(a.units), h - u0));
  const int rows = static_cast<int>(min(static_cast<int64_t>(f.rows), p.n - r0));
  const int cells = rows * units, most_cells = f.rows * a.units;

  T* const weights = dynamic_shared<T>();
  Pack<T>* const stages = reinterpret_cast<Pack<T>*>(weights + f.weights_size<T>());
  T* const partial = weights + f.weights_size<T>() + f.stages_size<T>();
  T* const sum = partial + f.partial_size();
  T* const input = sum + most_cells;  // [kInputs][most_cells]
  T* const own_dh = input + kInputs * most_cells;
  T* const own_dc = own_dh + most_cells;
  int* const active = reinterpret_cast<int*>(own_dc + most_cells);

  for (int unit = 0; unit < units; ++unit)
    for (int k = thread; k < f.ld * V; k += kSliceThreads)
      weights[unit * f.ld * V + k] = k < f.depth ? d.w_hh[(u0 + unit) * f.depth + k] : T(0);
  for (int e = thread; e < cells; e += kSliceThreads) {
    const int64_t at = (r0 + e / units) * h + u0 + e % units;
    own_dh[e] = grad.dhn == nullptr ? T(0) : grad.dhn[at];
    if (lstm) own_dc[e] = grad.dcn == nullptr ? T(0) : grad.dcn[at];
  }

  const auto prefetch = [&](int64_t s) {
    const int64_t t = rnn_time(p, d, s);
    for (int e = thread; e < cells; e += kSliceThreads) {
      const int r = e / units;
      const int64_t n = r0 + r, unit = u0 + (e - r * units), at = rnn_row(p, n, t);
      const auto copy = [&](int what, const T* row) {
        if (row != nullptr) {
          copy_async<sizeof(T)>(input + what * most_cells + e, row + unit);
        } else {
          input[what * most_cells + e] = T(0);
        }
      };
      for (int g = 0; g < saved; ++g) copy(kSaved0 + g, d.gates + (at * saved + g) * h);
      if (lstm) {
        copy(kState, d.cells + at * h);
        copy(kCellBefore, cell_before(p, d, n, s));
      } else if (p.cell == RnnCell::kSimple) {
        copy(kState, d.states + rnn_row(p, n, rnn_place(p, d, s)) * d.ld_states);
      }
      if (!lstm || a.h_prev[direction] != nullptr) copy(kStateBefore, state_before(p, d, n, s));
      copy(kGradient, grad.dy == nullptr ? nullptr : grad.dy + rnn_row(p, n, rnn_place(p, d, s)) * grad.ldy);
    }
    copy_async_commit();
    for (int r = kSliceThreads - 1 - thread; r < rows; r += kSliceThreads) active[r] = rnn_active(p, r0 + r, t);
  };
  const GridBarrier barrier = {a.counters + group * kBarrierStride, static_cast<unsigned>(a.unit_blocks)};
  const int64_t dg_row = (p.time_major ? 1 : p.t) * kept * h;

  prefetch(p.t - 1);
  for (int64_t s = p.t - 1; s >= 0; --s) {
    copy_async_wait<0>();
    __syncthreads();
    const int64_t t = rnn_time(p, d, s);
    for (int e = thread; e < cells; e += kSliceThreads) {
      const int r = e / units;
      const int64_t n = r0 + r, unit = u0 + (e - r * units), at = rnn_row(p, n, t);
      const bool on = active[r] != 0;
      const auto in = [&](int what) { return input[what * most_cells + e]; };
      RnnUnitGrad<T> u;
      u.dh = own_dh[e];
      if (on || !p.zero_masked) u.dh += in(kGradient);
      if (on) {
#pragma unroll
        for (int g = 0; g < 4; ++g) u.saved[g] = g < saved ? in(kSaved0 + g) : T(0);
        u.h = u.c = p.cell == RnnCell::kGru ? T(0) : in(kState);
        u.h_prev = lstm ? T(0) : in(kStateBefore);
        u.c_prev = lstm ? in(kCellBefore) : T(0);
        u.dc = lstm ? own_dc[e] : T(0);
        rnn_cell_back(p.cell, a.acts, u);
        if (lstm) own_dc[e] = u.dc;
      }
      own_dh[e] = u.dh;
#pragma unroll
      for (int g = 0; g < 4; ++g)
        if (g < kept) a.dg[direction][(at * kept + g) * h + unit] = on ? u.dg[g] : T(0);
      if (a.h_prev[direction] != nullptr) a.h_prev[direction][at * h + unit] = in(kStateBefore);
    }
    if (s == 0 && !a.state_wanted) break;
    if (a.unit_blocks > 1) {
      barrier.arrive();
    } else {
      __syncthreads();
    }
    if (s > 0) prefetch(s - 1);
    if (a.unit_blocks > 1) {
      barrier.wait(static_cast<unsigned>(p.t - s));
    }
    slice_product<Tile>(f, rows, units, reinterpret_cast<const Pack<T>*>(weights),
                        a.dg[direction] + rnn_row(p, r0, t) * kept * h + back_first(p), dg_row, stages, partial, sum);
    for (int e = thread; e < cells; e += kSliceThreads) {
      const int r = e / units;
      own_dh[e] += sum[r * f.columns + (e - r * units)];
    }
  }
  for (int e = thread; e < cells; e += kSliceThreads) {
    const int64_t at = (r0 + e / units) * h + u0 + e % units;
    if (grad.dh0 != nullptr) grad.dh0[at] = own_dh[e];
    if (lstm && grad.dc0 != nullptr) grad.dc0[at] = own_dc[e];
  }
}

// ---- by steps -------------------------------------------------------------------------------------------------------

// Where step s leaves the gradient of the state before it, and its product adds to it.
template <class T>
__host__ __device__ __forceinline__ T* state_gradient(const BackwardArgs<T>& a, int direction, int64_t s) {
  T* const dh0 = a.b.grad[direction].dh0;
  return s == 0 && dh0 != nullptr ? dh0 : a.dh[direction];
}

// One thread per unit; blockIdx.y: the direction. part: of a GRU that resets before its product, 0 or 1.
template <class T>
__global__ void __launch_bounds__(256) step_backward(const __grid_constant__ BackwardArgs<T> a, int64_t s, int part) {
  const RnnParams<T>& p = a.b.f;
  const int direction = static_cast<int>(blockIdx.y);
  const RnnDirection<T>& d = p.dir[direction];
  const RnnGradients<T>& grad = a.b.grad[direction];
  const int64_t h = p.h, size = p.n * h, t = rnn_time(p, d, s);
  const int saved = d.gates == nullptr ? 0 : static_cast<int>(rnn_saved_gates(p)), kept = static_cast<int>(rnn_kept(p));
  const bool lstm = p.cell == RnnCell::kLstm;
  for (int64_t i = thread_number(); i < size; i += thread_count()) {
    const int64_t n = i / h, unit = i - n * h, at = rnn_row(p, n, t);
    const bool on = rnn_active(p, n, t);
    const auto read = [&](const T* row) { return row == nullptr ? T(0) : row[unit]; };
    T* const dg = a.dg[direction] + at * kept * h + unit;
    const T* const gates = d.gates == nullptr ? nullptr : d.gates + at * saved * h + unit;
    const T before = read(state_before(p, d, n, s));
    T* const dh = state_gradient(a, direction, s) + i;
    if (part == 1) {
      T rh = 0, dr = 0;
      if (on) {
        const T drh = a.drh[direction][i];
        dr = a.acts.gate_backward(gates[0], drh * before);
        rh = gates[0] * before;
        *dh = fma(drh, gates[0], *dh);
      }
      dg[0] = dr;
      if (a.rh[direction] != nullptr) a.rh[direction][at * h + unit] = rh;
      continue;
    }
    if (a.h_prev[direction] != nullptr) a.h_prev[direction][at * h + unit] = before;
    const bool first = s + 1 == p.t;
    T total = !first ? a.dh[direction][i] : grad.dhn == nullptr ? T(0) : grad.dhn[i];
    T dc = T(0);
    if (lstm) dc = !first ? a.dc[direction][i] : grad.dcn == nullptr ? T(0) : grad.dcn[i];
    if (grad.dy != nullptr && (on || !p.zero_masked))
      total += grad.dy[rnn_row(p, n, rnn_place(p, d, s)) * grad.ldy + unit];
    if (!on) {
      *dh = total;
      for (int g = 0; g < kept; ++g) dg[g * h] = T(0);
    } else if (resets_before(p)) {
      const T z = gates[h], fresh = gates[2 * h];
      dg[2 * h] = a.acts.state_backward(fresh, fma(-total, z, total));
      dg[h] = a.acts.gate_backward(z, total * (before - fresh));
      *dh = total * z;
    } else {
      RnnUnitGrad<T> u;
      u.dh = total;
#pragma unroll
      for (int g = 0; g < 4; ++g) u.saved[g] = g < saved ? gates[g * h] : T(0);
      u.h_prev = before;
      u.h = p.cell == RnnCell::kSimple ? d.states[rnn_row(p, n, rnn_place(p, d, s)) * d.ld_states + unit] : T(0);
      u.c = lstm ? d.cells[at * h + unit] : T(0);
      u.c_prev = lstm ? read(cell_before(p, d, n, s)) : T(0);
      u.dc = dc;
      rnn_cell_back(p.cell, a.acts, u);
      dc = u.dc;
      *dh = u.dh;
#pragma unroll
      for (int g = 0; g < 4; ++g)
        if (g < kept) dg[g * h] = u.dg[g];
    }
    if (lstm) (s == 0 && grad.dc0 != nullptr ? grad.dc0 : a.dc[direction])[i] = dc;
  }
}

// The states' gradients where there are no steps.
template <class T>
__global__ void __launch_bounds__(256) keep_states(const __grid_constant__ RnnBackwardParams<T> b) {
  const RnnGradients<T>& grad = b.grad[blockIdx.y];
  for (int64_t i = thread_number(); i < b.f.n * b.f.h; i += thread_count()) {
    if (grad.dh0 != nullptr) grad.dh0[i] = grad.dhn == nullptr ? T(0) : grad.dhn[i];
    if (grad.dc0 != nullptr) grad.dc0[i] = grad.dcn == nullptr ? T(0) : grad.dcn[i];
  }
}

// ---- biases ---------------------------------------------------------------------------------------------------------

// Sums of columns, in two passes: rows are cut into parts as the shape wants it, a block adds up 32 columns of one
// part; then the parts are added in order.
constexpr int kSumColumns = 32, kSumLines = 8;
constexpr int64_t kSumRows = 256, kMostSumParts = 256;
int64_t sum_parts(int64_t rows) { return least(kMostSumParts, ceil_div(rows, kSumRows)); }

template <class T>
__global__ void __launch_bounds__(kSumColumns* kSumLines)
    sum_rows(const T* x, int64_t rows, int64_t columns, int64_t part_rows, T* partial) {
  __shared__ T lines[kSumLines][kSumColumns];
  const int line = static_cast<int>(threadIdx.y), lane = static_cast<int>(threadIdx.x);
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kSumColumns + lane;
  const int64_t begin = blockIdx.y * part_rows, end = min(rows, begin + part_rows);
  T sum = 0;
  if (c < columns)
    for (int64_t r = begin + line; r < end; r += kSumLines) sum += x[r * columns + c];
  lines[line][lane] = sum;
  __syncthreads();
  if (line > 0 || c >= columns) return;
  for (int k = 1; k < kSumLines; ++k) sum += lines[k][lane];
  partial[blockIdx.y * columns + c] = sum;
}

// reset_after: columns are n as the input sees it, r, z, n as the state sees it.
template <class T>
__global__ void __launch_bounds__(256)
    sum_parts_of_biases(const T* partial, int64_t parts, int64_t h, int64_t columns, bool reset_after, T* ih, T* hh) {
  for (int64_t c = thread_number(); c < columns; c += thread_count()) {
    T sum = 0;
    for (int64_t k = 0; k < parts; ++k) sum += partial[k * columns + c];
    const int64_t gate = c / h, unit = c - gate * h;
    const int64_t ih_gate = !reset_after ? gate : gate == 0 ? 2 : gate == 3 ? -1 : gate - 1;
    const int64_t hh_gate = reset_after ? gate - 1 : gate;
    if (ih != nullptr && ih_gate >= 0) ih[ih_gate * h + unit] = sum;
    if (hh != nullptr && hh_gate >= 0) hh[hh_gate * h + unit] = sum;
  }
}

// ---- the host's side ------------------------------------------------------------------------------------------------

template <class T>
struct BackwardPlan {
  SlicePlan slices;
  bool persistent = false;

  BackwardPlan(const RnnBackwardParams<T>& b, SliceUnits kind) {
    const RnnParams<T>& p = b.f;
    if (p.t < kLeastPersistentSteps || resets_before(p)) return;
    slices = plan_slices(p, kind, kBackwardLanes, back_depth(p), 1, 0, kInputs + 2);
    persistent = slices.fits;
  }
};

template <class T>
struct BackwardLayout {
  T* dg[2] = {};
  T* h_prev[2] = {};
  T* rh[2] = {};
  T* dh[2] = {};
  T* dc[2] = {};
  T* drh[2] = {};
  T* sums = nullptr;
  unsigned* counters = nullptr;
  int64_t count = 0;
  Arena arena;

  BackwardLayout(const RnnBackwardParams<T>& b, const BackwardPlan<T>& plan, void* base)
      : arena{static_cast<char*>(base)} {
    const RnnParams<T>& p = b.f;
    const int64_t rows = p.n * p.t, size = p.n * p.h;
    bool biases = false;
    for (int i = 0; i < p.directions; ++i) {
      const RnnGradients<T>& g = b.grad[i];
      dg[i] = arena.take<T>(rows * rnn_kept(p) * p.h);
      if (g.dw_hh != nullptr) {
        h_prev[i] = arena.take<T>(rows * p.h);
        if (resets_before(p)) rh[i] = arena.take<T>(rows * p.h);
      }
      biases = biases || g.db_ih != nullptr || g.db_hh != nullptr;
      if (plan.persistent) continue;
      dh[i] = arena.take<T>(size);
      if (p.cell == RnnCell::kLstm) dc[i] = arena.take<T>(size);
      if (resets_before(p)) drh[i] = arena.take<T>(size);
    }
    if (biases) sums = arena.take<T>(sum_parts(rows) * rnn_kept(p) * p.h);
    if (plan.persistent && plan.slices.unit_blocks > 1) {
      count = int64_t{p.directions} * plan.slices.groups * kBarrierStride;
      counters = arena.take<unsigned>(count);
    }
  }
};

// to = dg w^T (+ to), over `depth` columns of both.
template <class T>
GemmParams<T> transposed_product(int64_t rows, const T* dg, int64_t ld, const T* w, int64_t ldw, int64_t n,
                                 int64_t depth, T* to, bool add) {
  GemmParams<T> g;
  g.m = rows;
  g.n = n;
  g.k = depth;
  g.a = dg;
  g.rs_a = ld;
  g.b = w;
  g.rs_b = 1;
  g.cs_b = ldw;
  g.c = to;
  g.ldc = n;
  g.beta = add ? T(1) : T(0);
  return g;
}

// Calls f(product) for the products of a step: part 0 with all gates (of a GRU that resets before its product: with n),
// part 1 with its r and z.
template <class T, class F>
void state_product(const BackwardArgs<T>& a, int direction, int64_t s, int part, const F& f) {
  const RnnParams<T>& p = a.b.f;
  const RnnDirection<T>& d = p.dir[direction];
  const int64_t h = p.h, ld = rnn_kept(p) * h, ldw = rnn_gates(p.cell) * h;
  const T* dg = a.dg[direction] + rnn_row(p, 0, rnn_time(p, d, s)) * ld;
  const int64_t rs = (p.time_major ? 1 : p.t) * ld;
  T* const to = state_gradient(a, direction, s);
  if (!resets_before(p)) {
    f(transposed_product(p.n, dg + back_first(p), rs, d.w_hh, ldw, h, back_depth(p), to, true));
  } else if (part == 0) {
    f(transposed_product(p.n, dg + 2 * h, rs, d.w_hh + 2 * h, ldw, h, h, a.drh[direction], false));
  } else {
    f(transposed_product(p.n, dg, rs, d.w_hh, ldw, h, 2 * h, to, true));
  }
}

// Calls f(product) for the products over all steps, in the order in which they are to run.
template <class T, class F>
void sequence_products(const BackwardArgs<T>& a, const F& f) {
  const RnnParams<T>& p = a.b.f;
  const int64_t h = p.h, rows = p.n * p.t, ld = rnn_kept(p) * h, ldw = rnn_gates(p.cell) * h;
  const auto weights = [&](int64_t m, const T* from, const T* dg, int64_t n, T* to) {
    GemmParams<T> g;
    g.m = m;
    g.n = n;
    g.k = rows;
    g.a = from;
    g.rs_a = 1;
    g.cs_a = m;
    g.b = dg;
    g.rs_b = ld;
    g.c = to;
    g.ldc = ldw;
    if (m > 0) f(g);
  };
  const bool after = resets_after(p);
  for (int i = 0; i < p.directions; ++i) {
    const RnnDirection<T>& d = p.dir[i];
    const RnnGradients<T>& grad = a.b.grad[i];
    const T* dg = a.dg[i];
    if (grad.dw_ih != nullptr) {
      weights(p.in, p.x, after ? dg + h : dg, after ? 2 * h : ldw, grad.dw_ih);
      if (after) weights(p.in, p.x, dg, h, grad.dw_ih + 2 * h);
    }
    if (grad.dw_hh != nullptr) {
      weights(h, a.h_prev[i], dg + back_first(p), resets_before(p) ? 2 * h : ldw, grad.dw_hh);
      if (resets_before(p)) weights(h, a.rh[i], dg + 2 * h, h, grad.dw_hh + 2 * h);
    }
    if (a.b.dx != nullptr && rows * p.in > 0) {
      f(transposed_product(rows, after ? dg + h : dg, ld, d.w_ih, ldw, p.in, after ? 2 * h : ldw, a.b.dx, i > 0));
      if (after) f(transposed_product(rows, dg, ld, d.w_ih + 2 * h, ldw, p.in, h, a.b.dx, true));
    }
  }
}

template <class T>
BackwardArgs<T> backward_args(const RnnBackwardParams<T>& b, const BackwardPlan<T>& plan,
                              const BackwardLayout<T>& layout) {
  BackwardArgs<T> a = {};
  a.b = b;
  a.acts = rnn_acts(b.f);
  for (int i = 0; i < 2; ++i) {
    a.dg[i] = layout.dg[i];
    a.h_prev[i] = layout.h_prev[i];
    a.rh[i] = layout.rh[i];
    a.dh[i] = layout.dh[i];
    a.dc[i] = layout.dc[i];
    a.drh[i] = layout.drh[i];
    a.state_wanted = a.state_wanted || b.grad[i].dh0 != nullptr;
  }
  a.units = plan.slices.units;
  a.unit_blocks = plan.slices.unit_blocks;
  a.groups = plan.slices.groups;
  a.slice = plan.slices.shape;
  a.counters = layout.counters;
  return a;
}

template <class T>
size_t backward_workspace(const RnnBackwardParams<T>& b, int threads) {
  // Whatever precision the context will ask for.
  size_t most_bytes = 0;
  for (int kind = 0; kind < 3; ++kind) {
    const BackwardPlan<T> plan(b, static_cast<SliceUnits>(kind));
    const BackwardLayout<T> layout(b, plan, nullptr);
    const BackwardArgs<T> a = backward_args(b, plan, layout);
    size_t bytes = 0;
    const auto count = [&](const GemmParams<T>& g) {
      const size_t needed = device_gemm<T>().gemm_workspace(g, threads);
      if (needed > bytes) bytes = needed;
    };
    sequence_products(a, count);
    if (!plan.persistent && b.f.t > 0)
      for (int part = 0; part < 2; ++part) state_product(a, 0, 0, part, count);
    bytes += layout.arena.used;
    if (bytes > most_bytes) most_bytes = bytes;
  }
  return most_bytes;
}

template <class T>
void run_persistent(const Context& ctx, const SlicePlan& s, const BackwardArgs<T>& a) {
  const Launch l = {dim3(static_cast<unsigned>(s.unit_blocks * s.groups * a.b.f.directions)), dim3(kSliceThreads),
                    static_cast<size_t>(s.shared_bytes), s.unit_blocks > 1};
  with_tile<T, kBackwardLanes>(s.shape, [&](auto tile) { launch(ctx, persistent_backward<decltype(tile), T>, l, a); });
}

template <class T>
void run_steps(const Context& ctx, const Context& products, const BackwardArgs<T>& a) {
  const RnnParams<T>& p = a.b.f;
  Launch cells = flat(p.n * p.h);
  cells.grid.y = static_cast<unsigned>(p.directions);
  const auto product = [&](int64_t s, int part) {
    for (int i = 0; i < p.directions; ++i)
      state_product(a, i, s, part, [&](const GemmParams<T>& g) { device_gemm<T>().gemm(products, g); });
  };
  if (p.t == 0) launch(ctx, keep_states<T>, cells, a.b);
  for (int64_t s = p.t - 1; s >= 0; --s) {
    launch(ctx, step_backward<T>, cells, a, s, 0);
    const bool passes_on = s > 0 || a.state_wanted;
    if (resets_before(p)) {
      product(s, 0);
      launch(ctx, step_backward<T>, cells, a, s, 1);
      if (passes_on) product(s, 1);
    } else if (passes_on) {
      product(s, 0);
    }
  }
}

template <class T>
void backward(const Context& ctx, const RnnBackwardParams<T>& b) {
  const RnnParams<T>& p = b.f;
  const SliceUnits kind = slice_units<T>(ctx);
  const BackwardPlan<T> plan(b, kind);
  const BackwardLayout<T> layout(b, plan, ctx.workspace);
  const BackwardArgs<T> a = backward_args(b, plan, layout);
  Context products = ctx;
  products.workspace = static_cast<char*>(ctx.workspace) + layout.arena.used;
  products.workspace_bytes = ctx.workspace_bytes - layout.arena.used;
  if (p.n > 0) {
    if (plan.persistent) {
      if (layout.count > 0) launch(ctx, zero_counters, flat(layout.count), layout.counters, layout.count);
      run_persistent(ctx, plan.slices, a);
    } else {
      run_steps(ctx, products, a);
    }
  }
  sequence_products(a, [&](const GemmParams<T>& g) { device_gemm<T>().gemm(products, g); });
  const int64_t rows = p.n * p.t, columns = rnn_kept(p) * p.h, parts = sum_parts(rows);
  for (int i = 0; i < p.directions; ++i) {
    const RnnGradients<T>& g = b.grad[i];
    if (g.db_ih == nullptr && g.db_hh == nullptr) continue;
    launch(ctx, sum_rows<T>,
           {dim3(static_cast<unsigned>(ceil_div(columns, kSumColumns)), static_cast<unsigned>(parts)),
            dim3(kSumColumns, kSumLines)},
           layout.dg[i], rows, columns, ceil_div(rows, most(1, parts)), layout.sums);
    launch(ctx, sum_parts_of_biases<T>, flat(columns), layout.sums, parts, p.h, columns, resets_after(p), g.db_ih,
           g.db_hh);
  }
}

}  // namespace

#define LAMELLA_RNN(T)                                                                                                 \
  size_t rnn_backward_workspace(const RnnBackwardParams<T>& b, int threads) { return backward_workspace(b, threads); } \
  void rnn_backward(const Context& ctx, const RnnBackwardParams<T>& b) { backward(ctx, b); }
LAMELLA_RNN(float)
LAMELLA_RNN(double)

}  // namespace lamella::cuda
