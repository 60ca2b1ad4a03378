// Index of the first extremum; a NaN counts as the extremum, as in NumPy.
#include "kernels/cpu/reduce_inl.h"
#include "kernels/cpu/reduce_parts.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr int64_t kPiece = 16384;

template <class T, bool Largest>
struct Better;
template <class T>
struct Better<T, true> : MaxOf {
  static bool than(T a, T b) { return a > b || (a != a && b == b); }
  static Mask<T> than(Vec<T> a, Vec<T> b) { return gt(a, b) | (is_nan(a) & !is_nan(b)); }
};
template <class T>
struct Better<T, false> : MinOf {
  static bool than(T a, T b) { return a < b || (a != a && b == b); }
  static Mask<T> than(Vec<T> a, Vec<T> b) { return lt(a, b) | (is_nan(a) & !is_nan(b)); }
};

// The first position of `value` (which is there) among n.
template <bool kNan, class T>
int64_t find(const T* x, int64_t n, T value) {
  constexpr int W = Vec<T>::W;
  constexpr T lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Vec<T> v(value);
  const auto here = [&](Vec<T> a) { return kNan ? is_nan(a) : eq(a, v); };
  int64_t i = 0;
  while (i + 4 * W <= n) {
    const Mask<T> low = here(Vec<T>::load(x + i)) | here(Vec<T>::load(x + i + W));
    const Mask<T> high = here(Vec<T>::load(x + i + 2 * W)) | here(Vec<T>::load(x + i + 3 * W));
    if ((low | high).any()) break;
    i += 4 * W;
  }
  for (;; i += W) {
    const Mask<T> m = here(Vec<T>::load(x + i, n - i));
    // Past the end lanes read as 0; a match there comes after the real one.
    if (m.any()) return i + static_cast<int64_t>(MinOf::lanes(select(m, Vec<T>::load(lane), Vec<T>(T(W)))));
  }
}
template <class T>
int64_t find(const T* x, int64_t n, T value) {
  return value != value ? find<true>(x, n, value) : find<false>(x, n, value);
}

int64_t piece_count(int64_t length) { return (length + kPiece - 1) / kPiece; }

template <class T>
size_t arg_workspace(const ArgParams<T>& p, int) {
  const int64_t pieces = piece_count(p.length);
  return p.inner > 1 || pieces == 1 ? 0 : static_cast<size_t>(p.outer * pieces) * (sizeof(int64_t) + sizeof(T));
}

template <class T, bool Largest>
void arg_rows(const Context& ctx, const ArgParams<T>& p) {
  using Op = Better<T, Largest>;
  const int64_t pieces = piece_count(p.length);
  int64_t* index = pieces == 1 ? p.y : static_cast<int64_t*>(ctx.workspace);
  T* value = reinterpret_cast<T*>(index + p.outer * pieces);
  const int64_t work = pieces == 1 ? p.length : kPiece;
  parallel_range(ctx, p.outer * pieces, (grain(0.3) + work - 1) / work, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t at = t % pieces * kPiece;
      const T* x = p.x + t / pieces * p.length + at;
      const int64_t n = p.length - at < kPiece ? p.length - at : kPiece;
      const T best = reduce_run<Op>(x, n);
      index[t] = at + find(x, n, best);
      if (pieces > 1) value[t] = best;
    }
  });
  if (pieces == 1) return;
  for (int64_t o = 0; o < p.outer; ++o) {
    int64_t best = o * pieces;
    for (int64_t t = best + 1; t < (o + 1) * pieces; ++t)
      if (Op::than(value[t], value[best])) best = t;
    p.y[o] = index[best];
  }
}

template <class T, bool Largest>
void arg_columns(const Context& ctx, const ArgParams<T>& p) {
  using Op = Better<T, Largest>;
  using I = typename IntOf<T>::type;
  constexpr int W = Vec<T>::W;
  const int64_t blocks = (p.inner + W - 1) / W;
  const int64_t work = p.length * W;
  parallel_range(ctx, p.outer * blocks, (grain(0.5) + work - 1) / work, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t o = t / blocks, col = t % blocks * W;
      const int64_t n = p.inner - col < W ? p.inner - col : W;
      const T* x = p.x + o * p.length * p.inner + col;
      Vec<T> best = Vec<T>::load(x, n);
      IVec<T> at(I(0));
      for (int64_t i = 1; i < p.length; ++i) {
        const Vec<T> v = Vec<T>::load(x + i * p.inner, n);
        const Mask<T> m = Op::than(v, best);
        best = select(m, v, best);
        at = select(m, IVec<T>(static_cast<I>(i)), at);
      }
      I lanes[W];
      at.store(lanes);
      for (int64_t j = 0; j < n; ++j) p.y[o * p.inner + col + j] = lanes[j];
    }
  });
}

template <class T>
void arg(const Context& ctx, const ArgParams<T>& p) {
  if (p.outer == 0 || p.inner == 0) return;
  if (p.inner == 1) {
    p.largest ? arg_rows<T, true>(ctx, p) : arg_rows<T, false>(ctx, p);
  } else {
    p.largest ? arg_columns<T, true>(ctx, p) : arg_columns<T, false>(ctx, p);
  }
}

template <class T>
void fill_part(ReduceKernels<T>& k) {
  k.arg_workspace = arg_workspace<T>;
  k.arg = arg<T>;
}

}  // namespace

void fill_arg(ReduceKernels<float>& k) { fill_part(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_arg(ReduceKernels<double>& k) { fill_part(k); }
#endif

}  // namespace lamella::LAMELLA_NS
