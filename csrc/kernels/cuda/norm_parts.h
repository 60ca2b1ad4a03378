// What norm_*.cu have in common.
#pragma once

#include "kernels/cuda/reducers.h"
#include "kernels/norm.h"

namespace lamella::cuda {

#define LAMELLA_NORM_PART(name)     \
  void name(NormKernels<float>& k); \
  void name(NormKernels<double>& k);
LAMELLA_NORM_PART(fill_channel_norm)
LAMELLA_NORM_PART(fill_channel_norm_backward)
LAMELLA_NORM_PART(fill_row_norm)
LAMELLA_NORM_PART(fill_row_norm_backward)
#undef LAMELLA_NORM_PART

// Hands out pieces of workspace; of nullptr, to count their bytes.
class Pieces {
 public:
  explicit Pieces(void* workspace) : begin_(static_cast<char*>(workspace)) {}
  template <class U>
  U* take(int64_t count) {
    return static_cast<U*>(take_bytes(static_cast<size_t>(count) * sizeof(U)));
  }
  void* take_bytes(size_t bytes) {
    void* p = begin_ == nullptr ? nullptr : begin_ + bytes_;
    bytes_ += (bytes + 255) / 256 * 256;
    return p;
  }
  size_t bytes() const { return bytes_; }

 private:
  char* begin_;
  size_t bytes_ = 0;
};

// The group that channel `out` = image * c + channel belongs to, among all images' groups.
struct GroupOf {
  int64_t in_group = 1;
  FastDiv by;
  bool wide = false;  // too many channels for FastDiv

  GroupOf() = default;
  GroupOf(int64_t channels, int64_t in_group_)
      : in_group(in_group_), by(in_group_), wide(channels >= (int64_t{1} << 31)) {}
  __device__ int64_t operator()(int64_t out) const {
    if (in_group == 1) return out;
    return wide ? out / in_group : by.div(static_cast<uint32_t>(out));
  }
};

// Walks of every element of (n, rows, c): lanes to neighbouring channels, whose coefficients they keep; eight rows or
// more to a thread.
struct ChannelWalk {
  Radix kept;         // image and channel
  int64_t items = 0;  // accesses of the channels of all images
  int64_t rows = 0, c = 0, chunk = 0;
  unsigned tiles = 0;

  // Returns the launch. `space`: of (n, rows, c), which are not empty.
  Launch plan(const ReduceSpace& space, int64_t n, int64_t rows_, int64_t c_, int vec) {
    kept = space.kept;
    rows = rows_;
    c = c_;
    items = n * c / vec;
    constexpr int kThreads = 256;
    int x = ReducePlan::power_above(items, 32);
    const int y = ReducePlan::power_above(ceil_div(rows, 8), kThreads / x);
    x = ReducePlan::power_above(items, kThreads / y);
    tiles = static_cast<unsigned>(ceil_div(items, x));
    chunk = int64_t{8} * y;
    return {dim3(static_cast<unsigned>(tiles * ceil_div(rows, chunk))),
            dim3(static_cast<unsigned>(x), static_cast<unsigned>(y))};
  }
  // Of the thread: its first channel, among all images', and its rows.
  template <int kVec>
  __device__ int64_t channel() const {
    return (static_cast<int64_t>(blockIdx.x % tiles) * blockDim.x + threadIdx.x) * kVec;
  }
  template <int kVec>
  __device__ bool there() const {
    return channel<kVec>() < items * kVec;
  }
  __device__ int64_t first_row() const { return static_cast<int64_t>(blockIdx.x / tiles) * chunk + threadIdx.y; }
  __device__ int64_t last_row() const {
    const int64_t end = (static_cast<int64_t>(blockIdx.x / tiles) + 1) * chunk;
    return end < rows ? end : rows;
  }
};

template <int kVec, class T>
__device__ inline void store_vector(T* p, const T (&v)[kVec]) {
  if constexpr (kVec == 1) {
    *p = v[0];
  } else {
    Pack<T> pack;
#pragma unroll
    for (int j = 0; j < kVec; ++j) pack.v[j] = v[j];
    store_pack(p, pack);
  }
}

}  // namespace lamella::cuda
