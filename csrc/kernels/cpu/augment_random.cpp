// What is drawn for each image: matrices of warps, colours, rectangles. Image k draws from words 12 k ... 12 k + 11 of
// the stream; noise comes from words far behind them.
#include "kernels/cpu/normal.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/philox_words.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr int64_t kWordsPerImage = 12;
constexpr int64_t kNoiseWords = int64_t{1} << 48;

// The draws of one image, in double: they are few, and the same bits on every ISA level.
class Draws {
 public:
  Draws(PhiloxKey key, int64_t image) { next_ = words_.get(key, image * kWordsPerImage, kWordsPerImage); }
  LAMELLA_INLINE double unit() { return static_cast<double>(*next_++) * 0x1p-32; }  // [0, 1)
  LAMELLA_INLINE double in(Range r) { return r.low + (r.high - r.low) * unit(); }
  LAMELLA_INLINE int64_t below(int64_t n) { return static_cast<int64_t>(unit() * static_cast<double>(n)); }

 private:
  Words words_;
  const uint32_t* next_ = nullptr;
};

template <class T>
void random_affine(const Context& ctx, const RandomAffineParams<T>& p) {
  parallel_range(ctx, p.n, 128, [&](int64_t begin, int64_t end, int) {
    for (int64_t k = begin; k < end; ++k) {
      Draws draw(p.key, k);
      T* m = p.matrix + 6 * k;
      const bool upside_down = draw.unit() < p.flip_h, mirrored = draw.unit() < p.flip_w;
      if (p.crop) {
        const double top = static_cast<double>(p.center ? (p.h - p.oh) / 2 : draw.below(p.h - p.oh + 1));
        const double left = static_cast<double>(p.center ? (p.w - p.ow) / 2 : draw.below(p.w - p.ow + 1));
        m[0] = mirrored ? T(-1) : T(1);
        m[1] = m[3] = T(0);
        m[2] = static_cast<T>(left + (mirrored ? static_cast<double>(p.ow - 1) : 0.0));
        m[4] = upside_down ? T(-1) : T(1);
        m[5] = static_cast<T>(top + (upside_down ? static_cast<double>(p.oh - 1) : 0.0));
        continue;
      }
      const double angle = draw.in(p.angle), zh = draw.in(p.zoom_h), own = draw.in(p.zoom_w);
      const double down = draw.in(p.shift_h) * static_cast<double>(p.h);
      const double right = draw.in(p.shift_w) * static_cast<double>(p.w);
      const double zw = p.same_zoom ? zh : own;
      const double cos = angle == 0 ? 1.0 : __builtin_cos(angle), sin = angle == 0 ? 0.0 : __builtin_sin(angle);
      const double sy = upside_down ? -zh : zh, sx = mirrored ? -zw : zw;
      const double a = cos * sx, b = -sin * sy, d = sin * sx, e = cos * sy;
      const double oy = 0.5 * static_cast<double>(p.oh - 1), ox = 0.5 * static_cast<double>(p.ow - 1);
      m[0] = static_cast<T>(a);
      m[1] = static_cast<T>(b);
      m[2] = static_cast<T>(0.5 * static_cast<double>(p.w - 1) - right - (a * ox + b * oy));
      m[3] = static_cast<T>(d);
      m[4] = static_cast<T>(e);
      m[5] = static_cast<T>(0.5 * static_cast<double>(p.h - 1) - down - (d * ox + e * oy));
    }
  });
}

// Channels up to this many are spread over whole vectors, so that lane l of vector v always holds one channel.
constexpr int64_t kSpread = 16;

// Per thread: c sums in double and c shifts.
template <class T>
size_t random_color_workspace(const RandomColorParams<T>& p, int threads) {
  return static_cast<size_t>(threads) * ((2 * sizeof(double) * static_cast<size_t>(p.c) + 63) / 64 * 64);
}

// sum[ch] over the pixels of an image.
template <class T>
void channel_sums(const T* x, int64_t pixels, int64_t c, double* sum) {
  constexpr int W = Vec<T>::W;
  for (int64_t ch = 0; ch < c; ++ch) sum[ch] = 0;
  int64_t done = 0;  // pixels
  if (c <= kSpread) {
    // W pixels are c vectors. Sums of 64 of them in T, then in double.
    T part[kSpread * W];
    for (; done + W <= pixels;) {
      Vec<T> acc[kSpread];
      for (int64_t v = 0; v < c; ++v) acc[v] = Vec<T>::zero();
      for (int rounds = 0; rounds < 64 && done + W <= pixels; ++rounds, done += W) {
        for (int64_t v = 0; v < c; ++v) acc[v] = acc[v] + Vec<T>::load(x + done * c + v * W);
      }
      for (int64_t v = 0; v < c; ++v) acc[v].store(part + v * W);
      for (int64_t i = 0; i < c * W; ++i) sum[i % c] += static_cast<double>(part[i]);
    }
  }
  for (; done < pixels; ++done) {
    for (int64_t ch = 0; ch < c; ++ch) sum[ch] += static_cast<double>(x[done * c + ch]);
  }
}

template <class T>
void random_color(const Context& ctx, const RandomColorParams<T>& p) {
  constexpr int W = Vec<T>::W;
  const int64_t size = p.pixels * p.c;
  if (p.n * size == 0) return;
  const bool back = p.result != nullptr, needs_mean = !(p.contrast.low == 1 && p.contrast.high == 1);
  const T infinity = static_cast<T>(__builtin_inf());
  const Vec<T> low(back ? -infinity : p.low), high(back ? infinity : p.high);
  const size_t own = random_color_workspace(p, 1);
  parallel_range(ctx, p.n, 1 + grain(0.5) / size, [&](int64_t begin, int64_t end, int thread) {
    double* sum = reinterpret_cast<double*>(static_cast<char*>(ctx.workspace) + own * static_cast<size_t>(thread));
    T* shift = reinterpret_cast<T*>(sum + p.c);
    for (int64_t k = begin; k < end; ++k) {
      Draws draw(p.key, k);
      const double gain = draw.in(p.gain), contrast = draw.in(p.contrast), offset = draw.in(p.offset);
      const T* x = p.x + k * size;
      T* y = p.y + k * size;
      if (back) {
        const T* result = p.result + k * size;
        for_each_vec<T>(0, size, [&](int64_t i, auto step) {
          const Vec<T> r = load(result + i, step);
          store(y + i, select(gt(r, Vec<T>(p.low)) & lt(r, Vec<T>(p.high)), load(x + i, step), Vec<T>::zero()), step);
        });
        x = y;
      }
      if (needs_mean) {
        channel_sums(x, p.pixels, p.c, sum);
        for (int64_t ch = 0; ch < p.c; ++ch) sum[ch] /= static_cast<double>(p.pixels);
        if (p.gray) {
          // Forward mixes the channels' means with these shares; backward gives each its share of the sum.
          const double shares[3] = {0.299, 0.587, 0.114}, equal = 1.0 / static_cast<double>(p.c);
          const auto share = [&](int64_t ch) { return p.c == 3 ? shares[ch] : equal; };
          double all = 0;
          for (int64_t ch = 0; ch < p.c; ++ch) all += back ? sum[ch] : share(ch) * sum[ch];
          for (int64_t ch = 0; ch < p.c; ++ch) sum[ch] = back ? share(ch) * all : all;
        }
      }
      for (int64_t ch = 0; ch < p.c; ++ch) {
        shift[ch] = static_cast<T>((needs_mean ? gain * (1.0 - contrast) * sum[ch] : 0.0) + (back ? 0.0 : offset));
      }
      const Vec<T> scale(static_cast<T>(gain * contrast));
      // max(low, .) and min(high, .) give their second argument where it is NaN.
      const auto apply = [&](int64_t i, Vec<T> b, auto step) {
        store(y + i, min(high, max(low, fma(load(x + i, step), scale, b))), step);
      };
      if (p.c <= kSpread) {
        T spread[kSpread * W];
        for (int64_t i = 0; i < p.c * W; ++i) spread[i] = shift[i % p.c];
        for (int64_t at = 0; at < size; at += p.c * W) {
          const int64_t n = size - at < p.c * W ? size - at : p.c * W;
          for_each_vec<T>(0, n, [&](int64_t i, auto step) { apply(at + i, Vec<T>::load(spread + i), step); });
        }
      } else {
        for (int64_t at = 0; at < size; at += p.c) {
          for_each_vec<T>(0, p.c, [&](int64_t i, auto step) { apply(at + i, load(shift + i, step), step); });
        }
      }
    }
  });
}

// n normal numbers, those of elements first ... of the noise.
LAMELLA_NOINLINE void normal_row(PhiloxKey key, int64_t first, int64_t n, float std, float* y) {
  constexpr int W = Vec<float>::W;
  constexpr int64_t kBlock = Words::kCapacity;
  float z[kBlock];
  for (int64_t at = first; at < first + n;) {
    const int64_t start = at / kBlock * kBlock;
    Words words;
    const uint32_t* w = words.get(key, kNoiseWords + start, kBlock);
    for (int64_t i = 0; i < kBlock; i += W) (normal_of_words(w + i) * Vec<float>(std)).store(z + i);
    const int64_t end = start + kBlock < first + n ? start + kBlock : first + n;
    for (; at < end; ++at) y[at - first] = z[at - start];
  }
}
#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_NOINLINE void normal_row(PhiloxKey key, int64_t first, int64_t n, double std, double* y) {
  for (int64_t at = first; at < first + n; ++at) {
    Words words;
    double z[2];
    normal_of_words(words.get(key, kNoiseWords + at / 2 * 4, 4), z);
    y[at - first] = std * z[at % 2];
  }
}
#endif

LAMELLA_INLINE int64_t at_most(double v, int64_t n) {
  const int64_t i = static_cast<int64_t>(v);
  return i < n ? i : n;
}

template <class T>
void random_erasing(const Context& ctx, const RandomErasingParams<T>& p) {
  const int64_t size = p.h * p.w * p.c;
  if (p.n * size == 0) return;
  parallel_range(ctx, p.n, 1 + grain(0.3) / size, [&](int64_t begin, int64_t end, int) {
    for (int64_t k = begin; k < end; ++k) {
      T* y = p.y + k * size;
      if (p.y != p.x) std::memcpy(y, p.x + k * size, sizeof(T) * static_cast<size_t>(size));
      Draws draw(p.key, k);
      const double probability = draw.in(p.probability);
      if (!(draw.unit() < probability)) continue;
      double height, width;
      if (p.aspect.high > 0) {
        const double area = draw.in(p.area) * static_cast<double>(p.h) * static_cast<double>(p.w);
        const double ratio = __builtin_exp(draw.in({__builtin_log(p.aspect.low), __builtin_log(p.aspect.high)}));
        height = __builtin_sqrt(area * ratio);
        width = __builtin_sqrt(area / ratio);
      } else {
        height = __builtin_sqrt(draw.in(p.area)) * static_cast<double>(p.h);
        width = __builtin_sqrt(draw.in(p.area)) * static_cast<double>(p.w);
      }
      const int64_t eh = at_most(height + 0.5, p.h), ew = at_most(width + 0.5, p.w);
      const int64_t top = draw.below(p.h - eh + 1), left = draw.below(p.w - ew + 1);
      for (int64_t i = top; i < top + eh; ++i) {
        const int64_t at = (i * p.w + left) * p.c;
        if (p.noise > T(0)) {
          normal_row(p.key, k * size + at, ew * p.c, p.noise, y + at);
        } else if (p.values == 1) {
          for (int64_t j = 0; j < ew * p.c; ++j) y[at + j] = p.value[0];
        } else {
          for (int64_t j = 0; j < ew * p.c; ++j) y[at + j] = p.value[j % p.c];
        }
      }
    }
  });
}

template <class T>
void fill_typed(AugmentKernels<T>& k) {
  k.random_affine = random_affine<T>;
  k.random_color_workspace = random_color_workspace<T>;
  k.random_color = random_color<T>;
  k.random_erasing = random_erasing<T>;
}

}  // namespace

void fill_random_images(AugmentKernels<float>& k) { fill_typed(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_random_images(AugmentKernels<double>& k) { fill_typed(k); }
#endif

}  // namespace lamella::LAMELLA_NS
