// Where the operands of a map lie: from a place in an iteration space to offsets. Offsets and places are 32 bits wide;
// larger spaces are cut.
#pragma once

#include "kernels/cuda/fast_div.h"
#include "kernels/elementwise.h"

namespace lamella::cuda {

// The emulated device cuts early, so that its tests get there.
#if defined(LAMELLA_CUDA_HOST)
constexpr int64_t kMostPlaces = int64_t{1} << 20;
#else
constexpr int64_t kMostPlaces = (int64_t{1} << 31) - 1;
#endif

inline int64_t places(const BroadcastDims& d) {
  int64_t n = 1;
  for (int i = 0; i < d.rank; ++i) n *= d.dims[i];
  return n;
}

// Some dimensions of a space, from the innermost outwards, and the strides of kOperands operands.
template <int kOperands>
struct Axes {
  static constexpr int kMaxRank = BroadcastDims::kMaxRank;
  int rank = 0;
  FastDiv dims[kMaxRank];
  uint32_t strides[kMaxRank][kOperands] = {};

  // In front of (outside) those that are there.
  void push(int64_t dim, const int64_t (&stride)[kOperands]) {
    dims[rank] = FastDiv(dim);
    for (int k = 0; k < kOperands; ++k) strides[rank][k] = static_cast<uint32_t>(stride[k]);
    ++rank;
  }

  // Adds the offsets of place `at` to `offsets`. The loop is unrolled for the arrays to be read from constant memory;
  // the outermost coordinate is what is left, without a division.
  __device__ __forceinline__ void locate(uint32_t at, uint32_t (&offsets)[kOperands]) const {
#pragma unroll
    for (int i = 0; i < kMaxRank; ++i) {
      if (i == rank) break;
      const uint32_t here = i + 1 < rank ? dims[i].split(at) : at;
#pragma unroll
      for (int k = 0; k < kOperands; ++k) offsets[k] += here * strides[i][k];
    }
  }
};

// T or bytes, as many as one access takes.
template <class T, int kWidth>
struct alignas(sizeof(T) * kWidth) Group {
  T v[kWidth];
};
template <int kWidth, class T>
__device__ __forceinline__ Group<T, kWidth> load_group(const T* p) {
  return *reinterpret_cast<const Group<T, kWidth>*>(p);
}
template <int kWidth, class T>
__device__ __forceinline__ void store_group(T* p, const Group<T, kWidth>& v) {
  *reinterpret_cast<Group<T, kWidth>*>(p) = v;
}
inline bool aligned_to(const void* p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

// The operands of a functor F: F::Stored, but the first may be bytes (a condition, F::kBytesIn), which become 0 or the
// bits 1. Groups of them are held as they are stored.
template <class F>
struct Operands {
  const void* p[F::kOperands];
};
template <class F>
constexpr size_t operand_size(int k) {
  return k == 0 && F::kBytesIn ? 1 : sizeof(typename F::Stored);
}
template <class F>
const void* operand_at(const void* p, int k, int64_t element) {
  return static_cast<const char*>(p) + element * static_cast<int64_t>(operand_size<F>(k));
}

// kWidth elements of each operand from element `at` on.
template <class F, int kWidth, int k>
__device__ __forceinline__ Group<typename F::Stored, kWidth> load_operand(const Operands<F>& in, uint64_t at) {
  using S = typename F::Stored;
  if constexpr (k == 0 && F::kBytesIn) {
    const Group<uint8_t, kWidth> bytes = load_group<kWidth>(static_cast<const uint8_t*>(in.p[k]) + at);
    Group<S, kWidth> v;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) v.v[j] = bytes.v[j] != 0 ? S(1) : S(0);
    return v;
  } else {
    return load_group<kWidth>(static_cast<const S*>(in.p[k]) + at);
  }
}
template <class F, int kWidth, int k>
__device__ __forceinline__ Group<typename F::Stored, kWidth> splat_operand(const Operands<F>& in, uint64_t at) {
  const Group<typename F::Stored, 1> one = load_operand<F, 1, k>(in, at);
  Group<typename F::Stored, kWidth> v;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) v.v[j] = one.v[0];
  return v;
}

// body(tag) for every operand, tag::value being its number.
template <int k>
struct OperandTag {
  static constexpr int value = k;
};
template <int kCount, int k = 0, class Body>
__device__ __forceinline__ void for_operands(const Body& body) {
  if constexpr (k < kCount) {
    body(OperandTag<k>());
    for_operands<kCount, k + 1>(body);
  }
}

// The operands of one element.
template <class F, int kWidth>
__device__ __forceinline__ void read_element(const F& f, const Group<typename F::Stored, kWidth> (&v)[F::kOperands],
                                             int j, typename F::T (&one)[F::kOperands]) {
#pragma unroll
  for (int k = 0; k < F::kOperands; ++k) one[k] = f.read(v[k].v[j]);
}
// f of every element, and that as it is stored.
template <class F, int kWidth>
__device__ __forceinline__ Group<typename F::Value, kWidth> values(
    const F& f, const Group<typename F::Stored, kWidth> (&v)[F::kOperands]) {
  Group<typename F::Value, kWidth> r;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    typename F::T one[F::kOperands];
    read_element<F, kWidth>(f, v, j, one);
    r.v[j] = f(one);
  }
  return r;
}
template <class F, int kWidth>
__device__ __forceinline__ Group<typename F::Result, kWidth> apply(
    const F& f, const Group<typename F::Stored, kWidth> (&v)[F::kOperands]) {
  Group<typename F::Result, kWidth> r;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    typename F::T one[F::kOperands];
    read_element<F, kWidth>(f, v, j, one);
    r.v[j] = f.written(f(one));
  }
  return r;
}
// Where results go that a caller holds as another type of the same size.
template <class F, class Y>
typename F::Result* results_at(Y* y) {
  static_assert(sizeof(Y) == sizeof(typename F::Result));
  return reinterpret_cast<typename F::Result*>(y);
}

}  // namespace lamella::cuda
