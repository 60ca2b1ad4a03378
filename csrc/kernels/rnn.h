// Recurrent layers over whole sequences: simple RNN, LSTM, GRU, one or two directions, forward and backward.
//
// Weights: w_ih (in, G*h) and w_hh (h, G*h), where the G gates of a cell stand side by side:
//   simple  h' = f(x w_ih + h w_hh + b)
//   lstm    i, f, g, o:  c' = f*c + i*g,  h' = o * f(c')
//   gru     r, z, n:     h' = (1 - z)*n + z*h,  n = f(x w_n + b_ih + r * (h w_n + b_hh))    reset_after
//                                               n = f(x w_n + b_ih + (r * h) w_n + b_hh)    otherwise
// Sequences are (n, t, c), or (t, n, c) if time_major; "row (n, t)" below means n*T + t, or t*N + n.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation.h"
#include "kernels/context.h"

namespace lamella {

enum class RnnCell : int32_t { kSimple, kLstm, kGru };

constexpr int64_t rnn_gates(RnnCell cell) { return cell == RnnCell::kLstm ? 4 : cell == RnnCell::kGru ? 3 : 1; }

// One direction: its weights, initial and final states, and what it keeps for backward.
template <class T>
struct RnnDirection {
  const T* w_ih = nullptr;
  const T* w_hh = nullptr;
  const T* b_ih = nullptr;  // [G*h] or nullptr, as b_hh
  const T* b_hh = nullptr;
  const T* h0 = nullptr;  // (n, h) or nullptr: zeros; c0 likewise
  const T* c0 = nullptr;
  const T* packed = nullptr;  // what rnn_pack made of the weights, or nullptr: packed on the way
  bool reverse = false;       // from the last step to the first

  T* y = nullptr;  // outputs: row (n, t) at y + row*ldy; nullptr: not wanted
  int64_t ldy = 0;
  T* hn = nullptr;  // final states (n, h) or nullptr; cn of the LSTM alone
  T* cn = nullptr;

  // For backward; all nullptr where there will be none. Rows as in x, dense.
  T* gates = nullptr;   // rnn_saved_gates()*h per row: the gates after their activation (gru, reset_after: also h w_n +
                        // b_hh); undefined where a step is masked
  T* cells = nullptr;   // lstm: c after the step
  T* states = nullptr;  // h after the step, row stride ld_states; may be y
  int64_t ld_states = 0;
};

template <class T>
struct RnnParams {
  RnnCell cell = RnnCell::kSimple;
  bool reset_after = true;  // gru
  Activation act;           // f above
  Activation gate_act;      // of i, f, o and r, z
  int64_t n = 0, t = 0, in = 0, h = 0;
  const T* x = nullptr;
  bool time_major = false;

  // A masked step leaves the state as it is; its output is that state, or zeros.
  const uint8_t* mask = nullptr;       // row (n, t): nonzero = a step to take; or
  const int64_t* lengths64 = nullptr;  // (n): steps t >= length are masked; or
  const int32_t* lengths32 = nullptr;
  bool zero_masked = false;
  // Where y and states of the step at time t stand: at t, or (go_backwards) in the order of processing.
  bool processing_order = false;

  int directions = 1;
  RnnDirection<T> dir[2];
};

// Gates of size h that a row of RnnDirection::gates holds.
template <class T>
constexpr int64_t rnn_saved_gates(const RnnParams<T>& p) {
  return p.cell == RnnCell::kGru && p.reset_after ? 4 : rnn_gates(p.cell);
}

template <class T>
struct RnnGradients {
  const T* dy = nullptr;  // row (n, t) at dy + row*ldy, in the order of y; nullptr: zero, as dhn and dcn
  int64_t ldy = 0;
  const T* dhn = nullptr;
  const T* dcn = nullptr;
  // Wanted gradients, overwritten; nullptr: not wanted.
  T* dw_ih = nullptr;
  T* dw_hh = nullptr;
  T* db_ih = nullptr;
  T* db_hh = nullptr;
  T* dh0 = nullptr;
  T* dc0 = nullptr;
};

template <class T>
struct RnnBackwardParams {
  RnnParams<T> f;  // as in forward; reads x, weights, h0, c0, masks and what was kept, not the outputs
  RnnGradients<T> grad[2];
  T* dx = nullptr;
};

template <class T>
struct RnnKernels {
  // Elements of the packed weights of one direction; packing them.
  int64_t (*rnn_packed_size)(const RnnParams<T>&) = nullptr;
  void (*rnn_pack)(const Context&, const RnnParams<T>&, int direction, T* packed) = nullptr;
  size_t (*rnn_forward_workspace)(const RnnParams<T>&, int threads) = nullptr;
  void (*rnn_forward)(const Context&, const RnnParams<T>&) = nullptr;
  size_t (*rnn_backward_workspace)(const RnnBackwardParams<T>&, int threads) = nullptr;
  void (*rnn_backward)(const Context&, const RnnBackwardParams<T>&) = nullptr;
};

}  // namespace lamella
