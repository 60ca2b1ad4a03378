// Affine warps. A stretch of an output row at a time: first where its pixels come from, and with which weights, then
// the sums; the first loop has no branches and the second no arithmetic on coordinates.
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr int kStretch = 64;

// Pixel i's sources: offsets of elements in the image, -1 for the fill value, and weights.
template <class T>
struct Taps {
  int32_t at[4][kStretch];
  T weight[4][kStretch];
  bool outside = false;  // whether an offset may be -1
};

// Where index i of an axis of n lies; -1 for the fill value.
LAMELLA_INLINE int32_t within(Border border, int32_t i, int32_t n) {
  if (i >= 0 && i < n) return i;
  switch (border) {
    case Border::kNearest:
      return i < 0 ? 0 : n - 1;
    case Border::kWrap: {
      const int32_t m = i % n;
      return m < 0 ? m + n : m;
    }
    case Border::kReflect: {
      const int64_t period = 2 * static_cast<int64_t>(n);
      int64_t m = i % period;
      if (m < 0) m += period;
      return static_cast<int32_t>(m < n ? m : period - 1 - m);
    }
    case Border::kConstant:
      break;
  }
  return -1;
}

template <class T>
LAMELLA_INLINE T bounded(T v) {
  constexpr T kFar = T(1 << 30);
  v = v > -kFar ? v : -kFar;  // NaN too
  return v < kFar ? v : kFar;
}
template <class T>
LAMELLA_INLINE int32_t floor_of(T v) {
  const int32_t i = static_cast<int32_t>(v);
  return i - (v < static_cast<T>(i) ? 1 : 0);
}

// The taps of output pixels j0 ... j0 + len - 1 of row i.
template <class T>
void find_taps(const WarpParams<T>& p, const T* m, int64_t i, int64_t j0, int len, Taps<T>& t) {
  const int32_t h = static_cast<int32_t>(p.h), w = static_cast<int32_t>(p.w), c = static_cast<int32_t>(p.c);
  const double half = p.bilinear ? 0.0 : 0.5;
  const T col0 = static_cast<T>(double(m[1]) * double(i) + double(m[2]) + half);
  const T row0 = static_cast<T>(double(m[4]) * double(i) + double(m[5]) + half);
  const T dcol = m[0], drow = m[3];
  int32_t x0[kStretch], x1[kStretch], y0[kStretch], y1[kStretch];
  int32_t beyond = 0;
  if (p.bilinear) {
    for (int l = 0; l < len; ++l) {
      const T j = static_cast<T>(static_cast<int32_t>(j0) + l);
      const T col = bounded(dcol * j + col0), row = bounded(drow * j + row0);
      const int32_t ix = floor_of(col), iy = floor_of(row);
      const T fx = col - static_cast<T>(ix), fy = row - static_cast<T>(iy);
      // Where nothing of a neighbour is wanted it may be NaN, infinite or beyond the border: it is not read, and the
      // pixel itself stands in its place with half of the weight.
      const int32_t jx = ix + (fx > T(0) ? 1 : 0), jy = iy + (fy > T(0) ? 1 : 0);
      const T ux = fx > T(0) ? fx : T(0.5), uy = fy > T(0) ? fy : T(0.5);
      x0[l] = ix;
      x1[l] = jx;
      y0[l] = iy;
      y1[l] = jy;
      t.weight[0][l] = (T(1) - uy) * (T(1) - ux);
      t.weight[1][l] = (T(1) - uy) * ux;
      t.weight[2][l] = uy * (T(1) - ux);
      t.weight[3][l] = uy * ux;
      beyond |= (ix < 0) | (jx >= w) | (iy < 0) | (jy >= h);
    }
  } else {
    for (int l = 0; l < len; ++l) {
      const T j = static_cast<T>(static_cast<int32_t>(j0) + l);
      const int32_t ix = floor_of(bounded(dcol * j + col0)), iy = floor_of(bounded(drow * j + row0));
      x0[l] = ix;
      y0[l] = iy;
      beyond |= (ix < 0) | (ix >= w) | (iy < 0) | (iy >= h);
    }
  }
  t.outside = false;
  if (beyond) {
    const auto place = [&](int32_t y, int32_t x) {
      const int32_t a = within(p.border, y, h), b = within(p.border, x, w);
      return a < 0 || b < 0 ? -1 : (a * w + b) * c;
    };
    t.outside = p.border == Border::kConstant;
    for (int l = 0; l < len; ++l) {
      t.at[0][l] = place(y0[l], x0[l]);
      if (!p.bilinear) continue;
      t.at[1][l] = place(y0[l], x1[l]);
      t.at[2][l] = place(y1[l], x0[l]);
      t.at[3][l] = place(y1[l], x1[l]);
    }
    return;
  }
  for (int l = 0; l < len; ++l) t.at[0][l] = (y0[l] * w + x0[l]) * c;
  if (!p.bilinear) return;
  for (int l = 0; l < len; ++l) {
    t.at[1][l] = (y0[l] * w + x1[l]) * c;
    t.at[2][l] = (y1[l] * w + x0[l]) * c;
    t.at[3][l] = (y1[l] * w + x1[l]) * c;
  }
}

// Sums for `len` pixels of C channels (C 0: of c).
template <int C, class T>
LAMELLA_INLINE void mix(const Taps<T>& t, const T* image, int len, int64_t c, T* y) {
  const int64_t channels = C ? C : c;
  for (int l = 0; l < len; ++l) {
    const T *a = image + t.at[0][l], *b = image + t.at[1][l], *d = image + t.at[2][l], *e = image + t.at[3][l];
    const T wa = t.weight[0][l], wb = t.weight[1][l], wd = t.weight[2][l], we = t.weight[3][l];
    T* to = y + l * channels;
    if constexpr (C == 0) {
      for_each_vec<T>(0, channels, [&](int64_t ch, auto step) {
        const Vec<T> top = load(a + ch, step) * Vec<T>(wa) + load(b + ch, step) * Vec<T>(wb);
        store(to + ch, top + load(d + ch, step) * Vec<T>(wd) + load(e + ch, step) * Vec<T>(we), step);
      });
    } else {
      for (int ch = 0; ch < C; ++ch) to[ch] = a[ch] * wa + b[ch] * wb + d[ch] * wd + e[ch] * we;
    }
  }
}

template <class T>
LAMELLA_NOINLINE void mix_with_fill(const Taps<T>& t, const T* image, int len, int64_t c, T fill, T* y) {
  for (int l = 0; l < len; ++l) {
    for (int64_t ch = 0; ch < c; ++ch) {
      T sum = 0;
      for (int k = 0; k < 4; ++k) {
        sum += t.weight[k][l] * (t.at[k][l] < 0 ? fill : image[t.at[k][l] + ch]);
      }
      y[l * c + ch] = sum;
    }
  }
}

template <class T>
LAMELLA_INLINE void pick(const Taps<T>& t, const T* image, int len, int64_t c, T fill, T* y) {
  for (int l = 0; l < len; ++l) {
    const int32_t at = t.at[0][l];
    if (c == 1) {
      y[l] = at < 0 ? fill : image[at];
    } else {
      for (int64_t ch = 0; ch < c; ++ch) y[l * c + ch] = at < 0 ? fill : image[at + ch];
    }
  }
}

// Whether row i of the output is a piece of a row of the input: where it begins, or nullptr.
template <class T>
LAMELLA_INLINE const T* straight(const WarpParams<T>& p, const T* m, int64_t i, const T* image) {
  if (!(m[0] == T(1) && m[1] == T(0) && m[3] == T(0) && m[4] == T(1))) return nullptr;
  if (!(m[2] >= T(0) && m[2] <= T(p.w - p.ow) && m[5] + T(i) >= T(0) && m[5] + T(i) <= T(p.h - 1))) return nullptr;
  const int64_t col = static_cast<int64_t>(m[2]), row = static_cast<int64_t>(m[5]) + i;
  if (T(col) != m[2] || T(row - i) != m[5]) return nullptr;
  return image + (row * p.w + col) * p.c;
}

template <class T>
void warp(const Context& ctx, const WarpParams<T>& p) {
  if (p.n * p.oh * p.ow * p.c == 0) return;
  const int64_t per_task = 1 + grain(p.bilinear ? 4.0 : 2.0) / (p.ow * (1 + p.c / 4));
  parallel_range(ctx, p.n * p.oh, per_task, [&](int64_t begin, int64_t end, int) {
    Taps<T> taps;
    for (int64_t r = begin; r < end; ++r) {
      const int64_t k = r / p.oh, i = r % p.oh;
      const T* image = p.x + k * p.h * p.w * p.c;
      const T* m = p.matrix + 6 * k;
      T* y = p.y + r * p.ow * p.c;
      if (const T* row = straight(p, m, i, image)) {
        std::memcpy(y, row, sizeof(T) * static_cast<size_t>(p.ow * p.c));
        continue;
      }
      for (int64_t j = 0; j < p.ow; j += kStretch) {
        const int len = static_cast<int>(p.ow - j < kStretch ? p.ow - j : kStretch);
        find_taps(p, m, i, j, len, taps);
        T* to = y + j * p.c;
        if (!p.bilinear) {
          pick(taps, image, len, p.c, p.fill, to);
        } else if (taps.outside) {
          mix_with_fill(taps, image, len, p.c, p.fill, to);
        } else if (p.c == 1) {
          mix<1>(taps, image, len, p.c, to);
        } else if (p.c == 3) {
          mix<3>(taps, image, len, p.c, to);
        } else {
          mix<0>(taps, image, len, p.c, to);
        }
      }
    }
  });
}

// Each image's gradient is summed by one thread, in the order of the output's pixels.
template <class T>
void warp_backward(const Context& ctx, const WarpParams<T>& p) {
  const int64_t size = p.h * p.w * p.c;
  if (p.n * size == 0) return;
  const int64_t per_task = 1 + grain(6.0) / (p.oh * p.ow * (1 + p.c / 4) + size / 8 + 1);
  parallel_range(ctx, p.n, per_task, [&](int64_t begin, int64_t end, int) {
    Taps<T> taps;
    for (int64_t k = begin; k < end; ++k) {
      T* dx = p.y + k * size;
      std::memset(dx, 0, sizeof(T) * static_cast<size_t>(size));
      for (int64_t i = 0; i < p.oh; ++i) {
        const T* dy = p.x + (k * p.oh + i) * p.ow * p.c;
        for (int64_t j = 0; j < p.ow; j += kStretch) {
          const int len = static_cast<int>(p.ow - j < kStretch ? p.ow - j : kStretch);
          find_taps(p, p.matrix + 6 * k, i, j, len, taps);
          for (int l = 0; l < len; ++l) {
            const T* g = dy + (j + l) * p.c;
            for (int q = 0; q < (p.bilinear ? 4 : 1); ++q) {
              const T weight = p.bilinear ? taps.weight[q][l] : T(1);
              if (taps.at[q][l] < 0) continue;
              T* to = dx + taps.at[q][l];
              for (int64_t ch = 0; ch < p.c; ++ch) to[ch] += weight * g[ch];
            }
          }
        }
      }
    }
  });
}

template <class T>
void fill_typed(AugmentKernels<T>& k) {
  k.warp = warp<T>;
  k.warp_backward = warp_backward<T>;
}

}  // namespace

void fill_warp(AugmentKernels<float>& k) { fill_typed(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_warp(AugmentKernels<double>& k) { fill_typed(k); }
#endif

}  // namespace lamella::LAMELLA_NS
