// What forward and backward of the recurrent layers share: weights packed for the products of one step, rows of a
// batch on their way through time, and how the work is split.
//
// Units are dealt out in chunks of kRnnUnits, the width of one panel of packed weights. The gates of a chunk lie side
// by side: one product gives all gates of its units, and the cell is computed on them while they are in L1.
// No element of a result depends on how rows or chunks are split, so the split may follow the number of threads.
#pragma once

#include "kernels/cpu/gemm_core.h"
#include "kernels/cpu/lockstep.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/unroll_inl.h"
#include "kernels/rnn.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
inline constexpr int64_t kRnnUnits = kGemmNR<T>;

constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
template <class T>
constexpr int64_t rnn_chunks(int64_t h) {
  return ceil_div(h, kRnnUnits<T>);
}
// Buffers start on cache lines.
constexpr int64_t line_up(int64_t elements) { return (elements + 15) / 16 * 16; }

// ---- rows, masks, order --------------------------------------------------------------------------------------------

template <class T>
LAMELLA_INLINE int64_t rnn_row(const RnnParams<T>& p, int64_t n, int64_t t) {
  return p.time_major ? t * p.n + n : n * p.t + t;
}
// The time of the s-th step taken.
template <class T>
LAMELLA_INLINE int64_t rnn_time(const RnnParams<T>& p, const RnnDirection<T>& d, int64_t s) {
  return d.reverse ? p.t - 1 - s : s;
}
// Where y and states keep the s-th step.
template <class T>
LAMELLA_INLINE int64_t rnn_place(const RnnParams<T>& p, const RnnDirection<T>& d, int64_t s) {
  return p.processing_order ? s : rnn_time(p, d, s);
}
template <class T>
LAMELLA_INLINE bool rnn_active(const RnnParams<T>& p, int64_t n, int64_t t) {
  if (p.mask != nullptr) return p.mask[rnn_row(p, n, t)] != 0;
  if (p.lengths64 != nullptr) return t < p.lengths64[n];
  if (p.lengths32 != nullptr) return t < p.lengths32[n];
  return true;
}

// ---- weights -------------------------------------------------------------------------------------------------------

// Gates whose products share their left operand: all of them, but for a GRU that resets before the product, whose n
// needs (r * h) first.
struct RnnPart {
  int64_t first, gates;
};
template <class T>
LAMELLA_INLINE int rnn_parts(const RnnParams<T>& p, RnnPart (&part)[2]) {
  part[0] = {0, rnn_gates(p.cell)};
  if (p.cell != RnnCell::kGru || p.reset_after) return 1;
  part[0].gates = 2;
  part[1] = {2, 1};
  return 2;
}

// C[m, units of chunks [c0, c1)] (+)= A B (+ bias), gate after gate.
//   packed   b: k x (chunk, gate, unit) in panels. Element (chunk q, gate g, unit j) of C is at
//            c + ((q - c0)*gates + g)*kRnnUnits + j, that of bias likewise
//   plain    b: k x (gate, unit), ldb. Gate g of unit u is at c + g*h + u - c0*kRnnUnits, that of bias likewise
template <class T>
struct RnnProduct {
  const T* b;
  int64_t ldb;  // 0: packed
  int64_t k, h, gates;
  bool chunked = false;  // plain, but C and bias as if packed
};
template <class T>
LAMELLA_INLINE void rnn_product(const RnnProduct<T>& w, int64_t m, const T* a, int64_t lda, int64_t c0, int64_t c1,
                                T* c, int64_t ldc, const T* bias, bool accumulate = false) {
  constexpr int64_t U = kRnnUnits<T>;
  const int64_t kc_max = gemm_kc<T>(w.k), width = rnn_chunks<T>(w.h) * w.gates * U, mr = gemm_mr<T>(m);
  int64_t p0 = 0;
  do {  // once even when k is 0
    const int64_t kc = least(kc_max, w.k - p0);
    GemmEpilogue<T> e;
    e.beta = accumulate || p0 > 0 ? T(1) : T(0);
    const T* last_bias = p0 + kc >= w.k ? bias : nullptr;
    const GemmA<T> rows = gemm_plain_a(a + p0, lda, 1, mr);
    const auto columns = [&](int64_t n, const GemmB<T>& b, int64_t at) __attribute__((always_inline)) {
      e.bias = last_bias == nullptr ? nullptr : last_bias + at;
      gemm_macro(m, n, kc, rows, b, c + at, ldc, e);
    };
    if (w.ldb == 0) {
      const T* b = w.b + p0 * width + c0 * w.gates * U * kc;
      const int64_t whole = (least(c1 * U, w.h) / U - c0) * w.gates;
      if (whole > 0) columns(whole * U, gemm_packed_b(b, kc), 0);
      if (c1 * U > w.h)
        for (int64_t g = 0; g < w.gates; ++g)
          columns(w.h % U, gemm_packed_b(b + (whole + g) * U * kc, kc), (whole + g) * U);
    } else if (w.chunked) {
      for (int64_t q = c0; q < c1; ++q)
        for (int64_t g = 0; g < w.gates; ++g)
          columns(least(U, w.h - q * U), gemm_plain_b(w.b + p0 * w.ldb + g * w.h + q * U, w.ldb),
                  ((q - c0) * w.gates + g) * U);
    } else {
      for (int64_t g = 0; g < w.gates; ++g)
        columns(least(c1 * U, w.h) - c0 * U, gemm_plain_b(w.b + p0 * w.ldb + g * w.h + c0 * U, w.ldb), g * w.h);
    }
    p0 += kc_max;
  } while (p0 < w.k);
}

// Elements of a packed k x (gates of h units) matrix, and packing its chunks [c0, c1). src: row stride ld.
template <class T>
constexpr int64_t rnn_packed_matrix(int64_t k, int64_t h, int64_t gates) {
  return line_up(rnn_chunks<T>(h) * gates * kRnnUnits<T> * k);
}
// P neighbouring panels side by side: a run of memory that the hardware fetches ahead, which 2 vectors a row are not.
template <class T, int P>
LAMELLA_INLINE void rnn_pack_panels(int64_t kc, const T* src, int64_t ld, T* dst, int64_t panel) {
  constexpr int W = Vec<T>::W;
  for (int64_t p = 0; p < kc; ++p, src += ld, dst += kRnnUnits<T>)
    unroll<P>(LAMELLA_UNROLLED(i) {
      for (int64_t j = 0; j < kRnnUnits<T>; j += W)
        Vec<T>::load(src + i.value * kRnnUnits<T> + j).store(dst + i.value * panel + j);
    });
}
template <class T>
LAMELLA_INLINE void rnn_pack_matrix(int64_t k, int64_t h, int64_t gates, const T* src, int64_t ld, int64_t c0,
                                    int64_t c1, T* dst) {
  constexpr int64_t U = kRnnUnits<T>;
  const int64_t kc_max = gemm_kc<T>(k), width = rnn_chunks<T>(h) * gates * U;
  for (int64_t p0 = 0; p0 < k; p0 += kc_max) {
    const int64_t kc = least(kc_max, k - p0);
    for (int64_t g = 0; g < gates; ++g) {
      const T* from = src + p0 * ld + g * h;
      T* to = dst + p0 * width + g * U * kc;
      int64_t q = c0;
      for (; q + 4 <= c1 && (q + 4) * U <= h; q += 4)
        rnn_pack_panels<T, 4>(kc, from + q * U, ld, to + q * gates * U * kc, gates * U * kc);
      for (; q < c1; ++q) gemm_pack_b(kc, least(U, h - q * U), from + q * U, ld, 1, to + q * gates * U * kc);
    }
  }
}

// ---- splitting the work --------------------------------------------------------------------------------------------

// Rows of the batch are independent: each task takes some through all of time, with no waiting (blocks). When there are
// too few of them for the threads, and weights so many that a step is worth a meeting, each step is split by units.
struct RnnSplit {
  bool units = false;
  int64_t rows = 0;    // per block
  int64_t blocks = 0;  // per direction
  int64_t ranges = 0;  // of chunks, when split by units
  int threads = 1;     // that take part: scratch is per thread
};

constexpr int64_t kRnnMaxRows = 32;

template <class T>
LAMELLA_INLINE RnnSplit rnn_split(const RnnParams<T>& p, int threads) {
  // Nanoseconds, roughly: 100 flops or 100 bytes of weights from L2 each.
  const double weights = static_cast<double>(rnn_gates(p.cell) * p.h * p.h),
               all_rows = static_cast<double>(p.n * p.directions);
  const double per_row = weights * 0.02, stream = weights * sizeof(T) * 0.01;
  RnnSplit s;
  const double total =
      all_rows * static_cast<double>(p.t) * per_row * (1.0 + static_cast<double>(p.in) / static_cast<double>(p.h));
  s.threads = total < 30000.0 || threads < 1 ? 1 : threads;
  const int64_t wanted = ceil_div(s.threads, p.directions);
  s.blocks = most(ceil_div(p.n, kRnnMaxRows), least(wanted, p.n));
  s.rows = s.blocks > 0 ? ceil_div(p.n, s.blocks) : 0;
  s.blocks = s.rows > 0 ? ceil_div(p.n, s.rows) : 0;
  if (s.threads == 1 || p.n == 0) return s;

  const int64_t ranges = least(least(s.threads, rnn_chunks<T>(p.h)), kLockstepRanges);
  const double meeting = 200.0 + 50.0 * static_cast<double>(ranges);
  const auto step = [&](double rows) { return rows * per_row > stream ? rows * per_row : stream; };
  const double by_rows =
      step(static_cast<double>(s.rows)) * static_cast<double>(ceil_div(s.blocks * p.directions, s.threads));
  const double by_units = step(static_cast<double>(p.n)) * p.directions / static_cast<double>(ranges) + meeting;
  if (by_units < by_rows) {
    s.units = true;
    s.ranges = ranges;
    s.rows = p.n;
    s.blocks = 1;
  }
  return s;
}
// Chunks of range r.
template <class T>
LAMELLA_INLINE int64_t rnn_range_begin(const RnnSplit& s, int64_t h, int64_t r) {
  return rnn_chunks<T>(h) * r / s.ranges;
}

// Asks for the lines of n elements, to be read or written.
template <bool kWrite = false, class T>
LAMELLA_INLINE void rnn_fetch(const T* p, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(p + i, kWrite ? 1 : 0);
}
// Split by units, half of a state comes from another core's cache: its lines are asked for at once, up to so many
// elements, instead of one after the other as the product comes to them.
template <class T>
inline constexpr int64_t kRnnFetch = 8192 / sizeof(T);

// A bump allocator over the workspace; with no base it only counts.
template <class T>
struct RnnArena {
  T* base;
  int64_t used = 0;
  T* take(int64_t elements) {
    T* p = base == nullptr ? nullptr : base + used;
    used += line_up(elements);
    return p;
  }
};

}  // namespace

#define LAMELLA_RNN(T)                                             \
  int64_t rnn_packed_size(const RnnParams<T>&);                    \
  void rnn_pack(const Context&, const RnnParams<T>&, int, T*);     \
  size_t rnn_forward_workspace(const RnnParams<T>&, int);          \
  void rnn_forward(const Context&, const RnnParams<T>&);           \
  size_t rnn_backward_workspace(const RnnBackwardParams<T>&, int); \
  void rnn_backward(const Context&, const RnnBackwardParams<T>&);
LAMELLA_RNN(float)
#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_RNN(double)
#endif
#undef LAMELLA_RNN

}  // namespace lamella::LAMELLA_NS
