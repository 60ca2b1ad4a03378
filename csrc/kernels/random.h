// Random numbers: every element is a function of (key, its position) alone, so backward draws again what forward drew,
// and any number of threads, ISA level or backend draws the same words. Word w of a stream is word w % 4 of Philox
// block w / 4 (base/philox.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/half.h"
#include "base/philox.h"
#include "kernels/context.h"

namespace lamella {

// y = x * scale where the element is kept, 0 where it is dropped; backward is the same with gradients. Element
// (o, m, i) of (outer, mid, inner) is kept where word o * inner + i >= threshold: those of one (o, i) share their fate.
// keep_none: drop everything (rate 1, whose threshold would be 2^32).
template <class T>
struct DropoutParams {
  PhiloxKey key;
  int64_t outer = 1, mid = 1, inner = 1;
  uint32_t threshold = 0;
  bool keep_none = false;
  Real<T> scale = 1;
  const T* x = nullptr;
  T* y = nullptr;  // may be x
};

// y[i] = min(low + range * u, high); u in [0, 1) has 24 bits from word i (float) or 53 from words 2i, 2i + 1 (double).
template <class T>
struct UniformParams {
  PhiloxKey key;
  int64_t n = 0;
  T low = 0, range = 1;
  T high = 1;  // the largest value allowed
  T* y = nullptr;
};

// Normal numbers z from pairs of words (Box-Muller), float: elements 2j, 2j + 1 from words 2j, 2j + 1; double: from
// words 4j ... 4j + 3.
template <class T>
struct NormalParams {
  enum class Mode : int32_t {
    kFill,     // y = mean + std * z
    kAdd,      // y = x + std * z
    kMultiply  // y = x * (1 + std * z)
  };
  Mode mode = Mode::kFill;
  PhiloxKey key;
  int64_t n = 0;
  T mean = 0, std = 1;
  const T* x = nullptr;
  T* y = nullptr;  // may be x
};

// y = mean + std * z with z normal but inside (from, to), by inversion: float from word i, double from words 2i, 2i
// + 1. erf_from and erf_to are erf(from / sqrt(2)) and erf(to / sqrt(2)).
template <class T>
struct TruncatedNormalParams {
  PhiloxKey key;
  int64_t n = 0;
  T mean = 0, std = 1;
  double from = -2, to = 2;
  double erf_from = -1, erf_to = 1;
  T* y = nullptr;
};

// y[i] = 1 where word i < threshold (all where all_ones), else 0.
template <class T>
struct BernoulliParams {
  PhiloxKey key;
  int64_t n = 0;
  uint32_t threshold = 0;
  bool all_ones = false;
  T* y = nullptr;
};

// The numbers 0 ... n - 1 in random order (Fisher-Yates, unbiased); n < 2^32.
struct PermutationParams {
  PhiloxKey key;
  int64_t n = 0;
  int64_t* y = nullptr;
};

template <class T>
struct RandomKernels {
  void (*dropout)(const Context&, const DropoutParams<T>&) = nullptr;
  void (*uniform)(const Context&, const UniformParams<T>&) = nullptr;
  void (*normal)(const Context&, const NormalParams<T>&) = nullptr;
  void (*truncated_normal)(const Context&, const TruncatedNormalParams<T>&) = nullptr;
  void (*bernoulli)(const Context&, const BernoulliParams<T>&) = nullptr;
  void (*permutation)(const Context&, const PermutationParams&) = nullptr;
};

}  // namespace lamella
