// A block's tile of a product of factors that are stored as the matrix units take them, [row][k] (gemm_rounded.h): as
// MmaTile (gemm_tile_mma.h), whose fragments and epilogue it shares, but copied by cp.async into a ring of kStages
// tiles, which takes no registers and leaves that many tiles' time for the copies.
//
// 128 x 256 with warps of 64 x 64: a k step of 32 bytes is 4 KB of shared memory per warp, 256 cycles for eight of
// them; their multiplications take 512 cycles of an A100 and 400 of an H100. From L2, 85 flops per byte for Bf16 and 43
// for Tf32: 470 and 235 TFLOP/s at 5.5 TB/s, which is what bounds an H100; an A100 is bound by its units.
#pragma once

#include "kernels/cuda/gemm_tile_mma.h"

namespace lamella::cuda {
namespace {

template <class Kind, int kBlockM, int kBlockN, int kWarpM, int kWarpN, int kStages>
struct AsyncTile
    : MmaTile<Kind, kBlockM, kBlockN, 64 / static_cast<int>(sizeof(typename Kind::Stored)), kWarpM, kWarpN> {
  static constexpr int kBlockK = 64 / static_cast<int>(sizeof(typename Kind::Stored));
  using Base = MmaTile<Kind, kBlockM, kBlockN, kBlockK, kWarpM, kWarpN>;
  using Stored = typename Kind::Stored;
  using Base::kChunk;
  using Base::kThreads;
  static constexpr int kLine = kBlockK + kChunk, kStage = (kBlockM + kBlockN) * kLine;
  static constexpr size_t kRing = size_t{kStages} * kStage * sizeof(Stored);
  static constexpr size_t kSharedBytes = kRing > Base::kSlab ? kRing : Base::kSlab;

  // One operand's lines: `count` of them from the first on, of `length` numbers, kept on 16-byte boundaries.
  template <int kRows>
  struct Copy {
    static constexpr int kAcross = kBlockK / kChunk, kStep = kThreads / kAcross, kCopies = kRows / kStep;
    static_assert(kThreads % kAcross == 0 && kCopies * kStep == kRows && kCopies <= 32);
    const Stored* from;
    int64_t step, length;
    int k, at;
    unsigned there = 0;  // which of the lines exist

    __device__ __forceinline__ Copy(const Stored* first, int64_t count, int64_t length_) : length(length_) {
      const int t = static_cast<int>(threadIdx.x);
      k = t % kAcross * kChunk;
      at = t / kAcross;
      from = first + at * length + k;
      step = kStep * length;
#pragma unroll
      for (int i = 0; i < kCopies; ++i) there |= at + i * kStep < count ? 1u << i : 0u;
    }
    __device__ __forceinline__ void begin(Stored* shared, int64_t k0) const {
      const bool inside = k0 + k < length;
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        const bool exists = inside && (there >> i & 1) != 0;
        copy_async<16>(shared + (at + i * kStep) * kLine + k, exists ? from + i * step + k0 : from, exists ? 16 : 0);
      }
    }
  };

  // The tile at a's first and b's first line, of which `rows` and `columns` exist; the epilogue has (row0, column0)
  // added to its place.
  template <class Epilogue>
  static __device__ __forceinline__ void run(const Stored* a, const Stored* b, int64_t length, int64_t row0,
                                             int64_t column0, int64_t rows, int64_t columns, const Epilogue& epilogue) {
    unsigned char* const memory = dynamic_shared<unsigned char>();
    Stored* const shared = reinterpret_cast<Stored*>(memory);
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int m0 = warp / (kBlockN / kWarpN) * kWarpM, n0 = warp % (kBlockN / kWarpN) * kWarpN;

    float sums[Base::kFragmentsM][Base::kFragmentsN][4];
#pragma unroll
    for (int i = 0; i < Base::kFragmentsM; ++i) {
#pragma unroll
      for (int j = 0; j < Base::kFragmentsN; ++j) {
#pragma unroll
        for (int v = 0; v < 4; ++v) sums[i][j][v] = 0;
      }
    }

    const Copy<kBlockM> copy_a(a + row0 * length, rows - row0, length);
    const Copy<kBlockN> copy_b(b + column0 * length, columns - column0, length);
    const auto begin = [&](int slot, int64_t k0) {
      if (k0 < length) {
        copy_a.begin(shared + slot * kStage, k0);
        copy_b.begin(shared + slot * kStage + kBlockM * kLine, k0);
      }
      copy_async_commit();  // an empty group keeps the count
    };
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) begin(i, int64_t{i} * kBlockK);
    int slot = 0;
#pragma unroll 1
    for (int64_t k0 = 0; k0 < length; k0 += kBlockK) {
      copy_async_wait<kStages - 2>();
      __syncthreads();  // this tile is there for all, and all have read the one before
      const int last = slot == 0 ? kStages - 1 : slot - 1;
      begin(last, k0 + (kStages - 1) * kBlockK);
      const Stored* const now = shared + slot * kStage;
#pragma unroll
      for (int k = 0; k < kBlockK; k += Kind::kStep) {
        uint32_t x[Base::kFragmentsM][4], y[Base::kFragmentsN / 2][2][2];
#pragma unroll
        for (int i = 0; i < Base::kFragmentsM; ++i)
          Base::template load_a<true, kBlockM>(x[i], now, m0 + i * 16, k, lane);
#pragma unroll
        for (int j = 0; j < Base::kFragmentsN / 2; ++j)
          Base::template load_b<true, kBlockN>(y[j], now + kBlockM * kLine, n0 + j * 16, k, lane);
#pragma unroll
        for (int i = 0; i < Base::kFragmentsM; ++i) {
#pragma unroll
          for (int j = 0; j < Base::kFragmentsN; ++j) Kind::mma(sums[i][j], x[i], y[j / 2][j % 2]);
        }
      }
      slot = slot == kStages - 1 ? 0 : slot + 1;
    }
    copy_async_wait<0>();
    __syncthreads();
    Base::store(reinterpret_cast<float*>(memory), m0, n0, lane, sums, row0, column0, rows, columns, epilogue);
  }
};

}  // namespace
}  // namespace lamella::cuda
