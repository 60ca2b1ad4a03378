// Maps y[i] = f(in0[i], in1[i], ..., scalars) over flat or broadcast operands. The walk over the iteration space is
// compiled once; each f is one small loop over contiguous memory, called through a pointer.
#pragma once

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/elementwise.h"

namespace lamella::LAMELLA_NS {
namespace {

// n elements; operand k is read at in[k][i & mask[k]]: mask -1 walks, mask 0 stays on kSplat equal values.
template <class T>
using MapFn = void (*)(int64_t n, const void* const* in, const int64_t* mask, void* out, const T* scalars);
constexpr int64_t kSplat = 64;

template <class T>
struct Map {
  MapFn<T> fn = nullptr;
  MapFn<T> stream = nullptr;  // the same with non-temporal stores
  int operands = 0;
  double ns = 0.3;  // cost of an element on one core
};

// Whole runs of Unroll vectors from element i on; returns the first element that is left.
template <bool Stream, class T, int N, int Unroll, class F>
LAMELLA_INLINE int64_t map_runs(int64_t i, int64_t n, const T* const (&p)[N], const int64_t (&m)[N], T* out,
                                const Vec<T> (&s)[2]) {
  using V = Vec<T>;
  constexpr int W = V::W;
  const F f{};
  if (i + Unroll * W > n) return i;
  // The first vectors of a run are read before the run in front of it is stored: where an output lies some bytes, not a
  // whole vector, behind an input modulo 4 KiB, the load looks to the processor as if it read what has just been
  // stored, and waits. (Large arrays begin at the same place in a page, so this is no rare case; streaming stores take
  // so long that it costs four fifths of the bandwidth.)
  V ahead[N];
#pragma GCC unroll 4
  for (int k = 0; k < N; ++k) ahead[k] = V::load(p[k] + (i & m[k]));
  for (; i + Unroll * W <= n; i += Unroll * W) {
    V y[Unroll];
#pragma GCC unroll 8
    for (int u = 0; u < Unroll; ++u) {
      V v[N];
#pragma GCC unroll 4
      for (int k = 0; k < N; ++k) v[k] = u == 0 ? ahead[k] : V::load(p[k] + ((i + u * W) & m[k]));
      y[u] = f(v, s);
    }
    const int64_t next = i + Unroll * W;
    if (next + W <= n) {
#pragma GCC unroll 4
      for (int k = 0; k < N; ++k) ahead[k] = V::load(p[k] + (next & m[k]));
    }
#pragma GCC unroll 8
    for (int u = 0; u < Unroll; ++u) {
      if constexpr (Stream)
        y[u].stream(out + i + u * W);
      else
        y[u].store(out + i + u * W);
    }
  }
  return i;
}

template <class T, int N, int Unroll, class F>
LAMELLA_NOINLINE void map_loop(int64_t n, const void* const* in, const int64_t* mask, void* to, const T* scalars) {
  using V = Vec<T>;
  constexpr int W = V::W;
  const F f{};
  const V s[2] = {V(scalars[0]), V(scalars[1])};
  T* out = static_cast<T*>(to);
  const T* p[N];
  int64_t m[N];
  for (int k = 0; k < N; ++k) p[k] = static_cast<const T*>(in[k]), m[k] = mask[k];
  for (int64_t i = map_runs<false, T, N, Unroll, F>(0, n, p, m, out, s); i < n; i += W) {
    V v[N];
#pragma GCC unroll 4
    for (int k = 0; k < N; ++k) v[k] = V::load(p[k] + (i & m[k]), n - i);
    f(v, s).store(out + i, n - i);
  }
}

template <class T, int N, int Unroll, class F>
LAMELLA_NOINLINE void map_loop_stream(int64_t n, const void* const* in, const int64_t* mask, void* to,
                                      const T* scalars) {
  using V = Vec<T>;
  constexpr uintptr_t kLine = 64;
  const V s[2] = {V(scalars[0]), V(scalars[1])};
  T* out = static_cast<T*>(to);
  const T* p[N];
  int64_t m[N];
  for (int k = 0; k < N; ++k) p[k] = static_cast<const T*>(in[k]), m[k] = mask[k];
  int64_t head = static_cast<int64_t>((kLine - (reinterpret_cast<uintptr_t>(out) & (kLine - 1))) & (kLine - 1)) /
                 static_cast<int64_t>(sizeof(T));
  if (head > n) head = n;
  if (head > 0) map_loop<T, N, Unroll, F>(head, in, mask, out, scalars);
  const int64_t i = map_runs<true, T, N, Unroll, F>(head, n, p, m, out, s);
  if (i < n) {
    const void* rest[N];
    for (int k = 0; k < N; ++k) rest[k] = p[k] + (i & m[k]);
    map_loop<T, N, Unroll, F>(n - i, rest, mask, out + i, scalars);
  }
}

// f: a lambda without captures, Vec<T>(const Vec<T>* operands, const Vec<T>* scalars). Unroll 4 for a few operations, 1
// where one element is work enough.
template <class T, int N, int Unroll, class F>
LAMELLA_INLINE Map<T> make_map(double ns, const F&) {
  return {&map_loop<T, N, Unroll, F>, &map_loop_stream<T, N, Unroll, F>, N, ns};
}

constexpr int64_t kBlock = 1024;      // elements of a block that broadcast operands are expanded to
constexpr int64_t kShortInner = 512;  // from here on rows are walked one by one instead

// Any range of an iteration space, evaluated in its flat order. Operands and output are T, but operand 0 may be bytes
// (a condition) and so may the output (a comparison).
template <class T>
class Walk {
 public:
  Walk(const BroadcastDims& d, int operands, const void* const* in, bool bytes_in = false, bool bytes_out = false)
      : d_(d), operands_(operands), out_size_(bytes_out ? 1 : sizeof(T)) {
    for (int i = 0; i < d.rank; ++i) total_ *= d.dims[i];
    for (int k = 0; k < operands; ++k) {
      in_[k] = static_cast<const char*>(in[k]);
      size_[k] = k == 0 && bytes_in ? 1 : sizeof(T);
      classify(k);
    }
  }
  int64_t total() const { return total_; }

  // out is where element `begin` goes.
  void run(MapFn<T> fn, int64_t begin, int64_t end, void* out, const T* scalars) const {
    char* to = static_cast<char*>(out);
    if (d_.rank <= 1) return run_row(fn, begin, end, to, scalars);
    if (d_.dims[d_.rank - 1] >= kShortInner) return run_rows(fn, begin, end, to, scalars);
    run_blocks(fn, begin, end, to, scalars);
  }

 private:
  static constexpr int kMax = BroadcastDims::kMaxOperands;
  enum Kind { kFull, kScalar, kPeriodic, kGeneral };

  // kFull: laid out as the output; kPeriodic: repeats the same `period` contiguous elements.
  void classify(int k) {
    const int64_t* st = d_.strides[k];
    int i = d_.rank;
    int64_t period = 1;
    while (i > 0 && st[i - 1] == period) period *= d_.dims[--i];
    bool rest_zero = true;
    for (int j = 0; j < i; ++j) rest_zero = rest_zero && st[j] == 0;
    if (i == 0 && d_.rank > 0) {
      kind_[k] = kFull;
    } else if (!rest_zero) {
      kind_[k] = kGeneral;
    } else {
      kind_[k] = i == d_.rank ? kScalar : kPeriodic;
    }
    period_[k] = period;
  }

  // n elements from `from`, or n times the one there.
  template <class U>
  static LAMELLA_INLINE void copy(const void* from, bool repeat, int64_t n, void* to) {
    const U* LAMELLA_RESTRICT x = static_cast<const U*>(from);
    U* LAMELLA_RESTRICT y = static_cast<U*>(to);
    if (repeat) {
      const U value = *x;
      for (int64_t i = 0; i < n; ++i) y[i] = value;
    } else {
      for (int64_t i = 0; i < n; ++i) y[i] = x[i];
    }
  }
  void splat(int k, const char* from, void* lanes) const {
    size_[k] == 1 ? copy<uint8_t>(from, true, kSplat, lanes) : copy<T>(from, true, kSplat, lanes);
  }

  void run_row(MapFn<T> fn, int64_t begin, int64_t end, char* out, const T* scalars) const {
    alignas(64) T lanes[kMax][kSplat];
    const void* p[kMax];
    int64_t mask[kMax];
    for (int k = 0; k < operands_; ++k) {
      const bool walks = kind_[k] == kFull;
      mask[k] = walks ? -1 : 0;
      p[k] = walks ? static_cast<const void*>(in_[k] + begin * size_[k]) : lanes[k];
      if (!walks) splat(k, in_[k], lanes[k]);
    }
    fn(end - begin, p, mask, out, scalars);
  }

  void run_rows(MapFn<T> fn, int64_t begin, int64_t end, char* out, const T* scalars) const {
    alignas(64) T lanes[kMax][kSplat];
    const void* p[kMax];
    int64_t mask[kMax];
    int64_t index[BroadcastDims::kMaxRank] = {}, offset[kMax] = {};
    const int last = d_.rank - 1;
    const int64_t inner = d_.dims[last];
    locate(begin, index, offset);
    int64_t j = index[last];
    while (begin < end) {
      const int64_t len = inner - j < end - begin ? inner - j : end - begin;
      for (int k = 0; k < operands_; ++k) {
        mask[k] = -d_.strides[k][last];
        const char* row = in_[k] + offset[k] * size_[k];
        if (mask[k] == 0) {
          splat(k, row, lanes[k]);
          p[k] = lanes[k];
        } else {
          p[k] = row + j * size_[k];
        }
      }
      fn(len, p, mask, out, scalars);
      out += len * out_size_;
      begin += len;
      j = 0;
      next_row(index, offset);
    }
  }

  void run_blocks(MapFn<T> fn, int64_t begin, int64_t end, char* out, const T* scalars) const {
    alignas(64) T buffer[kMax][kBlock];
    const void* p[kMax];
    int64_t mask[kMax];
    // Periods divide one another, so a multiple of the longest suits all.
    int64_t period = 1;
    for (int k = 0; k < operands_; ++k)
      if (fixed(k) && period_[k] > period) period = period_[k];
    const int64_t block = kBlock / period * period;
    for (int k = 0; k < operands_; ++k) {
      mask[k] = kind_[k] == kScalar ? 0 : -1;
      p[k] = buffer[k];
      if (kind_[k] == kScalar) splat(k, in_[k], buffer[k]);
      if (fixed(k)) expand(k, begin, end - begin < block ? end - begin : block, buffer[k]);
    }
    while (begin < end) {
      const int64_t len = end - begin < block ? end - begin : block;
      for (int k = 0; k < operands_; ++k) {
        if (kind_[k] == kFull) {
          p[k] = in_[k] + begin * size_[k];
        } else if (kind_[k] != kScalar && !fixed(k)) {
          expand(k, begin, len, buffer[k]);
        }
      }
      fn(len, p, mask, out, scalars);
      out += len * out_size_;
      begin += len;
    }
  }

  bool fixed(int k) const { return kind_[k] == kPeriodic && period_[k] <= kBlock; }

  // Operand k over [begin, begin + n) of the flat order.
  void expand(int k, int64_t begin, int64_t n, void* to) const {
    int64_t index[BroadcastDims::kMaxRank] = {}, offset[kMax] = {};
    const int last = d_.rank - 1;
    const int64_t inner = d_.dims[last];
    const bool repeat = d_.strides[k][last] == 0;
    locate(begin, index, offset);
    int64_t j = index[last];
    char* y = static_cast<char*>(to);
    while (n > 0) {
      const int64_t len = inner - j < n ? inner - j : n;
      const char* from = in_[k] + (offset[k] + (repeat ? 0 : j)) * size_[k];
      size_[k] == 1 ? copy<uint8_t>(from, repeat, len, y) : copy<T>(from, repeat, len, y);
      y += len * size_[k];
      n -= len;
      j = 0;
      next_row(index, offset);
    }
  }

  // The indices of flat position `at`, and the operands' offsets at the start of its row.
  void locate(int64_t at, int64_t* index, int64_t* offset) const {
    for (int k = 0; k < operands_; ++k) offset[k] = 0;
    for (int i = d_.rank - 1; i >= 0; --i) {
      index[i] = at % d_.dims[i];
      at /= d_.dims[i];
      if (i == d_.rank - 1) continue;
      for (int k = 0; k < operands_; ++k) offset[k] += index[i] * d_.strides[k][i];
    }
  }
  void next_row(int64_t* index, int64_t* offset) const {
    for (int i = d_.rank - 2; i >= 0; --i) {
      for (int k = 0; k < operands_; ++k) offset[k] += d_.strides[k][i];
      if (++index[i] < d_.dims[i]) return;
      for (int k = 0; k < operands_; ++k) offset[k] -= d_.dims[i] * d_.strides[k][i];
      index[i] = 0;
    }
  }

  const BroadcastDims& d_;
  const int operands_;
  const int64_t out_size_;
  int64_t total_ = 1;
  const char* in_[kMax];
  int64_t size_[kMax];
  Kind kind_[kMax];
  int64_t period_[kMax];
};

template <class T>
LAMELLA_NOINLINE void run_map(const Context& ctx, const Map<T>& map, const Walk<T>& walk, bool stream, void* out,
                              int64_t out_size, T s0, T s1) {
  const T scalars[2] = {s0, s1};
  parallel_range(ctx, walk.total(), grain(map.ns), [&](int64_t begin, int64_t end, int) {
    walk.run(stream ? map.stream : map.fn, begin, end, static_cast<char*>(out) + begin * out_size, scalars);
    if (stream) stream_fence();
  });
}

template <class T>
LAMELLA_INLINE void broadcast_map(const Context& ctx, const Map<T>& map, const BroadcastDims& dims,
                                  const void* const* in, T* out, T s0 = 0, T s1 = 0) {
  const Walk<T> walk(dims, map.operands, in);
  bool stream = walk.total() * static_cast<int64_t>(sizeof(T)) >= kStreamBytes;
  for (int k = 0; k < map.operands; ++k) stream = stream && in[k] != out;
  run_map(ctx, map, walk, stream, out, sizeof(T), s0, s1);
}

// All operands as long as the output.
template <class T>
LAMELLA_INLINE void flat_map(const Context& ctx, const Map<T>& map, int64_t n, const void* const* in, T* out, T s0 = 0,
                             T s1 = 0) {
  BroadcastDims d;
  d.rank = 1;
  d.dims[0] = n;
  for (int k = 0; k < map.operands; ++k) d.strides[k][0] = 1;
  broadcast_map(ctx, map, d, in, out, s0, s1);
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
