// Reductions of any monoid over some of the dimensions of an array, in an order that depends on the shape (and on
// whether the array allows accesses of 16 bytes) alone, never on the device; where the last dimension is reduced, not
// on how many outputs there are either. All of them are bound by memory, which is read once.
//
// Where the last dimension is reduced, an output's elements belong to some lanes of a warp, to a block, or to several
// blocks; where it is kept, neighbouring outputs go to neighbouring lanes, and a block's other dimension, and further
// blocks, share their elements. What several blocks have found comes together in a second launch, from the workspace.
//
// A reducer R says what is reduced:
//   R::Value                          what an element is made of
//   R::Acc                            partial result, of whole 32-bit words
//   R::Given                          what all elements of an output need to be known
//   R::kUnroll                        columns: accesses that a thread makes at a time; rows: half as many packs
//   given(out, first)                 of the output whose first element is `first`
//   load(v, at, position)             kVec values from element `at` on, `position` along the reduced dimensions
//   tile<kVec>(v, n, first, step, g)  of the first n of the values v; v[u * kVec + j] has position first + u * step + j
//   identity(), combine(a, b)
//   finish(out, acc, g)               writes the result
#pragma once

#include <cstring>

#include "kernels/cuda/device.h"
#include "kernels/cuda/reduce_space.h"

namespace lamella::cuda {

template <class A>
__device__ inline A shuffle_xor(const A& a, int bits) {
  static_assert(sizeof(A) % 4 == 0);
  unsigned words[sizeof(A) / 4];
  memcpy(words, &a, sizeof a);
  for (unsigned& w : words) w = __shfl_xor_sync(~0u, w, bits);
  A b;
  memcpy(&b, words, sizeof b);
  return b;
}

// Pairwise; the compiler keeps the arrays of a recursion in registers, not those of a loop.
template <int N, class A, class F>
__device__ inline A fold(const A (&a)[N], const F& f) {
  if constexpr (N == 1) {
    return a[0];
  } else {
    A b[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; ++i) b[i] = f(a[i], a[i + N / 2]);
    return fold(b, f);
  }
}
template <int N, class T>
__device__ inline T fold_sum(const T (&a)[N]) {
  return fold(a, [](T p, T q) { return p + q; });
}

// Pairwise, where an element's value is lifted by itself.
template <class R, int N>
__device__ inline typename R::Acc tile_tree(const R& r, const typename R::Value (&v)[N], int n,
                                            const typename R::Given& g) {
  typename R::Acc a[N];
#pragma unroll
  for (int i = 0; i < N; ++i) a[i] = i < n ? r.lift(v[i], g) : r.identity();
  using Acc = typename R::Acc;
  return fold(a, [&](const Acc& p, const Acc& q) { return r.combine(p, q); });
}

// kVec elements of an array of T, 16 bytes or one.
template <int kVec, class T>
__device__ inline void load_vector(T (&v)[kVec], const T* p) {
  if constexpr (kVec == 1) {
    v[0] = *p;
  } else {
    const Pack<T> pack = load_pack(p);
#pragma unroll
    for (int j = 0; j < kVec; ++j) v[j] = pack.v[j];
  }
}

// How the work is cut.
struct ReducePlan {
  bool columns = false;  // the last dimension is kept
  int vec = 1;           // elements in an access, as far as the shape goes
  int lanes = 0;         // rows: of a warp, to an output; 0: blocks
  int x = 1, y = 1;      // a block
  int64_t items = 0;     // rows: of an output; columns: of all outputs together; in accesses
  int64_t piece = 0;     // elements of an output that a block takes
  int64_t pieces = 1;

  static int power_above(int64_t n, int most) {
    int p = 1;
    while (p < n && p < most) p *= 2;
    return p;
  }
  template <class R>
  static ReducePlan of(const ReduceSpace& s, bool aligned) {
    constexpr int kSize = Pack<typename R::Element>::kSize;
    const int shape_vec = s.inner % kSize == 0 ? kSize : 1;
    ReducePlan p = s.last_kept ? of_columns(s, shape_vec) : of_rows(s, shape_vec);
    if (!aligned && shape_vec > 1) {
      // Other accesses, but the same pieces.
      const ReducePlan wide = p;
      p = s.last_kept ? of_columns(s, 1) : of_rows(s, 1);
      p.piece = wide.piece;
      p.pieces = wide.pieces;
    }
    return p;
  }

 private:
  // Up to 256 accesses of 16 bytes belong to a warp at most, of which a lane has some in flight; up to 32,768 elements
  // to a block.
  static ReducePlan of_rows(const ReduceSpace& s, int vec) {
    constexpr int64_t kMost = 32768, kPiece = 8192, kPieces = 2048;
    const int64_t n = s.count();
    ReducePlan p;
    p.vec = vec;
    p.items = n / vec;
    p.piece = n;
    const int in_flight = vec > 1 ? 2 : 4;
    if (p.items <= (vec > 1 ? 256 : 512)) {
      p.lanes = power_above(ceil_div(p.items, in_flight), 32);
      p.x = 256;
    } else if (n <= kMost) {
      p.x = power_above(ceil_div(p.items, 2 * in_flight), 512);
    } else {
      p.x = 256;
      p.piece = kPiece * ceil_div(n, kPiece * kPieces);
      p.pieces = ceil_div(n, p.piece);
    }
    return p;
  }

  // Blocks of up to 256 threads: lanes cover a line of 512 bytes where there is one, and the others the rows, eight or
  // more to a thread. From 32 rows to a thread on, they are shared out to up to 1,024 blocks.
  static ReducePlan of_columns(const ReduceSpace& s, int vec) {
    constexpr int64_t kPieces = 1024;
    constexpr int kThreads = 256;
    const int64_t n = s.count();
    ReducePlan p;
    p.columns = true;
    p.vec = vec;
    p.items = s.outputs() / vec;
    p.x = power_above(p.items, 32);
    p.y = power_above(ceil_div(n, 8), kThreads / p.x);
    p.x = power_above(p.items, kThreads / p.y);
    p.piece = n;
    if (n > int64_t{32} * p.y) {
      const int64_t step = int64_t{16} * p.y;
      p.piece = step * ceil_div(n, step * kPieces);
      p.pieces = ceil_div(n, p.piece);
    }
    return p;
  }
};

// An output to `lanes` neighbouring lanes.
template <class R, int kVec>
__global__ void __launch_bounds__(256) reduce_lanes(R r, ReduceSpace s, int lanes_log2, int items) {
  constexpr int U = kVec == 1 ? R::kUnroll : R::kUnroll / 2;
  const int lanes = 1 << lanes_log2;
  const int64_t out = thread_number() >> lanes_log2;
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const bool there = out < s.kept.count;
  const int64_t base = there ? s.kept.offset(out) : 0;
  typename R::Acc acc = r.identity();
  typename R::Given g{};
  if (there) {
    g = r.given(out, base);
    for (int q = lane; q < items; q += lanes * U) {
      typename R::Value v[U][kVec] = {};
      int n = 0;
#pragma unroll
      for (int u = 0; u < U; ++u) {
        const int i = q + u * lanes;
        if (i < items) {
          r.template load<kVec>(v[u], base + s.reduced.offset(int64_t{i} * kVec), int64_t{i} * kVec);
          n = (u + 1) * kVec;
        }
      }
      typename R::Value w[U * kVec];
#pragma unroll
      for (int i = 0; i < U * kVec; ++i) w[i] = v[i / kVec][i % kVec];
      acc = r.combine(acc, r.template tile<kVec>(w, n, int64_t{q} * kVec, int64_t{lanes} * kVec, g));
    }
  }
  for (int d = lanes / 2; d > 0; d /= 2) acc = r.combine(acc, shuffle_xor(acc, d));
  if (there && lane == 0) r.finish(out, acc, g);
}

// An output, or a piece of one, to a block.
template <class R, int kVec>
__global__ void __launch_bounds__(512)
    reduce_rows(R r, ReduceSpace s, int64_t n, int64_t piece, int64_t pieces, typename R::Acc* partials) {
  constexpr int U = kVec == 1 ? R::kUnroll : R::kUnroll / 2;
  __shared__ typename R::Acc scratch[32];
  const unsigned per_output = static_cast<unsigned>(pieces);
  const int64_t out = blockIdx.x / per_output, part = blockIdx.x % per_output;
  const int64_t begin = part * piece, base = s.kept.offset(out);
  const int items = static_cast<int>((n - begin < piece ? n - begin : piece) / kVec);
  const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  const typename R::Given g = r.given(out, base);
  typename R::Acc acc = r.identity();
  for (int q = thread; q < items; q += threads * U) {
    typename R::Value v[U][kVec] = {};
    int count = 0;
#pragma unroll
    for (int u = 0; u < U; ++u) {
      const int i = q + u * threads;
      if (i < items) {
        const int64_t at = begin + int64_t{i} * kVec;
        r.template load<kVec>(v[u], base + s.reduced.offset(at), at);
        count = (u + 1) * kVec;
      }
    }
    typename R::Value w[U * kVec];
#pragma unroll
    for (int i = 0; i < U * kVec; ++i) w[i] = v[i / kVec][i % kVec];
    acc = r.combine(acc, r.template tile<kVec>(w, count, begin + int64_t{q} * kVec, int64_t{threads} * kVec, g));
  }
  for (int d = 16; d > 0; d /= 2) acc = r.combine(acc, shuffle_xor(acc, d));
  if (thread % 32 == 0) scratch[thread / 32] = acc;
  __syncthreads();
  if (thread >= 32) return;
  acc = thread < threads / 32 ? scratch[thread] : r.identity();
  for (int d = 16; d > 0; d /= 2) acc = r.combine(acc, shuffle_xor(acc, d));
  if (thread != 0) return;
  if (pieces == 1) {
    r.finish(out, acc, g);
  } else {
    partials[part * s.kept.count + out] = acc;
  }
}

// Neighbouring outputs to threadIdx.x, and their elements to threadIdx.y and the blocks. Dynamic shared memory: kVec
// partial results for each thread.
template <class R, int kVec>
__global__ void __launch_bounds__(256) reduce_columns(R r, ReduceSpace s, int64_t items, unsigned tiles, int64_t n,
                                                      int64_t piece, int64_t pieces, typename R::Acc* partials) {
  constexpr int U = R::kUnroll;
  typename R::Acc* const scratch = dynamic_shared<typename R::Acc>();
  const int x = static_cast<int>(blockDim.x), y = static_cast<int>(blockDim.y);
  const int row = static_cast<int>(threadIdx.y);
  const int64_t part = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  const int64_t item = tile * x + threadIdx.x, out = item * kVec;
  const int64_t begin = part * piece, end = n - begin < piece ? n : begin + piece;
  const bool there = item < items;
  const int64_t base = there ? s.kept.offset(out) : 0;
  typename R::Given g[kVec] = {};
  typename R::Acc acc[kVec];
#pragma unroll
  for (int j = 0; j < kVec; ++j) acc[j] = r.identity();
  if (there) {
#pragma unroll
    for (int j = 0; j < kVec; ++j) g[j] = r.given(out + j, base + j);
    for (int64_t q = begin + row; q < end; q += y * U) {
      typename R::Value v[U][kVec] = {};
      int count = 0;
#pragma unroll
      for (int u = 0; u < U; ++u) {
        const int64_t at = q + u * y;
        if (at < end) {
          r.template load<kVec>(v[u], base + s.reduced.offset(at), at);
          count = u + 1;
        }
      }
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        typename R::Value w[U];
#pragma unroll
        for (int u = 0; u < U; ++u) w[u] = v[u][j];
        acc[j] = r.combine(acc[j], r.template tile<1>(w, count, q, y, g[j]));
      }
    }
  }
  const int threads = x * y, thread = row * x + static_cast<int>(threadIdx.x);
  for (int half = y / 2; half > 0; half /= 2) {
    if (row >= half && row < 2 * half) {
#pragma unroll
      for (int j = 0; j < kVec; ++j) scratch[j * threads + thread] = acc[j];
    }
    __syncthreads();
    if (row < half) {
#pragma unroll
      for (int j = 0; j < kVec; ++j) acc[j] = r.combine(acc[j], scratch[j * threads + thread + half * x]);
    }
  }
  if (!there || row != 0) return;
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    if (pieces == 1) {
      r.finish(out + j, acc[j], g[j]);
    } else {
      partials[part * s.kept.count + out + j] = acc[j];
    }
  }
}

// partials[pieces][outputs] to the results. Of no pieces: the identity. Dynamic shared memory: a partial result for
// each thread.
template <class R>
__global__ void __launch_bounds__(512)
    reduce_partials(R r, ReduceSpace s, int64_t pieces, const typename R::Acc* partials) {
  constexpr int U = 4;
  typename R::Acc* const scratch = dynamic_shared<typename R::Acc>();
  const int x = static_cast<int>(blockDim.x), y = static_cast<int>(blockDim.y);
  const int row = static_cast<int>(threadIdx.y), thread = row * x + static_cast<int>(threadIdx.x);
  const int64_t outputs = s.kept.count, out = static_cast<int64_t>(blockIdx.x) * x + threadIdx.x;
  const bool there = out < outputs;
  typename R::Acc acc = r.identity();
  if (there) {
    for (int64_t q = row; q < pieces; q += y * U) {
      typename R::Acc a[U];
#pragma unroll
      for (int u = 0; u < U; ++u) a[u] = q + u * y < pieces ? partials[(q + u * y) * outputs + out] : r.identity();
      acc = r.combine(acc, r.combine(r.combine(a[0], a[1]), r.combine(a[2], a[3])));
    }
  }
  for (int half = y / 2; half > 0; half /= 2) {
    if (row >= half && row < 2 * half) scratch[thread] = acc;
    __syncthreads();
    if (row < half) acc = r.combine(acc, scratch[thread + half * x]);
  }
  if (!there || row != 0) return;
  typename R::Given g{};
  if (pieces > 0) g = r.given(out, s.kept.offset(out));
  r.finish(out, acc, g);
}

template <class R>
size_t reduce_workspace_bytes(const ReduceSpace& s) {
  const ReducePlan p = ReducePlan::of<R>(s, true);
  return p.pieces == 1 ? 0 : static_cast<size_t>(p.pieces * s.outputs()) * sizeof(typename R::Acc);
}

// Eight outputs to a block: there may be few.
template <class R>
void combine_partials(const Context& ctx, const R& r, const ReduceSpace& s, int64_t pieces,
                      const typename R::Acc* partials) {
  const int64_t outputs = s.outputs();
  const int x = ReducePlan::power_above(outputs, 8), y = ReducePlan::power_above(ceil_div(pieces, 4), 512 / x);
  launch(ctx, reduce_partials<R>,
         {dim3(static_cast<unsigned>(ceil_div(outputs, x))), dim3(static_cast<unsigned>(x), static_cast<unsigned>(y)),
          static_cast<size_t>(x * y) * sizeof(typename R::Acc)},
         r, s, pieces, partials);
}

// `aligned`: accesses of 16 bytes are possible wherever the shape lets them begin. `workspace`: of
// reduce_workspace_bytes().
template <class R>
void run_reduction(const Context& ctx, const R& r, const ReduceSpace& s, bool aligned, void* workspace) {
  using Acc = typename R::Acc;
  constexpr int kSize = Pack<typename R::Element>::kSize;
  if (s.outputs() == 0) return;
  const ReducePlan p = ReducePlan::of<R>(s, aligned);
  const int64_t outputs = s.outputs(), n = s.count();
  auto* const partials = static_cast<Acc*>(workspace);
  const auto blocks = [](int64_t count) { return dim3(static_cast<unsigned>(count)); };
  if (n == 0) return combine_partials(ctx, r, s, 0, partials);
  if (p.columns) {
    const int64_t tiles = ceil_div(p.items, p.x);
    const Launch l{blocks(tiles * p.pieces), dim3(static_cast<unsigned>(p.x), static_cast<unsigned>(p.y)),
                   static_cast<size_t>(p.x * p.y * p.vec) * sizeof(Acc)};
    const auto kernel = p.vec == 1 ? reduce_columns<R, 1> : reduce_columns<R, kSize>;
    launch(ctx, kernel, l, r, s, p.items, static_cast<unsigned>(tiles), n, p.piece, p.pieces, partials);
  } else if (p.lanes > 0) {
    const auto kernel = p.vec == 1 ? reduce_lanes<R, 1> : reduce_lanes<R, kSize>;
    int log2 = 0;
    while (1 << log2 < p.lanes) ++log2;
    launch(ctx, kernel, {blocks(ceil_div(outputs, p.x / p.lanes)), blocks(p.x)}, r, s, log2, static_cast<int>(p.items));
  } else {
    const auto kernel = p.vec == 1 ? reduce_rows<R, 1> : reduce_rows<R, kSize>;
    launch(ctx, kernel, {blocks(outputs * p.pieces), blocks(p.x)}, r, s, n, p.piece, p.pieces, partials);
  }
  if (p.pieces > 1) combine_partials(ctx, r, s, p.pieces, partials);
}

}  // namespace lamella::cuda
