// Random fills, noise and dropout: bound by memory, but for the double-precision normal numbers. A thread draws one
// Philox block of four words at a time and writes the elements that they make, 16 bytes or more.
#include "kernels/cuda/fast_div.h"
#include "kernels/cuda/random_parts.h"
#include "kernels/cuda/random_words.h"
#include "kernels/cuda/tables.h"
#include "kernels/random.h"

namespace lamella::cuda {
namespace {

constexpr int kThreads = 256;

// kSize neighbours at once, or those of them that there are.
template <int kSize, class T>
__device__ void load_some(const T* p, int64_t count, bool packed, T (&v)[kSize]) {
  if (packed && count >= kSize) {
#pragma unroll
    for (int k = 0; k < kSize; k += Pack<T>::kSize) {
      const Pack<T> pack = load_pack(p + k);
#pragma unroll
      for (int l = 0; l < Pack<T>::kSize; ++l) v[k + l] = pack.v[l];
    }
  } else {
#pragma unroll
    for (int k = 0; k < kSize; ++k) v[k] = k < count ? p[k] : T(0);
  }
}
template <int kSize, class T>
__device__ void store_some(T* p, int64_t count, bool packed, const T (&v)[kSize]) {
  if (packed && count >= kSize) {
#pragma unroll
    for (int k = 0; k < kSize; k += Pack<T>::kSize) {
      Pack<T> pack;
#pragma unroll
      for (int l = 0; l < Pack<T>::kSize; ++l) pack.v[l] = v[k + l];
      store_pack(p + k, pack);
    }
  } else {
#pragma unroll
    for (int k = 0; k < kSize; ++k)
      if (k < count) p[k] = v[k];
  }
}

// make(words, v) turns v, what x holds (0 without an x), into what y shall hold.
template <class Make>
__global__ void __launch_bounds__(kThreads)
    by_blocks(PhiloxKey key, int64_t n, const typename Make::T* x, typename Make::T* y, bool packed, Make make) {
  key = at_step(key);
  const int64_t blocks = ceil_div(n, Make::kSize);
  for (int64_t b = thread_number(); b < blocks; b += thread_count()) {
    const int64_t at = b * Make::kSize;
    typename Make::T v[Make::kSize] = {};
    if (x != nullptr) load_some(x + at, n - at, packed, v);
    make(words_of_block(key, b), v);
    store_some(y + at, n - at, packed, v);
  }
}

template <class Make>
void run(const Context& ctx, PhiloxKey key, int64_t n, const typename Make::T* x, typename Make::T* y,
         const Make& make) {
  launch(ctx, by_blocks<Make>, flat(ceil_div(n, Make::kSize), kThreads), key, n, x, y,
         aligned16(y) && (x == nullptr || aligned16(x)), make);
}

// ---- dropout --------------------------------------------------------------------------------------------------------

template <class T_>
struct Drop {
  using T = T_;
  static constexpr int kSize = 4;
  uint32_t threshold;
  T scale;
  __device__ void operator()(const Words& words, T (&v)[kSize]) const {
#pragma unroll
    for (int k = 0; k < kSize; ++k) v[k] = words.w[k] >= threshold ? v[k] * scale : T(0);
  }
};

// Elements that share words along a middle axis: four neighbours belong to one Philox block or two, or even to one
// word, so drawing them again at each place of the axis costs no more than where nothing is shared.
template <class T, class Div, class U>
__global__ void __launch_bounds__(kThreads)
    drop_shared(DropoutParams<T> p, Div by_inner, Div by_mid, U n, bool packed) {
  constexpr int kSize = 4;
  const PhiloxKey key = at_step(p.key);
  for (int64_t at = thread_number() * kSize; at < static_cast<int64_t>(n); at += thread_count() * kSize) {
    U place = static_cast<U>(at);
    int64_t i = static_cast<int64_t>(by_inner.split(place)), m = static_cast<int64_t>(by_mid.split(place));
    int64_t o = static_cast<int64_t>(place), block = -1;
    const int64_t count = static_cast<int64_t>(n) - at;
    T v[kSize];
    load_some(p.x + at, count, packed, v);
    Words words = {};
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      const int64_t word = o * p.inner + i;
      if (word / 4 != block) {
        block = word / 4;
        words = words_of_block(key, block);
      }
      const uint32_t low = (word & 1) != 0 ? words.w[1] : words.w[0], high = (word & 1) != 0 ? words.w[3] : words.w[2];
      v[k] = ((word & 2) != 0 ? high : low) >= p.threshold ? v[k] * p.scale : T(0);
      if (++i == p.inner) {
        i = 0;
        if (++m == p.mid) {
          m = 0;
          ++o;
        }
      }
    }
    store_some(p.y + at, count, packed, v);
  }
}

template <class T_>
struct Constant {
  using T = T_;
  static constexpr int kSize = 4;
  T value;
  __device__ void operator()(const Words&, T (&v)[kSize]) const {
#pragma unroll
    for (int k = 0; k < kSize; ++k) v[k] = value;
  }
};

template <class T>
void dropout(const Context& ctx, const DropoutParams<T>& p) {
  const int64_t n = p.outer * p.mid * p.inner;
  const bool packed = aligned16(p.x) && aligned16(p.y);
  if (n == 0) return;
  if (p.keep_none) {
    run(ctx, p.key, n, static_cast<const T*>(nullptr), p.y, Constant<T>{T(0)});
  } else if (p.mid == 1) {
    run(ctx, p.key, n, p.x, p.y, Drop<T>{p.threshold, p.scale});
  } else if (n < int64_t{1} << 31) {
    launch(ctx, drop_shared<T, FastDiv, uint32_t>, flat(ceil_div(n, 4), kThreads), p, FastDiv(p.inner), FastDiv(p.mid),
           static_cast<uint32_t>(n), packed);
  } else {
    launch(ctx, drop_shared<T, WideDiv, int64_t>, flat(ceil_div(n, 4), kThreads), p, WideDiv(p.inner), WideDiv(p.mid),
           n, packed);
  }
}

template <class T_>
struct OneBelow {
  using T = T_;
  static constexpr int kSize = 4;
  uint32_t threshold;
  __device__ void operator()(const Words& words, T (&v)[kSize]) const {
#pragma unroll
    for (int k = 0; k < kSize; ++k) v[k] = words.w[k] < threshold ? T(1) : T(0);
  }
};

template <class T>
void bernoulli(const Context& ctx, const BernoulliParams<T>& p) {
  const T* none = nullptr;
  if (p.all_ones) return run(ctx, p.key, p.n, none, p.y, Constant<T>{T(1)});
  run(ctx, p.key, p.n, none, p.y, OneBelow<T>{p.threshold});
}

// ---- uniform numbers: product + sum rather than fma, for the CPU's bits ---------------------------------------------

template <class T>
struct Uniform;
template <>
struct Uniform<float> {
  using T = float;
  static constexpr int kSize = 4;
  float low, range, high;
  __device__ void operator()(const Words& words, float (&v)[kSize]) const {
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      const float y = __fadd_rn(low, __fmul_rn(range, unit_uniform(words.w[k])));
      v[k] = high < y ? high : y;
    }
  }
};
template <>
struct Uniform<double> {
  using T = double;
  static constexpr int kSize = 2;
  double low, range, high;
  __device__ void operator()(const Words& words, double (&v)[kSize]) const {
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      const double y = __dadd_rn(low, __dmul_rn(range, unit_uniform(words.w[2 * k], words.w[2 * k + 1])));
      v[k] = y < high ? y : high;
    }
  }
};

template <class T>
void uniform(const Context& ctx, const UniformParams<T>& p) {
  run(ctx, p.key, p.n, static_cast<const T*>(nullptr), p.y, Uniform<T>{p.low, p.range, p.high});
}

// ---- normal numbers -------------------------------------------------------------------------------------------------

// z becomes what the mode says, v is x.
template <class T>
using Mode = typename NormalParams<T>::Mode;

template <class T>
struct Normal;
template <>
struct Normal<float> {
  using T = float;
  static constexpr int kSize = 4;
  Mode<float> mode;
  float mean, std;
  __device__ void operator()(const Words& words, float (&v)[kSize]) const {
    float z[kSize];
    normal_of_words(words.w[0], words.w[1], z);
    normal_of_words(words.w[2], words.w[3], z + 2);
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      v[k] = mode == Mode<float>::kMultiply ? __fmul_rn(v[k], __fmaf_rn(std, z[k], 1.0f))
                                            : __fmaf_rn(std, z[k], mode == Mode<float>::kAdd ? v[k] : mean);
    }
  }
};
template <>
struct Normal<double> {
  using T = double;
  static constexpr int kSize = 2;
  Mode<double> mode;
  double mean, std;
  __device__ void operator()(const Words& words, double (&v)[kSize]) const {
    double z[kSize];
    normal_of_words(words, z);
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      const double far = __dmul_rn(std, z[k]);
      v[k] = mode == Mode<double>::kMultiply ? __dmul_rn(v[k], __dadd_rn(1.0, far))
                                             : __dadd_rn(mode == Mode<double>::kAdd ? v[k] : mean, far);
    }
  }
};

template <class T>
void normal(const Context& ctx, const NormalParams<T>& p) {
  const T* x = p.mode == Mode<T>::kFill ? nullptr : p.x;
  run(ctx, p.key, p.n, x, p.y, Normal<T>{p.mode, p.mean, p.std});
}

template <class T>
struct TruncatedNormal;
template <>
struct TruncatedNormal<float> {
  using T = float;
  static constexpr int kSize = 4;
  float mean, std, from, to, low, range;
  explicit TruncatedNormal(const TruncatedNormalParams<float>& p)
      : mean(p.mean),
        std(p.std),
        from(static_cast<float>(p.from)),
        to(static_cast<float>(p.to)),
        low(static_cast<float>(p.erf_from)),
        range(static_cast<float>(p.erf_to - p.erf_from)) {}
  __device__ void operator()(const Words& words, float (&v)[kSize]) const {
    constexpr float kLimit = 1.0f - 0x1p-24f;  // beyond it 1 - x^2 is 0 in float
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      const float x = __fmaf_rn(range, __fadd_rn(unit_uniform(words.w[k]), 0x1p-25f), low);
      const float z = normal_quantile(x < -kLimit ? -kLimit : x > kLimit ? kLimit : x);
      v[k] = __fmaf_rn(std, z < from ? from : z > to ? to : z, mean);
    }
  }
};
template <>
struct TruncatedNormal<double> {
  using T = double;
  static constexpr int kSize = 2;
  double mean, std, from, to, low, range;
  explicit TruncatedNormal(const TruncatedNormalParams<double>& p)
      : mean(p.mean), std(p.std), from(p.from), to(p.to), low(p.erf_from), range(p.erf_to - p.erf_from) {}
  __device__ void operator()(const Words& words, double (&v)[kSize]) const {
    for (int k = 0; k < kSize; ++k) {
      const double u = unit_uniform(words.w[2 * k], words.w[2 * k + 1]) + 0x1p-54;
      const double z = normal_quantile(__dadd_rn(low, __dmul_rn(range, u)));
      v[k] = __dadd_rn(mean, __dmul_rn(std, z < from ? from : z > to ? to : z));
    }
  }
};

template <class T>
void truncated_normal(const Context& ctx, const TruncatedNormalParams<T>& p) {
  run(ctx, p.key, p.n, static_cast<const T*>(nullptr), p.y, TruncatedNormal<T>(p));
}

template <class T>
void fill_kernels(RandomKernels<T>& k) {
  k.dropout = dropout<T>;
  k.uniform = uniform<T>;
  k.normal = normal<T>;
  k.truncated_normal = truncated_normal<T>;
  k.bernoulli = bernoulli<T>;
  k.permutation = permutation;
}

}  // namespace

void fill(RandomKernels<float>& k) { fill_kernels(k); }
void fill(RandomKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
