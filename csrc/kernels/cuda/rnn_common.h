// What all kernels of the recurrent layers share: rows and masks, activations, the cells' arithmetic on one unit.
#pragma once

#include "kernels/cuda/activation.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/tables.h"
#include "kernels/rnn.h"

namespace lamella::cuda {
namespace {

// ---- rows, masks, order ---------------------------------------------------------------------------------------------

template <class T>
__host__ __device__ __forceinline__ int64_t rnn_row(const RnnParams<T>& p, int64_t n, int64_t t) {
  return p.time_major ? t * p.n + n : n * p.t + t;
}
// The time of the s-th step taken.
template <class T>
__host__ __device__ __forceinline__ int64_t rnn_time(const RnnParams<T>& p, const RnnDirection<T>& d, int64_t s) {
  return d.reverse ? p.t - 1 - s : s;
}
// Where y and states keep the s-th step.
template <class T>
__device__ __forceinline__ int64_t rnn_place(const RnnParams<T>& p, const RnnDirection<T>& d, int64_t s) {
  return p.processing_order ? s : rnn_time(p, d, s);
}
template <class T>
__device__ __forceinline__ bool rnn_active(const RnnParams<T>& p, int64_t n, int64_t t) {
  if (p.mask != nullptr) return p.mask[rnn_row(p, n, t)] != 0;
  if (p.lengths64 != nullptr) return t < p.lengths64[n];
  if (p.lengths32 != nullptr) return t < p.lengths32[n];
  return true;
}

template <class T>
constexpr bool resets_before(const RnnParams<T>& p) {
  return p.cell == RnnCell::kGru && !p.reset_after;
}
template <class T>
constexpr bool resets_after(const RnnParams<T>& p) {
  return p.cell == RnnCell::kGru && p.reset_after;
}

// ---- activations ----------------------------------------------------------------------------------------------------

template <class T>
__device__ __noinline__ T rnn_act_backward_called(Act act, T y, T dy, T alpha) {
  T dx = dy;
  with_act(act, [&](auto tag) {
    constexpr Act A = decltype(tag)::value;
    if constexpr (act_grad_from_output(A)) dx = act_backward_from_output<A>(y, dy, alpha);
  });
  return dx;
}

// tanh and sigmoid in place, others in functions that are called.
template <class T>
struct RnnActs {
  Activation state_act, gate_act;
  bool standard;

  __device__ __forceinline__ T state(T x) const {
    return standard ? act_value<Act::kTanh>(x) : act_value_called(state_act.act, x, static_cast<T>(state_act.alpha));
  }
  __device__ __forceinline__ T gate(T x) const {
    return standard ? act_value<Act::kSigmoid>(x) : act_value_called(gate_act.act, x, static_cast<T>(gate_act.alpha));
  }
  __device__ __forceinline__ T state_backward(T y, T dy) const {
    return standard ? dy * ((1 - y) * (1 + y))
                    : rnn_act_backward_called(state_act.act, y, dy, static_cast<T>(state_act.alpha));
  }
  __device__ __forceinline__ T gate_backward(T y, T dy) const {
    return standard ? dy * (y * (1 - y)) : rnn_act_backward_called(gate_act.act, y, dy, static_cast<T>(gate_act.alpha));
  }
};
template <class T>
RnnActs<T> rnn_acts(const RnnParams<T>& p) {
  return {p.act, p.gate_act,
          p.act.act == Act::kTanh && (p.cell == RnnCell::kSimple || p.gate_act.act == Act::kSigmoid)};
}

// ---- cells ----------------------------------------------------------------------------------------------------------

// A unit's gates as the products left them, x from the input and r from the state; what becomes of its state. saved:
// what backward reads.
template <class T>
struct RnnUnit {
  T x[4], r[4], saved[4];
  T h, c;  // in: before the step, out: after it
};

// b_hn: b_hh of gate n, for a GRU that resets after its product. Not for one that resets before.
template <class T>
__device__ __forceinline__ void rnn_cell(RnnCell cell, const RnnActs<T>& a, T b_hn, RnnUnit<T>& u) {
  if (cell == RnnCell::kLstm) {
    const T i = a.gate(u.x[0] + u.r[0]), f = a.gate(u.x[1] + u.r[1]);
    const T g = a.state(u.x[2] + u.r[2]), o = a.gate(u.x[3] + u.r[3]);
    u.c = fma(f, u.c, i * g);
    u.h = o * a.state(u.c);
    u.saved[0] = i, u.saved[1] = f, u.saved[2] = g, u.saved[3] = o;
  } else if (cell == RnnCell::kGru) {
    const T reset = a.gate(u.x[0] + u.r[0]), z = a.gate(u.x[1] + u.r[1]);
    const T hn = u.r[2] + b_hn;
    const T fresh = a.state(fma(reset, hn, u.x[2]));
    u.h = fma(z, u.h - fresh, fresh);
    u.saved[0] = reset, u.saved[1] = z, u.saved[2] = fresh, u.saved[3] = hn;
  } else {
    u.h = a.state(u.x[0] + u.r[0]);
  }
}

// The gates' gradients stand in this order, `kept` blocks of h per row:
//   simple  h;   lstm  i, f, g, o
//   gru     n as the input sees it, r, z, n as the state sees it    reset_after
//           r, z, n                                                 otherwise
// so that what a product with w_hh takes stands side by side.
template <class T>
constexpr int64_t rnn_kept(const RnnParams<T>& p) {
  return rnn_saved_gates(p);
}

// A unit on its way back.
template <class T>
struct RnnUnitGrad {
  T saved[4];
  T h;          // simple: the state after the step
  T h_prev;     // gru: the state before it
  T c, c_prev;  // lstm, likewise
  T dh, dc;     // in: of the state after the step; out: what goes straight on to the one before
  T dg[4];
};

template <class T>
__device__ __forceinline__ void rnn_cell_back(RnnCell cell, const RnnActs<T>& a, RnnUnitGrad<T>& u) {
  if (cell == RnnCell::kLstm) {
    const T i = u.saved[0], f = u.saved[1], g = u.saved[2], o = u.saved[3];
    const T tc = a.state(u.c);
    const T dc = u.dc + a.state_backward(tc, u.dh * o);
    u.dg[0] = a.gate_backward(i, dc * g);
    u.dg[1] = a.gate_backward(f, dc * u.c_prev);
    u.dg[2] = a.state_backward(g, dc * i);
    u.dg[3] = a.gate_backward(o, u.dh * tc);
    u.dc = dc * f;
    u.dh = 0;
  } else if (cell == RnnCell::kGru) {
    const T r = u.saved[0], z = u.saved[1], fresh = u.saved[2], hn = u.saved[3];
    const T dn = a.state_backward(fresh, fma(-u.dh, z, u.dh));
    u.dg[0] = dn;
    u.dg[1] = a.gate_backward(r, dn * hn);
    u.dg[2] = a.gate_backward(z, u.dh * (u.h_prev - fresh));
    u.dg[3] = dn * r;
    u.dh *= z;
  } else {
    u.dg[0] = a.state_backward(u.h, u.dh);
    u.dh = 0;
  }
}

// A bias of the state's part that can be added to the input's: all, but where the GRU's reset gate comes between.
template <class T>
__device__ __forceinline__ T early_bias(const RnnParams<T>& p, const RnnDirection<T>& d, int gate, int64_t unit) {
  return d.b_hh == nullptr || (resets_after(p) && gate == 2) ? T(0) : d.b_hh[gate * p.h + unit];
}
// The other one.
template <class T>
__device__ __forceinline__ T late_bias(const RnnParams<T>& p, const RnnDirection<T>& d, int64_t unit) {
  return resets_after(p) && d.b_hh != nullptr ? d.b_hh[2 * p.h + unit] : T(0);
}

// ---- the host's side ------------------------------------------------------------------------------------------------

constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

template <class T>
const GemmKernels<T>& device_gemm() {
  if constexpr (sizeof(T) == sizeof(float)) {
    return table_f32().gemm;
  } else {
    return table_f64().gemm;
  }
}

// Hands out the workspace; without a base it only counts.
struct Arena {
  char* base;
  size_t used = 0;
  template <class T>
  T* take(int64_t elements) {
    char* p = base == nullptr ? nullptr : base + used;
    used += (static_cast<size_t>(elements) * sizeof(T) + 255) / 256 * 256;
    return reinterpret_cast<T*>(p);
  }
};

}  // namespace

// The two halves of the family.
#define LAMELLA_RNN(T)                                             \
  size_t rnn_forward_workspace(const RnnParams<T>&, int threads);  \
  void rnn_forward(const Context&, const RnnParams<T>&);           \
  size_t rnn_backward_workspace(const RnnBackwardParams<T>&, int); \
  void rnn_backward(const Context&, const RnnBackwardParams<T>&);
LAMELLA_RNN(float)
LAMELLA_RNN(double)
#undef LAMELLA_RNN

}  // namespace lamella::cuda
