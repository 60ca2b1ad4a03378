// Backward of the recurrent layers, what follows a run of steps: while the gates' gradients of the run are in the
// cache, the gradients of the input, and the run's part of those of the weights and biases, which are sums over all
// steps.
#pragma once

#include "kernels/cpu/rnn_cells.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

// Steps whose sums are taken at once: products deep enough to be worth reading and writing the weights' gradients. A
// function of the shape alone, for it decides rounding.
template <class T>
constexpr int64_t rnn_run_steps(const RnnParams<T>& p) {
  return most(1, least(p.t, 256 / most(1, p.n)));
}

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

// What one direction keeps of the steps of a run. The row of step s0 + i, batch row n, is i*N + n.
template <class T>
struct RnnKept {
  T* gates;  // gates' gradients, kept_gates()*h per row
  T* h;      // the state before each step, h per row
  T* rh;     // GRU, reset before: r * that
  T* x;      // the input, or nullptr: its rows stand in this order
};
// Whether the rows of x (and dx) that a run of steps sees stand in the order of what it keeps.
template <class T>
LAMELLA_INLINE bool rows_in_order(const RnnParams<T>& p, const RnnDirection<T>& d) {
  return !d.reverse && (p.time_major || p.n == 1);
}

// Calls f(product) for every product over the `rows` rows of a run that begins with step s0. add: to the sums of other
// runs.
template <class T, class F>
void each_product(const RnnBackwardParams<T>& b, int direction, const RnnKept<T>& kept, int64_t s0, int64_t rows,
                  bool add, const F& f) {
  const RnnParams<T>& p = b.f;
  const RnnGradients<T>& g = b.grad[direction];
  const int64_t h = p.h, gates = rnn_gates(p.cell), ldg = kept_gates(p) * h;
  GemmParams<T> dw;
  dw.n = gates * h;
  dw.k = rows;
  dw.rs_a = 1;
  dw.rs_b = ldg;
  dw.b = kept.gates;
  dw.ldc = gates * h;
  dw.beta = add ? T(1) : T(0);
  if (g.dw_ih != nullptr) {
    dw.m = p.in;
    dw.a = kept.x != nullptr ? kept.x : p.x + s0 * p.n * p.in;
    dw.cs_a = p.in;
    dw.c = g.dw_ih;
    f(dw);
  }
  if (g.dw_hh == nullptr) return;
  dw.m = h;
  dw.a = kept.h;
  dw.cs_a = h;
  dw.c = g.dw_hh;
  if (p.cell != RnnCell::kGru) return f(dw);
  dw.n = 2 * h;
  f(dw);
  dw.n = h;
  dw.c = g.dw_hh + 2 * h;
  if (p.reset_after) {
    dw.b = kept.gates + 3 * h;
  } else {
    dw.a = kept.rh;
    dw.b = kept.gates + 2 * h;
  }
  f(dw);
}

// out[j] (+)= sum of column j: runs of 64 rows summed in order, and the runs' sums in order. A run stays in the cache
// while its columns are summed, some vectors side by side.
template <class T>
void sum_columns(const Context& ctx, const T* a, int64_t rows, int64_t lda, int64_t n, bool add, T* out) {
  constexpr int64_t kRun = 64, kWide = 4 * Vec<T>::W;
  // A chunk of columns is some 20 us of reading.
  const int64_t step = ceil_div(200000, most(1, rows) * kWide) * kWide;
  parallel_range(ctx, n, step, [&](int64_t j0, int64_t j1, int) {
    if (!add)
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

// Where both biases' gradients are wanted, b_hh's are copied from b_ih's after the last run, as far as they agree.
template <class T>
void bias_gradients(const Context& ctx, const RnnParams<T>& p, const T* gates, int64_t rows, bool add, bool last, T* ih,
                    T* hh) {
  const int64_t h = p.h, count = rnn_gates(p.cell), ldg = kept_gates(p) * h;
  const bool differ = kept_gates(p) != count;  // in their last gate
  const int64_t same = (differ ? count - 1 : count) * h;
  if (ih != nullptr) sum_columns(ctx, gates, rows, ldg, count * h, add, ih);
  if (hh == nullptr) return;
  if (ih == nullptr)
    sum_columns(ctx, gates, rows, ldg, same, add, hh);
  else if (last)
    each_vec<T>(
        same, LAMELLA_PER_VEC(i, v) { v.store(v.load(ih + i), hh + i); });
  if (differ) sum_columns(ctx, gates + count * h, rows, ldg, h, add, hh + same);
}

// Whether w_ih^T is packed for dx: for a step or a few it is read once or twice, where it stands.
template <class T>
constexpr bool packs_back_x(const RnnBackwardParams<T>& b) {
  return b.dx != nullptr && b.f.n * b.f.t > 16;
}
// dx of `rows` rows of gates' gradients, with w_ih where it stands.
template <class T>
GemmParams<T> input_product(const RnnParams<T>& p, const RnnDirection<T>& d, const T* gates, int64_t rows, T* c) {
  const int64_t width = rnn_gates(p.cell) * p.h;
  GemmParams<T> dx;
  dx.m = rows;
  dx.n = p.in;
  dx.k = width;
  dx.a = gates;
  dx.rs_a = kept_gates(p) * p.h;
  dx.b = d.w_ih;
  dx.rs_b = 1;
  dx.cs_b = width;
  dx.c = c;
  dx.ldc = p.in;
  return dx;
}

// dx of the steps [s0, s1). back: w_ih^T, packed, or else the products' context does it. scratch: room for the run's
// rows of dx. Of two directions, the one that comes to a step first stores and the other adds.
template <class T>
void input_gradients(const Context& ctx, const Context& products, const RnnBackwardParams<T>& b, int direction,
                     const RnnProduct<T>& back, const T* gates, int64_t s0, int64_t s1, T* scratch) {
  const RnnParams<T>& p = b.f;
  const RnnDirection<T>& d = p.dir[direction];
  const int64_t rows = (s1 - s0) * p.n, ldg = kept_gates(p) * p.h, run = rnn_run_steps(p);
  const bool direct = p.directions == 1 && rows_in_order(p, d);
  T* const to = direct ? b.dx + s0 * p.n * p.in : scratch;
  if (!packs_back_x(b)) {
    GemmKernels<T> gemm;
    fill(gemm);
    gemm.gemm(products, input_product(p, d, gates, rows, to));
  }
  const auto turn = [&](int64_t s) { return (p.t - 1 - s) / run; };
  parallel_range(ctx, rows, 64, [&](int64_t r0, int64_t r1, int) {
    const T* c = to + r0 * p.in;
    if (packs_back_x(b))
      rnn_product(back, r1 - r0, gates + r0 * ldg, ldg, 0, rnn_chunks<T>(p.in), to + r0 * p.in, p.in,
                  static_cast<const T*>(nullptr));
    if (direct) return;
    for (int64_t r = r0; r < r1; ++r, c += p.in) {
      const int64_t s = s0 + r / p.n, own = turn(s), other = turn(p.t - 1 - s);
      const bool add = p.directions == 2 && (own > other || (own == other && direction == 1));
      T* x = b.dx + rnn_row(p, r % p.n, rnn_time(p, d, s)) * p.in;
      each_vec<T>(
          p.in, LAMELLA_PER_VEC(j, v) { v.store(add ? v.load(x + j) + v.load(c + j) : v.load(c + j), x + j); });
    }
  });
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
