// All of an update's reads and writes happen once per element, so each kind runs at memory speed.
#include "kernels/optimizer.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

// Chunks that one task takes at a time: some 20 us of memory traffic.
constexpr int64_t kChunksPerTask = 4;

template <class T, class Body>
LAMELLA_INLINE void for_each_chunk(const Context& ctx, const OptimizerParams<T>& p, const Body& body) {
  parallel_range(ctx, p.chunk_count, kChunksPerTask, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) body(p.tensors[p.chunks[i].tensor], p.chunks[i], i);
  });
}

// Per-tensor constants in registers; g as the update rule sees it.
template <class T>
struct Gradient {
  using V = Vec<T>;
  V scale, l2, clip, keep;
  bool clips;
  LAMELLA_INLINE Gradient(const OptimizerParams<T>& p, const OptimizerTensor<T>& t)
      : scale(t.grad_scale), l2(t.l2), clip(p.clip_value), keep(T(1) - t.lr * t.decay), clips(p.clip_value > 0) {}
  LAMELLA_INLINE V operator()(V g, V w) const {
    g = g * scale;
    if (clips) g = min(clip, max(neg(clip), g));  // in this order NaN stays NaN
    return fma(l2, w, g);
  }
};

// update(w, g, s0, s1, s2) with references to registers; unused states stay untouched.
template <int kStates, class T, class Update>
LAMELLA_INLINE void update_chunk(const OptimizerParams<T>& p, const OptimizerTensor<T>& t, const OptimizerChunk& c,
                                 const Update& update) {
  using V = Vec<T>;
  const Gradient<T> gradient(p, t);
  T* LAMELLA_RESTRICT w = t.w;
  const T* LAMELLA_RESTRICT g = t.g;
  T* LAMELLA_RESTRICT s0 = t.state[0];
  T* LAMELLA_RESTRICT s1 = t.state[1];
  T* LAMELLA_RESTRICT s2 = t.state[2];
  const auto at = [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    V wv = V::load(w + i, n);
    const V gv = gradient(V::load(g + i, n), wv);
    V a = kStates > 0 ? V::load(s0 + i, n) : V::zero();
    V b = kStates > 1 ? V::load(s1 + i, n) : V::zero();
    V d = kStates > 2 ? V::load(s2 + i, n) : V::zero();
    wv = wv * gradient.keep;
    update(wv, gv, a, b, d);
    wv.store(w + i, n);
    if (kStates > 0) a.store(s0 + i, n);
    if (kStates > 1) b.store(s1 + i, n);
    if (kStates > 2) d.store(s2 + i, n);
  };
  const auto full = [&](int64_t i) __attribute__((always_inline)) {
    V wv = V::load(w + i);
    const V gv = gradient(V::load(g + i), wv);
    V a = kStates > 0 ? V::load(s0 + i) : V::zero();
    V b = kStates > 1 ? V::load(s1 + i) : V::zero();
    V d = kStates > 2 ? V::load(s2 + i) : V::zero();
    wv = wv * gradient.keep;
    update(wv, gv, a, b, d);
    wv.store(w + i);
    if (kStates > 0) a.store(s0 + i);
    if (kStates > 1) b.store(s1 + i);
    if (kStates > 2) d.store(s2 + i);
  };
  int64_t i = c.begin;
  for (; i + V::W <= c.end; i += V::W) full(i);
  if (i < c.end) at(i, c.end - i);
}

template <class T>
void sgd(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V mu(p.momentum), take(p.first_step && !p.velocity ? T(1) : T(1) - p.dampening);
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c, int64_t) {
    const V lr(t.lr);
    if (p.momentum == T(0)) {
      update_chunk<0>(p, t, c, [&](V& w, V g, V&, V&, V&) { w = fnma(lr, g, w); });
    } else if (p.velocity) {
      update_chunk<1>(p, t, c, [&](V& w, V g, V& v, V&, V&) {
        v = fnma(lr, g, mu * v);
        w = p.nesterov ? w + fnma(lr, g, mu * v) : w + v;
      });
    } else {
      update_chunk<1>(p, t, c, [&](V& w, V g, V& buf, V&, V&) {
        buf = fma(mu, buf, take * g);
        w = fnma(lr, p.nesterov ? fma(mu, buf, g) : buf, w);
      });
    }
  });
}

template <class T>
void adam(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V b1(p.beta1), b2(p.beta2), c1(T(1) - p.beta1), c2(T(1) - p.beta2), root(p.root_scale), eps(p.eps);
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c, int64_t) {
    const V lr(t.lr * p.step_scale);
    if (p.amsgrad) {
      update_chunk<3>(p, t, c, [&](V& w, V g, V& m, V& v, V& top) {
        m = fma(b1, m, c1 * g);
        v = fma(b2, v, c2 * (g * g));
        top = max(top, v);
        w = w - lr * m / fma(sqrt(top), root, eps);
      });
    } else {
      update_chunk<2>(p, t, c, [&](V& w, V g, V& m, V& v, V&) {
        m = fma(b1, m, c1 * g);
        v = fma(b2, v, c2 * (g * g));
        w = w - lr * m / fma(sqrt(v), root, eps);
      });
    }
  });
}

template <class T>
void rmsprop(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V b2(p.beta2), c2(T(1) - p.beta2), eps(p.eps), mu(p.momentum);
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c, int64_t) {
    const V lr(t.lr);
    const auto step = [&](V g, V square) { return g / (p.eps_inside ? sqrt(square + eps) : sqrt(square) + eps); };
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
      update_chunk<3>(p, t, c, [&](V& w, V g, V& v, V& mean, V& buf) {
        v = fma(b2, v, c2 * (g * g));
        mean = fma(b2, mean, c2 * g);
        apply(w, step(g, fnma(mean, mean, v)), buf);
      });
    } else if (p.centered) {
      update_chunk<2>(p, t, c, [&](V& w, V g, V& v, V& mean, V&) {
        v = fma(b2, v, c2 * (g * g));
        mean = fma(b2, mean, c2 * g);
        w = fnma(lr, step(g, fnma(mean, mean, v)), w);
      });
    } else if (p.momentum != T(0)) {
      update_chunk<2>(p, t, c, [&](V& w, V g, V& v, V& buf, V&) {
        v = fma(b2, v, c2 * (g * g));
        apply(w, step(g, v), buf);
      });
    } else {
      update_chunk<1>(p, t, c, [&](V& w, V g, V& v, V&, V&) {
        v = fma(b2, v, c2 * (g * g));
        w = fnma(lr, step(g, v), w);
      });
    }
  });
}

template <class T>
void adagrad(const Context& ctx, const OptimizerParams<T>& p) {
  using V = Vec<T>;
  const V eps(p.eps);
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c, int64_t) {
    const V lr(t.lr * p.step_scale);
    update_chunk<1>(p, t, c, [&](V& w, V g, V& sum, V&, V&) {
      sum = fma(g, g, sum);
      w = fnma(lr, g / (p.eps_inside ? sqrt(sum + eps) : sqrt(sum) + eps), w);
    });
  });
}

template <class T>
void sum_of_squares(const Context& ctx, const OptimizerParams<T>& p, double* partial) {
  using V = Vec<T>;
  for_each_chunk(ctx, p, [&](const OptimizerTensor<T>& t, const OptimizerChunk& c, int64_t index) {
    // Blocks of 512 elements in T, their sums in double: accurate, and float's range is left only by inputs near 1e19.
    double total = 0;
    for (int64_t begin = c.begin; begin < c.end; begin += 512) {
      const int64_t end = begin + 512 < c.end ? begin + 512 : c.end;
      V a = V::zero(), b = V::zero();
      int64_t i = begin;
      for (; i + 2 * V::W <= end; i += 2 * V::W) {
        const V x = V::load(t.g + i), y = V::load(t.g + i + V::W);
        a = fma(x, x, a);
        b = fma(y, y, b);
      }
      for (; i < end; i += V::W) {
        const V x = V::load(t.g + i, end - i);
        a = fma(x, x, a);
      }
      total += static_cast<double>(sum(a + b));
    }
    partial[index] = total;
  });
}

template <class T>
void fill_typed(OptimizerKernels<T>& k) {
  k.sgd = sgd<T>;
  k.adam = adam<T>;
  k.rmsprop = rmsprop<T>;
  k.adagrad = adagrad<T>;
  k.sum_of_squares = sum_of_squares<T>;
}

}  // namespace

void fill(OptimizerKernels<float>& k) { fill_typed(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(OptimizerKernels<double>& k) { fill_typed(k); }
#endif

}  // namespace lamella::LAMELLA_NS
