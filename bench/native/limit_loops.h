// The loops that a machine's limits are read off, compiled once per ISA level as the kernels are: a kernel is held
// against what its own instructions can do.
#pragma once

#include <cstdint>

namespace lamella::bench {

template <class T>
struct LimitLoops {
  // Chains of dependent multiply-adds in registers, enough of them to keep every unit busy: `rounds` steps of
  // `flops_per_round` in all.
  T (*multiply_add)(int64_t rounds, T x, T y) = nullptr;
  double flops_per_round = 0;

  // Passes over n elements (a multiple of kElements) on cache lines. The _around ones store around the caches.
  static constexpr int64_t kElements = 128;
  T (*read)(int64_t n, const T* x) = nullptr;
  void (*write)(int64_t n, T* y) = nullptr;
  void (*write_around)(int64_t n, T* y) = nullptr;
  void (*copy)(int64_t n, const T* x, T* y) = nullptr;
  void (*copy_around)(int64_t n, const T* x, T* y) = nullptr;
  void (*update)(int64_t n, const T* x, T* y) = nullptr;  // y = y/2 + x
};

}  // namespace lamella::bench
