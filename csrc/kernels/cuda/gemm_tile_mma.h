// A block's tile of a matrix product on the matrix units: as gemm_tile_simt.h, with factors rounded to `Kind` (Tf32,
// Bf16 or F16 of mma.h) on their way into shared memory and sums in float32. Loaders and epilogues are the same, but
// loaders that are not kAlongK must have fetch too, with rows r ... r + kSize - 1 at k:
//
//   __device__ Pack<E> fetch(const Row&, const Depth&) const;    // E: float, or uint16_t for numbers stored as Kind
//
//   using Tile = MmaTile<Tf32, 128, 128, 32, 64, 32>;   // rows, columns, steps of k at a time; rows, columns of a warp
//
// Sums are Pack<float>s.
//
// How it runs: an operand keeps the order that it has in memory, [row][k] or [k][row], and is read by ldmatrix, plain
// or transposed (32-bit numbers across k: one by one, for ldmatrix transposes 16 bits alone); lines are padded so that
// no read has bank conflicts. The next tile waits in registers while this one is multiplied; two buffers, one barrier
// per tile. Warps of 64 x 32 read 3 KB of shared memory for 32 Ki (Tf32: 16 Ki) multiplications: 24 cycles of shared
// memory for 32 of the matrix units of an A100. float32 operands come at 32 flops per byte from L2 for 128 x 128 tiles,
// so that Tf32 is bound by the units and Bf16 by L2.
#pragma once

#include <utility>

#include "kernels/cuda/gemm_tile_simt.h"
#include "kernels/cuda/mma.h"

namespace lamella::cuda {
namespace {

template <class Kind, int kBlockM_, int kBlockN_, int kBlockK_, int kWarpM, int kWarpN>
struct MmaTile {
  using Stored = typename Kind::Stored;
  static constexpr int kBlockM = kBlockM_, kBlockN = kBlockN_, kBlockK = kBlockK_;
  static constexpr int kPack = Pack<float>::kSize;
  static constexpr int kThreads = kBlockM / kWarpM * (kBlockN / kWarpN) * 32;
  static constexpr int kFragmentsM = kWarpM / 16, kFragmentsN = kWarpN / 8;
  static constexpr int kChunk = 16 / static_cast<int>(sizeof(Stored));  // numbers in 16 bytes
  static_assert(kWarpM % 16 == 0 && kWarpN % 16 == 0 && kBlockK % Kind::kStep == 0);

  // A stored operand: lines along k, or along the rows. 16 bytes of padding make the places of neighbouring lines
  // differ; 32-bit numbers that are read one by one need lines that are 8 words apart.
  template <bool kAlongK, int kRows>
  static constexpr int kLine = kAlongK ? kBlockK + kChunk : kRows + (sizeof(Stored) == 4 ? 8 : kChunk);
  template <bool kAlongK, int kRows>
  static constexpr int kSize = kAlongK ? kRows* kLine<true, kRows> : kBlockK* kLine<false, kRows>;
  static constexpr int kMostA =
      kSize<true, kBlockM> > kSize<false, kBlockM> ? kSize<true, kBlockM> : kSize<false, kBlockM>;
  static constexpr int kMostB =
      kSize<true, kBlockN> > kSize<false, kBlockN> ? kSize<true, kBlockN> : kSize<false, kBlockN>;
  static constexpr int kStage = kMostA + kMostB;
  // For the epilogue: a fragment's 16 rows of every warp.
  static constexpr int kSlabRows = kBlockM / kFragmentsM, kSlabLine = kBlockN + 8;
  static constexpr size_t kStages = 2 * kStage * sizeof(Stored), kSlab = kSlabRows * kSlabLine * sizeof(float);
  static constexpr size_t kSharedBytes = kStages > kSlab ? kStages : kSlab;

  template <class L, int kRows>
  struct Feed {
    using Packed = decltype(std::declval<const L&>().fetch(std::declval<const typename L::Row&>(),
                                                           std::declval<const typename L::Depth&>()));
    static constexpr int kLoad = Packed::kSize;
    static constexpr bool kAlongK = L::kAlongK;
    static constexpr int kAcross = (kAlongK ? kBlockK : kRows) / kLoad;
    static constexpr int kStep = kThreads / kAcross;
    static constexpr int kPacks = kRows * kBlockK / kLoad / kThreads;
    static constexpr int kLineLength = kLine<kAlongK, kRows>;
    static_assert(kThreads % kAcross == 0 && kPacks * kThreads * kLoad == kRows * kBlockK);

    typename L::Row row[kAlongK ? kPacks : 1];
    Packed staged[kPacks];
    int along, line;  // of the first pack; the others are kStep lines apart

    __device__ __forceinline__ Feed(const L& load, int64_t first) {
      const int t = static_cast<int>(threadIdx.x);
      along = t % kAcross * kLoad;
      line = t / kAcross;
      if constexpr (kAlongK) {
#pragma unroll
        for (int i = 0; i < kPacks; ++i) row[i] = load.row(first + line + i * kStep);
      } else {
        row[0] = load.row(first + along);
      }
    }
    __device__ __forceinline__ void begin(const L& load, int64_t k0) {
      if constexpr (kAlongK) {
        const typename L::Depth depth = load.depth(k0 + along);
#pragma unroll
        for (int i = 0; i < kPacks; ++i) staged[i] = load.fetch(row[i], depth);
      } else {
#pragma unroll
        for (int i = 0; i < kPacks; ++i) staged[i] = load.fetch(row[0], load.depth(k0 + line + i * kStep));
      }
    }
    __device__ __forceinline__ void finish(Stored* shared) const {
#pragma unroll
      for (int i = 0; i < kPacks; ++i) Kind::store(shared + (line + i * kStep) * kLineLength + along, staged[i]);
    }
  };

  // 16 rows by a step of k, as A's fragment.
  template <bool kAlongK, int kRows>
  static __device__ __forceinline__ void load_a(uint32_t (&a)[4], const Stored* shared, int row, int k, int lane) {
    constexpr int kL = kLine<kAlongK, kRows>;
    if constexpr (kAlongK) {
      matrix_load<false>(a, shared + (row + lane % 16) * kL + k + lane / 16 * kChunk);
    } else if constexpr (sizeof(Stored) == 2) {
      matrix_load<true>(a, shared + (k + lane / 16 * 8 + lane % 8) * kL + row + lane / 8 % 2 * 8);
    } else {
      const Stored* from = shared + (k + lane % 4) * kL + row + lane / 4;
      a[0] = from[0];
      a[1] = from[8];
      a[2] = from[4 * kL];
      a[3] = from[4 * kL + 8];
    }
  }
  // A step of k by 16 columns, as two of B's fragments.
  template <bool kAlongK, int kRows>
  static __device__ __forceinline__ void load_b(uint32_t (&b)[2][2], const Stored* shared, int column, int k,
                                                int lane) {
    constexpr int kL = kLine<kAlongK, kRows>;
    if constexpr (kAlongK || sizeof(Stored) == 2) {
      uint32_t r[4];
      if constexpr (kAlongK) {
        matrix_load<false>(r, shared + (column + lane / 16 * 8 + lane % 8) * kL + k + lane / 8 % 2 * kChunk);
      } else {
        matrix_load<true>(r, shared + (k + lane / 8 % 2 * 8 + lane % 8) * kL + column + lane / 16 * 8);
      }
      b[0][0] = r[0];
      b[0][1] = r[1];
      b[1][0] = r[2];
      b[1][1] = r[3];
    } else {
      const Stored* from = shared + (k + lane % 4) * kL + column + lane / 4;
      b[0][0] = from[0];
      b[0][1] = from[4 * kL];
      b[1][0] = from[8];
      b[1][1] = from[4 * kL + 8];
    }
  }

  template <class LoadA, class LoadB, class Epilogue>
  static __device__ __forceinline__ void run(const LoadA& source_a, const LoadB& source_b, int64_t row0,
                                             int64_t column0, int64_t k_begin, int64_t k_end, int64_t rows,
                                             int64_t columns, const Epilogue& epilogue) {
    unsigned char* const memory = dynamic_shared<unsigned char>();
    Stored* const shared = reinterpret_cast<Stored*>(memory);
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int m0 = warp / (kBlockN / kWarpN) * kWarpM, n0 = warp % (kBlockN / kWarpN) * kWarpN;

    float sums[kFragmentsM][kFragmentsN][4];
#pragma unroll
    for (int i = 0; i < kFragmentsM; ++i) {
#pragma unroll
      for (int j = 0; j < kFragmentsN; ++j) {
#pragma unroll
        for (int v = 0; v < 4; ++v) sums[i][j][v] = 0;
      }
    }

    if (k_begin < k_end) {
      Feed<LoadA, kBlockM> feed_a(source_a, row0);
      Feed<LoadB, kBlockN> feed_b(source_b, column0);
      feed_a.begin(source_a, k_begin);
      feed_b.begin(source_b, k_begin);
      feed_a.finish(shared);
      feed_b.finish(shared + kMostA);
      __syncthreads();
      int buffer = 0;
#pragma unroll 1
      for (int64_t k0 = k_begin; k0 < k_end; k0 += kBlockK) {
        const Stored* const now = shared + buffer * kStage;
        Stored* const next = shared + (buffer ^ 1) * kStage;
        const bool more = k0 + kBlockK < k_end;
        if (more) {
          feed_a.begin(source_a, k0 + kBlockK);
          feed_b.begin(source_b, k0 + kBlockK);
        }
#pragma unroll
        for (int k = 0; k < kBlockK; k += Kind::kStep) {
          uint32_t a[kFragmentsM][4], b[kFragmentsN / 2][2][2];
#pragma unroll
          for (int i = 0; i < kFragmentsM; ++i) load_a<LoadA::kAlongK, kBlockM>(a[i], now, m0 + i * 16, k, lane);
#pragma unroll
          for (int j = 0; j < kFragmentsN / 2; ++j)
            load_b<LoadB::kAlongK, kBlockN>(b[j], now + kMostA, n0 + j * 16, k, lane);
#pragma unroll
          for (int i = 0; i < kFragmentsM; ++i) {
#pragma unroll
            for (int j = 0; j < kFragmentsN; ++j) Kind::mma(sums[i][j], a[i], b[j / 2][j % 2]);
          }
        }
        if (more) {
          feed_a.finish(next);
          feed_b.finish(next + kMostA);
        }
        __syncthreads();
        buffer ^= 1;
      }
    }
    store(reinterpret_cast<float*>(memory), m0, n0, lane, sums, row0, column0, rows, columns, epilogue);
  }

  // A fragment's rows of every warp at a time, through shared memory: see SimtTile.
  template <class Epilogue>
  static __device__ __forceinline__ void store(float* shared, int m0, int n0, int lane,
                                               const float (&sums)[kFragmentsM][kFragmentsN][4], int64_t row0,
                                               int64_t column0, int64_t rows, int64_t columns,
                                               const Epilogue& epilogue) {
    float* const mine = shared + (m0 / kWarpM * 16 + lane / 4) * kSlabLine + n0 + lane % 4 * 2;
#pragma unroll 1
    for (int slab = 0; slab < kFragmentsM; ++slab) {
      if (slab > 0) __syncthreads();
#pragma unroll
      for (int i = 0; i < kFragmentsM; ++i) {
        if (i != slab) continue;
#pragma unroll
        for (int j = 0; j < kFragmentsN; ++j) {
          *reinterpret_cast<float2*>(mine + j * 8) = make_float2(sums[i][j][0], sums[i][j][1]);
          *reinterpret_cast<float2*>(mine + 8 * kSlabLine + j * 8) = make_float2(sums[i][j][2], sums[i][j][3]);
        }
      }
      __syncthreads();
      constexpr int kTogether = rows_together<Epilogue>();
      static_assert(16 % kTogether == 0);
#pragma unroll 1
      for (int p = static_cast<int>(threadIdx.x); p < kSlabRows / kTogether * (kBlockN / kPack); p += kThreads) {
        const int r = p / (kBlockN / kPack) * kTogether, c = p % (kBlockN / kPack) * kPack;
        const int64_t row = row0 + r / 16 * kWarpM + slab * 16 + r % 16, column = column0 + c;
        if (row >= rows || column >= columns) continue;
        const int64_t left = columns - column;
        const int count = left < kPack ? static_cast<int>(left) : kPack;
        hand_over<kTogether, kSlabLine>(shared + r * kSlabLine + c, row, column, count, epilogue);
      }
    }
  }
};

}  // namespace
}  // namespace lamella::cuda
