// Layer norm and RMS norm: statistics of each row, from the cache after the first pass over it.
#include "kernels/cpu/norm_columns.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

// Sums of a row in blocks, each with four vectors of partial sums, so that the error grows with d / 4096 at most.
constexpr int64_t kRowBlock = 4096;

// term(j, lanes, acc) adds a vector's terms to acc[0..Sums).
template <class T, int Sums, class Term>
LAMELLA_INLINE void row_sums(int64_t d, T (&total)[Sums], const Term& term) {
  constexpr int W = Vec<T>::W;
  for (int s = 0; s < Sums; ++s) total[s] = 0;
  for (int64_t block = 0; block < d; block += kRowBlock) {
    const int64_t end = block + kRowBlock < d ? block + kRowBlock : d;
    Vec<T> acc[4][Sums];
    for (int u = 0; u < 4; ++u)
      for (int s = 0; s < Sums; ++s) acc[u][s] = Vec<T>::zero();
    for_vectors<T, 4>(block, end, [&](int64_t j, int64_t lanes, auto count) {
      for (int u = 0; u < decltype(count)::value; ++u) term(j + u * W, lanes, acc[u]);
    });
    for (int s = 0; s < Sums; ++s) total[s] += sum((acc[0][s] + acc[1][s]) + (acc[2][s] + acc[3][s]));
  }
}

// The first `lanes` lanes of v, zero elsewhere.
template <class T>
LAMELLA_INLINE Vec<T> only(Vec<T> v, int64_t lanes) {
  if (lanes >= Vec<T>::W) return v;
  T keep[Vec<T>::W] = {};
  v.store(keep, lanes);
  return Vec<T>::load(keep);
}

// Short rows are taken side by side: each waits for its sums' last additions, a root and a division, which another
// fills, and they share the loads of gamma and beta. Their accumulators have to fit the registers. The prefetchers of
// the hardware follow one row better than two, so longer rows and what comes from memory are taken one by one.
template <class T>
constexpr int kRowsTogether = Vec<T>::W >= 16 ? 2 : 1;
constexpr int64_t kTogetherLength = 512;

template <class T, bool kCenter>
struct RowForward {
  const RowNormParams<T>& p;
  bool stream;

  // Rows [r, r + R); none of them depends on R.
  template <int R>
  LAMELLA_INLINE void rows(int64_t r) const {
    constexpr int W = Vec<T>::W;
    const int64_t ld = p.d;
    const T* x = p.x + r * ld;
    T* y = p.y + r * ld;
    const T d = static_cast<T>(ld);
    T mean[R], rest[R], square[R];
    if constexpr (kCenter) {
      T total[R];
      row_sums<T, R>(ld, total, [&](int64_t j, int64_t lanes, Vec<T>(&acc)[R]) {
        for (int q = 0; q < R; ++q) acc[q] = acc[q] + load_lanes(x + q * ld + j, lanes);
      });
      for (int q = 0; q < R; ++q) mean[q] = total[q] / d;
      // The rows are in L1 now: the time goes into fetching the next ones, unless these are so long that they would
      // push these out.
      const int64_t next = ld * int64_t{sizeof(T)} <= 8192 ? R * ld : 0;
      // What the sum lost of the mean, and the squares around it.
      T around[2 * R];
      row_sums<T, 2 * R>(ld, around, [&](int64_t j, int64_t lanes, Vec<T>(&acc)[2 * R]) {
        for (int q = 0; q < R; ++q) {
          __builtin_prefetch(x + q * ld + j + next);
          const Vec<T> v = only(load_lanes(x + q * ld + j, lanes) - Vec<T>(mean[q]), lanes);
          acc[2 * q] = acc[2 * q] + v;
          acc[2 * q + 1] = fma(v, v, acc[2 * q + 1]);
        }
      });
      for (int q = 0; q < R; ++q) {
        rest[q] = around[2 * q] / d;
        square[q] = around[2 * q + 1] / d - rest[q] * rest[q];
      }
    } else {
      T total[R];
      row_sums<T, R>(ld, total, [&](int64_t j, int64_t lanes, Vec<T>(&acc)[R]) {
        for (int q = 0; q < R; ++q) {
          const Vec<T> v = load_lanes(x + q * ld + j, lanes);
          acc[q] = fma(v, v, acc[q]);
        }
      });
      for (int q = 0; q < R; ++q) {
        mean[q] = rest[q] = 0;
        square[q] = total[q] / d;
      }
    }
    Vec<T> m[R], scale[R], shift[R];
    for (int q = 0; q < R; ++q) {
      const T inv = static_cast<T>(1 / __builtin_sqrt(static_cast<double>(square[q]) + p.eps));
      if (p.mean) p.mean[r + q] = mean[q] + rest[q];
      if (p.inv_std) p.inv_std[r + q] = inv;
      m[q] = Vec<T>(mean[q]);
      scale[q] = Vec<T>(inv);
      shift[q] = Vec<T>(-rest[q] * inv);
    }
    for_vectors<T, 4>(0, ld, [&](int64_t j, int64_t lanes, auto count) {
      for (int u = 0; u < decltype(count)::value; ++u) {
        const int64_t f = j + u * W;
        const Vec<T> gamma = p.gamma ? load_lanes(p.gamma + f, lanes) : Vec<T>::zero();
        const Vec<T> beta = p.beta ? load_lanes(p.beta + f, lanes) : Vec<T>::zero();
        for (int q = 0; q < R; ++q) {
          Vec<T> v = load_lanes(x + q * ld + f, lanes);
          v = kCenter ? fma(v - m[q], scale[q], shift[q]) : v * scale[q];
          if (p.gamma && p.beta) {
            v = fma(v, gamma, beta);
          } else if (p.gamma) {
            v = v * gamma;
          } else if (p.beta) {
            v = v + beta;
          }
          T* to = y + q * ld + f;
          if (lanes < W) {
            v.store(to, lanes);
          } else if (stream) {
            v.stream(to);
          } else {
            v.store(to);
          }
        }
      }
    });
  }
};

template <class T, bool kCenter>
void row_norm(const Context& ctx, const RowNormParams<T>& p) {
  if (p.rows * p.d == 0) return;
  const int64_t bytes = p.rows * p.d * static_cast<int64_t>(sizeof(T));
  // Layer norm counts x and y together, as x goes through the caches too: where both just do not fit, or not beside
  // what else is there, reading the lines of y before they are written costs more than the caches save. RMS norm, a
  // pass less, gains more from the caches.
  const bool far = (kCenter ? 2 : 1) * bytes >= kStreamBytes;
  const RowForward<T, kCenter> f{p, far && p.d % Vec<T>::W == 0 && vector_aligned(p.y)};
  parallel_range(ctx, p.rows, 1 + grain(0.3) / (p.d + 32), [&](int64_t begin, int64_t end, int) {
    constexpr int R = kRowsTogether<T>;
    int64_t r = begin;
    if constexpr (R > 1)
      if (p.d <= kTogetherLength && !far)
        for (; r + R <= end; r += R) f.template rows<R>(r);
    for (; r < end; ++r) f.template rows<1>(r);
    stream_fence();
  });
}

// ---- backward ------------------------------------------------------------------------------------------------------

// With z = (x - mean) * inv_std and h = gamma * g: grad_in = inv_std * (h - mean(h) - z * mean(h * z)), without mean(h)
// for RMS norm. grad_gamma = sum over rows of g * z, grad_beta = sum of g: added up per chunk of rows, then over
// chunks.
LAMELLA_INLINE int64_t rows_per_chunk(int64_t d) { return 32768 / (d + 1) < 16 ? 16 : 32768 / (d + 1); }

template <class T, bool kCenter>
struct RowBackward {
  const RowNormBackwardParams<T>& p;
  bool stream;

  LAMELLA_INLINE Vec<T> normal(int64_t at, int64_t lanes, Vec<T> mean, Vec<T> inv) const {
    const Vec<T> v = load_lanes(p.x + at, lanes);
    return (kCenter ? v - mean : v) * inv;
  }

  template <bool kGamma>
  LAMELLA_INLINE void input(int64_t r) const {
    constexpr int W = Vec<T>::W;
    const int64_t base = r * p.d;
    const Vec<T> mean(kCenter ? p.mean[r] : T(0)), inv(p.inv_std[r]);
    T total[2];
    row_sums<T, 2>(p.d, total, [&](int64_t j, int64_t lanes, Vec<T>(&acc)[2]) {
      Vec<T> h = load_lanes(p.grad_out + base + j, lanes);
      if constexpr (kGamma) h = h * load_lanes(p.gamma + j, lanes);
      if constexpr (kCenter) acc[0] = acc[0] + h;
      acc[1] = fma(h, normal(base + j, lanes, mean, inv), acc[1]);
    });
    const T d = static_cast<T>(p.d);
    const Vec<T> a(total[0] / d), b(total[1] / d);
    for_vectors<T, 4>(0, p.d, [&](int64_t j, int64_t lanes, auto count) {
      for (int u = 0; u < decltype(count)::value; ++u) {
        const int64_t f = base + j + u * W;
        Vec<T> h = load_lanes(p.grad_out + f, lanes);
        if constexpr (kGamma) h = h * load_lanes(p.gamma + j + u * W, lanes);
        if constexpr (kCenter) h = h - a;
        const Vec<T> v = fnma(normal(f, lanes, mean, inv), b, h) * inv;
        if (lanes < W) {
          v.store(p.grad_in + f, lanes);
        } else if (stream) {
          v.stream(p.grad_in + f);
        } else {
          v.store(p.grad_in + f);
        }
      }
    });
  }

  // Adds the row to sums[0, d) (g * z) and sums[d, 2d) (g).
  LAMELLA_INLINE void parameters(int64_t r, T* sums) const {
    constexpr int W = Vec<T>::W;
    const int64_t base = r * p.d;
    const Vec<T> mean(kCenter ? p.mean[r] : T(0)), inv(p.inv_std[r]);
    for_vectors<T, 4>(0, p.d, [&](int64_t j, int64_t lanes, auto count) {
      for (int u = 0; u < decltype(count)::value; ++u) {
        const int64_t f = j + u * W;
        const Vec<T> g = load_lanes(p.grad_out + base + f, lanes);
        store_lanes(fma(g, normal(base + f, lanes, mean, inv), load_lanes(sums + f, lanes)), sums + f, lanes);
        if (p.grad_beta) store_lanes(g + load_lanes(sums + p.d + f, lanes), sums + p.d + f, lanes);
      }
    });
  }

  LAMELLA_NOINLINE void chunk(int64_t begin, int64_t end, T* sums) const {
    if (sums) std::memset(sums, 0, sizeof(T) * static_cast<size_t>(2 * p.d));
    for (int64_t r = begin; r < end; ++r) {
      if (p.grad_in) {
        if (p.gamma) {
          input<true>(r);
        } else {
          input<false>(r);
        }
      }
      if (sums) parameters(r, sums);
    }
  }
};

template <class T>
size_t row_norm_backward_workspace(const RowNormBackwardParams<T>& p, int) {
  if (!p.grad_gamma && !p.grad_beta) return 0;
  const int64_t step = rows_per_chunk(p.d), chunks = (p.rows + step - 1) / step;
  return sizeof(T) * static_cast<size_t>(chunks * 2 * p.d);
}

template <class T, bool kCenter>
void row_norm_backward(const Context& ctx, const RowNormBackwardParams<T>& p) {
  const int64_t bytes = p.rows * p.d * static_cast<int64_t>(sizeof(T));
  const RowBackward<T, kCenter> b{
      p, p.grad_in && bytes >= kStreamBytes && p.d % Vec<T>::W == 0 && vector_aligned(p.grad_in)};
  const int64_t step = rows_per_chunk(p.d), chunks = (p.rows + step - 1) / step;
  T* sums = p.grad_gamma || p.grad_beta ? static_cast<T*>(ctx.workspace) : nullptr;
  parallel_for(ctx, chunks, [&](int64_t k, int) {
    const int64_t begin = k * step, end = begin + step < p.rows ? begin + step : p.rows;
    b.chunk(begin, end, sums ? sums + k * 2 * p.d : nullptr);
    stream_fence();
  });
  if (sums == nullptr) return;
  constexpr int64_t kColumns = 64;
  const auto fold = [&](T* out, const T* from, int64_t j0, int64_t j1) {
    double total[kColumns] = {};
    for (int64_t k = 0; k < chunks; ++k)
      for (int64_t j = j0; j < j1; ++j) total[j - j0] += static_cast<double>(from[k * 2 * p.d + j]);
    for (int64_t j = j0; j < j1; ++j) out[j] = static_cast<T>(total[j - j0]);
  };
  parallel_range(ctx, (p.d + kColumns - 1) / kColumns, 1 + 256 / (chunks + 1), [&](int64_t from, int64_t to, int) {
    for (int64_t block = from; block < to; ++block) {
      const int64_t j0 = block * kColumns, j1 = j0 + kColumns < p.d ? j0 + kColumns : p.d;
      if (p.grad_gamma) fold(p.grad_gamma, sums, j0, j1);
      if (p.grad_beta) fold(p.grad_beta, sums + p.d, j0, j1);
    }
  });
}

template <class T>
void fill_rows(NormKernels<T>& k) {
  k.layer_norm = row_norm<T, true>;
  k.rms_norm = row_norm<T, false>;
  k.row_norm_backward_workspace = row_norm_backward_workspace<T>;
  k.layer_norm_backward = row_norm_backward<T, true>;
  k.rms_norm_backward = row_norm_backward<T, false>;
}

}  // namespace

void fill_row_norm(NormKernels<float>& k) { fill_rows(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_row_norm(NormKernels<double>& k) { fill_rows(k); }
#endif

}  // namespace lamella::LAMELLA_NS
