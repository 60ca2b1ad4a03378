// Attention's backward pass, which is a file of its own.
#pragma once

#include "kernels/attention.h"

namespace lamella::cuda {

size_t attention_backward_workspace(const AttentionBackwardParams<float>&, int threads);
size_t attention_backward_workspace(const AttentionBackwardParams<double>&, int threads);
void attention_backward(const Context&, const AttentionBackwardParams<float>&);
void attention_backward(const Context&, const AttentionBackwardParams<double>&);

}  // namespace lamella::cuda
