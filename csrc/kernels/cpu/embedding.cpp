#include "kernels/embedding.h"

#include "kernels/cpu/index_check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

// About 8 GB/s per core for scattered rows.
template <class T>
LAMELLA_INLINE int64_t rows_per_chunk(int64_t dim) {
  const int64_t rows = grain(0.12 * sizeof(T)) / (dim > 0 ? dim : 1);
  return rows > 0 ? rows : 1;
}

template <class T>
void embedding(const Context& ctx, const EmbeddingParams<T>& p) {
  if (p.dim == 0) return;
  parallel_range(ctx, p.index.n, rows_per_chunk<T>(p.dim), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const T* from = p.table + index_at(p.index, r) * p.dim;
      T* to = p.y + r * p.dim;
      for_each_vec<T>(0, p.dim, [&](int64_t i, auto step) { store(to + i, load(from + i, step), step); });
    }
  });
}

// The rows of the table are dealt out to `parts` by their index modulo parts, the columns cut in slices: every element
// of the table belongs to one task, which adds its gradients in the order of the indices. So the bits do not depend on
// how the work is cut.
template <class T>
struct GradSplit {
  static constexpr int64_t kTasks = 8;  // wanted at least, where there is work for them
  int64_t slice = 64, slices, parts = 1;
  GradSplit(const EmbeddingGradParams<T>& p, int threads) {
    // A task reads every index, and mispredicts whether it is one of its own: one thread does best with one task.
    const bool worth_it = threads > 1 && p.index.n * p.dim > grain(0.5);
    if (!worth_it) slice = p.dim;
    slices = (p.dim + slice - 1) / slice;
    while (worth_it && parts * slices < kTasks) parts *= 2;
  }
};

template <class T>
void embedding_grad(const Context& ctx, const EmbeddingGradParams<T>& p) {
  if (p.dim == 0) return;
  parallel_range(ctx, p.rows, rows_per_chunk<T>(p.dim), [&](int64_t begin, int64_t end, int) {
    std::memset(p.grad_table + begin * p.dim, 0, static_cast<size_t>((end - begin) * p.dim) * sizeof(T));
  });
  const GradSplit<T> split(p, ctx.threads);
  parallel_for(ctx, split.slices * split.parts, [&](int64_t task, int) {
    const int64_t column = task / split.parts * split.slice, part = task % split.parts, mask = split.parts - 1;
    const int64_t end = column + split.slice < p.dim ? column + split.slice : p.dim;
    for (int64_t r = 0; r < p.index.n; ++r) {
      const int64_t row = index_at(p.index, r);
      if ((row & mask) != part || (p.has_padding && row == p.padding)) continue;
      const T* from = p.grad_out + r * p.dim;
      T* to = p.grad_table + row * p.dim;
      for_each_vec<T>(column, end,
                      [&](int64_t i, auto step) { store(to + i, load(to + i, step) + load(from + i, step), step); });
    }
  });
}

template <class T>
void fill_embedding(EmbeddingKernels<T>& k) {
  k.check_indices = check_indices;
  k.embedding = embedding<T>;
  k.embedding_grad = embedding_grad<T>;
}

}  // namespace

void fill(EmbeddingKernels<float>& k) { fill_embedding(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(EmbeddingKernels<double>& k) { fill_embedding(k); }
#endif

}  // namespace lamella::LAMELLA_NS
