// Attention: a block of queries at a time, its scores against all keys that it may see in a buffer of the thread's own,
// one product before and one after the softmax. Backward makes the block's weights again; one thread goes through all
// the blocks of a head, for the gradients of keys and values are sums over them.
#include "kernels/attention.h"

#include "kernels/cpu/gemm_plan.h"
#include "kernels/cpu/keep_words.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/philox_words.h"
#include "kernels/cpu/softmax_exp.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

// Scores that a thread keeps: some that stay in L2 with the head's keys and values.
constexpr int64_t kScores = 32768;
constexpr int64_t kLeastRows = 16;

template <class T>
struct AttentionPlan {
  int64_t rows, blocks, scores;  // queries of a block; blocks of a head; elements of a block's scores

  explicit AttentionPlan(const AttentionParams<T>& p) {
    rows = min64(p.l, max64(kLeastRows, kScores / max64(1, p.s)));
    blocks = rows > 0 ? div_up(p.l, rows) : 1;
    rows = div_up(p.l, blocks);
    scores = round_up(rows * p.s, 16);
  }
};

// One block: queries [r0, r0 + rows) of one head, against the first `cols` keys.
template <class T>
struct Block {
  const AttentionParams<T>* p;
  int64_t b, h, r0, rows, cols;
};

template <class T>
LAMELLA_INLINE Block<T> block_of(const AttentionParams<T>& p, const AttentionPlan<T>& plan, int64_t b, int64_t h,
                                 int64_t i) {
  const int64_t r0 = i * plan.rows, rows = min64(plan.rows, p.l - r0);
  return {&p, b, h, r0, rows, p.causal ? min64(p.s, r0 + rows) : p.s};
}

template <class T>
LAMELLA_INLINE T* row_of(const AttentionArray<T>& a, int64_t b, int64_t h, int64_t row) {
  return a.data == nullptr ? nullptr : a.data + b * a.batch + h * a.head + row * a.row;
}

template <class T>
GemmParams<T> product(int64_t m, int64_t n, int64_t k, T* c, int64_t ldc) {
  GemmParams<T> g;
  g.m = m;
  g.n = n;
  g.k = k;
  g.c = c;
  g.ldc = ldc;
  return g;
}

// scale * q k^T.
template <class T>
GemmParams<T> scores_product(const Block<T>& k, T* scores) {
  const AttentionParams<T>& p = *k.p;
  GemmParams<T> g = product(k.rows, k.cols, p.e, scores, p.s);
  g.a = row_of(p.q, k.b, k.h, k.r0);
  g.rs_a = p.q.row;
  g.b = row_of(p.k, k.b, k.h, 0);
  g.rs_b = 1;
  g.cs_b = p.k.row;
  g.alpha = p.scale;
  return g;
}

template <class T>
GemmParams<T> values_product(const Block<T>& k, const T* weights) {
  const AttentionParams<T>& p = *k.p;
  GemmParams<T> g = product(k.rows, p.ev, k.cols, row_of(p.out, k.b, k.h, k.r0), p.out.row);
  g.a = weights;
  g.rs_a = p.s;
  g.b = row_of(p.v, k.b, k.h, 0);
  g.rs_b = p.v.row;
  return g;
}

// ---- masks, softmax, dropout: a row of scores -----------------------------------------------------------------------

template <class T, class Step>
LAMELLA_INLINE Mask<T> counts(const uint8_t* bytes, Step step) {
  int64_t n = Vec<T>::W;
  if constexpr (__is_same(Step, Part)) n = step.n;
  return !eq(load_wide<T>(bytes, n), IVec<T>(0));
}

// Query i of the block: x[j] of those keys that do not count becomes -inf, or what the mask holds is added.
template <class T>
void mask_row(const Block<T>& k, int64_t i, int64_t n, T* x) {
  if (n <= 0) return;
  const AttentionParams<T>& p = *k.p;
  const Vec<T> never(static_cast<T>(-__builtin_inf()));
  if (p.mask.data != nullptr) {
    const AttentionMask& m = p.mask;
    const int64_t at = k.b * m.batch + k.h * m.head + (k.r0 + i) * m.row;
    const T one = m.bytes ? T(0) : static_cast<const T*>(m.data)[at];
    for_each_vec<T>(0, n, [&](int64_t j, auto step) {
      const Vec<T> v = load(x + j, step);
      if (m.bytes) {
        const uint8_t* bytes = static_cast<const uint8_t*>(m.data) + at;
        if (m.column != 0)
          store(x + j, select(counts<T>(bytes + j, step), v, never), step);
        else if (*bytes == 0)
          store(x + j, never, step);
      } else {
        store(x + j, v + (m.column != 0 ? load(static_cast<const T*>(m.data) + at + j, step) : Vec<T>(one)), step);
      }
    });
  }
  if (p.key_mask != nullptr) {
    const uint8_t* bytes = p.key_mask + k.b * p.s;
    for_each_vec<T>(0, n, [&](int64_t j, auto step) {
      store(x + j, select(counts<T>(bytes + j, step), load(x + j, step), never), step);
    });
  }
}

// The keys that query i of the block may see at most.
template <class T>
LAMELLA_INLINE int64_t seen(const Block<T>& k, int64_t i) {
  return k.p->causal ? min64(k.cols, k.r0 + i + 1) : k.cols;
}

template <class T>
LAMELLA_INLINE void zero_row(T* x, int64_t begin, int64_t end) {
  for_each_vec<T>(begin, end, [&](int64_t j, auto step) { store(x + j, Vec<T>::zero(), step); });
}

template <class T>
LAMELLA_INLINE int64_t weight_row(const Block<T>& k, int64_t i) {
  return (k.b * k.p->heads + k.h) * k.p->l + k.r0 + i;
}

// Scores to weights, in place; a row without keys becomes zeros.
template <class T>
void softmax_rows(const Block<T>& k, T* scores) {
  const AttentionParams<T>& p = *k.p;
  for (int64_t i = 0; i < k.rows; ++i) {
    T* x = scores + i * p.s;
    const int64_t n = seen(k, i);
    mask_row(k, i, n, x);
    T top = row_max(x, n);
    if (top == static_cast<T>(-__builtin_inf())) top = T(0);
    const double total = sum_vecs<T>(0, n, [&](int64_t j, auto step) {
      const Vec<T> e = exp_below(load(x + j, step) - Vec<T>(top));
      store(x + j, e, step);
      return e;
    });
    const T scale = total == 0 ? T(0) : static_cast<T>(1.0 / total);
    for_each_vec<T>(0, n, [&](int64_t j, auto step) { store(x + j, load(x + j, step) * Vec<T>(scale), step); });
    zero_row(x, n, k.cols);
    if (p.stats != nullptr) {
      T* stats = p.stats + 2 * weight_row(k, i);
      stats[0] = top;
      stats[1] = scale;
    }
  }
}

// The same weights from what was kept of them.
template <class T>
void weights_again(const Block<T>& k, T* scores) {
  const AttentionParams<T>& p = *k.p;
  for (int64_t i = 0; i < k.rows; ++i) {
    T* x = scores + i * p.s;
    const int64_t n = seen(k, i);
    mask_row(k, i, n, x);
    const T* stats = p.stats + 2 * weight_row(k, i);
    const Vec<T> top(stats[0]), scale(stats[1]);
    for_each_vec<T>(0, n,
                    [&](int64_t j, auto step) { store(x + j, exp_below(load(x + j, step) - top) * scale, step); });
    zero_row(x, n, k.cols);
  }
}

// to = from where the weight is kept, scaled, else 0; may be in place.
template <class T>
void drop_rows(const Block<T>& k, const T* from, T* to) {
  const AttentionParams<T>& p = *k.p;
  const Vec<T> keep(p.keep);
  for (int64_t i = 0; i < k.rows; ++i) {
    const int64_t first = weight_row(k, i) * p.s;
    const T* x = from + i * p.s;
    T* y = to + i * p.s;
    for_words(p.key, first, first + k.cols, 1, [&](int64_t at, int64_t n, const uint32_t* w) {
      const int64_t j0 = at - first;
      select_by_word(
          n, w, p.threshold, y + j0, [&](int64_t j, auto step) { return load(x + j0 + j, step) * keep; },
          [](int64_t, auto) { return Vec<T>::zero(); });
    });
  }
}

template <class T>
void give_weights(const Block<T>& k, const T* weights) {
  const AttentionParams<T>& p = *k.p;
  for (int64_t i = 0; i < k.rows; ++i) {
    T* to = p.weights + weight_row(k, i) * p.s;
    std::memcpy(to, weights + i * p.s, static_cast<size_t>(k.cols) * sizeof(T));
    zero_row(to, k.cols, p.s);
  }
}

// ---- forward --------------------------------------------------------------------------------------------------------

// Workspace of the largest of the products that `each` names, in elements.
template <class T, class Each>
int64_t products_elements(const Each& each) {
  int64_t bytes = 0;
  each([&](const GemmParams<T>& g) { bytes = max64(bytes, static_cast<int64_t>(gemm_serial_workspace(g))); });
  return round_up(div_up(bytes, static_cast<int64_t>(sizeof(T))), 16);
}

// Calls f for the last block of either size: full, and what is left.
template <class T, class F>
void some_blocks(const AttentionParams<T>& p, const AttentionPlan<T>& plan, const F& f) {
  f(block_of(p, plan, 0, 0, max64(0, plan.blocks - 2)));
  f(block_of(p, plan, 0, 0, plan.blocks - 1));
}

template <class T>
int64_t forward_products(const AttentionParams<T>& p, const AttentionPlan<T>& plan) {
  return products_elements<T>([&](const auto& count) {
    for (int64_t i = 0; i < (p.causal ? plan.blocks : 1); ++i) {
      count(scores_product(block_of(p, plan, 0, 0, i), static_cast<T*>(nullptr)));
      count(values_product(block_of(p, plan, 0, 0, i), static_cast<const T*>(nullptr)));
    }
    some_blocks(p, plan, [&](const Block<T>& k) {
      count(scores_product(k, static_cast<T*>(nullptr)));
      count(values_product(k, static_cast<const T*>(nullptr)));
    });
  });
}

template <class T>
size_t workspace(const AttentionParams<T>& p, int threads) {
  const AttentionPlan<T> plan(p);
  return static_cast<size_t>(threads * (plan.scores + forward_products(p, plan))) * sizeof(T);
}

// Nanoseconds of a block, roughly: both products at 20 operations a nanosecond, and the exponentials.
template <class T>
double block_ns(const AttentionParams<T>& p, const AttentionPlan<T>& plan) {
  return static_cast<double>(plan.rows) * static_cast<double>(p.s) * (0.1 * static_cast<double>(p.e + p.ev) + 1.0) +
         100;
}

template <class T>
void attention(const Context& ctx, const AttentionParams<T>& p) {
  const AttentionPlan<T> plan(p);
  if (plan.rows == 0) return;
  const int64_t apart = plan.scores + forward_products(p, plan);
  const int64_t step = max64(1, static_cast<int64_t>(20000.0 / block_ns(p, plan)));
  parallel_range(ctx, p.n * p.heads * plan.blocks, step, [&](int64_t begin, int64_t end, int thread) {
    T* const scores = static_cast<T*>(ctx.workspace) + thread * apart;
    T* const scratch = scores + plan.scores;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / plan.blocks;
      const Block<T> k = block_of(p, plan, head / p.heads, head % p.heads, i % plan.blocks);
      if (k.cols > 0) gemm_serial(scores_product(k, scores), scratch);
      softmax_rows(k, scores);
      if (p.weights != nullptr && !p.weights_dropped) give_weights(k, scores);
      if (p.dropout) drop_rows(k, scores, scores);
      if (p.weights != nullptr && p.weights_dropped) give_weights(k, scores);
      if (p.ev > 0) gemm_serial(values_product(k, scores), scratch);
    }
  });
}

// ---- backward -------------------------------------------------------------------------------------------------------

// What backward multiplies for a block: the weights as the values saw them, and the gradient of the scores.
template <class T>
struct BackProducts {
  const AttentionBackwardParams<T>* b;
  Block<T> k;
  bool add;  // to the sums of the blocks before

  GemmParams<T> dweights(T* to) const {
    const AttentionParams<T>& p = b->f;
    GemmParams<T> g = product(k.rows, k.cols, p.ev, to, p.s);
    g.a = row_of(b->dout, k.b, k.h, k.r0);
    g.rs_a = b->dout.row;
    g.b = row_of(p.v, k.b, k.h, 0);
    g.rs_b = 1;
    g.cs_b = p.v.row;
    return g;
  }
  // The keys that this block does not see are not among its columns: they have their sums from later blocks alone.
  GemmParams<T> dv(const T* weights) const {
    GemmParams<T> g = by_keys(weights, b->dv, b->f.ev);
    g.b = row_of(b->dout, k.b, k.h, k.r0);
    g.rs_b = b->dout.row;
    return g;
  }
  GemmParams<T> dk(const T* dscores) const {
    GemmParams<T> g = by_keys(dscores, b->dk, b->f.e);
    g.b = row_of(b->f.q, k.b, k.h, k.r0);
    g.rs_b = b->f.q.row;
    g.alpha = b->f.scale;
    return g;
  }
  GemmParams<T> dq(const T* dscores) const {
    GemmParams<T> g = product(k.rows, b->f.e, k.cols, row_of(b->dq, k.b, k.h, k.r0), b->dq.row);
    g.a = dscores;
    g.rs_a = b->f.s;
    g.b = row_of(b->f.k, k.b, k.h, 0);
    g.rs_b = b->f.k.row;
    g.alpha = b->f.scale;
    return g;
  }

 private:
  GemmParams<T> by_keys(const T* block, const AttentionArray<T>& to, int64_t width) const {
    GemmParams<T> g = product(k.cols, width, k.rows, row_of(to, k.b, k.h, 0), to.row);
    g.a = block;
    g.rs_a = 1;
    g.cs_a = b->f.s;
    g.beta = add ? T(1) : T(0);
    return g;
  }
};

template <class T>
int64_t backward_products(const AttentionBackwardParams<T>& b, const AttentionPlan<T>& plan) {
  return products_elements<T>([&](const auto& count) {
    const auto all = [&](const Block<T>& k) {
      const BackProducts<T> g{&b, k, true};
      const T* none = nullptr;
      count(scores_product(k, static_cast<T*>(nullptr)));
      count(g.dweights(nullptr));
      count(g.dv(none));
      count(g.dk(none));
      count(g.dq(none));
    };
    for (int64_t i = 0; i < (b.f.causal ? plan.blocks : 1); ++i) all(block_of(b.f, plan, 0, 0, i));
    some_blocks(b.f, plan, all);
  });
}

template <class T>
size_t backward_workspace(const AttentionBackwardParams<T>& b, int threads) {
  const AttentionPlan<T> plan(b.f);
  return static_cast<size_t>(threads * (3 * plan.scores + backward_products(b, plan))) * sizeof(T);
}

template <class T>
void add_dweights(const AttentionBackwardParams<T>& b, const Block<T>& k, T* dw) {
  for (int64_t i = 0; i < k.rows; ++i) {
    const T* from = b.dweights + weight_row(k, i) * b.f.s;
    T* to = dw + i * b.f.s;
    for_each_vec<T>(0, k.cols,
                    [&](int64_t j, auto step) { store(to + j, load(to + j, step) + load(from + j, step), step); });
  }
}

// The scores' gradient from that of the weights, over it: w * (dw - sum of w * dw), row by row.
template <class T>
void softmax_back(const AttentionBackwardParams<T>& b, const Block<T>& k, const T* weights, T* dw) {
  const AttentionParams<T>& p = b.f;
  for (int64_t i = 0; i < k.rows; ++i) {
    const T* w = weights + i * p.s;
    T* d = dw + i * p.s;
    const Vec<T> dot(static_cast<T>(
        sum_vecs<T>(0, k.cols, [&](int64_t j, auto step) { return load(w + j, step) * load(d + j, step); })));
    for_each_vec<T>(0, k.cols,
                    [&](int64_t j, auto step) { store(d + j, load(w + j, step) * (load(d + j, step) - dot), step); });
    if (b.dmask == nullptr) continue;
    const AttentionMask& m = p.mask;
    T* to = b.dmask + k.b * m.batch + k.h * m.head + (k.r0 + i) * m.row;
    if (m.column != 0)
      for_each_vec<T>(0, k.cols,
                      [&](int64_t j, auto step) { store(to + j, load(to + j, step) + load(d + j, step), step); });
    else
      *to += static_cast<T>(sum_vecs<T>(0, k.cols, [&](int64_t j, auto step) { return load(d + j, step); }));
  }
}

template <class T>
void zero_head(const AttentionArray<T>& a, int64_t b, int64_t h, int64_t begin, int64_t end, int64_t width) {
  for (int64_t i = begin; i < end; ++i) zero_row(row_of(a, b, h, i), 0, width);
}

template <class T>
void head_back(const AttentionBackwardParams<T>& b, const AttentionPlan<T>& plan, int64_t batch, int64_t head,
               T* weights, T* dw, T* dropped, T* scratch) {
  const AttentionParams<T>& p = b.f;
  int64_t done = 0;  // keys whose sums have begun
  const auto sum_keys = [&](const AttentionArray<T>& to, int64_t width, const Block<T>& k, auto&& make) {
    if (to.data == nullptr || width == 0) return;
    // Blocks of a causal head see more keys from one to the next; the new ones begin at zero.
    if (done > 0 && k.cols > done) zero_head(to, batch, head, done, k.cols, width);
    if (k.cols > 0) gemm_serial(make(BackProducts<T>{&b, k, done > 0}), scratch);
  };
  for (int64_t i = 0; i < plan.blocks && plan.rows > 0; ++i) {
    const Block<T> k = block_of(p, plan, batch, head, i);
    const BackProducts<T> g{&b, k, false};
    if (k.cols > 0) gemm_serial(scores_product(k, weights), scratch);
    weights_again(k, weights);
    const T* seen_by_values = weights;
    if (p.dropout) {
      drop_rows(k, weights, dropped);
      seen_by_values = dropped;
    }
    if (b.dout.data != nullptr)
      sum_keys(b.dv, p.ev, k, [&](const BackProducts<T>& made) { return made.dv(seen_by_values); });
    if (b.dq.data != nullptr || b.dk.data != nullptr || b.dmask != nullptr) {
      if (b.dout.data != nullptr && k.cols > 0)
        gemm_serial(g.dweights(dw), scratch);
      else
        for (int64_t r = 0; r < k.rows; ++r) zero_row(dw + r * p.s, 0, k.cols);
      if (b.dweights != nullptr && p.weights_dropped) add_dweights(b, k, dw);
      if (p.dropout) drop_rows(k, dw, dw);
      if (b.dweights != nullptr && !p.weights_dropped) add_dweights(b, k, dw);
      softmax_back(b, k, weights, dw);
      if (b.dq.data != nullptr && p.e > 0) gemm_serial(g.dq(dw), scratch);
      sum_keys(b.dk, p.e, k, [&](const BackProducts<T>& made) { return made.dk(dw); });
    }
    done = max64(done, k.cols);
  }
  if (b.dk.data != nullptr) zero_head(b.dk, batch, head, done, p.s, p.e);
  if (b.dv.data != nullptr) zero_head(b.dv, batch, head, b.dout.data == nullptr ? 0 : done, p.s, p.ev);
}

// Heads that share a part of the mask, whose gradients add up, go to one thread.
template <class T>
void attention_backward(const Context& ctx, const AttentionBackwardParams<T>& b) {
  const AttentionParams<T>& p = b.f;
  const AttentionPlan<T> plan(p);
  const int64_t apart = 3 * plan.scores + backward_products(b, plan);
  const bool shares_batch = b.dmask != nullptr && p.mask.batch == 0,
             shares_heads = b.dmask != nullptr && p.mask.head == 0;
  const int64_t batches = shares_batch ? 1 : p.n, heads = shares_heads ? 1 : p.heads;
  if (p.n == 0 || p.heads == 0) return;
  const double ns = 2.5 * block_ns(p, plan) * static_cast<double>(plan.blocks);
  const int64_t step = max64(1, static_cast<int64_t>(20000.0 / ns));
  parallel_range(ctx, batches * heads, step, [&](int64_t begin, int64_t end, int thread) {
    T* const weights = static_cast<T*>(ctx.workspace) + thread * apart;
    for (int64_t i = begin; i < end; ++i)
      for (int64_t n = shares_batch ? 0 : i / heads; n < (shares_batch ? p.n : i / heads + 1); ++n)
        for (int64_t h = shares_heads ? 0 : i % heads; h < (shares_heads ? p.heads : i % heads + 1); ++h)
          head_back(b, plan, n, h, weights, weights + plan.scores, weights + 2 * plan.scores,
                    weights + 3 * plan.scores);
  });
}

template <class T>
void fill_attention(AttentionKernels<T>& k) {
  k.attention_workspace = workspace<T>;
  k.attention = attention<T>;
  k.attention_backward_workspace = backward_workspace<T>;
  k.attention_backward = attention_backward<T>;
}

}  // namespace

void fill(AttentionKernels<float>& k) { fill_attention(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(AttentionKernels<double>& k) { fill_attention(k); }
#endif

}  // namespace lamella::LAMELLA_NS
