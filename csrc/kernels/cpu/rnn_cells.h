// The cells' arithmetic on the gates of some units of one row, forward and backward.
#pragma once

#include "kernels/cpu/act_inl.h"
#include "kernels/cpu/rnn_gates.h"
#include "kernels/cpu/rnn_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

// Loads and stores of whole vectors, and of the first n lanes.
template <class T>
struct Whole {
  static LAMELLA_INLINE Vec<T> load(const T* p) { return Vec<T>::load(p); }
  static LAMELLA_INLINE void store(Vec<T> v, T* p) { v.store(p); }
};
template <class T>
struct First {
  int64_t n;
  LAMELLA_INLINE Vec<T> load(const T* p) const { return Vec<T>::load(p, n); }
  LAMELLA_INLINE void store(Vec<T> v, T* p) const { v.store(p, n); }
};
// f(i, access) for the vectors of n elements; f is a LAMELLA_PER_VEC(i, access) { ... }.
#define LAMELLA_PER_VEC(i, v) [&](int64_t i, auto v) __attribute__((always_inline))
template <class T, class F>
LAMELLA_INLINE void each_vec(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + Vec<T>::W <= n; i += Vec<T>::W) f(i, Whole<T>{});
  if (i < n) f(i, First<T>{n - i});
}

// Activations: tanh and sigmoid in line, any other that is its own derivative's argument through a call.
template <class T>
LAMELLA_NOINLINE Vec<T> any_act(Activation a, Vec<T> x) {
  return apply_act(a.act, x, static_cast<T>(a.alpha));
}
template <class T>
LAMELLA_NOINLINE Vec<T> any_act_backward(Activation a, Vec<T> y, Vec<T> dy) {
  Vec<T> dx = dy;
  with_act(a.act, [&](auto tag) {
    dx = act_backward_from_output<decltype(tag)::value>(y, dy, Vec<T>(static_cast<T>(a.alpha)));
  });
  return dx;
}
template <class T>
struct StandardActs {
  LAMELLA_INLINE StandardActs(const RnnParams<T>&) {}
  LAMELLA_INLINE Vec<T> gate(Vec<T> x) const { return gate_sigmoid(x); }
  LAMELLA_INLINE Vec<T> state(Vec<T> x) const { return gate_tanh(x); }
  LAMELLA_INLINE Vec<T> gate_backward(Vec<T> y, Vec<T> dy) const {
    return act_backward_from_output<Act::kSigmoid>(y, dy, dy);
  }
  LAMELLA_INLINE Vec<T> state_backward(Vec<T> y, Vec<T> dy) const {
    return act_backward_from_output<Act::kTanh>(y, dy, dy);
  }
};
template <class T>
struct AnyActs {
  Activation gate_act, state_act;
  LAMELLA_INLINE AnyActs(const RnnParams<T>& p) : gate_act(p.gate_act), state_act(p.act) {}
  LAMELLA_INLINE Vec<T> gate(Vec<T> x) const { return any_act(gate_act, x); }
  LAMELLA_INLINE Vec<T> state(Vec<T> x) const { return any_act(state_act, x); }
  LAMELLA_INLINE Vec<T> gate_backward(Vec<T> y, Vec<T> dy) const { return any_act_backward(gate_act, y, dy); }
  LAMELLA_INLINE Vec<T> state_backward(Vec<T> y, Vec<T> dy) const { return any_act_backward(state_act, y, dy); }
};
template <class T>
LAMELLA_INLINE bool standard_acts(const RnnParams<T>& p) {
  return p.act.act == Act::kTanh && (p.cell == RnnCell::kSimple || p.gate_act.act == Act::kSigmoid);
}

// ---- forward -------------------------------------------------------------------------------------------------------

// One row at one step. Pointers to unit 0; what is not wanted is nullptr.
template <class T>
struct CellRow {
  const T* h_in;
  T* h;
  T* c;  // lstm, in and out
  T* z;  // gru, reset before: from part 0 to part 1, as rh = r * h
  T* rh;
  T* y;
  T* states;
  T* gates;  // saved gate g at g*hidden
  T* cells;
  int64_t hidden;
  const T* b_hn;  // gru, reset after
};

// x, r: gate 0 of the first unit, as the products left it: from the input and from the state; gates `stride` apart.
// Units [u, u + n).
template <class T, class A>
struct SimpleCell {
  static LAMELLA_INLINE void run(const A& a, int, const CellRow<T>& row, const T* x, const T* r, int64_t, int64_t u,
                                 int64_t n) {
    each_vec<T>(
        n, LAMELLA_PER_VEC(i, v) { finish(row, u + i, v, a.state(v.load(x + i) + v.load(r + i))); });
  }
  template <class V>
  static LAMELLA_INLINE void finish(const CellRow<T>& row, int64_t u, const V& v, Vec<T> h) {
    v.store(h, row.h + u);
    if (row.y != nullptr) v.store(h, row.y + u);
    if (row.states != nullptr) v.store(h, row.states + u);
  }
};

template <class T, class A>
struct LstmCell {
  static LAMELLA_INLINE void run(const A& a, int, const CellRow<T>& row, const T* x, const T* r, int64_t stride,
                                 int64_t u, int64_t n) {
    each_vec<T>(
        n, LAMELLA_PER_VEC(j, v) {
          const T* xj = x + j;
          const T* rj = r + j;
          const Vec<T> i = a.gate(v.load(xj) + v.load(rj));
          const Vec<T> f = a.gate(v.load(xj + stride) + v.load(rj + stride));
          const Vec<T> g = a.state(v.load(xj + 2 * stride) + v.load(rj + 2 * stride));
          const Vec<T> o = a.gate(v.load(xj + 3 * stride) + v.load(rj + 3 * stride));
          const Vec<T> c = fma(f, v.load(row.c + u + j), i * g);
          v.store(c, row.c + u + j);
          if (row.gates != nullptr) {
            T* saved = row.gates + u + j;
            v.store(i, saved);
            v.store(f, saved + row.hidden);
            v.store(g, saved + 2 * row.hidden);
            v.store(o, saved + 3 * row.hidden);
            v.store(c, row.cells + u + j);
          }
          SimpleCell<T, A>::finish(row, u + j, v, o * a.state(c));
        });
  }
};

template <class T, class A>
struct GruAfterCell {
  static LAMELLA_INLINE void run(const A& a, int, const CellRow<T>& row, const T* x, const T* r, int64_t stride,
                                 int64_t u, int64_t n) {
    each_vec<T>(
        n, LAMELLA_PER_VEC(j, v) {
          const T* xj = x + j;
          const T* rj = r + j;
          const Vec<T> reset = a.gate(v.load(xj) + v.load(rj));
          const Vec<T> z = a.gate(v.load(xj + stride) + v.load(rj + stride));
          Vec<T> hn = v.load(rj + 2 * stride);
          if (row.b_hn != nullptr) hn = hn + v.load(row.b_hn + u + j);
          const Vec<T> fresh = a.state(fma(reset, hn, v.load(xj + 2 * stride)));
          if (row.gates != nullptr) {
            T* saved = row.gates + u + j;
            v.store(reset, saved);
            v.store(z, saved + row.hidden);
            v.store(fresh, saved + 2 * row.hidden);
            v.store(hn, saved + 3 * row.hidden);
          }
          SimpleCell<T, A>::finish(row, u + j, v, fma(z, v.load(row.h_in + u + j) - fresh, fresh));
        });
  }
};

template <class T, class A>
struct GruBeforeCell {
  static LAMELLA_INLINE void run(const A& a, int part, const CellRow<T>& row, const T* x, const T* r, int64_t stride,
                                 int64_t u, int64_t n) {
    if (part == 0) {
      each_vec<T>(
          n, LAMELLA_PER_VEC(j, v) {
            const Vec<T> reset = a.gate(v.load(x + j) + v.load(r + j));
            const Vec<T> z = a.gate(v.load(x + j + stride) + v.load(r + j + stride));
            v.store(z, row.z + u + j);
            v.store(reset * v.load(row.h_in + u + j), row.rh + u + j);
            if (row.gates != nullptr) {
              v.store(reset, row.gates + u + j);
              v.store(z, row.gates + u + j + row.hidden);
            }
          });
      return;
    }
    each_vec<T>(
        n, LAMELLA_PER_VEC(j, v) {
          const Vec<T> fresh = a.state(v.load(x + j) + v.load(r + j));
          if (row.gates != nullptr) v.store(fresh, row.gates + u + j + 2 * row.hidden);
          SimpleCell<T, A>::finish(row, u + j, v, fma(v.load(row.z + u + j), v.load(row.h_in + u + j) - fresh, fresh));
        });
  }
};

// A masked step of any cell.
template <class T>
LAMELLA_INLINE void masked_cell(const CellRow<T>& row, bool zero_output, int64_t u, int64_t n) {
  each_vec<T>(
      n, LAMELLA_PER_VEC(j, v) {
        const Vec<T> h = v.load(row.h_in + u + j);
        v.store(h, row.h + u + j);
        if (row.y != nullptr) v.store(zero_output ? Vec<T>::zero() : h, row.y + u + j);
        if (row.states != nullptr) v.store(h, row.states + u + j);
        if (row.cells != nullptr) v.store(v.load(row.c + u + j), row.cells + u + j);
      });
}

// ---- backward ------------------------------------------------------------------------------------------------------

// One row at one step. dh: the gradient that comes from later steps; what of it goes straight on to the step before is
// left there, and the products with the weights are added by the caller. What is not wanted is nullptr.
template <class T>
struct CellGradRow {
  const T* gates;   // saved gate g at g*hidden
  const T* h;       // simple: the state after the step
  const T* h_prev;  // gru: the state before it; nullptr: zeros
  const T* c;       // lstm, likewise
  const T* c_prev;
  const T* dy;
  T* dh;
  T* dc;
  T* dg;       // the product's operand: gradients of the gates before their activation, gate g at g*hidden;
  T* dn;       // gru, reset before: that of n, apart
  T* drh;      // and the gradient of r * h
  T* dg_keep;  // the same for the products over all steps
  T* rh_keep;  // gru, reset before: r * h
  int64_t hidden;
};

template <class T, class V>
LAMELLA_INLINE Vec<T> load_or_zero(const V& v, const T* p, int64_t i) {
  return p == nullptr ? Vec<T>::zero() : v.load(p + i);
}
template <class T, class V>
LAMELLA_INLINE void store_grad(const CellGradRow<T>& row, const V& v, int64_t gate, int64_t i, Vec<T> x) {
  v.store(x, row.dg + gate * row.hidden + i);
  if (row.dg_keep != nullptr) v.store(x, row.dg_keep + gate * row.hidden + i);
}

template <class T, class A>
struct SimpleCellGrad {
  static LAMELLA_INLINE void run(const A& a, int, const CellGradRow<T>& row, int64_t u, int64_t n) {
    each_vec<T>(
        n, LAMELLA_PER_VEC(j, v) {
          const int64_t i = u + j;
          const Vec<T> dh = v.load(row.dh + i) + load_or_zero(v, row.dy, i);
          store_grad(row, v, 0, i, a.state_backward(v.load(row.h + i), dh));
          v.store(Vec<T>::zero(), row.dh + i);
        });
  }
};

template <class T, class A>
struct LstmCellGrad {
  static LAMELLA_INLINE void run(const A& a, int, const CellGradRow<T>& row, int64_t u, int64_t n) {
    each_vec<T>(
        n, LAMELLA_PER_VEC(j, v) {
          const int64_t k = u + j;
          const T* saved = row.gates + k;
          const Vec<T> i = v.load(saved), f = v.load(saved + row.hidden), g = v.load(saved + 2 * row.hidden),
                       o = v.load(saved + 3 * row.hidden);
          const Vec<T> dh = v.load(row.dh + k) + load_or_zero(v, row.dy, k);
          const Vec<T> tc = a.state(v.load(row.c + k));
          const Vec<T> dc = v.load(row.dc + k) + a.state_backward(tc, dh * o);
          store_grad(row, v, 0, k, a.gate_backward(i, dc * g));
          store_grad(row, v, 1, k, a.gate_backward(f, dc * load_or_zero(v, row.c_prev, k)));
          store_grad(row, v, 2, k, a.state_backward(g, dc * i));
          store_grad(row, v, 3, k, a.gate_backward(o, dh * tc));
          v.store(dc * f, row.dc + k);
          v.store(Vec<T>::zero(), row.dh + k);
        });
  }
};

// Kept: r, z, n as the input sees it, n as the state sees it. The product takes r, z and the last.
template <class T, class A>
struct GruAfterCellGrad {
  static LAMELLA_INLINE void run(const A& a, int, const CellGradRow<T>& row, int64_t u, int64_t n) {
    each_vec<T>(
        n, LAMELLA_PER_VEC(j, v) {
          const int64_t k = u + j;
          const T* saved = row.gates + k;
          const Vec<T> r = v.load(saved), z = v.load(saved + row.hidden), fresh = v.load(saved + 2 * row.hidden),
                       hn = v.load(saved + 3 * row.hidden);
          const Vec<T> dh = v.load(row.dh + k) + load_or_zero(v, row.dy, k);
          const Vec<T> dn = a.state_backward(fresh, fnma(dh, z, dh));
          const Vec<T> dhn = dn * r;
          store_grad(row, v, 0, k, a.gate_backward(r, dn * hn));
          store_grad(row, v, 1, k, a.gate_backward(z, dh * (load_or_zero(v, row.h_prev, k) - fresh)));
          v.store(dhn, row.dg + 2 * row.hidden + k);
          if (row.dg_keep != nullptr) {
            v.store(dn, row.dg_keep + 2 * row.hidden + k);
            v.store(dhn, row.dg_keep + 3 * row.hidden + k);
          }
          v.store(dh * z, row.dh + k);
        });
  }
};

// Part 0: n and z. Part 1, with drh = dn w_n^T at hand: r.
template <class T, class A>
struct GruBeforeCellGrad {
  static LAMELLA_INLINE void run(const A& a, int part, const CellGradRow<T>& row, int64_t u, int64_t n) {
    if (part == 0) {
      each_vec<T>(
          n, LAMELLA_PER_VEC(j, v) {
            const int64_t k = u + j;
            const Vec<T> z = v.load(row.gates + row.hidden + k), fresh = v.load(row.gates + 2 * row.hidden + k);
            const Vec<T> dh = v.load(row.dh + k) + load_or_zero(v, row.dy, k);
            const Vec<T> dn = a.state_backward(fresh, fnma(dh, z, dh));
            store_grad(row, v, 1, k, a.gate_backward(z, dh * (load_or_zero(v, row.h_prev, k) - fresh)));
            v.store(dn, row.dn + k);
            if (row.dg_keep != nullptr) v.store(dn, row.dg_keep + 2 * row.hidden + k);
            v.store(dh * z, row.dh + k);
          });
      return;
    }
    each_vec<T>(
        n, LAMELLA_PER_VEC(j, v) {
          const int64_t k = u + j;
          const Vec<T> r = v.load(row.gates + k), h = load_or_zero(v, row.h_prev, k), drh = v.load(row.drh + k);
          store_grad(row, v, 0, k, a.gate_backward(r, drh * h));
          v.store(fma(drh, r, v.load(row.dh + k)), row.dh + k);
          if (row.rh_keep != nullptr) v.store(r * h, row.rh_keep + k);
        });
  }
};

}  // namespace
}  // namespace lamella::LAMELLA_NS
