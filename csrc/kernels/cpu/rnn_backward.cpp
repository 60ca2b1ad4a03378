// Recurrent layers, backward: steps in the opposite order, each the cell's derivative and one product with the
// transposed recurrent weights. After a run of steps, the gradients of the input, the weights and the biases are taken
// from the gates' gradients of the run, which the next run overwrites.
#include "kernels/cpu/lockstep.h"
#include "kernels/cpu/rnn_cells.h"
#include "kernels/cpu/rnn_sums.h"

namespace lamella::LAMELLA_NS {
namespace {

// Rows [r0, r0 + rows) of one direction on their way back.
template <class T>
struct BackBlock {
  const RnnBackwardParams<T>* b;
  int direction;
  int64_t r0, rows;
  int64_t hs, gs;        // row strides of the states, of dg
  RnnProduct<T> back;    // w_hh^T: gates to units (GRU, reset before: of r and z)
  RnnProduct<T> back_n;  // GRU, reset before: of n
  T* dh;
  T* dc;
  T* dg[2];  // GRU: the product's operand, of this step and the one after it; others take what is kept
  T* dn;
  T* drh;
  RnnKept<T> kept;
};

// The product's operand at step s, the i-th of its run.
template <class T>
LAMELLA_INLINE T* operand(const BackBlock<T>& k, int64_t s, int64_t i) {
  return k.dg[0] != nullptr ? k.dg[s & 1] : k.kept.gates + (i * k.b->f.n + k.r0) * k.gs;
}

// Rows lie pages apart, which the hardware does not fetch ahead: what the cell is going to read some rows later.
constexpr int64_t kRowsAhead = 3;

// The cell of step s, the i-th of its run, for units of chunks [c0, c1).
template <class T, class Cell, class Acts>
void cell_back(const BackBlock<T>& k, int part, int64_t s, int64_t i, int64_t c0, int64_t c1) {
  const RnnParams<T>& p = k.b->f;
  const RnnDirection<T>& d = p.dir[k.direction];
  const RnnGradients<T>& g = k.b->grad[k.direction];
  const Acts acts(p);
  const int64_t h = p.h, u = c0 * kRnnUnits<T>, units = least(c1 * kRnnUnits<T>, h) - u;
  const int64_t t = rnn_time(p, d, s), place = rnn_place(p, d, s);
  const int64_t t_prev = s > 0 ? rnn_time(p, d, s - 1) : 0, place_prev = s > 0 ? rnn_place(p, d, s - 1) : 0;
  const bool last_part = part == 1 || !resets_before(p);
  T* const dg = operand(k, s, i);
  for (int64_t r = 0; r < k.rows; ++r) {
    const int64_t n = k.r0 + r, at = rnn_row(p, n, t);
    const T* h_prev = s > 0 ? (d.states == nullptr ? nullptr : d.states + rnn_row(p, n, place_prev) * d.ld_states)
                            : (d.h0 == nullptr ? nullptr : d.h0 + n * h);
    const bool active = rnn_active(p, n, t);
    const int64_t kept = i * p.n + n;
    CellGradRow<T> row{};
    row.hidden = h;
    row.dh = k.dh + r * k.hs;
    if (k.dc != nullptr) row.dc = k.dc + r * k.hs;
    row.dg = dg + r * k.gs;
    if (k.dn != nullptr) row.dn = k.dn + r * k.hs, row.drh = k.drh + r * k.hs;
    if (k.dg[0] != nullptr) row.dg_keep = k.kept.gates + kept * kept_gates(p) * h;
    if (k.kept.rh != nullptr) row.rh_keep = k.kept.rh + kept * h;
    if (g.dy != nullptr && (active || !p.zero_masked)) row.dy = g.dy + rnn_row(p, n, place) * g.ldy;
    if (k.kept.h != nullptr && last_part)
      each_vec<T>(
          units, LAMELLA_PER_VEC(j, v) { v.store(load_or_zero(v, h_prev, u + j), k.kept.h + kept * h + u + j); });
    if (!active) {
      each_vec<T>(
          units, LAMELLA_PER_VEC(j, v) {
            const int64_t unit = u + j;
            const Vec<T> zero = Vec<T>::zero();
            if (part == 1) {
              if (row.rh_keep != nullptr) v.store(zero, row.rh_keep + unit);
              return;
            }
            if (row.dy != nullptr) v.store(v.load(row.dh + unit) + v.load(row.dy + unit), row.dh + unit);
            for (int64_t gate = 0; gate < k.back.k; gate += h) v.store(zero, row.dg + gate + unit);
            if (row.dn != nullptr) v.store(zero, row.dn + unit);
            if (row.dg_keep != nullptr)
              for (int64_t gate = 0; gate < kept_gates(p); ++gate) v.store(zero, row.dg_keep + gate * h + unit);
          });
      continue;
    }
    if (d.gates != nullptr) row.gates = d.gates + at * rnn_saved_gates(p) * h;
    if (p.cell == RnnCell::kSimple) row.h = d.states + rnn_row(p, n, place) * d.ld_states;
    row.h_prev = h_prev;
    if (p.cell == RnnCell::kLstm) {
      row.c = d.cells + at * h;
      row.c_prev = s > 0 ? d.cells + rnn_row(p, n, t_prev) * h : d.c0 == nullptr ? nullptr : d.c0 + n * h;
    }
    if (r + kRowsAhead < k.rows) {
      const int64_t apart = rnn_row(p, n + 1, t) - at, apart_y = rnn_row(p, n + 1, place) - rnn_row(p, n, place);
      const int64_t saved = rnn_saved_gates(p);
      if (row.gates != nullptr)
        for (int64_t g0 = 0; g0 < saved; ++g0)
          rnn_fetch(row.gates + g0 * h + u + kRowsAhead * apart * saved * h, units);
      if (row.c != nullptr) {
        rnn_fetch(row.c + u + kRowsAhead * apart * h, units);
        if (s > 0) rnn_fetch(row.c_prev + u + kRowsAhead * apart * h, units);
      }
      if (row.dy != nullptr) rnn_fetch(row.dy + u + kRowsAhead * apart_y * g.ldy, units);
      if (s > 0 && d.states != nullptr) rnn_fetch(h_prev + u + kRowsAhead * apart_y * d.ld_states, units);
    }
    Cell::run(acts, part, row, u, units);
  }
}

// The products after step s, for units of chunks [c0, c1): what the step before sees of its gates.
template <class T>
void state_back(const BackBlock<T>& k, int64_t s, int64_t i, int64_t c0, int64_t c1) {
  rnn_product(k.back, k.rows, operand(k, s, i), k.gs, c0, c1, k.dh + c0 * kRnnUnits<T>, k.hs,
              static_cast<const T*>(nullptr), true);
}
template <class T>
void reset_back(const BackBlock<T>& k, int64_t c0, int64_t c1) {
  rnn_product(k.back_n, k.rows, k.dn, k.hs, c0, c1, k.drh + c0 * kRnnUnits<T>, k.hs, static_cast<const T*>(nullptr));
}

template <class T>
using CellBackFn = void (*)(const BackBlock<T>&, int, int64_t, int64_t, int64_t, int64_t);
template <class T>
CellBackFn<T> cell_back_fn(const RnnParams<T>& p) {
  using S = StandardActs<T>;
  using A = AnyActs<T>;
  const bool standard = standard_acts(p);
  switch (p.cell) {
    case RnnCell::kLstm:
      return standard ? cell_back<T, LstmCellGrad<T, S>, S> : cell_back<T, LstmCellGrad<T, A>, A>;
    case RnnCell::kGru:
      if (p.reset_after)
        return standard ? cell_back<T, GruAfterCellGrad<T, S>, S> : cell_back<T, GruAfterCellGrad<T, A>, A>;
      return standard ? cell_back<T, GruBeforeCellGrad<T, S>, S> : cell_back<T, GruBeforeCellGrad<T, A>, A>;
    default:
      return standard ? cell_back<T, SimpleCellGrad<T, S>, S> : cell_back<T, SimpleCellGrad<T, A>, A>;
  }
}

// ---- workspace -----------------------------------------------------------------------------------------------------

template <class T>
struct BackPlan {
  RnnSplit split;
  bool own_operand, before, keep_h, keep_x, ordered;
  int64_t hs, gs, back_gates, steps, rows;  // back_gates: in `back`; rows: of a run

  BackPlan(const RnnBackwardParams<T>& b, int threads) : split(rnn_split(b.f, threads)) {
    const RnnParams<T>& p = b.f;
    before = resets_before(p);
    own_operand = p.cell == RnnCell::kGru;
    hs = rnn_chunks<T>(p.h) * kRnnUnits<T>;
    back_gates = before ? 2 : rnn_gates(p.cell);
    gs = own_operand ? line_up(back_gates * p.h) : back_gates * p.h;
    steps = rnn_run_steps(p);
    rows = steps * p.n;
    keep_h = keep_x = false;
    ordered = true;
    for (int i = 0; i < p.directions; ++i) {
      ordered = ordered && rows_in_order(p, p.dir[i]);
      keep_h = keep_h || b.grad[i].dw_hh != nullptr;
      keep_x = keep_x || b.grad[i].dw_ih != nullptr;
    }
    keep_x = keep_x && !ordered;
  }
};

template <class T>
BackBlock<T> take_back_block(const RnnParams<T>& p, const BackPlan<T>& plan, RnnArena<T>& arena) {
  const int64_t state = plan.split.rows * plan.hs, gates = plan.split.rows * plan.gs;
  BackBlock<T> k{};
  k.hs = plan.hs;
  k.gs = plan.gs;
  k.dh = arena.take(state);
  if (plan.own_operand) k.dg[0] = arena.take(gates), k.dg[1] = arena.take(gates);
  if (p.cell == RnnCell::kLstm) k.dc = arena.take(state);
  if (plan.before) k.dn = arena.take(state), k.drh = arena.take(state);
  return k;
}

template <class T>
struct BackLayout {
  T* back[2];
  T* back_n[2];
  T* back_x[2];  // w_ih^T
  RnnKept<T> kept[2];
  T* dx;
  RnnArena<T> blocks, products;
  int64_t block_size, size;

  BackLayout(const RnnBackwardParams<T>& b, const BackPlan<T>& plan, int threads, T* base)
      : blocks{nullptr}, products{nullptr} {
    const RnnParams<T>& p = b.f;
    RnnArena<T> arena{base};
    const auto wanted = [&](bool yes, int64_t elements) { return yes ? arena.take(elements) : nullptr; };
    for (int i = 0; i < 2; ++i) {
      const bool used = i < p.directions;
      back[i] = wanted(used, rnn_packed_matrix<T>(plan.back_gates * p.h, p.h, 1));
      back_n[i] = wanted(used && plan.before, rnn_packed_matrix<T>(p.h, p.h, 1));
      back_x[i] = wanted(used && packs_back_x(b), rnn_packed_matrix<T>(rnn_gates(p.cell) * p.h, p.in, 1));
      kept[i].gates = wanted(used, plan.rows * kept_gates(p) * p.h);
      kept[i].h = wanted(used && plan.keep_h, plan.rows * p.h);
      kept[i].rh = wanted(used && plan.keep_h && plan.before, plan.rows * p.h);
      kept[i].x = wanted(used && plan.keep_x, plan.rows * p.in);
    }
    dx = wanted(b.dx != nullptr, plan.rows * p.in);
    RnnArena<T> one{nullptr};
    take_back_block(p, plan, one);
    block_size = one.used;
    blocks.base = arena.take(block_size * plan.split.blocks * p.directions);
    int64_t most_bytes = 0;
    GemmKernels<T> gemm;
    fill(gemm);
    const auto count = [&](const GemmParams<T>& product) {
      most_bytes = most(most_bytes, static_cast<int64_t>(gemm.gemm_workspace(product, threads)));
    };
    if (b.dx != nullptr && !packs_back_x(b)) count(input_product<T>(p, p.dir[0], nullptr, plan.rows, nullptr));
    for (int i = 0; i < p.directions; ++i)
      for (const int64_t rows : {plan.rows, p.t % plan.steps * p.n}) each_product(b, i, kept[i], 0, rows, true, count);
    products.base = arena.take(most_bytes / static_cast<int64_t>(sizeof(T)) + 16);
    size = arena.used;
  }
};

// ---- the steps -----------------------------------------------------------------------------------------------------

// rows x h of a state's gradient from `from`, or zeros; and back.
template <class T>
void copy_in(const BackBlock<T>& k, const T* from, T* to) {
  const int64_t h = k.b->f.h;
  for (int64_t r = 0; r < k.rows; ++r)
    each_vec<T>(
        h, LAMELLA_PER_VEC(i, v) {
          v.store(from == nullptr ? Vec<T>::zero() : v.load(from + (k.r0 + r) * h + i), to + r * k.hs + i);
        });
}
template <class T>
void copy_out(const BackBlock<T>& k, const T* from, T* to) {
  const int64_t h = k.b->f.h;
  if (to == nullptr) return;
  for (int64_t r = 0; r < k.rows; ++r)
    each_vec<T>(
        h, LAMELLA_PER_VEC(i, v) { v.store(v.load(from + r * k.hs + i), to + (k.r0 + r) * h + i); });
}
template <class T>
void start(const BackBlock<T>& k) {
  const RnnGradients<T>& g = k.b->grad[k.direction];
  copy_in(k, g.dhn, k.dh);
  if (k.dc != nullptr) copy_in(k, g.dcn, k.dc);
}
template <class T>
void finish(const BackBlock<T>& k) {
  const RnnGradients<T>& g = k.b->grad[k.direction];
  copy_out(k, k.dh, g.dh0);
  if (k.dc != nullptr) copy_out(k, k.dc, g.dc0);
}
// Whether the state before step s has a use for its gradient.
template <class T>
bool passes_on(const BackBlock<T>& k, int64_t s) {
  return s > 0 || k.b->grad[k.direction].dh0 != nullptr;
}

// Steps [s0, s1) of a run.
struct Run {
  int64_t s0, s1;
  bool first, last;
};

template <class T>
void gather_x(const BackBlock<T>& k, const Run& run) {
  const RnnParams<T>& p = k.b->f;
  for (int64_t s = run.s0; s < run.s1; ++s)
    for (int64_t n = k.r0; n < k.r0 + k.rows; ++n) {
      const T* from = p.x + rnn_row(p, n, rnn_time(p, p.dir[k.direction], s)) * p.in;
      T* to = k.kept.x + ((s - run.s0) * p.n + n) * p.in;
      each_vec<T>(
          p.in, LAMELLA_PER_VEC(j, v) { v.store(v.load(from + j), to + j); });
    }
}

template <class T>
void run_block(CellBackFn<T> fn, const BackBlock<T>& k, const Run& run) {
  const RnnParams<T>& p = k.b->f;
  const int64_t chunks = rnn_chunks<T>(p.h);
  if (run.first) start(k);
  if (k.kept.x != nullptr) gather_x(k, run);
  for (int64_t s = run.s1 - 1; s >= run.s0; --s) {
    fn(k, 0, s, s - run.s0, 0, chunks);
    if (resets_before(p)) {
      reset_back(k, 0, chunks);
      fn(k, 1, s, s - run.s0, 0, chunks);
    }
    if (passes_on(k, s)) state_back(k, s, s - run.s0, 0, chunks);
  }
  if (run.last) finish(k);
}

// A unit's own gradients are enough for its cell, the product needs everybody's: one meeting per step (and one more
// where the GRU resets before its product).
template <class T>
void run_by_units(const Context& ctx, const RnnSplit& split, CellBackFn<T> fn, const BackBlock<T>* blocks,
                  const Run& run) {
  const RnnParams<T>& p = blocks[0].b->f;
  const int64_t parts = resets_before(p) ? 2 : 1;
  for (int d = 0; d < p.directions; ++d) {
    if (run.first) start(blocks[d]);
    if (blocks[d].kept.x != nullptr) gather_x(blocks[d], run);
  }
  lockstep(ctx, (run.s1 - run.s0) * parts + 1, split.ranges, [&](int64_t meeting, int64_t range, int) {
    const int64_t c0 = rnn_range_begin<T>(split, p.h, range), c1 = rnn_range_begin<T>(split, p.h, range + 1);
    const int64_t i = run.s1 - run.s0 - 1 - meeting / parts, s = run.s0 + i;
    for (int d = 0; d < p.directions; ++d) {
      const BackBlock<T>& k = blocks[d];
      if (meeting % parts == 1) {
        reset_back(k, c0, c1);
        fn(k, 1, s, i, c0, c1);
        continue;
      }
      if (s + 1 < run.s1 && passes_on(k, s + 1)) {
        if (k.rows * k.gs <= kRnnFetch<T>) rnn_fetch(operand(k, s + 1, i + 1), k.rows * k.gs);
        state_back(k, s + 1, i + 1, c0, c1);
      }
      if (i >= 0) fn(k, 0, s, i, c0, c1);
    }
  });
  if (run.last)
    for (int d = 0; d < p.directions; ++d) finish(blocks[d]);
}

// dst[k x n] packed for the product with w^T: row j of w holds column j at w + j*ld.
template <class T>
void pack_transposed(const Context& ctx, int64_t k, int64_t n, const T* w, int64_t ld, T* dst) {
  constexpr int64_t U = kRnnUnits<T>;
  const int64_t kc_max = gemm_kc<T>(k), width = rnn_chunks<T>(n) * U;
  const int64_t step = most(1, 25000 / most(1, k));  // panels that take some 20 us
  parallel_range(ctx, rnn_chunks<T>(n), step, [&](int64_t c0, int64_t c1, int) {
    for (int64_t p0 = 0; p0 < k; p0 += kc_max) {
      const int64_t kc = least(kc_max, k - p0);
      gemm_pack_b(kc, least(c1 * U, n) - c0 * U, w + c0 * U * ld + p0, 1, ld, dst + p0 * width + c0 * U * kc);
    }
  });
}

template <class T>
size_t backward_workspace(const RnnBackwardParams<T>& b, int threads) {
  return static_cast<size_t>(BackLayout<T>(b, BackPlan<T>(b, threads), threads, nullptr).size) * sizeof(T);
}

template <class T>
void backward(const Context& ctx, const RnnBackwardParams<T>& b) {
  const RnnParams<T>& p = b.f;
  const BackPlan<T> plan(b, ctx.threads);
  const BackLayout<T> layout(b, plan, ctx.threads, static_cast<T*>(ctx.workspace));
  const int64_t gates = rnn_gates(p.cell), ld = gates * p.h;
  Context team = ctx;
  team.threads = plan.split.threads;
  Context products = ctx;
  products.workspace = layout.products.base;
  products.workspace_bytes =
      ctx.workspace_bytes - static_cast<size_t>(layout.products.base - static_cast<T*>(ctx.workspace)) * sizeof(T);
  GemmKernels<T> gemm;
  fill(gemm);

  const auto block = [&](int64_t task) {
    RnnArena<T> arena{layout.blocks.base + task * layout.block_size};
    BackBlock<T> k = take_back_block(p, plan, arena);
    k.b = &b;
    k.direction = static_cast<int>(task % p.directions);
    k.r0 = task / p.directions * plan.split.rows;
    k.rows = least(plan.split.rows, p.n - k.r0);
    k.back = {layout.back[k.direction], 0, plan.back_gates * p.h, p.h, 1};
    k.back_n = {layout.back_n[k.direction], 0, p.h, p.h, 1};
    k.kept = layout.kept[k.direction];
    return k;
  };
  for (int i = 0; i < p.directions && p.n > 0; ++i) {
    const RnnDirection<T>& d = p.dir[i];
    if (p.t > 1 || b.grad[i].dh0 != nullptr)
      pack_transposed(team, plan.back_gates * p.h, p.h, d.w_hh, ld, layout.back[i]);
    if (plan.before) pack_transposed(team, p.h, p.h, d.w_hh + 2 * p.h, ld, layout.back_n[i]);
    if (packs_back_x(b)) pack_transposed(team, ld, p.in, d.w_ih, ld, layout.back_x[i]);
  }
  const CellBackFn<T> fn = cell_back_fn(p);
  Run run{0, p.n > 0 ? p.t : 0, true, false};
  do {  // once even without steps: the sums are still to be written
    run.s0 = most(0, run.s1 - plan.steps);
    run.last = run.s0 == 0;
    if (plan.split.units) {
      const BackBlock<T> blocks[2] = {block(0), block(p.directions - 1)};
      run_by_units(team, plan.split, fn, blocks, run);
    } else {
      parallel_for(team, plan.split.blocks * p.directions, [&](int64_t task, int) { run_block(fn, block(task), run); });
    }
    const int64_t rows = (run.s1 - run.s0) * p.n;
    for (int i = 0; i < p.directions; ++i) {
      const RnnKept<T>& kept = layout.kept[i];
      if (b.dx != nullptr)
        input_gradients(team, products, b, i, RnnProduct<T>{layout.back_x[i], 0, ld, p.in, 1}, kept.gates, run.s0,
                        run.s1, layout.dx);
      each_product(b, i, kept, run.s0, rows, !run.first,
                   [&](const GemmParams<T>& product) { gemm.gemm(products, product); });
      bias_gradients(team, p, kept.gates, rows, !run.first, run.last, b.grad[i].db_ih, b.grad[i].db_hh);
    }
    run.s1 = run.s0;
    run.first = false;
  } while (run.s1 > 0);
}

}  // namespace

#define LAMELLA_RNN(T)                                                                                                 \
  size_t rnn_backward_workspace(const RnnBackwardParams<T>& b, int threads) { return backward_workspace(b, threads); } \
  void rnn_backward(const Context& ctx, const RnnBackwardParams<T>& b) { backward(ctx, b); }

LAMELLA_RNN(float)
#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_RNN(double)
#endif

}  // namespace lamella::LAMELLA_NS
