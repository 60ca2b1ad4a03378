// Sums that were cut into parts: the second pass, which adds the parts up in their order.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/half.h"

namespace lamella::cuda {
namespace {

// Few parts of many numbers: a thread per number (or vector of them).
template <class T, int V, class Out>
__global__ void __launch_bounds__(256) sum_few_parts(const T* partial, int parts, int64_t n, Out* out) {
  for (int64_t at = thread_number() * V; at < n; at += thread_count() * V) {
    T sum[V] = {};
    for (int p = 0; p < parts; ++p) {
      const T* const from = partial + p * n + at;
      if constexpr (V == 1) {
        sum[0] += *from;
      } else {
        const Pack<T> v = load_pack(from);
#pragma unroll
        for (int i = 0; i < V; ++i) sum[i] += v.v[i];
      }
    }
#pragma unroll
    for (int i = 0; i < V; ++i) out[at + i] = rounded_to<Out>(sum[i]);
  }
}

// Many parts of few numbers: 32 neighbouring numbers to a block, whose 16 warps take every 16th part each.
constexpr int kPartWarps = 16;
template <class T, class Out>
__global__ void __launch_bounds__(32 * kPartWarps) sum_many_parts(const T* partial, int parts, int64_t n, Out* out) {
  __shared__ T sums[kPartWarps][32];
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int64_t at = static_cast<int64_t>(blockIdx.x) * 32 + x;
  T sum = 0;
  if (at < n)
    for (int p = y; p < parts; p += kPartWarps) sum += partial[p * n + at];
  sums[y][x] = sum;
  __syncthreads();
  if (y != 0 || at >= n) return;
  for (int k = 1; k < kPartWarps; ++k) sum += sums[k][x];
  out[at] = rounded_to<Out>(sum);
}

// out[i] = the sum over p of partial[p*n + i]; partial is aligned to 16 bytes.
template <class T, class Out>
void sum_parts(const Context& ctx, const T* partial, int parts, int64_t n, Out* out) {
  if (parts >= 32 && n < (1 << 16)) {
    launch(ctx, sum_many_parts<T, Out>, {dim3(static_cast<unsigned>(ceil_div(n, 32))), dim3(32, kPartWarps)}, partial,
           parts, n, out);
  } else if (n % Pack<T>::kSize == 0) {
    launch(ctx, sum_few_parts<T, Pack<T>::kSize, Out>, flat(n / Pack<T>::kSize), partial, parts, n, out);
  } else {
    launch(ctx, sum_few_parts<T, 1, Out>, flat(n), partial, parts, n, out);
  }
}

// Threads of a block over vectors of channels and, where those are few, over something else (y).
inline dim3 channel_block(int64_t vectors, int threads = 256, int most_x = 32) {
  int x = 1;
  while (x < most_x && x < vectors) x *= 2;
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(threads / x));
}

// V numbers in a register or four; 16 bytes are one access.
template <class T, int V>
struct Few {
  T v[V];
};
template <class T, int V>
__device__ inline Few<T, V> load_few(const T* p) {
  Few<T, V> r;
  if constexpr (V == 1) {
    r.v[0] = *p;
  } else {
    static_assert(V == Pack<T>::kSize);
    const Pack<T> q = load_pack(p);
#pragma unroll
    for (int i = 0; i < V; ++i) r.v[i] = q.v[i];
  }
  return r;
}
template <class T, int V>
__device__ inline void store_few(T* p, const Few<T, V>& r) {
  if constexpr (V == 1) {
    *p = r.v[0];
  } else {
    Pack<T> q;
#pragma unroll
    for (int i = 0; i < V; ++i) q.v[i] = r.v[i];
    store_pack(p, q);
  }
}

}  // namespace
}  // namespace lamella::cuda
