// Rows of a table by index, and the table's gradient.
#include "kernels/cuda/index_check.h"
#include "kernels/cuda/row_gather.h"
#include "kernels/cuda/row_sums.h"
#include "kernels/cuda/tables.h"
#include "kernels/embedding.h"

namespace lamella::cuda {
namespace {

template <class T>
void embedding(const Context& ctx, const EmbeddingParams<T>& p) {
  gather_rows(ctx, {p.table, p.y, p.index, 1, p.rows, p.dim * static_cast<int64_t>(sizeof(T))});
}

template <class T>
void embedding_grad(const Context& ctx, const EmbeddingGradParams<T>& p) {
  sum_rows(ctx,
           RowSums<T>{p.index, 1, p.rows, p.dim, p.has_padding ? p.padding : int64_t{-1}, p.grad_out, p.grad_table});
}

template <class T>
void fill_kernels(EmbeddingKernels<T>& k) {
  k.check_indices = check_indices;
  k.embedding = embedding<T>;
  k.embedding_grad = embedding_grad<T>;
}

}  // namespace

void fill(EmbeddingKernels<float>& k) { fill_kernels(k); }
void fill(EmbeddingKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
