// Bound by memory: reads and writes every row once, in units up to 16 bytes, four in flight per thread. Units are
// numbered through, so that short rows share a block and long ones fill many.
#include "kernels/cuda/device.h"
#include "kernels/cuda/fast_div.h"
#include "kernels/cuda/row_gather.h"

namespace lamella::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 4;
constexpr int64_t kMostUnits = int64_t{1} << 31;  // of one launch: indices have 32 bits

template <class Unit>
struct AsItIs {
  using From = Unit;
  using To = Unit;
  static __device__ To of(From v) { return v; }
};
struct OneAsFloat {
  using From = uint8_t;
  using To = float;
  static __device__ To of(From v) { return static_cast<float>(v); }
};
struct FourAsFloat {
  using From = uint32_t;
  using To = float4;
  static __device__ To of(From v) {
    return make_float4(static_cast<float>(v & 0xFF), static_cast<float>(v >> 8 & 0xFF),
                       static_cast<float>(v >> 16 & 0xFF), static_cast<float>(v >> 24));
  }
};

// A piece of at most kMostUnits units: `width` of each row, which begin `pitch` units apart.
template <class Move, class Index>
struct Piece {
  const typename Move::From* src;
  typename Move::To* dst;
  const Index* index;  // nullptr: rows in their order
  int64_t outer, count, rows, width, pitch;
};

template <class Move, class Index>
__global__ void __launch_bounds__(kThreads)
    gather_units(Piece<Move, Index> p, FastDiv width, FastDiv count, uint32_t units) {
  const uint32_t first = blockIdx.x * static_cast<uint32_t>(kThreads * kPerThread) + threadIdx.x;
  typename Move::To v[kPerThread];
  int64_t to[kPerThread];
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    uint32_t i = first + static_cast<uint32_t>(k * kThreads);
    if (i >= units) continue;
    const uint32_t column = width.split(i);
    to[k] = i * p.pitch + column;
    const uint32_t place = count.split(i);
    const int64_t row = p.index == nullptr ? place : static_cast<int64_t>(p.index[place]);
    const bool inside = row >= 0 && row < p.rows;
    v[k] = inside ? Move::of(p.src[(i * p.rows + row) * p.pitch + column]) : typename Move::To{};
  }
#pragma unroll
  for (int k = 0; k < kPerThread; ++k)
    if (first + static_cast<uint32_t>(k * kThreads) < units) p.dst[to[k]] = v[k];
}

template <class Move, class Index>
void run(const Context& ctx, const Piece<Move, Index>& p) {
  if (p.outer * p.count * p.width < kMostUnits) {
    const auto units = static_cast<uint32_t>(p.outer * p.count * p.width);
    launch(ctx, gather_units<Move, Index>,
           {dim3(static_cast<unsigned>(ceil_div(units, kThreads * kPerThread))), dim3(kThreads)}, p, FastDiv(p.width),
           FastDiv(p.count), units);
    return;
  }
  Piece<Move, Index> a = p, b = p;
  if (p.outer > 1) {
    a.outer = p.outer / 2;
    b.outer -= a.outer;
    b.src += a.outer * p.rows * p.pitch;
    b.dst += a.outer * p.count * p.pitch;
  } else if (p.count > 1) {
    a.count = p.count / 2;
    b.count -= a.count;
    b.dst += a.count * p.pitch;
    if (p.index != nullptr) {
      b.index += a.count;
    } else {
      b.src += a.count * p.pitch;
    }
  } else {
    a.width = p.width / 2;
    b.width -= a.width;
    b.src += a.width;
    b.dst += a.width;
  }
  run(ctx, a);
  run(ctx, b);
}

template <class Move>
void run(const Context& ctx, const RowGather& g) {
  const int64_t width = g.row_bytes / static_cast<int64_t>(sizeof(typename Move::From));
  const auto* src = static_cast<const typename Move::From*>(g.src);
  auto* dst = static_cast<typename Move::To*>(g.dst);
  if (g.index.i32 != nullptr) {
    run(ctx, Piece<Move, int32_t>{src, dst, g.index.i32, g.outer, g.index.n, g.rows, width, width});
  } else {
    run(ctx, Piece<Move, int64_t>{src, dst, g.index.i64, g.outer, g.index.n, g.rows, width, width});
  }
}

uintptr_t address(const void* p) { return reinterpret_cast<uintptr_t>(p); }

}  // namespace

void gather_rows(const Context& ctx, const RowGather& g) {
  if (g.outer * g.index.n * g.row_bytes == 0) return;
  const uintptr_t all = address(g.src) | address(g.dst) | static_cast<uintptr_t>(g.row_bytes);
  if (all % 16 == 0) {
    run<AsItIs<uint4>>(ctx, g);
  } else if (all % 8 == 0) {
    run<AsItIs<uint64_t>>(ctx, g);
  } else if (all % 4 == 0) {
    run<AsItIs<uint32_t>>(ctx, g);
  } else {
    run<AsItIs<uint8_t>>(ctx, g);
  }
}

void gather_rows_as_float(const Context& ctx, const RowGather& g) {
  if (g.index.n * g.row_bytes == 0) return;
  if (address(g.src) % 4 == 0 && g.row_bytes % 4 == 0 && aligned16(g.dst)) {
    run<FourAsFloat>(ctx, g);
  } else {
    run<OneAsFloat>(ctx, g);
  }
}

}  // namespace lamella::cuda
