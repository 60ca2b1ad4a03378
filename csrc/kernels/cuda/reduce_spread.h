// Maps over all elements of an array, of numbers of the array and of numbers of the outputs that the elements were
// reduced to: what gradients of reductions are. Each array is read or written once.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/fast_div.h"
#include "kernels/reduce.h"

namespace lamella::cuda {

// The output that an element belongs to.
struct OutputIndex {
  int rank = 0;
  bool wide = false;                           // too many elements for FastDiv
  int64_t dims[ReduceDims::kMaxRank] = {};     // the innermost first
  int64_t strides[ReduceDims::kMaxRank] = {};  // among the outputs; 0: reduced
  FastDiv by[ReduceDims::kMaxRank];

  explicit OutputIndex(const ReduceDims& d) : rank(d.rank) {
    int64_t outputs = 1, n = 1;
    for (int k = 0; k < rank; ++k) {
      const int i = rank - 1 - k;
      dims[k] = d.dims[i];
      strides[k] = d.reduced[i] ? 0 : outputs;
      if (!d.reduced[i]) outputs *= d.dims[i];
      n *= d.dims[i];
      if (d.dims[i] > 0 && d.dims[i] < (int64_t{1} << 31)) by[k] = FastDiv(d.dims[i]);
    }
    wide = n >= (int64_t{1} << 31);
  }
  __device__ int64_t of(int64_t i) const {
    if (rank <= 1) return rank == 0 ? 0 : i * strides[0];
    int64_t out = 0;
    if (wide) {
      for (int k = 0; k + 1 < rank; ++k) {
        out += i % dims[k] * strides[k];
        i /= dims[k];
      }
      return out + i * strides[rank - 1];
    }
    auto n = static_cast<uint32_t>(i);
    for (int k = 0; k + 1 < rank; ++k) out += by[k].split(n) * strides[k];
    return out + n * strides[rank - 1];
  }
};

// F: kOuts arrays of the outputs, kReadsX, and operator()(x, outs).
template <class T, class F>
struct Spread {
  F f;
  OutputIndex index;
  int64_t n;
  const T* x;
  const T* outs[F::kOuts];
  T* dx;
};

enum class SpreadMode { kScalar, kSameOutput, kNextOutput };  // packs of an output, or of neighbouring ones

template <class T, class F, SpreadMode kMode>
__global__ void __launch_bounds__(256) spread_outputs(Spread<T, F> s) {
  constexpr int kVec = kMode == SpreadMode::kScalar ? 1 : Pack<T>::kSize;
  const int64_t items = s.n / kVec;
  for (int64_t item = thread_number(); item < items; item += thread_count()) {
    const int64_t i = item * kVec, out = s.index.of(i);
    Pack<T> x{}, outs[F::kOuts], dx;
    if constexpr (F::kReadsX) {
      if constexpr (kVec == 1) {
        x.v[0] = s.x[i];
      } else {
        x = load_pack(s.x + i);
      }
    }
#pragma unroll
    for (int k = 0; k < F::kOuts; ++k) {
      if constexpr (kMode == SpreadMode::kNextOutput) {
        outs[k] = load_pack(s.outs[k] + out);
      } else {
        outs[k].v[0] = s.outs[k][out];
      }
    }
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      T o[F::kOuts];
#pragma unroll
      for (int k = 0; k < F::kOuts; ++k) o[k] = outs[k].v[kMode == SpreadMode::kNextOutput ? j : 0];
      dx.v[j] = s.f(x.v[j], o);
    }
    if constexpr (kVec == 1) {
      s.dx[i] = dx.v[0];
    } else {
      store_pack(s.dx + i, dx);
    }
  }
}

template <class T, class F>
void run_spread(const Context& ctx, const F& f, const ReduceDims& d, const T* x, const T* const (&outs)[F::kOuts],
                T* dx) {
  constexpr int kSize = Pack<T>::kSize;
  Spread<T, F> s{f, OutputIndex(d), 1, x, {}, dx};
  for (int i = 0; i < d.rank; ++i) s.n *= d.dims[i];
  for (int k = 0; k < F::kOuts; ++k) s.outs[k] = outs[k];
  if (s.n == 0) return;
  const bool kept = d.rank == 0 || !d.reduced[d.rank - 1];
  bool packs = d.rank > 0 && d.dims[d.rank - 1] % kSize == 0 && aligned16(dx) && (!F::kReadsX || aligned16(x));
  if (kept)
    for (const T* o : outs) packs = packs && aligned16(o);
  const auto kernel = !packs ? spread_outputs<T, F, SpreadMode::kScalar>
                      : kept ? spread_outputs<T, F, SpreadMode::kNextOutput>
                             : spread_outputs<T, F, SpreadMode::kSameOutput>;
  launch(ctx, kernel, flat(packs ? s.n / kSize : s.n), s);
}

}  // namespace lamella::cuda
