#include "kernels/ctc.h"

#include <cstring>

#include "kernels/cpu/index_check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu/vmath.h"

// CTC by the forward-backward algorithm. A target of S labels has 2 S + 1 states: blank, label, blank, ..., blank. All
// is done in logarithms, and every step's are taken relative to the largest of them, so that sequences of thousands of
// steps lose no digits; what was taken away is added up in double. The states of a step are one vector loop.

namespace lamella::LAMELLA_NS {
namespace {

LAMELLA_INLINE bool given(const IndexList& l) { return l.i32 != nullptr || l.i64 != nullptr; }

template <class T>
LAMELLA_INLINE int64_t ctc_steps(const CtcParams<T>& p, int64_t n) {
  return given(p.input_lengths) ? index_at(p.input_lengths, n) : p.steps;
}

template <class T>
LAMELLA_INLINE int64_t ctc_target_length(const CtcParams<T>& p, int64_t n) {
  if (given(p.target_lengths)) return index_at(p.target_lengths, n);
  int64_t count = 0;
  for (int64_t i = 0; i < p.width; ++i) count += index_at(p.targets, n * p.width + i) != p.blank;
  return count;
}

template <class T>
LAMELLA_INLINE int64_t ctc_target_begin(const CtcParams<T>& p, int64_t n) {
  if (p.width >= 0) return n * p.width;
  int64_t begin = 0;
  for (int64_t i = 0; i < n; ++i) begin += index_at(p.target_lengths, i);
  return begin;
}

template <class T>
CtcChecked ctc_check(const CtcParams<T>& p) {
  CtcChecked found;
  const auto fail = [&](CtcProblem problem, int64_t sample, int64_t value) {
    found.problem = problem;
    found.sample = sample;
    found.value = value;
    return found;
  };
  int64_t begin = 0;
  for (int64_t n = 0; n < p.batch; ++n) {
    const int64_t steps = ctc_steps(p, n), length = ctc_target_length(p, n);
    if (steps < 0 || steps > p.steps) return fail(CtcProblem::kInputLength, n, steps);
    if (length < 0 || (p.width >= 0 && length > p.width)) return fail(CtcProblem::kTargetLength, n, length);
    if (p.width >= 0) begin = n * p.width;
    if (length > p.targets.n - begin) return fail(CtcProblem::kTargets, n, begin + length);
    for (int64_t i = 0; i < length; ++i) {
      const int64_t label = index_at(p.targets, begin + i);
      if (label < 0 || label >= p.classes || label == p.blank) return fail(CtcProblem::kLabel, n, label);
    }
    begin += length;
    if (length > found.longest) found.longest = length;
  }
  return found;
}

// Rows of states: two in front and a vector and two behind are minus infinity, for neighbours that do not exist.
template <class T>
struct CtcSpace {
  static constexpr int64_t kFront = 2;
  int64_t pitch, rows;
  explicit CtcSpace(const CtcParams<T>& p)
      : pitch((2 * p.longest + 1 + 2 * kFront + Vec<T>::W + 15) / 16 * 16), rows(p.grad ? p.steps + 1 : 2) {}
  // alpha (rows), skip, emission, beta, u, e, and the classes of the states.
  LAMELLA_INLINE size_t bytes() const {
    return (static_cast<size_t>(pitch) * (static_cast<size_t>(rows) + 5) * sizeof(T) +
            static_cast<size_t>(pitch) * sizeof(int32_t) + 63) /
           64 * 64;
  }
};

template <class T>
size_t ctc_workspace(const CtcParams<T>& p, int threads) {
  return CtcSpace<T>(p).bytes() * static_cast<size_t>(threads > 0 ? threads : 1);
}

// log(exp(a) + exp(b) + exp(c)), minus infinity where all are.
template <class T>
LAMELLA_INLINE Vec<T> log_sum3(Vec<T> a, Vec<T> b, Vec<T> c) {
  const Vec<T> lowest(static_cast<T>(sizeof(T) == 4 ? -3.4028234663852886e38 : -1.7976931348623157e308));
  const Vec<T> m = max(max(max(a, b), c), lowest);
  return m + vlog(vexp(a - m) + vexp(b - m) + vexp(c - m));
}

template <class T>
class CtcSample {
 public:
  LAMELLA_INLINE CtcSample(const CtcParams<T>& p, int64_t n, void* memory)
      : p_(p), space_(p), n_(n), steps_(ctc_steps(p, n)), length_(ctc_target_length(p, n)), states_(2 * length_ + 1) {
    T* row = static_cast<T*>(memory);
    const auto take = [&](int64_t rows) {
      T* at = row + CtcSpace<T>::kFront;
      row += rows * space_.pitch;
      return at;
    };
    alpha_ = take(space_.rows);
    skip_ = take(1);
    emission_ = take(1);
    beta_ = take(1);
    u_ = take(1);
    e_ = take(1);
    classes_ = reinterpret_cast<int32_t*>(row);
    const Vec<T> infinity(kImpossible);
    for_each_vec<T>(0, (space_.rows + 5) * space_.pitch,
                    [&](int64_t i, auto step) { store(static_cast<T*>(memory) + i, infinity, step); });
    const int64_t begin = ctc_target_begin(p, n);
    for (int64_t s = 0; s < states_; ++s) {
      const bool blank = s % 2 == 0;
      classes_[s] = static_cast<int32_t>(blank ? p.blank : index_at(p.targets, begin + s / 2));
      // From one label right to the next, unless it is the same again.
      if (!blank && s >= 3 && classes_[s] != classes_[s - 2]) skip_[s] = T(0);
    }
  }

  LAMELLA_INLINE void run() {
    double loss = forward();
    const bool fits = loss < __builtin_inf() || loss != loss;
    if (p_.grad) {
      zero_grad();
      if (fits)
        backward();
      else if (!p_.zero_infinity)
        spread_nan();
    }
    if (!fits && p_.zero_infinity) loss = 0;
    p_.loss[n_] = static_cast<T>(loss);
  }

 private:
  static constexpr T kImpossible = static_cast<T>(-__builtin_inf());

  LAMELLA_INLINE const T* input(int64_t t) const { return p_.x + n_ * p_.sample_stride + t * p_.step_stride; }
  LAMELLA_INLINE T* grad(int64_t t) const { return p_.grad + n_ * p_.sample_stride + t * p_.step_stride; }
  LAMELLA_INLINE T* alpha(int64_t t) const { return alpha_ + (p_.grad ? t : t % 2) * space_.pitch; }

  LAMELLA_INLINE void read_emission(int64_t t) {
    const T* x = input(t);
    for (int64_t s = 0; s < states_; ++s) emission_[s] = x[classes_[s]];
  }

  // Takes the largest away from the row, and returns it; 0 where all is impossible.
  LAMELLA_INLINE double make_relative(T* row) {
    const T top = row_max(row, states_);
    if (!(top > kImpossible)) return 0.0;
    const Vec<T> shift(top);
    for_each_vec<T>(0, states_, [&](int64_t s, auto step) { store(row + s, load(row + s, step) - shift, step); });
    return static_cast<double>(top);
  }

  LAMELLA_INLINE double forward() {
    if (steps_ == 0) return length_ == 0 ? 0.0 : __builtin_inf();
    read_emission(0);
    T* row = alpha(0);
    row[0] = emission_[0];
    if (states_ > 1) row[1] = emission_[1];
    double scale = make_relative(row);
    for (int64_t t = 1; t < steps_; ++t) {
      read_emission(t);
      const T* before = row;
      row = alpha(t);
      T* to = row;
      for_each_vec<T>(0, states_, [&](int64_t s, auto step) {
        const Vec<T> jump = load(before + s - 2, step) + load(skip_ + s, step);
        store(to + s, log_sum3(load(before + s, step), load(before + s - 1, step), jump) + load(emission_ + s, step),
              step);
      });
      scale += make_relative(row);
    }
    const double a = static_cast<double>(row[states_ - 1]);
    const double b = states_ > 1 ? static_cast<double>(row[states_ - 2]) : -__builtin_inf();
    const double m = a > b || a != a ? a : b;
    if (m == -__builtin_inf()) return __builtin_inf();
    return -(scale + m + __builtin_log(__builtin_exp(a - m) + __builtin_exp(b - m)));
  }

  LAMELLA_INLINE void backward() {
    if (steps_ == 0) return;
    beta_[states_ - 1] = T(0);
    if (states_ > 1) beta_[states_ - 2] = T(0);
    for (int64_t t = steps_ - 1;; --t) {
      subtract_posterior(t);
      if (t == 0) return;
      read_emission(t);
      for_each_vec<T>(0, states_, [&](int64_t s, auto step) {
        store(u_ + s, load(beta_ + s, step) + load(emission_ + s, step), step);
      });
      for_each_vec<T>(0, states_, [&](int64_t s, auto step) {
        const Vec<T> jump = load(u_ + s + 2, step) + load(skip_ + s + 2, step);
        store(beta_ + s, log_sum3(load(u_ + s, step), load(u_ + s + 1, step), jump), step);
      });
      make_relative(beta_);
    }
  }

  // d loss / d log p[t, c] = -(the probability of being in a state of class c at step t).
  LAMELLA_INLINE void subtract_posterior(int64_t t) {
    const T* a = alpha(t);
    for_each_vec<T>(0, states_,
                    [&](int64_t s, auto step) { store(e_ + s, load(a + s, step) + load(beta_ + s, step), step); });
    const Vec<T> top(row_max(e_, states_));
    const double total = sum_vecs<T>(0, states_, [&](int64_t s, auto step) {
      const Vec<T> v = vexp(load(e_ + s, step) - top);
      store(e_ + s, v, step);
      return v;
    });
    const T factor = static_cast<T>(-1.0 / total);
    T* g = grad(t);
    for (int64_t s = 0; s < states_; ++s) g[classes_[s]] += factor * e_[s];
  }

  LAMELLA_INLINE void zero_grad() {
    for (int64_t t = 0; t < p_.steps; ++t) std::memset(grad(t), 0, static_cast<size_t>(p_.classes) * sizeof(T));
  }
  LAMELLA_INLINE void spread_nan() {
    for (int64_t t = 0; t < steps_; ++t)
      for (int64_t c = 0; c < p_.classes; ++c) grad(t)[c] = static_cast<T>(__builtin_nan(""));
  }

  const CtcParams<T>& p_;
  const CtcSpace<T> space_;
  const int64_t n_, steps_, length_, states_;
  T *alpha_, *skip_, *emission_, *beta_, *u_, *e_;
  int32_t* classes_;
};

template <class T>
void ctc(const Context& ctx, const CtcParams<T>& p) {
  const size_t bytes = CtcSpace<T>(p).bytes();
  const double ns = 3.0 * static_cast<double>(p.steps) * static_cast<double>(2 * p.longest + 1);
  const int64_t samples = ns < 20000.0 ? static_cast<int64_t>(20000.0 / (ns + 1.0)) + 1 : 1;
  parallel_range(ctx, p.batch, samples, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t n = begin; n < end; ++n) {
      CtcSample<T>(p, n, static_cast<char*>(ctx.workspace) + static_cast<size_t>(thread) * bytes).run();
    }
  });
}

template <class T>
void ctc_grad(const Context& ctx, const CtcGradParams<T>& p) {
  const int64_t rows = grain(0.5) / (p.classes > 0 ? p.classes : 1);
  parallel_range(ctx, p.batch * p.steps, rows > 0 ? rows : 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / p.steps, at = n * p.sample_stride + i % p.steps * p.step_stride;
      const Vec<T> seed(p.seed[n]);
      for_each_vec<T>(at, at + p.classes,
                      [&](int64_t j, auto step) { store(p.grad + j, load(p.saved + j, step) * seed, step); });
    }
  });
}

template <class T>
void fill_ctc(CtcKernels<T>& k) {
  k.check = ctc_check<T>;
  k.ctc_workspace = ctc_workspace<T>;
  k.ctc = ctc<T>;
  k.ctc_grad = ctc_grad<T>;
}

}  // namespace

void fill(CtcKernels<float>& k) { fill_ctc(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(CtcKernels<double>& k) { fill_ctc(k); }
#endif

}  // namespace lamella::LAMELLA_NS
