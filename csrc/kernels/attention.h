// Scaled dot-product attention, out = dropout(softmax(scale * q k^T + mask)) v, head by head, forward and backward.
//
// No array of l x s weights is kept unless it is asked for: some rows at a time live in the workspace, and backward
// makes them again from two numbers per row.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/half.h"
#include "base/philox.h"
#include "kernels/context.h"

namespace lamella {

// Element (b, head, row, i) at data[b*batch + head*this->head + row*this->row + i].
template <class T>
struct AttentionArray {
  T* data = nullptr;
  int64_t batch = 0, head = 0, row = 0;
};

// Added to the scores (T), or telling which of them count (uint8, nonzero); strides of 0 broadcast.
struct AttentionMask {
  const void* data = nullptr;
  bool bytes = false;
  int64_t batch = 0, head = 0, row = 0, column = 0;
};

template <class T>
struct AttentionParams {
  int64_t n = 0, heads = 1, l = 0, s = 0;  // batch; queries; keys
  int64_t e = 0, ev = 0;                   // sizes of a query and key, of a value
  AttentionArray<const T> q, k, v;
  Real<T> scale = 1;
  bool causal = false;  // query i sees keys j <= i
  AttentionMask mask;
  const uint8_t* key_mask = nullptr;  // (n, s): nonzero where the key counts

  // Weight (b, head, i, j) is dropped where word ((b*heads + head)*l + i)*s + j of the stream is below the threshold,
  // else scaled by `keep`.
  bool dropout = false;
  PhiloxKey key;
  uint32_t threshold = 0;
  Real<T> keep = 1;
  bool weights_dropped = false;  // whether `weights` are those after dropout

  // Outputs. A query that sees no key has weights of zero.
  AttentionArray<T> out;
  T* weights = nullptr;  // (n, heads, l, s) or nullptr
  T* stats = nullptr;    // (n, heads, l, 2): the weights are exp(score - first) * second; or nullptr
};

template <class T>
struct AttentionBackwardParams {
  AttentionParams<T> f;          // as in forward, with its stats and key; reads neither out nor weights
  AttentionArray<const T> dout;  // data == nullptr: zero, as dweights
  const T* dweights = nullptr;   // (n, heads, l, s)
  AttentionArray<T> dq, dk, dv;  // overwritten; data == nullptr: not wanted
  T* dmask = nullptr;            // dense, of the mask's own shape, strides as f.mask; zeroed by the caller, added to
};

template <class T>
struct AttentionKernels {
  size_t (*attention_workspace)(const AttentionParams<T>&, int threads) = nullptr;
  void (*attention)(const Context&, const AttentionParams<T>&) = nullptr;
  size_t (*attention_backward_workspace)(const AttentionBackwardParams<T>&, int threads) = nullptr;
  void (*attention_backward)(const Context&, const AttentionBackwardParams<T>&) = nullptr;
};

}  // namespace lamella
