// Backward through a fused activation and bias in one pass over the gradient: dz = dy * act'(value), dbias = sums of dz
// over the rows. For layers whose forward was act(product + bias).
#pragma once

#include "kernels/cpu/act_inl.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

// Rows are cut into parts with their own column sums, a function of the size only; parts are added in order.
LAMELLA_INLINE int64_t act_bias_parts(int64_t rows, int64_t cols) {
  constexpr int64_t kMaxParts = 64, kPartElements = 1 << 15;
  const int64_t parts = (rows * cols + kPartElements - 1) / kPartElements;
  const int64_t most = rows < kMaxParts ? rows : kMaxParts;
  return parts < 1 ? 1 : parts > most ? (most < 1 ? 1 : most) : parts;
}

template <class T>
LAMELLA_INLINE size_t act_bias_workspace(int64_t rows, int64_t cols, bool dbias) {
  const int64_t parts = act_bias_parts(rows, cols);
  return dbias && parts > 1 ? static_cast<size_t>(parts) * static_cast<size_t>((cols + 15) / 16 * 16) * sizeof(T) : 0;
}

// NV vectors of columns (the last with `last` columns that exist) over rows [begin, end).
template <Act A, bool FromOutput, int NV, class T>
LAMELLA_INLINE void act_bias_columns(const T* value, const T* dy, T* dz, T* sums, int64_t begin, int64_t end,
                                     int64_t cols, int64_t last, Vec<T> alpha) {
  using V = Vec<T>;
  // Sums of this many rows first: long columns lose less.
  constexpr int64_t kBlock = 64;
  V total[NV];
  for (int j = 0; j < NV; ++j) total[j] = V::zero();
  for (int64_t r0 = begin; r0 < end; r0 += kBlock) {
    const int64_t r1 = r0 + kBlock < end ? r0 + kBlock : end;
    V sum[NV];
    for (int j = 0; j < NV; ++j) sum[j] = V::zero();
    for (int64_t r = r0; r < r1; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) {
        const int64_t at = r * cols + j * V::W, n = j == NV - 1 ? last : V::W;
        V g = V::load(dy + at, n);
        if constexpr (A != Act::kIdentity) {
          const V v = V::load(value + at, n);
          if constexpr (FromOutput)
            g = act_backward_from_output<A>(v, g, alpha);
          else
            g = act_backward_from_input<A>(v, g, alpha);
        }
        if (dz != nullptr) g.store(dz + at, n);
        sum[j] = sum[j] + g;
      }
    }
    for (int j = 0; j < NV; ++j) total[j] = total[j] + sum[j];
  }
  if (sums != nullptr) {
    for (int j = 0; j < NV; ++j) total[j].store(sums + j * V::W, j == NV - 1 ? last : V::W);
  }
}

template <Act A, bool FromOutput, class T>
LAMELLA_NOINLINE void act_bias_rows(const T* value, const T* dy, T* dz, T* sums, int64_t begin, int64_t end,
                                    int64_t cols, T alpha) {
  constexpr int64_t W = Vec<T>::W;
  constexpr int NV = 4;
  const Vec<T> slope(alpha);
  int64_t j = 0;
  for (; j + NV * W <= cols; j += NV * W) {
    act_bias_columns<A, FromOutput, NV>(value + j, dy + j, dz == nullptr ? dz : dz + j,
                                        sums == nullptr ? sums : sums + j, begin, end, cols, W, slope);
  }
  for (; j < cols; j += W) {
    act_bias_columns<A, FromOutput, 1>(value + j, dy + j, dz == nullptr ? dz : dz + j,
                                       sums == nullptr ? sums : sums + j, begin, end, cols, cols - j < W ? cols - j : W,
                                       slope);
  }
}

// Rows [begin, end): dz = dy * act'(value) and sums = its column sums, over a range that one thread takes. Either may
// be nullptr.
template <class T>
LAMELLA_INLINE void act_bias_range(const Activation& act, bool from_output, const T* value, const T* dy, T* dz, T* sums,
                                   int64_t begin, int64_t end, int64_t cols) {
  const T* v = value == nullptr ? dy : value;
  with_act(act.act, [&](auto tag) {
    constexpr Act A = decltype(tag)::value;
    if (from_output)
      act_bias_rows<A, true>(v, dy, dz, sums, begin, end, cols, static_cast<T>(act.alpha));
    else
      act_bias_rows<A, false>(v, dy, dz, sums, begin, end, cols, static_cast<T>(act.alpha));
  });
}

// value: y where from_output (only where act_grad_from_output()), else what went into the activation; not read for the
// identity. dz may be dy, or nullptr where only dbias is wanted; dbias may be nullptr.
template <class T>
LAMELLA_INLINE void act_bias_backward(const Context& ctx, int64_t rows, int64_t cols, const Activation& act,
                                      bool from_output, const T* value, const T* dy, T* dz, T* dbias, void* workspace) {
  const int64_t parts = act_bias_parts(rows, cols), stride = (cols + 15) / 16 * 16;
  T* const partial = parts > 1 ? static_cast<T*>(workspace) : dbias;
  parallel_for(ctx, parts, [&](int64_t part, int) {
    act_bias_range(act, from_output, value, dy, dz, dbias == nullptr ? nullptr : partial + part * stride,
                   rows * part / parts, rows * (part + 1) / parts, cols);
  });
  if (dbias == nullptr || parts == 1) return;
  for (int64_t j = 0; j < cols; j += Vec<T>::W) {
    Vec<T> sum = Vec<T>::load(partial + j, cols - j);
    for (int64_t part = 1; part < parts; ++part) sum = sum + Vec<T>::load(partial + part * stride + j, cols - j);
    sum.store(dbias + j, cols - j);
  }
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
