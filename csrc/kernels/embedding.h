// Rows of a table by index, and the dense gradient of the table.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"
#include "kernels/index_check.h"

namespace lamella {

template <class T>
struct EmbeddingParams {
  IndexList index;  // in [0, rows): checked before
  int64_t rows = 0, dim = 0;
  const T* table = nullptr;  // (rows, dim)
  T* y = nullptr;            // (index.n, dim)
};

template <class T>
struct EmbeddingGradParams {
  IndexList index;
  int64_t rows = 0, dim = 0;
  bool has_padding = false;  // the table's row `padding` gets no gradient
  int64_t padding = 0;
  const T* grad_out = nullptr;  // (index.n, dim)
  T* grad_table = nullptr;      // (rows, dim), overwritten; each row sums its gradients in the order of the indices
};

template <class T>
struct EmbeddingKernels {
  IndexCheckFn check_indices = nullptr;
  void (*embedding)(const Context&, const EmbeddingParams<T>&) = nullptr;
  void (*embedding_grad)(const Context&, const EmbeddingGradParams<T>&) = nullptr;
};

}  // namespace lamella
