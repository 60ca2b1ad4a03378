// Recurrent layers, backward: steps in the opposite order, each the cell's derivative and one product with the
// transposed recurrent weights. The gates' gradients of all steps are kept, and the gradients of the input, the weights
// and the biases are products over all of them at the end.
#include "kernels/cpu/lockstep.h"
#include "kernels/cpu/rnn_cells.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

// Gates per row of what is kept of the gates' gradients: those of GRU's n differ between input and state when the reset
// gate comes between.
template <class T>
constexpr int64_t kept_gates(const RnnParams<T>& p) {
  return rnn_saved_gates(p);
}
template <class T>
constexpr bool resets_before(const RnnParams<T>& p) {
  return p.cell == RnnCell::kGru && !p.reset_after;
}

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
  T* dg[2];  // of this step and the one after it
  T* dn;
  T* drh;
  T* keep;     // gates' gradients of all steps, kept_gates()*h per row
  T* h_keep;   // the state before each step, h per row
  T* rh_keep;  // r * that
};

// The cell of step s, for units of chunks [c0, c1).
template <class T, class Cell, class Acts>
void cell_back(const BackBlock<T>& k, int part, int64_t s, int64_t c0, int64_t c1) {
  const RnnParams<T>& p = k.b->f;
  const RnnDirection<T>& d = p.dir[k.direction];
  const RnnGradients<T>& g = k.b->grad[k.direction];
  const Acts acts(p);
  const int64_t h = p.h, u = c0 * kRnnUnits<T>, units = least(c1 * kRnnUnits<T>, h) - u;
  const int64_t t = rnn_time(p, d, s), place = rnn_place(p, d, s);
  const int64_t t_prev = s > 0 ? rnn_time(p, d, s - 1) : 0, place_prev = s > 0 ? rnn_place(p, d, s - 1) : 0;
  const bool last_part = part == 1 || !resets_before(p);
  for (int64_t r = 0; r < k.rows; ++r) {
    const int64_t n = k.r0 + r, at = rnn_row(p, n, t);
    const T* h_prev = s > 0 ? (d.states == nullptr ? nullptr : d.states + rnn_row(p, n, place_prev) * d.ld_states)
                            : (d.h0 == nullptr ? nullptr : d.h0 + n * h);
    const bool active = rnn_active(p, n, t);
    CellGradRow<T> row{};
    row.hidden = h;
    row.dh = k.dh + r * k.hs;
    if (k.dc != nullptr) row.dc = k.dc + r * k.hs;
    row.dg = k.dg[s & 1] + r * k.gs;
    if (k.dn != nullptr) row.dn = k.dn + r * k.hs, row.drh = k.drh + r * k.hs;
    if (k.keep != nullptr) row.dg_keep = k.keep + at * kept_gates(p) * h;
    if (k.rh_keep != nullptr) row.rh_keep = k.rh_keep + at * h;
    if (g.dy != nullptr && (active || !p.zero_masked)) row.dy = g.dy + rnn_row(p, n, place) * g.ldy;
    if (k.h_keep != nullptr && last_part)
      each_vec<T>(
          units, LAMELLA_PER_VEC(i, v) { v.store(load_or_zero(v, h_prev, u + i), k.h_keep + at * h + u + i); });
    if (!active) {
      each_vec<T>(
          units, LAMELLA_PER_VEC(j, v) {
            const int64_t i = u + j;
            const Vec<T> zero = Vec<T>::zero();
            if (part == 1) {
              if (row.rh_keep != nullptr) v.store(zero, row.rh_keep + i);
              return;
            }
            if (row.dy != nullptr) v.store(v.load(row.dh + i) + v.load(row.dy + i), row.dh + i);
            for (int64_t gate = 0; gate < k.back.k; gate += h) v.store(zero, row.dg + gate + i);
            if (row.dn != nullptr) v.store(zero, row.dn + i);
            if (row.dg_keep != nullptr)
              for (int64_t gate = 0; gate < kept_gates(p); ++gate) v.store(zero, row.dg_keep + gate * h + i);
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
    Cell::run(acts, part, row, u, units);
  }
}

// The products after step s, for units of chunks [c0, c1): what the step before sees of its gates.
template <class T>
void state_back(const BackBlock<T>& k, int64_t s, int64_t c0, int64_t c1) {
  rnn_product(k.back, k.rows, k.dg[s & 1], k.gs, c0, c1, k.dh + c0 * kRnnUnits<T>, k.hs, static_cast<const T*>(nullptr),
              true);
}
template <class T>
void reset_back(const BackBlock<T>& k, int64_t c0, int64_t c1) {
  rnn_product(k.back_n, k.rows, k.dn, k.hs, c0, c1, k.drh + c0 * kRnnUnits<T>, k.hs, static_cast<const T*>(nullptr));
}

template <class T>
using CellBackFn = void (*)(const BackBlock<T>&, int, int64_t, int64_t, int64_t);
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
  bool keep, keep_h, before;
  int64_t hs, gs, back_gates;  // gates in `back`

  BackPlan(const RnnBackwardParams<T>& b, int threads) : split(rnn_split(b.f, threads)) {
    const RnnParams<T>& p = b.f;
    before = resets_before(p);
    hs = rnn_chunks<T>(p.h) * kRnnUnits<T>;
    back_gates = before ? 2 : rnn_gates(p.cell);
    gs = line_up(back_gates * p.h);
    keep = b.dx != nullptr;
    keep_h = false;
    for (int i = 0; i < p.directions; ++i) {
      const RnnGradients<T>& g = b.grad[i];
      keep = keep || g.dw_ih != nullptr || g.dw_hh != nullptr || g.db_ih != nullptr || g.db_hh != nullptr;
      keep_h = keep_h || g.dw_hh != nullptr;
    }
  }
};

template <class T>
BackBlock<T> take_back_block(const RnnParams<T>& p, const BackPlan<T>& plan, RnnArena<T>& arena) {
  const int64_t state = plan.split.rows * plan.hs, gates = plan.split.rows * plan.gs;
  BackBlock<T> k{};
  k.hs = plan.hs;
  k.gs = plan.gs;
  k.dh = arena.take(state);
  k.dg[0] = arena.take(gates);
  k.dg[1] = arena.take(gates);
  if (p.cell == RnnCell::kLstm) k.dc = arena.take(state);
  if (plan.before) k.dn = arena.take(state), k.drh = arena.take(state);
  return k;
}

// Calls f(product) for every product over all steps.
template <class T, class F>
void each_product(const RnnBackwardParams<T>& b, T* const (&keep)[2], T* const (&h_keep)[2], T* const (&rh_keep)[2],
                  const F& f) {
  const RnnParams<T>& p = b.f;
  const int64_t h = p.h, gates = rnn_gates(p.cell), rows = p.n * p.t, ldg = kept_gates(p) * h;
  for (int i = 0; i < p.directions; ++i) {
    const RnnGradients<T>& g = b.grad[i];
    if (b.dx != nullptr) {
      GemmParams<T> dx;
      dx.m = rows;
      dx.n = p.in;
      dx.k = gates * h;
      dx.a = keep[i];
      dx.rs_a = ldg;
      dx.b = p.dir[i].w_ih;
      dx.rs_b = 1;
      dx.cs_b = gates * h;
      dx.c = b.dx;
      dx.ldc = p.in;
      dx.beta = i == 0 ? T(0) : T(1);
      f(dx);
    }
    GemmParams<T> dw;
    dw.n = gates * h;
    dw.k = rows;
    dw.rs_a = 1;
    dw.rs_b = ldg;
    dw.b = keep[i];
    dw.ldc = gates * h;
    if (g.dw_ih != nullptr) {
      dw.m = p.in;
      dw.a = p.x;
      dw.cs_a = p.in;
      dw.c = g.dw_ih;
      f(dw);
    }
    if (g.dw_hh == nullptr) continue;
    dw.m = h;
    dw.a = h_keep[i];
    dw.cs_a = h;
    dw.c = g.dw_hh;
    if (p.cell != RnnCell::kGru) {
      f(dw);
      continue;
    }
    dw.n = 2 * h;
    f(dw);
    dw.n = h;
    dw.c = g.dw_hh + 2 * h;
    if (p.reset_after) {
      dw.b = keep[i] + 3 * h;
    } else {
      dw.a = rh_keep[i];
      dw.b = keep[i] + 2 * h;
    }
    f(dw);
  }
}

template <class T>
struct BackLayout {
  T* back[2];
  T* back_n[2];
  T* keep[2];
  T* h_keep[2];
  T* rh_keep[2];
  RnnArena<T> blocks;  // later the products' workspace
  int64_t block_size, size;

  BackLayout(const RnnBackwardParams<T>& b, const BackPlan<T>& plan, int threads, T* base) : blocks{nullptr} {
    const RnnParams<T>& p = b.f;
    const int64_t rows = p.n * p.t;
    RnnArena<T> arena{base};
    const auto wanted = [&](bool yes, int64_t elements) { return yes ? arena.take(elements) : nullptr; };
    for (int i = 0; i < 2; ++i) {
      const bool used = i < p.directions;
      back[i] = wanted(used, rnn_packed_matrix<T>(plan.back_gates * p.h, p.h, 1));
      back_n[i] = wanted(used && plan.before, rnn_packed_matrix<T>(p.h, p.h, 1));
      keep[i] = wanted(used && plan.keep, rows * kept_gates(p) * p.h);
      h_keep[i] = wanted(used && plan.keep_h, rows * p.h);
      rh_keep[i] = wanted(used && plan.keep_h && plan.before, rows * p.h);
    }
    RnnArena<T> one{nullptr};
    take_back_block(p, plan, one);
    block_size = one.used;
    int64_t shared = block_size * (plan.split.units ? p.directions : plan.split.threads);
    GemmKernels<T> gemm;
    fill(gemm);
    each_product(b, keep, h_keep, rh_keep, [&](const GemmParams<T>& product) {
      const size_t bytes = gemm.gemm_workspace(product, threads);
      shared = most(shared, static_cast<int64_t>((bytes + sizeof(T) - 1) / sizeof(T)));
    });
    blocks.base = arena.take(shared);
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

template <class T>
void run_block(CellBackFn<T> fn, const BackBlock<T>& k) {
  const RnnParams<T>& p = k.b->f;
  const int64_t chunks = rnn_chunks<T>(p.h);
  start(k);
  for (int64_t s = p.t - 1; s >= 0; --s) {
    fn(k, 0, s, 0, chunks);
    if (resets_before(p)) {
      reset_back(k, 0, chunks);
      fn(k, 1, s, 0, chunks);
    }
    if (passes_on(k, s)) state_back(k, s, 0, chunks);
  }
  finish(k);
}

// A unit's own gradients are enough for its cell, the product needs everybody's: one meeting per step (and one more
// where the GRU resets before its product).
template <class T>
void run_by_units(const Context& ctx, const RnnSplit& split, CellBackFn<T> fn, const BackBlock<T>* blocks) {
  const RnnParams<T>& p = blocks[0].b->f;
  const int64_t parts = resets_before(p) ? 2 : 1;
  for (int d = 0; d < p.directions; ++d) start(blocks[d]);
  lockstep(ctx, p.t * parts + 1, split.ranges, [&](int64_t meeting, int64_t range, int) {
    const int64_t c0 = rnn_range_begin<T>(split, p.h, range), c1 = rnn_range_begin<T>(split, p.h, range + 1);
    const int64_t s = p.t - 1 - meeting / parts;
    for (int d = 0; d < p.directions; ++d) {
      const BackBlock<T>& k = blocks[d];
      if (meeting % parts == 1) {
        reset_back(k, c0, c1);
        fn(k, 1, s, c0, c1);
        continue;
      }
      if (s + 1 < p.t && passes_on(k, s + 1)) state_back(k, s + 1, c0, c1);
      if (s >= 0) fn(k, 0, s, c0, c1);
    }
  });
  for (int d = 0; d < p.directions; ++d) finish(blocks[d]);
}

// ---- the sums over all steps ---------------------------------------------------------------------------------------

// out[j] = sum of column j: runs of 64 rows summed in order, and the runs' sums in order. A run stays in L2 while its
// columns are summed, some vectors side by side.
template <class T>
void sum_columns(const Context& ctx, const T* a, int64_t rows, int64_t lda, int64_t n, T* out) {
  constexpr int64_t kRun = 64, kWide = 4 * Vec<T>::W;
  // A chunk of columns is some 20 us of reading from L3.
  const int64_t step = ceil_div(100000, most(1, rows)) * kWide;
  parallel_range(ctx, n, step, [&](int64_t j0, int64_t j1, int) {
    for (int64_t j = j0; j < j1; ++j) out[j] = T(0);
    for (int64_t r0 = 0; r0 < rows; r0 += kRun) {
      const int64_t end = least(rows, r0 + kRun);
      int64_t j = j0;
      for (; j + kWide <= j1; j += kWide) {
        Vec<T> sum[4] = {Vec<T>::zero(), Vec<T>::zero(), Vec<T>::zero(), Vec<T>::zero()};
        for (int64_t r = r0; r < end; ++r)
          for (int v = 0; v < 4; ++v) sum[v] = sum[v] + Vec<T>::load(a + r * lda + j + v * Vec<T>::W);
        for (int v = 0; v < 4; ++v) {
          T* to = out + j + v * Vec<T>::W;
          (Vec<T>::load(to) + sum[v]).store(to);
        }
      }
      each_vec<T>(
          j1 - j, LAMELLA_PER_VEC(i, v) {
            Vec<T> sum = Vec<T>::zero();
            for (int64_t r = r0; r < end; ++r) sum = sum + v.load(a + r * lda + j + i);
            v.store(v.load(out + j + i) + sum, out + j + i);
          });
    }
  });
}

template <class T>
void copy(const T* from, int64_t n, T* to) {
  each_vec<T>(
      n, LAMELLA_PER_VEC(i, v) { v.store(v.load(from + i), to + i); });
}

template <class T>
void bias_gradients(const Context& ctx, const RnnParams<T>& p, const T* keep, T* ih, T* hh) {
  const int64_t h = p.h, gates = rnn_gates(p.cell), ldg = kept_gates(p) * h, rows = p.n * p.t;
  const bool differ = kept_gates(p) != gates;  // in their last gate
  const int64_t same = (differ ? gates - 1 : gates) * h;
  if (ih != nullptr) sum_columns(ctx, keep, rows, ldg, gates * h, ih);
  if (hh == nullptr) return;
  if (ih != nullptr)
    copy(ih, same, hh);
  else
    sum_columns(ctx, keep, rows, ldg, same, hh);
  if (differ) sum_columns(ctx, keep + gates * h, rows, ldg, h, hh + same);
}

// dst[k x units] packed for the product with w^T: w holds unit u's gates [first, first + k) at w + u*ld.
template <class T>
void pack_transposed(int64_t k, int64_t h, const T* w, int64_t ld, T* dst) {
  const int64_t kc_max = gemm_kc<T>(k), width = rnn_chunks<T>(h) * kRnnUnits<T>;
  for (int64_t p0 = 0; p0 < k; p0 += kc_max) gemm_pack_b(least(kc_max, k - p0), h, w + p0, 1, ld, dst + p0 * width);
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
  Context team = ctx;
  team.threads = plan.split.threads;
  const int64_t ld = rnn_gates(p.cell) * p.h;
  const auto block = [&](int64_t slot, int direction, int64_t r0, int64_t rows) {
    RnnArena<T> arena{layout.blocks.base + slot * layout.block_size};
    BackBlock<T> k = take_back_block(p, plan, arena);
    k.b = &b;
    k.direction = direction;
    k.r0 = r0;
    k.rows = rows;
    k.back = {layout.back[direction], 0, plan.back_gates * p.h, p.h, 1};
    k.back_n = {layout.back_n[direction], 0, p.h, p.h, 1};
    k.keep = layout.keep[direction];
    k.h_keep = layout.h_keep[direction];
    k.rh_keep = layout.rh_keep[direction];
    return k;
  };
  if (p.n > 0 && p.h > 0) {
    for (int i = 0; i < p.directions; ++i) {
      if (p.t > 1 || b.grad[i].dh0 != nullptr)
        pack_transposed(plan.back_gates * p.h, p.h, p.dir[i].w_hh, ld, layout.back[i]);
      if (plan.before) pack_transposed(p.h, p.h, p.dir[i].w_hh + 2 * p.h, ld, layout.back_n[i]);
    }
    const CellBackFn<T> fn = cell_back_fn(p);
    if (plan.split.units) {
      BackBlock<T> blocks[2] = {block(0, 0, 0, p.n), {}};
      if (p.directions == 2) blocks[1] = block(1, 1, 0, p.n);
      run_by_units(team, plan.split, fn, blocks);
    } else {
      parallel_for(team, plan.split.blocks * p.directions, [&](int64_t task, int thread) {
        const int64_t r0 = task / p.directions * plan.split.rows;
        run_block(fn, block(thread, static_cast<int>(task % p.directions), r0, least(plan.split.rows, p.n - r0)));
      });
    }
  }
  GemmKernels<T> gemm;
  fill(gemm);
  Context products = ctx;
  products.workspace = layout.blocks.base;
  products.workspace_bytes =
      ctx.workspace_bytes - static_cast<size_t>(layout.blocks.base - static_cast<T*>(ctx.workspace)) * sizeof(T);
  each_product(b, layout.keep, layout.h_keep, layout.rh_keep,
               [&](const GemmParams<T>& product) { gemm.gemm(products, product); });
  for (int i = 0; i < p.directions; ++i) bias_gradients(team, p, layout.keep[i], b.grad[i].db_ih, b.grad[i].db_hh);
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
