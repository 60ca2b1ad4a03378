// Rows of a table by index.
#include "kernels/cuda/index_check.h"
#include "kernels/cuda/row_gather.h"
#include "kernels/cuda/tables.h"
#include "kernels/embedding.h"

namespace lamella::cuda {
namespace {

template <class T>
void embedding(const Context& ctx, const EmbeddingParams<T>& p) {
  gather_rows(ctx, {p.table, p.y, p.index, 1, p.rows, p.dim * static_cast<int64_t>(sizeof(T))});
}

template <class T>
void fill_kernels(EmbeddingKernels<T>& k) {
  k.check_indices = check_indices;
  k.embedding = embedding<T>;
}

}  // namespace

void fill(EmbeddingKernels<float>& k) { fill_kernels(k); }
void fill(EmbeddingKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
