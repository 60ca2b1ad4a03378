#include "kernels/random.h"

#include "kernels/cpu/keep_words.h"
#include "kernels/cpu/normal.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/philox_words.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
void dropout_shared(const Context& ctx, const DropoutParams<T>& p) {
  const int64_t block = Words::kCapacity, blocks = (p.inner + block - 1) / block;
  parallel_for(ctx, p.outer * blocks, [&](int64_t chunk, int) {
    const int64_t o = chunk / blocks, begin = chunk % blocks * block;
    const int64_t n = begin + block < p.inner ? block : p.inner - begin;
    Words words;
    const uint32_t* w = words.get(p.key, o * p.inner + begin, n);
    const Vec<T> scale(p.scale);
    for (int64_t m = 0; m < p.mid; ++m) {
      const int64_t at = (o * p.mid + m) * p.inner + begin;
      select_by_word(
          n, w, p.threshold, p.y + at, [&](int64_t i, auto step) { return load(p.x + at + i, step) * scale; },
          [](int64_t, auto) { return Vec<T>::zero(); });
    }
  });
}

template <class T>
void dropout(const Context& ctx, const DropoutParams<T>& p) {
  if (p.keep_none) {
    std::memset(p.y, 0, static_cast<size_t>(p.outer * p.mid * p.inner) * sizeof(T));
    return;
  }
  if (p.mid != 1) return dropout_shared(ctx, p);
  const Vec<T> scale(p.scale);
  parallel_range(ctx, p.outer * p.inner, grain(0.8), [&](int64_t begin, int64_t end, int) {
    for_words(p.key, begin, end, 1, [&](int64_t at, int64_t n, const uint32_t* w) {
      select_by_word(
          n, w, p.threshold, p.y + at, [&](int64_t i, auto step) { return load(p.x + at + i, step) * scale; },
          [](int64_t, auto) { return Vec<T>::zero(); });
    });
  });
}

template <class T>
void bernoulli(const Context& ctx, const BernoulliParams<T>& p) {
  const Vec<T> one(T(1));
  parallel_range(ctx, p.n, grain(0.8), [&](int64_t begin, int64_t end, int) {
    if (p.all_ones) {
      for_each_vec<T>(begin, end, [&](int64_t i, auto step) { store(p.y + i, one, step); });
      return;
    }
    for_words(p.key, begin, end, 1, [&](int64_t at, int64_t n, const uint32_t* w) {
      select_by_word(
          n, w, p.threshold, p.y + at, [](int64_t, auto) { return Vec<T>::zero(); },
          [&](int64_t, auto) { return one; });
    });
  });
}

// product + sum rather than fma: the same bits on every ISA level.
void uniform(const Context& ctx, const UniformParams<float>& p) {
  using V = Vec<float>;
  const V low(p.low), range(p.range), high(p.high);
  parallel_range(ctx, p.n, grain(0.8), [&](int64_t begin, int64_t end, int) {
    for_words(p.key, begin, end, 1, [&](int64_t at, int64_t n, const uint32_t* w) {
      for_each_vec<float>(0, n, [&](int64_t i, auto step) {
        store(p.y + at + i, min(high, low + range * unit_uniform(load_words(w + i))), step);
      });
    });
  });
}

void normal(const Context& ctx, const NormalParams<float>& p) {
  using V = Vec<float>;
  using Mode = NormalParams<float>::Mode;
  const V mean(p.mean), std(p.std), one(1.0f);
  parallel_range(ctx, p.n, grain(3.0), [&](int64_t begin, int64_t end, int) {
    for_words(p.key, begin, end, 1, [&](int64_t at, int64_t n, const uint32_t* w) {
      for_each_vec<float>(0, n, [&](int64_t i, auto step) {
        const V z = normal_of_words(w + i);
        V y = fma(std, z, mean);
        if (p.mode == Mode::kAdd) y = fma(std, z, load(p.x + at + i, step));
        if (p.mode == Mode::kMultiply) y = load(p.x + at + i, step) * fma(std, z, one);
        store(p.y + at + i, y, step);
      });
    });
  });
}

void truncated_normal(const Context& ctx, const TruncatedNormalParams<float>& p) {
  using V = Vec<float>;
  const V mean(p.mean), std(p.std), from(static_cast<float>(p.from)), to(static_cast<float>(p.to));
  const V low(static_cast<float>(p.erf_from)), range(static_cast<float>(p.erf_to - p.erf_from));
  // Beyond this, 1 - x^2 is 0 in float.
  const V limit(1.0f - 0x1p-24f);
  parallel_range(ctx, p.n, grain(4.0), [&](int64_t begin, int64_t end, int) {
    for_words(p.key, begin, end, 1, [&](int64_t at, int64_t n, const uint32_t* w) {
      for_each_vec<float>(0, n, [&](int64_t i, auto step) {
        const V x = fma(range, unit_uniform(load_words(w + i)) + V(0x1p-25f), low);
        const V z = normal_quantile(min(limit, max(neg(limit), x)));
        store(p.y + at + i, fma(std, min(to, max(from, z)), mean), step);
      });
    });
  });
}

#if defined(LAMELLA_ISA_PORTABLE)

void uniform(const Context& ctx, const UniformParams<double>& p) {
  parallel_range(ctx, p.n, grain(3.0), [&](int64_t begin, int64_t end, int) {
    for_words(p.key, begin, end, 2, [&](int64_t at, int64_t n, const uint32_t* w) {
      for (int64_t i = 0; i < n; ++i) {
        const double v = p.low + p.range * unit_uniform(w + 2 * i);
        p.y[at + i] = v < p.high ? v : p.high;
      }
    });
  });
}

void normal(const Context& ctx, const NormalParams<double>& p) {
  using Mode = NormalParams<double>::Mode;
  // Chunks and stretches are of even length, so that pairs stay together.
  parallel_range(ctx, p.n, grain(20.0), [&](int64_t begin, int64_t end, int) {
    for_words(p.key, begin, end + (end & 1), 2, [&](int64_t at, int64_t n, const uint32_t* w) {
      for (int64_t i = 0; i < n; i += 2) {
        double z[2];
        normal_of_words(w + 2 * i, z);
        for (int64_t e = at + i; e < at + i + 2 && e < p.n; ++e) {
          const double v = z[e - at - i];
          p.y[e] = p.mode == Mode::kFill  ? p.mean + p.std * v
                   : p.mode == Mode::kAdd ? p.x[e] + p.std * v
                                          : p.x[e] * (1.0 + p.std * v);
        }
      }
    });
  });
}

void truncated_normal(const Context& ctx, const TruncatedNormalParams<double>& p) {
  parallel_range(ctx, p.n, grain(500.0), [&](int64_t begin, int64_t end, int) {
    for_words(p.key, begin, end, 2, [&](int64_t at, int64_t n, const uint32_t* w) {
      for (int64_t i = 0; i < n; ++i) {
        const double x = p.erf_from + (p.erf_to - p.erf_from) * (unit_uniform(w + 2 * i) + 0x1p-54);
        const double z = normal_quantile(x);
        p.y[at + i] = p.mean + p.std * (z < p.from ? p.from : z > p.to ? p.to : z);
      }
    });
  });
}

#endif

// Words one after the other, for draws that may be rejected.
class WordStream {
 public:
  explicit WordStream(PhiloxKey key) : key_(key) {}
  LAMELLA_INLINE uint32_t next() {
    if (at_ % Words::kCapacity == 0) now_ = words_.get(key_, at_, Words::kCapacity);
    return now_[at_++ % Words::kCapacity];
  }
  // Uniform in [0, range) without bias: the high half of word * range, drawn again while the low half falls into the
  // part of 2^32 that range does not divide (Lemire, "Fast random integer generation in an interval", 2019).
  LAMELLA_INLINE uint32_t below(uint32_t range) {
    uint64_t m = static_cast<uint64_t>(next()) * range;
    if (static_cast<uint32_t>(m) < range) {
      const uint32_t least = (0u - range) % range;
      while (static_cast<uint32_t>(m) < least) m = static_cast<uint64_t>(next()) * range;
    }
    return static_cast<uint32_t>(m >> 32);
  }

 private:
  PhiloxKey key_;
  int64_t at_ = 0;
  const uint32_t* now_ = nullptr;
  Words words_;
};

void permutation(const Context&, const PermutationParams& p) {
  for (int64_t i = 0; i < p.n; ++i) p.y[i] = i;
  WordStream words(p.key);
  for (int64_t i = p.n - 1; i > 0; --i) {
    const int64_t j = words.below(static_cast<uint32_t>(i + 1));
    const int64_t kept = p.y[i];
    p.y[i] = p.y[j];
    p.y[j] = kept;
  }
}

template <class T>
void fill_random(RandomKernels<T>& k) {
  k.dropout = dropout<T>;
  k.uniform = uniform;
  k.normal = normal;
  k.truncated_normal = truncated_normal;
  k.bernoulli = bernoulli<T>;
  k.permutation = permutation;
}

}  // namespace

void fill(RandomKernels<float>& k) { fill_random(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(RandomKernels<double>& k) { fill_random(k); }
#endif

}  // namespace lamella::LAMELLA_NS
