// The iteration space of a reduction: where in the array an output's elements lie.
#pragma once

#include "kernels/cuda/fast_div.h"
#include "kernels/reduce.h"

namespace lamella::cuda {

// Some of an array's dimensions, the innermost first: the offset of the i-th of their elements.
struct Radix {
  static constexpr int kMaxRank = ReduceDims::kMaxRank / 2;
  static_assert(kMaxRank == 4);
  int rank = 0;
  bool wide = false;  // too many elements for FastDiv
  int64_t count = 1;
  int64_t dims[kMaxRank] = {};
  int64_t strides[kMaxRank] = {};
  FastDiv by[kMaxRank];

  void append(int64_t dim, int64_t stride) {
    dims[rank] = dim;
    strides[rank] = stride;
    count *= dim;
    wide = count >= (int64_t{1} << 31);
    if (dim > 0 && dim < (int64_t{1} << 31)) by[rank] = FastDiv(dim);
    ++rank;
  }
  __device__ int64_t offset(int64_t i) const {
    if (rank <= 1) return rank == 0 ? 0 : i * strides[0];
    if (wide) return wide_offset(i, rank, dims[0], dims[1], dims[2], strides[0], strides[1], strides[2], strides[3]);
    auto n = static_cast<uint32_t>(i);
    int64_t at = by[0].split(n) * strides[0];
    if (rank > 2) at += by[1].split(n) * strides[1];
    if (rank > 3) at += by[2].split(n) * strides[2];
    return at + n * strides[rank - 1];
  }

 private:
  // Away from the loops that hardly ever need it.
  __device__ static __noinline__ int64_t wide_offset(int64_t i, int rank, int64_t d0, int64_t d1, int64_t d2,
                                                     int64_t s0, int64_t s1, int64_t s2, int64_t s3) {
    int64_t at = i % d0 * s0;
    i /= d0;
    if (rank == 2) return at + i * s1;
    at += i % d1 * s1;
    i /= d1;
    if (rank == 3) return at + i * s2;
    return at + i % d2 * s2 + i / d2 * s3;
  }
};

struct ReduceSpace {
  Radix kept, reduced;
  bool last_kept = true;
  int64_t inner = 1;  // length of the last dimension

  ReduceSpace() = default;
  explicit ReduceSpace(const ReduceDims& d) {
    int64_t stride = 1;
    for (int i = d.rank - 1; i >= 0; --i) {
      (d.reduced[i] ? reduced : kept).append(d.dims[i], stride);
      stride *= d.dims[i];
    }
    if (d.rank > 0) {
      last_kept = !d.reduced[d.rank - 1];
      inner = d.dims[d.rank - 1];
    }
  }
  // outer x length x inner, of which the middle is reduced.
  ReduceSpace(int64_t outer, int64_t length, int64_t inner_) {
    ReduceDims d;
    const auto dim = [&](int64_t n, bool is_reduced) {
      if (n == 1) return;
      d.dims[d.rank] = n;
      d.reduced[d.rank++] = is_reduced;
    };
    dim(outer, false);
    if (length == 1 && d.rank > 0) {
      d.dims[0] *= inner_;
    } else {
      dim(length, true);
      dim(inner_, false);
    }
    *this = ReduceSpace(d);
  }
  int64_t outputs() const { return kept.count; }
  int64_t count() const { return reduced.count; }  // of the elements of an output
};

}  // namespace lamella::cuda
