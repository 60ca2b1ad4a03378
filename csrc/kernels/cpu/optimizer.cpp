// All of an update's reads and writes happen once per element, so each kind runs at memory speed.
#include "kernels/optimizer.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu/vmath.h"

namespace lamella::LAMELLA_NS {
namespace {

// Chunks that one task takes at a time: some 20 us of memory traffic.
constexpr int64_t kChunksPerTask = 4;

template <class T, class Body>
LAMELLA_INLINE void for_each_chunk(const Context& ctx, const OptimizerParams<T>& p, const Body& body) {
  parallel_range(ctx, p.chunk_count, kChunksPerTask, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) body(p.tensors[p.chunks[i].tensor], p.chunks[i]);
  });
}

// Per-tensor constants in registers; g as the update rule sees it.
template <class T>
struct Gradient {
  using V = Vec<T>;
  V scale, l2, clip, keep;
  bool clips;
  LAMELLA_INLINE Gradient(const OptimizerParams<T>& p, const OptimizerTensor<T>& t)
      : scale(t.grad_scale), l2(t.l2), clip(p.clip_value), keep(t.keep), clips(p.clip_value > 0) {}
  LAMELLA_INLINE V operator()(V g, V w) const {
    g = g * scale;
    if (clips) g = min(clip, max(neg(clip), g));  // in this order NaN stays NaN
    return fma(l2, w, g);
  }
};

// An average of gradients that have stopped (a dead unit's) ends at 0. It would end among the subnormal numbers: there
// 0.9 times the smallest is the smallest again, and processors take up to a hundred cycles for an operation. Next to
// such an eps the difference is less than the rounding of a step.
template <class T>
LAMELLA_INLINE T faded_below(T eps) {
  constexpr T smallest_normal = static_cast<T>(sizeof(T) == 4 ? 0x1p-126 : 0x1p-1022);
  return eps >= T(1e-12) ? smallest_normal : T(0);
}

// update(w, g, s0, s1, s2) with references to registers; unused states stay untouched. States below `faded` become 0.
template <int kStates, class T, class Update>
LAMELLA_INLINE void update_chunk(const OptimizerParams<T>& p, const OptimizerTensor<T>& t, const OptimizerChunk& c,
                                 T faded, const Update& update) {
  using V = Vec<T>;
  const Gradient<T> gradient(p, t);
  const V floor(faded);
  for_each_vec<T>(
      c.begin, c.end, [&](int64_t i, auto step) __attribute__((always_inline)) {
        V w = load(t.w + i, step);
        const V g = gradient(load(t.g + i, step), w);
        V s[3];
        for (int k = 0; k < 3; ++k) s[k] = k < kStates ? load(t.state[k] + i, step) : V::zero();
        w = w * gradient.keep;
        update(w, g, s[0], s[1], s[2]);
        store(t.w + i, w, step);
        for (int k = 0; k < kStates; ++k) store(t.state[k] + i, select(gt(floor, abs(s[k])), V::zero(), s[k]), step);
      });
}

// keep * old + take * now.
template <class T>
LAMELLA_INLINE Vec<T> decay_towards(Vec<T> old, Vec<T> now, T keep, T take) {
  return fma(Vec<T>(keep), old, Vec<T>(take) * now);
}

template <class T>
void sgd(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V mu(p.momentum);
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c) {
    const V lr(t.lr);
    if (p.momentum == T(0)) {
      update_chunk<0>(p, t, c, faded_below(T(1)), [&](V& w, V g, V&, V&, V&) { w = fnma(lr, g, w); });
    } else if (p.velocity) {
      update_chunk<1>(p, t, c, faded_below(T(1)), [&](V& w, V g, V& v, V&, V&) {
        v = fnma(lr, g, mu * v);
        w = p.nesterov ? w + fnma(lr, g, mu * v) : w + v;
      });
    } else {
      update_chunk<1>(p, t, c, faded_below(T(1)), [&](V& w, V g, V& buf, V&, V&) {
        buf = decay_towards(buf, g, p.momentum, p.take);
        w = fnma(lr, p.nesterov ? fma(mu, buf, g) : buf, w);
      });
    }
  });
}

template <class T>
void adam(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V root(p.root_scale), eps(p.eps);
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c) {
    const V lr(t.lr * p.step_scale);
    if (p.amsgrad) {
      update_chunk<3>(p, t, c, faded_below(p.eps), [&](V& w, V g, V& m, V& v, V& top) {
        m = decay_towards(m, g, p.beta1, p.take1);
        v = decay_towards(v, g * g, p.beta2, p.take2);
        top = max(top, v);
        w = w - lr * m / fma(sqrt(top), root, eps);
      });
    } else {
      update_chunk<2>(p, t, c, faded_below(p.eps), [&](V& w, V g, V& m, V& v, V&) {
        m = decay_towards(m, g, p.beta1, p.take1);
        v = decay_towards(v, g * g, p.beta2, p.take2);
        w = w - lr * m / fma(sqrt(v), root, eps);
      });
    }
  });
}

template <class T>
void nadam(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V root(p.root_scale), eps(p.eps);
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c) {
    const V of_m(t.lr * p.step_scale), of_g(t.lr * p.grad_step_scale);
    update_chunk<2>(p, t, c, faded_below(p.eps), [&](V& w, V g, V& m, V& v, V&) {
      m = decay_towards(m, g, p.beta1, p.take1);
      v = decay_towards(v, g * g, p.beta2, p.take2);
      w = w - fma(of_m, m, of_g * g) / fma(sqrt(v), root, eps);
    });
  });
}

template <class T>
void adamax(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V b2(p.beta2), inside(p.eps_inside ? p.eps : T(0)), outside(p.eps_inside ? T(0) : p.eps);
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c) {
    const V lr(t.lr * p.step_scale);
    update_chunk<2>(p, t, c, faded_below(p.eps), [&](V& w, V g, V& m, V& top, V&) {
      m = decay_towards(m, g, p.beta1, p.take1);
      top = max(b2 * top, abs(g) + inside);
      w = w - lr * m / (top + outside);
    });
  });
}

template <class T>
void lion(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c) {
    const V lr(t.lr);
    // However small the average, its sign makes a full step.
    update_chunk<1>(p, t, c, T(0), [&](V& w, V g, V& m, V&, V&) {
      const V d = decay_towards(m, g, p.beta1, p.take1);
      w = w - select(gt(abs(d), V::zero()), copysign(lr, d), d);  // 0 stays 0, NaN stays NaN
      m = decay_towards(m, g, p.beta2, p.take2);
    });
  });
}

template <class T>
void rmsprop(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V eps(p.eps), mu(p.momentum);
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c) {
    const V lr(t.lr);
    const auto step = [&](V g, V square) { return g / (p.eps_inside ? sqrt(square + eps) : sqrt(square) + eps); };
    // Rounding can take the variance below 0.
    const auto variance = [](V v, V mean) { return max(V::zero(), fnma(mean, mean, v)); };
    const auto apply = [&](V& w, V s, V& buf) {
      if (p.velocity) {
        buf = fma(mu, buf, lr * s);
        w = w - buf;
      } else {
        buf = fma(mu, buf, s);
        w = fnma(lr, buf, w);
      }
    };
    if (p.centered && p.momentum != T(0)) {
      update_chunk<3>(p, t, c, faded_below(p.eps), [&](V& w, V g, V& v, V& mean, V& buf) {
        v = decay_towards(v, g * g, p.beta2, p.take2);
        mean = decay_towards(mean, g, p.beta2, p.take2);
        apply(w, step(g, variance(v, mean)), buf);
      });
    } else if (p.centered) {
      update_chunk<2>(p, t, c, faded_below(p.eps), [&](V& w, V g, V& v, V& mean, V&) {
        v = decay_towards(v, g * g, p.beta2, p.take2);
        mean = decay_towards(mean, g, p.beta2, p.take2);
        w = fnma(lr, step(g, variance(v, mean)), w);
      });
    } else if (p.momentum != T(0)) {
      update_chunk<2>(p, t, c, faded_below(p.eps), [&](V& w, V g, V& v, V& buf, V&) {
        v = decay_towards(v, g * g, p.beta2, p.take2);
        apply(w, step(g, v), buf);
      });
    } else {
      update_chunk<1>(p, t, c, faded_below(p.eps), [&](V& w, V g, V& v, V&, V&) {
        v = decay_towards(v, g * g, p.beta2, p.take2);
        w = fnma(lr, step(g, v), w);
      });
    }
  });
}

template <class T>
void adagrad(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V eps(p.eps);
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c) {
    const V lr(t.lr * p.step_scale);
    update_chunk<1>(p, t, c, faded_below(p.eps), [&](V& w, V g, V& sum, V&, V&) {
      sum = fma(g, g, sum);
      w = fnma(lr, g / (p.eps_inside ? sqrt(sum + eps) : sqrt(sum) + eps), w);
    });
  });
}

template <class T>
void adadelta(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V eps(p.eps);
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c) {
    const V lr(t.lr);
    update_chunk<2>(p, t, c, faded_below(p.eps), [&](V& w, V g, V& v, V& steps, V&) {
      v = decay_towards(v, g * g, p.beta2, p.take2);
      const V d = sqrt((steps + eps) / (v + eps)) * g;
      steps = decay_towards(steps, d * d, p.beta2, p.take2);
      w = fnma(lr, d, w);
    });
  });
}

// FTRL-proximal (McMahan et al. 2013).
template <class T>
void ftrl(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V l1(p.l1), power(p.power), shrinkage(p.shrinkage);
  const auto raised = [&](V x) {
    if (p.power == T(0.5)) return sqrt(x);
    return p.power == T(0) ? V(T(1)) : vexp<T>(power * vlog<T>(x));
  };
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c) {
    const V per_rate(T(1) / t.lr), l2(p.l2 + p.l2_of_rate / t.lr);
    update_chunk<2>(p, t, c, T(0), [&](V& w, V g, V& sum, V& linear, V&) {
      const V before = raised(sum);
      sum = fma(g, g, sum);
      const V now = raised(sum);
      linear = fnma((now - before) * per_rate, w, linear + fma(shrinkage, w, g));
      w = (min(l1, max(neg(l1), linear)) - linear) / fma(now, per_rate, l2);
    });
  });
}

template <class T>
void blend(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V keep(p.beta1), take(p.take1);
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c) {
    for_each_vec<T>(
        c.begin, c.end, [&](int64_t i, auto step) __attribute__((always_inline)) {
          const V kept = p.beta1 == T(0) ? V::zero() : keep * load(t.w + i, step);
          store(t.w + i, p.take1 == T(0) ? kept : fma(take, load(t.g + i, step), kept), step);
        });
  });
}

template <class T>
void fill_typed(OptimizerKernels<T>& k) {
  k.sgd = sgd<T>;
  k.adam = adam<T>;
  k.rmsprop = rmsprop<T>;
  k.adagrad = adagrad<T>;
  k.adadelta = adadelta<T>;
  k.adamax = adamax<T>;
  k.nadam = nadam<T>;
  k.lion = lion<T>;
  k.ftrl = ftrl<T>;
  k.blend = blend<T>;
}

}  // namespace

void fill(OptimizerKernels<float>& k) { fill_typed(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(OptimizerKernels<double>& k) { fill_typed(k); }
#endif

}  // namespace lamella::LAMELLA_NS
