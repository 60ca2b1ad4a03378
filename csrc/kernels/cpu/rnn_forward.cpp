// Recurrent layers, forward. The input's part of the gates is computed for some steps at a time, one product that stays
// in L2; then each step adds the state's part and runs the cell on it, chunk of units by chunk.
#include "kernels/cpu/lockstep.h"
#include "kernels/cpu/rnn_cells.h"

namespace lamella::LAMELLA_NS {
namespace {

// The weights of one part in the form that the products take.
template <class T>
struct PartWeights {
  RnnProduct<T> ih, hh;
  const T* bias;  // in the layout of the products' columns, or nullptr
  int64_t at;     // column of the part in a row of input gates
  int64_t gate;   // columns between the gates of a unit, and between chunks of units
  int64_t chunk;
};
template <class T>
struct Weights {
  int parts;
  PartWeights<T> part[2];
};

// b_ih, and b_hh but where the GRU's reset gate comes between.
template <class T>
LAMELLA_INLINE bool adds_b_hh(const RnnParams<T>& p, int64_t gate) {
  return !(p.cell == RnnCell::kGru && p.reset_after && gate == 2);
}
template <class T>
T bias_of(const RnnParams<T>& p, const RnnDirection<T>& d, int64_t gate, int64_t unit) {
  T b = d.b_ih != nullptr ? d.b_ih[gate * p.h + unit] : T(0);
  if (d.b_hh != nullptr && adds_b_hh(p, gate)) b += d.b_hh[gate * p.h + unit];
  return b;
}

// Packed weights of a direction: for each part w_ih, w_hh, bias.
template <class T>
int64_t packed_bias(const RnnParams<T>& p, int64_t gates) {
  return line_up(rnn_chunks<T>(p.h) * gates * kRnnUnits<T>);
}
template <class T>
int64_t packed_size(const RnnParams<T>& p) {
  RnnPart part[2];
  const int parts = rnn_parts(p, part);
  int64_t size = 0;
  for (int i = 0; i < parts; ++i)
    size += rnn_packed_matrix<T>(p.in, p.h, part[i].gates) + rnn_packed_matrix<T>(p.h, p.h, part[i].gates) +
            packed_bias(p, part[i].gates);
  return size;
}

template <class T>
void pack_chunks(const RnnParams<T>& p, const RnnDirection<T>& d, bool with_ih, int64_t c0, int64_t c1, T* packed) {
  constexpr int64_t U = kRnnUnits<T>;
  const int64_t ld = rnn_gates(p.cell) * p.h;
  RnnPart part[2];
  const int parts = rnn_parts(p, part);
  for (int i = 0; i < parts; ++i) {
    const int64_t gates = part[i].gates, first = part[i].first * p.h;
    if (with_ih) rnn_pack_matrix(p.in, p.h, gates, d.w_ih + first, ld, c0, c1, packed);
    packed += rnn_packed_matrix<T>(p.in, p.h, gates);
    rnn_pack_matrix(p.h, p.h, gates, d.w_hh + first, ld, c0, c1, packed);
    packed += rnn_packed_matrix<T>(p.h, p.h, gates);
    for (int64_t q = c0; q < c1; ++q)
      for (int64_t g = 0; g < gates; ++g)
        for (int64_t j = 0; j < U; ++j)
          packed[(q * gates + g) * U + j] = q * U + j < p.h ? bias_of(p, d, part[i].first + g, q * U + j) : T(0);
    packed += packed_bias(p, gates);
  }
}

template <class T>
Weights<T> packed_weights(const RnnParams<T>& p, const RnnDirection<T>& d, bool with_ih, const T* packed) {
  constexpr int64_t U = kRnnUnits<T>;
  RnnPart part[2];
  Weights<T> w;
  w.parts = rnn_parts(p, part);
  int64_t at = 0;
  for (int i = 0; i < w.parts; ++i) {
    const int64_t gates = part[i].gates;
    const T* ih = packed;
    const T* hh = ih + rnn_packed_matrix<T>(p.in, p.h, gates);
    const T* bias = hh + rnn_packed_matrix<T>(p.h, p.h, gates);
    packed = bias + packed_bias(p, gates);
    w.part[i] = {{ih, 0, p.in, p.h, gates}, {hh, 0, p.h, p.h, gates}, bias, at, U, gates * U};
    if (!with_ih) w.part[i].ih = {d.w_ih + part[i].first * p.h, rnn_gates(p.cell) * p.h, p.in, p.h, gates, true};
    at += rnn_chunks<T>(p.h) * gates * U;
  }
  return w;
}
// The weights where they stand: a single step does not pay for packing. bias: room for G*h elements.
template <class T>
Weights<T> plain_weights(const RnnParams<T>& p, const RnnDirection<T>& d, T* bias) {
  const int64_t ld = rnn_gates(p.cell) * p.h;
  for (int64_t g = 0; g < rnn_gates(p.cell); ++g)
    for (int64_t u = 0; u < p.h; ++u) bias[g * p.h + u] = bias_of(p, d, g, u);
  RnnPart part[2];
  Weights<T> w;
  w.parts = rnn_parts(p, part);
  for (int i = 0; i < w.parts; ++i) {
    const int64_t first = part[i].first * p.h;
    w.part[i] = {{d.w_ih + first, ld, p.in, p.h, part[i].gates},
                 {d.w_hh + first, ld, p.h, p.h, part[i].gates},
                 bias + first,
                 first,
                 p.h,
                 kRnnUnits<T>};
  }
  return w;
}

// ---- a block of rows on its way through time -----------------------------------------------------------------------

template <class T>
struct Block {
  const RnnParams<T>* p;
  const RnnDirection<T>* d;
  const Weights<T>* w;
  int64_t r0, rows;
  int64_t hs, cols;  // row strides of the states and of gx
  int64_t steps;     // of a run
  T* h[2];           // step s reads h[s % 2] and writes the other
  T* c;
  T* z;
  T* rh;
  T* gx;  // gates from the input: step s, row r of the current run of steps at (s*rows + r)*cols
  T* xs;  // its rows of x
};

// How a call is carried out; a function of the shapes, the options and the threads.
template <class T>
struct Plan {
  RnnSplit split;
  bool plain;     // weights where they stand
  bool packs_ih;  // the input's, too: few rows do not pay for it
  int64_t steps;  // a run of steps whose input gates are computed at once
  int64_t hs, cols, rec;

  Plan(const RnnParams<T>& p, int threads) : split(rnn_split(p, threads)) {
    constexpr int64_t U = kRnnUnits<T>;
    const int64_t gates = rnn_gates(p.cell);
    plain = p.t <= 1;
    for (int i = 0; i < p.directions; ++i) plain = plain && p.dir[i].packed == nullptr;
    packs_ih = p.n * p.t > 64;
    hs = rnn_chunks<T>(p.h) * U;
    cols = line_up(plain ? gates * p.h : gates * hs);
    at_once = split.rows <= 2 || gates == 1 ? 4 : 1;
    rec = line_up(split.rows * (plain ? gates * p.h : at_once * gates * U));
    const int64_t fit = int64_t{131072} / static_cast<int64_t>(sizeof(T)) / cols;
    steps = most(1, least(p.t, ceil_div(most(64, least(fit, 512)), most(1, split.rows))));
  }
  // Four panels, some of a row's work being the same for any number of them, and one chunk at least; for few rows, a
  // product wide enough to keep the multipliers busy.
  int64_t at_once;
  int64_t rows_of_x() const { return split.rows * steps; }
};

template <class T>
Block<T> take_block(const RnnParams<T>& p, const Plan<T>& plan, RnnArena<T>& arena) {
  const int64_t state = plan.split.rows * plan.hs;
  const bool before = p.cell == RnnCell::kGru && !p.reset_after;
  Block<T> b{};
  b.hs = plan.hs;
  b.cols = plan.cols;
  b.steps = plan.steps;
  b.h[0] = arena.take(state);
  b.h[1] = arena.take(state);
  b.c = arena.take(p.cell == RnnCell::kLstm ? state : 0);
  b.z = arena.take(before ? state : 0);
  b.rh = arena.take(before ? state : 0);
  b.gx = arena.take(plan.rows_of_x() * plan.cols);
  b.xs = arena.take(plan.rows_of_x() * p.in);
  return b;
}

// rows x h of the state from `from`, or zeros; and back.
template <class T>
void load_state(const Block<T>& b, const T* from, T* to) {
  const int64_t h = b.p->h;
  for (int64_t r = 0; r < b.rows; ++r)
    each_vec<T>(
        h, LAMELLA_PER_VEC(i, v) {
          v.store(from == nullptr ? Vec<T>::zero() : v.load(from + (b.r0 + r) * h + i), to + r * b.hs + i);
        });
}
template <class T>
void store_state(const Block<T>& b, const T* from, T* to) {
  const int64_t h = b.p->h;
  if (to == nullptr) return;
  for (int64_t r = 0; r < b.rows; ++r)
    each_vec<T>(
        h, LAMELLA_PER_VEC(i, v) { v.store(v.load(from + r * b.hs + i), to + (b.r0 + r) * h + i); });
}
template <class T>
void start(const Block<T>& b) {
  load_state(b, b.d->h0, b.h[0]);
  if (b.c != nullptr) load_state(b, b.d->c0, b.c);
}
template <class T>
void finish(const Block<T>& b) {
  store_state(b, b.h[b.p->t % 2], b.d->hn);
  if (b.c != nullptr) store_state(b, b.c, b.d->cn);
}

// Rows of x for steps [s, s + steps), in the order of gx: where they stand if they are evenly spaced, else gathered.
template <class T>
struct XRows {
  const T* a;
  int64_t lda;
  bool gathered;
};
template <class T>
XRows<T> x_rows(const Block<T>& b, int64_t s, int64_t steps) {
  const RnnParams<T>& p = *b.p;
  const int64_t t = rnn_time(p, *b.d, s), first = rnn_row(p, b.r0, t);
  const int64_t per_step = (p.time_major ? p.n : 1) * (b.d->reverse ? -1 : 1), per_row = p.time_major ? 1 : p.t;
  if (steps == 1) return {p.x + first * p.in, per_row * p.in, false};
  if (b.rows == 1 || per_step == b.rows) return {p.x + first * p.in, (b.rows == 1 ? per_step : 1) * p.in, false};
  return {b.xs, p.in, true};
}
template <class T>
void gather_x(const Block<T>& b, int64_t s, int64_t steps) {
  const RnnParams<T>& p = *b.p;
  T* to = b.xs;
  for (int64_t i = 0; i < steps; ++i)
    for (int64_t r = 0; r < b.rows; ++r, to += p.in) {
      const T* from = p.x + rnn_row(p, b.r0 + r, rnn_time(p, *b.d, s + i)) * p.in;
      each_vec<T>(
          p.in, LAMELLA_PER_VEC(j, v) { v.store(v.load(from + j), to + j); });
    }
}

template <class T>
void input_gates(const Block<T>& b, const XRows<T>& x, int64_t steps, int64_t c0, int64_t c1) {
  for (int i = 0; i < b.w->parts; ++i) {
    const PartWeights<T>& w = b.w->part[i];
    const int64_t at = c0 * w.chunk;
    rnn_product(w.ih, steps * b.rows, x.a, x.lda, c0, c1, b.gx + w.at + at, b.cols, w.bias + at);
  }
}

// Rows of a batch lie pages apart, which the hardware does not fetch ahead: the lines that the cell is going to read
// and write some rows later.
constexpr int64_t kRowsAhead = 4;

// The rows of a block at one step, one after the other.
template <class T>
struct Rows {
  CellRow<T> row;
  const T* x;                                     // gates from the input
  const T* later;                                 // the input at the same step of the next run, or nullptr
  int64_t hs, cols, y, states, gates, cells, in;  // what lies between two rows

  Rows(const Block<T>& b, const PartWeights<T>& w, int64_t s, int64_t i) : row{}, later(nullptr) {
    const RnnParams<T>& p = *b.p;
    const RnnDirection<T>& d = *b.d;
    const int64_t t = rnn_time(p, d, s), out_row = rnn_row(p, b.r0, rnn_place(p, d, s)), in_row = rnn_row(p, b.r0, t);
    const int64_t apart = p.time_major ? 1 : p.t;
    hs = b.hs;
    cols = b.cols;
    y = apart * d.ldy;
    states = apart * d.ld_states;
    gates = apart * rnn_saved_gates(p) * p.h;
    cells = apart * p.h;
    in = apart * p.in;
    x = b.gx + i * b.rows * b.cols + w.at;
    row.h_in = b.h[s % 2];
    row.h = b.h[1 - s % 2];
    row.c = b.c;
    row.z = b.z;
    row.rh = b.rh;
    if (d.y != nullptr) row.y = d.y + out_row * d.ldy;
    if (d.states != nullptr && d.states != d.y) row.states = d.states + out_row * d.ld_states;
    if (d.gates != nullptr) row.gates = d.gates + in_row * rnn_saved_gates(p) * p.h;
    if (d.cells != nullptr) row.cells = d.cells + in_row * p.h;
    row.hidden = p.h;
    if (d.b_hh != nullptr) row.b_hn = d.b_hh + 2 * p.h;
    if (b.rows > 1 && s + b.steps < p.t) later = p.x + rnn_row(p, b.r0, rnn_time(p, d, s + b.steps)) * p.in;
  }
  LAMELLA_INLINE void next() {
    const auto advance = [](auto*& at, int64_t by) __attribute__((always_inline)) {
      if (at != nullptr) at += by;
    };
    row.h_in += hs;
    row.h += hs;
    advance(row.c, hs);
    advance(row.z, hs);
    advance(row.rh, hs);
    advance(row.y, y);
    advance(row.states, states);
    advance(row.gates, gates);
    advance(row.cells, cells);
    advance(later, in);
    x += cols;
  }
  // For units [u, u + n), whose gates stand at [at, at + width) of x.
  LAMELLA_INLINE void fetch(const RnnParams<T>& p, int64_t u, int64_t n, int64_t at, int64_t width) const {
    rnn_fetch(x + kRowsAhead * cols + at, width);
    if (row.y != nullptr) rnn_fetch<true>(row.y + kRowsAhead * y + u, n);
    if (row.gates != nullptr)
      for (int64_t g = 0; g < rnn_saved_gates(p); ++g) rnn_fetch<true>(row.gates + kRowsAhead * gates + g * p.h + u, n);
    if (row.cells != nullptr) rnn_fetch<true>(row.cells + kRowsAhead * cells + u, n);
  }
};

// Step s (the i-th of its run) of one part, for chunks [c0, c1). rec: scratch for the product.
template <class T, class Cell, class Acts>
void step(const Block<T>& b, int part, int64_t s, int64_t i, int64_t c0, int64_t c1, int64_t at_once, T* rec) {
  constexpr int64_t U = kRnnUnits<T>;
  const RnnParams<T>& p = *b.p;
  const RnnDirection<T>& d = *b.d;
  const PartWeights<T>& w = b.w->part[part];
  const Acts acts(p);
  const int64_t t = rnn_time(p, d, s);
  const bool plain = w.hh.ldb != 0;
  const bool masks = p.mask != nullptr || p.lengths64 != nullptr || p.lengths32 != nullptr;
  bool any = !masks;
  for (int64_t r = 0; r < b.rows && !any; ++r) any = rnn_active(p, b.r0 + r, t);

  RnnProduct<T> product = w.hh;
  if (s == 0 && d.h0 == nullptr) product.k = 0;  // no state yet: zeros
  const T* operand = part == 0 ? b.h[s % 2] : b.rh;
  const int64_t stride = plain || !any ? c1 - c0 : at_once, groups = ceil_div(c1 - c0, stride);
  const int64_t share = ceil_div(p.in, rnn_chunks<T>(p.h));  // of the next run's input, to be fetched with each chunk
  for (int64_t group = 0; group < groups; ++group) {
    // To and fro: a step begins with the weights that the one before has used last, which L2 still holds.
    const int64_t q = c0 + (s % 2 == 0 ? group : groups - 1 - group) * stride, end = least(c1, q + stride);
    const int64_t ld = plain ? w.hh.gates * p.h : (end - q) * w.chunk;
    if (any) rnn_product(product, b.rows, operand, b.hs, q, end, rec, ld, static_cast<const T*>(nullptr));
    const T* rec_row = rec;
    Rows<T> rows(b, w, s, i);
    for (int64_t r = 0; r < b.rows; ++r, rows.next(), rec_row += ld) {
      if (masks && !rnn_active(p, b.r0 + r, t)) {
        if (part == b.w->parts - 1) masked_cell(rows.row, p.zero_masked, q * U, least(end * U, p.h) - q * U);
        continue;
      }
      if (!plain && r + kRowsAhead < b.rows) rows.fetch(p, q * U, (end - q) * U, q * w.chunk, (end - q) * w.chunk);
      if (part == 0 && rows.later != nullptr)
        rnn_fetch(rows.later + q * share, least((end - q) * share, p.in - q * share));
      const T* h = rec_row;
      for (int64_t k = q; k < end; ++k, h += w.chunk)
        Cell::run(acts, part, rows.row, rows.x + k * w.chunk, h, w.gate, k * U, least(U, p.h - k * U));
    }
  }
}

template <class T>
using StepFn = void (*)(const Block<T>&, int, int64_t, int64_t, int64_t, int64_t, int64_t, T*);
template <class T>
StepFn<T> step_fn(const RnnParams<T>& p) {
  using S = StandardActs<T>;
  using A = AnyActs<T>;
  const bool standard = standard_acts(p);
  switch (p.cell) {
    case RnnCell::kLstm:
      return standard ? step<T, LstmCell<T, S>, S> : step<T, LstmCell<T, A>, A>;
    case RnnCell::kGru:
      if (p.reset_after) return standard ? step<T, GruAfterCell<T, S>, S> : step<T, GruAfterCell<T, A>, A>;
      return standard ? step<T, GruBeforeCell<T, S>, S> : step<T, GruBeforeCell<T, A>, A>;
    default:
      return standard ? step<T, SimpleCell<T, S>, S> : step<T, SimpleCell<T, A>, A>;
  }
}

template <class T>
void run_block(const Plan<T>& plan, StepFn<T> fn, const Block<T>& b, T* rec) {
  const RnnParams<T>& p = *b.p;
  const int64_t chunks = rnn_chunks<T>(p.h);
  start(b);
  for (int64_t s0 = 0; s0 < p.t; s0 += plan.steps) {
    const int64_t steps = least(plan.steps, p.t - s0);
    const XRows<T> x = x_rows(b, s0, steps);
    if (x.gathered) gather_x(b, s0, steps);
    input_gates(b, x, steps, 0, chunks);
    for (int64_t i = 0; i < steps; ++i)
      for (int part = 0; part < b.w->parts; ++part) fn(b, part, s0 + i, i, 0, chunks, plan.at_once, rec);
  }
  finish(b);
}

// All rows at once, each step split by units among the threads. They meet after each part of a step.
template <class T>
void run_by_units(const Context& ctx, const RnnParams<T>& p, const Plan<T>& plan, StepFn<T> fn, const Block<T>* blocks,
                  T* rec) {
  const RnnSplit& split = plan.split;
  const int64_t dirs = p.directions, parts = blocks[0].w->parts;
  for (int64_t d = 0; d < dirs; ++d) start(blocks[d]);
  for (int64_t s0 = 0; s0 < p.t; s0 += plan.steps) {
    const int64_t steps = least(plan.steps, p.t - s0);
    for (int64_t d = 0; d < dirs; ++d)
      if (x_rows(blocks[d], s0, steps).gathered) gather_x(blocks[d], s0, steps);
    lockstep(ctx, steps * parts, split.ranges, [&](int64_t meeting, int64_t range, int thread) {
      const int64_t c0 = rnn_range_begin<T>(split, p.h, range), c1 = rnn_range_begin<T>(split, p.h, range + 1);
      const int64_t i = meeting / parts;
      for (int64_t d = 0; d < dirs; ++d) {
        const Block<T>& b = blocks[d];
        if (b.rows * b.hs <= kRnnFetch<T>) rnn_fetch(b.h[(s0 + i) % 2], b.rows * b.hs);
        // A range's input gates concern nobody else, so they need no meeting of their own.
        if (meeting == 0) input_gates(b, x_rows(b, s0, steps), steps, c0, c1);
        fn(b, static_cast<int>(meeting % parts), s0 + i, i, c0, c1, plan.at_once, rec + thread * plan.rec);
      }
    });
  }
  for (int64_t d = 0; d < dirs; ++d) finish(blocks[d]);
}

// Workspace: weights (or, plain, the bias) of the directions, then one block per thread (per direction when split by
// units) and the threads' scratch.
template <class T>
struct Layout {
  T* weights[2];
  T* rec;
  RnnArena<T> blocks;
  int64_t block_size, size;

  Layout(const RnnParams<T>& p, const Plan<T>& plan, T* base) : blocks{nullptr} {
    RnnArena<T> arena{base};
    for (int i = 0; i < p.directions; ++i) {
      const int64_t need = plan.plain ? rnn_gates(p.cell) * p.h : p.dir[i].packed == nullptr ? packed_size(p) : 0;
      weights[i] = arena.take(need);
    }
    rec = arena.take(plan.split.threads * plan.rec);
    RnnArena<T> one{nullptr};
    take_block(p, plan, one);
    block_size = one.used;
    blocks.base = arena.take(block_size * (plan.split.units ? p.directions : plan.split.threads));
    size = arena.used;
  }
};

template <class T>
void pack(const Context& ctx, const RnnParams<T>& p, const RnnDirection<T>& d, bool with_ih, T* packed) {
  const int64_t chunks = rnn_chunks<T>(p.h);
  // Some 10 us of copying at a time, and no less than the panels that are packed side by side.
  const int64_t bytes = rnn_gates(p.cell) * kRnnUnits<T> * (p.in + p.h) * static_cast<int64_t>(sizeof(T));
  parallel_range(ctx, chunks, 4 * most(1, 200000 / most(1, 4 * bytes)),
                 [&](int64_t c0, int64_t c1, int) { pack_chunks(p, d, with_ih, c0, c1, packed); });
}

template <class T>
size_t forward_workspace(const RnnParams<T>& p, int threads) {
  return static_cast<size_t>(Layout<T>(p, Plan<T>(p, threads), nullptr).size) * sizeof(T);
}

template <class T>
void forward(const Context& ctx, const RnnParams<T>& p) {
  const Plan<T> plan(p, ctx.threads);
  Layout<T> layout(p, plan, static_cast<T*>(ctx.workspace));
  Context team = ctx;
  team.threads = plan.split.threads;
  Weights<T> weights[2];
  for (int i = 0; i < p.directions; ++i) {
    const RnnDirection<T>& d = p.dir[i];
    if (plan.plain) {
      weights[i] = plain_weights(p, d, layout.weights[i]);
    } else {
      if (d.packed == nullptr) pack(team, p, d, plan.packs_ih, layout.weights[i]);
      weights[i] = packed_weights(p, d, plan.packs_ih || d.packed != nullptr,
                                  d.packed != nullptr ? d.packed : static_cast<const T*>(layout.weights[i]));
    }
  }
  const StepFn<T> fn = step_fn(p);
  const auto block = [&](int64_t slot, int64_t direction, int64_t r0, int64_t rows) {
    RnnArena<T> arena{layout.blocks.base + slot * layout.block_size};
    Block<T> b = take_block(p, plan, arena);
    b.p = &p;
    b.d = &p.dir[direction];
    b.w = &weights[direction];
    b.r0 = r0;
    b.rows = rows;
    if (p.cell != RnnCell::kLstm) b.c = nullptr;
    if (p.cell != RnnCell::kGru || p.reset_after) b.z = b.rh = nullptr;
    return b;
  };
  if (p.n == 0) return;
  if (plan.split.units) {
    Block<T> blocks[2] = {block(0, 0, 0, p.n), {}};
    if (p.directions == 2) blocks[1] = block(1, 1, 0, p.n);
    return run_by_units(team, p, plan, fn, blocks, layout.rec);
  }
  parallel_for(team, plan.split.blocks * p.directions, [&](int64_t task, int thread) {
    const int64_t r0 = task / p.directions * plan.split.rows;
    run_block(plan, fn, block(thread, task % p.directions, r0, least(plan.split.rows, p.n - r0)),
              layout.rec + thread * plan.rec);
  });
}

}  // namespace

#define LAMELLA_RNN(T)                                                                                       \
  int64_t rnn_packed_size(const RnnParams<T>& p) { return packed_size(p); }                                  \
  void rnn_pack(const Context& ctx, const RnnParams<T>& p, int direction, T* packed) {                       \
    pack(ctx, p, p.dir[direction], true, packed);                                                            \
  }                                                                                                          \
  size_t rnn_forward_workspace(const RnnParams<T>& p, int threads) { return forward_workspace(p, threads); } \
  void rnn_forward(const Context& ctx, const RnnParams<T>& p) { forward(ctx, p); }

LAMELLA_RNN(float)
#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_RNN(double)
#endif

}  // namespace lamella::LAMELLA_NS
