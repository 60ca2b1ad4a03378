// Products of a matrix and up to four vectors: m <= 4 or n <= 4.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/gemm.h"

namespace lamella::cuda {

constexpr int64_t kMostVectors = 4;

template <class T>
bool gemm_vector_suits(const GemmParams<T>& p) {
  return p.m <= kMostVectors || p.n <= kMostVectors;
}
size_t gemm_vector_workspace(const GemmParams<float>& p);
size_t gemm_vector_workspace(const GemmParams<double>& p);
void gemm_vector(const Context& ctx, const GemmParams<float>& p);
void gemm_vector(const Context& ctx, const GemmParams<double>& p);

}  // namespace lamella::cuda
