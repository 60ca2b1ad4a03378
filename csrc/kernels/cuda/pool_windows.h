// Which inputs an output sees, and which outputs an input is seen by, on the device.
#pragma once

#include "kernels/cuda/channel_tiles.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/half.h"
#include "kernels/cuda/wide_divider.h"
#include "kernels/pool.h"

namespace lamella::cuda {
namespace {

// Tap t of a window stands at input start + t * dilation; taps [lo, hi) lie inside.
template <class I>
struct Window {
  I start, lo, hi;
};

template <class I>
struct Axis {
  I in, out, window, stride, dilation, pad_lo, pad_hi;
  bool adaptive;
  DividerOf<I> by_stride, by_dilation, by_in, by_out;  // the last two of adaptive windows alone

  explicit Axis(const PoolAxis& a)
      : in(static_cast<I>(a.in)),
        out(static_cast<I>(a.out)),
        window(static_cast<I>(a.window)),
        stride(static_cast<I>(a.stride)),
        dilation(static_cast<I>(a.dilation)),
        pad_lo(static_cast<I>(a.pad_lo)),
        pad_hi(static_cast<I>(a.pad_hi)),
        adaptive(a.adaptive),
        by_stride(a.stride),
        by_dilation(a.dilation),
        by_in(a.in),
        by_out(a.out) {}

  __device__ Window<I> window_of(I o) const {
    if (adaptive) {
      const I start = by_out(o * in);
      return {start, 0, by_out((o + 1) * in + out - 1) - start};
    }
    const I start = o * stride - pad_lo;
    const I fit = by_dilation(in - start + dilation - 1);
    return {start, start < 0 ? by_dilation(dilation - 1 - start) : I(0), fit < window ? fit : window};
  }

  // What an average divides by along this axis.
  __device__ I divisor_of(const Window<I>& w, bool include_pad) const {
    if (!include_pad || adaptive) return w.hi - w.lo;
    const I end = w.start + window, most = in + pad_hi;
    return (end < most ? end : most) - w.start;
  }

  // Outputs [first, last) may see input i.
  __device__ I first_output(I i) const {
    if (adaptive) return by_in(i * out);
    const I after = i + pad_lo - (window - 1) * dilation;
    return after <= 0 ? I(0) : by_stride(after + stride - 1);
  }
  __device__ I last_output(I i) const {
    if (adaptive) return by_in((i + 1) * out + in - 1);
    const I last = by_stride(i + pad_lo) + 1;
    return last < out ? last : out;
  }
  // The tap of one of them that stands at input i; -1 where the taps step over it.
  __device__ I tap_at(I o, I i) const {
    if (adaptive) return i - by_out(o * in);
    const I t = i + pad_lo - o * stride, tap = by_dilation(t);
    return tap * dilation == t ? tap : I(-1);
  }
};

// How many outputs see an input, at most.
inline int64_t most_outputs(const PoolAxis& a) {
  if (a.adaptive) return ceil_div(a.out, a.in) + 1;
  return ceil_div((a.window - 1) * a.dilation + 1, a.stride);
}

// Whether all numbers of an axis stay below 2^30.
inline bool narrow(const PoolAxis& a) {
  constexpr int64_t kMost = int64_t{1} << 30;
  const auto small = [](int64_t v) { return v < (int64_t{1} << 15); };
  if (a.adaptive && !(small(a.in) && small(a.out - 1)) && (a.in + 1) > kMost / (a.out + 1)) return false;
  if (a.dilation >= kMost || a.window >= kMost / a.dilation || a.stride >= kMost) return false;
  return a.in + a.pad_lo + a.pad_hi + a.window * a.dilation + a.stride < kMost;
}
inline int64_t input_elements(const PoolShape& s) { return s.h.in * s.w.in * s.c; }
inline int64_t output_elements(const PoolShape& s) { return s.h.out * s.w.out * s.c; }

// in_narrow_parts, where the axes' numbers are small enough too.
template <class F>
bool in_narrow_parts(const PoolShape& s, const F& launch) {
  const int64_t in = input_elements(s), out = output_elements(s);
  return narrow(s.h) && narrow(s.w) && cuda::in_narrow_parts(s.n, in > out ? in : out, launch);
}

template <class I>
__device__ I clamp(I v, I low, I high) {
  return v < low ? low : v > high ? high : v;
}

// V numbers that lie together.
template <class T, int V>
struct alignas(sizeof(T) * V) Group {
  T v[V];
};
template <int V, class T>
__device__ Group<T, V> load_group(const T* p) {
  return *reinterpret_cast<const Group<T, V>*>(p);
}
template <int V, class T>
__device__ void store_group(T* p, const Group<T, V>& v) {
  *reinterpret_cast<Group<T, V>*>(p) = v;
}
template <class T, int V>
__device__ Group<T, V> same(T v) {
  Group<T, V> g;
#pragma unroll
  for (int k = 0; k < V; ++k) g.v[k] = v;
  return g;
}
// From numbers as they are stored, of type S, to those that are computed with, and back.
template <class S, int V>
__device__ Group<Real<S>, V> widened(const Group<S, V>& v) {
  Group<Real<S>, V> g;
#pragma unroll
  for (int k = 0; k < V; ++k) g.v[k] = widened(v.v[k]);
  return g;
}
template <int V, class S>
__device__ void store_rounded(S* p, const Group<Real<S>, V>& v) {
  Group<S, V> g;
#pragma unroll
  for (int k = 0; k < V; ++k) g.v[k] = rounded_to<S>(v.v[k]);
  store_group<V>(p, g);
}

// Channels go by 16 bytes where all pixels begin at a multiple of that, and the tap numbers beside them in one piece
// too.
template <class T>
constexpr int kPack = Pack<T>::kSize;
template <class T>
bool packs(int64_t c, const T* a, const T* b, const void* argmax, bool wide) {
  const size_t index = static_cast<size_t>(kPack<T>) * (wide ? 4 : 1);
  return c % kPack<T> == 0 && aligned16(a) && aligned16(b) && reinterpret_cast<uintptr_t>(argmax) % index == 0;
}

// A thread takes this many pixels, and as many blocks share an image as that gives: the image's result is the same in
// any batch.
constexpr int64_t kRowsPerThread = 32;

}  // namespace
}  // namespace lamella::cuda
