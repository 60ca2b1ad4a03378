// A block's tile of a matrix product on the ordinary units: sums over k of a(row, k) * b(k, column), where two LOADERS
// know what a and b are (matrices, or the windows of a convolution) and an EPILOGUE takes the sums. For float and
// double.
//
//   using Tile = SimtTile<float, 128, 128, 16, 8, 8>;   // rows, columns, steps of k at a time; outputs per thread
//   __global__ void __launch_bounds__(Tile::kThreads) kernel(...) {
//     Tile::run(load_a, load_b, row0, column0, k_begin, k_end, rows, columns, epilogue);   // every thread calls it
//   }
//   launch(ctx, kernel, Launch{grid, dim3(Tile::kThreads), Tile::kSharedBytes}, ...);
//
// A block computes rows [row0, row0 + kBlockM) and columns [column0, column0 + kBlockN), cut to `rows` and `columns`,
// over [k_begin, k_end). A block that runs several tiles in turn calls __syncthreads() between them.
//
// LOADER. What `row` is to a's loader, `column` is to b's: both are called rows here. Packs of kSize elements (4
// floats, 2 doubles: 16 bytes) are fetched at once, either neighbours along k or neighbouring rows, whichever lie
// together in memory:
//
//   struct Loader {
//     static constexpr bool kAlongK = ...;
//     using Row = ...;     // what is to be known of a row, kept in registers: made before the loop
//     using Depth = ...;   // what is to be known of a place along k: made once per tile and place
//     __device__ Row row(int64_t r) const;
//     __device__ Depth depth(int64_t k) const;
//
//     // kAlongK: elements k ... k + kSize - 1 of the row, to registers; k is k_begin plus a multiple of kSize.
//     __device__ Pack<T> fetch(const Row&, const Depth&) const;
//     // else: rows r ... r + kSize - 1 at k, to 16-byte aligned shared memory, by copy_async (no commit); r is row0
//     (or
//     // column0) plus a multiple of kSize. Must write all kSize elements.
//     __device__ void copy(T* shared, const Row&, const Depth&) const;
//     // The same to registers, for the matrix units (gemm_tile_mma.h).
//     __device__ Pack<T> fetch(const Row&, const Depth&) const;
//   };
//
// Rows and places along k outside of the matrix (k >= k_end too: tiles are whole) are asked for and must read as 0. A
// thread holds kBlockM / (kThreads / (kBlockK / kSize)) Rows of a kAlongK loader (2 for 128 x 128 floats) and one Depth
// at a time; of the other kind one Row and as many Depths in turn. Row should be a pointer and little more.
//
// EPILOGUE: `epilogue(row, column, sums, count)`, a __device__ const operator() with sums a Pack<T> of which the first
// `count` (1 ... kSize) columns exist; neighbouring threads have neighbouring packs of a row. One that has a static
// kRowsTogether takes `const Pack<T> (&sums)[kRowsTogether]`, of rows row ... row + kRowsTogether - 1, where row is a
// multiple of it (1, 2 or 4), and so are the rows of the product. The place to apply biases
// and activations: it is compiled once per kernel, in a loop that is not unrolled, with few registers in use.
//
// How it runs: a and b are kept in shared memory by k, so that a thread reads kThreadM + kThreadN neighbouring numbers
// per step, as 16-byte reads without bank conflicts (rows are padded by a pack: what is transposed on its way from
// registers has two-way conflicts, one store for 32 multiplications per thread). Two buffers: the next tile is on its
// way (in registers, or by cp.async) while this one is multiplied; one barrier per tile. 128 x 128 x 16 floats: 16
// steps of 64 FMAs and 4 shared 16-byte reads per thread, 32 flops per byte from L2, two blocks of 256 threads per
// multiprocessor. The bound is the issue of FMAs: 64 of 69 instructions of the loop.
#pragma once

#include "kernels/cuda/device.h"

namespace lamella::cuda {
namespace {

template <class Epilogue>
constexpr int rows_together() {
  if constexpr (requires { Epilogue::kRowsTogether; }) {
    return Epilogue::kRowsTogether;
  } else {
    return 1;
  }
}

// Finished sums of kTogether rows, kLine numbers apart in shared memory, to the epilogue.
template <int kTogether, int kLine, class T, class Epilogue>
__device__ __forceinline__ void hand_over(const T* from, int64_t row, int64_t column, int count,
                                          const Epilogue& epilogue) {
  if constexpr (kTogether == 1) {
    epilogue(row, column, load_pack(from), count);
  } else {
    Pack<T> v[kTogether];
#pragma unroll
    for (int t = 0; t < kTogether; ++t) v[t] = load_pack(from + t * kLine);
    epilogue(row, column, v, count);
  }
}

template <class T, int kBlockM_, int kBlockN_, int kBlockK_, int kThreadM, int kThreadN>
struct SimtTile {
  static constexpr int kBlockM = kBlockM_, kBlockN = kBlockN_, kBlockK = kBlockK_;
  static constexpr int kPack = Pack<T>::kSize;
  static constexpr int kThreads = kBlockM / kThreadM * (kBlockN / kThreadN);

  // A warp's threads lie 4 x 8; a thread has groups of kPack rows (columns) that are 4 (8) packs apart.
  static constexpr int kLanesM = 4, kLanesN = 8;
  static constexpr int kWarpM = kLanesM * kThreadM, kWarpN = kLanesN * kThreadN;
  static constexpr int kGroupsM = kThreadM / kPack, kGroupsN = kThreadN / kPack;
  static constexpr int kStrideA = kBlockM + kPack, kStrideB = kBlockN + kPack;
  static constexpr int kStage = kBlockK * (kStrideA + kStrideB);
  // For the epilogue, a group of rows of every thread.
  static constexpr int kSlabRows = kBlockM / kGroupsM, kSlab = kSlabRows * kStrideB;
  static constexpr size_t kSharedBytes = sizeof(T) * (2 * kStage > kSlab ? 2 * kStage : kSlab);

  static_assert(kThreadM % kPack == 0 && kThreadN % kPack == 0);
  static_assert(kBlockM % kWarpM == 0 && kBlockN % kWarpN == 0 && kThreads % 32 == 0);

  // Which packs of a tile of kRows x kBlockK a thread fetches.
  template <bool kAlongK, int kRows>
  struct Share {
    static constexpr int kAcross = (kAlongK ? kBlockK : kRows) / kPack;  // packs side by side
    static constexpr int kStep = kThreads / kAcross;                     // between a thread's packs, the other way
    static constexpr int kPacks = kRows * kBlockK / kPack / kThreads;
    static_assert(kThreads % kAcross == 0 && kPacks * kThreads * kPack == kRows * kBlockK);
  };

  // One operand's way into shared memory.
  template <class L, int kRows, int kStride, bool kAlongK = L::kAlongK>
  struct Feed;

  template <class L, int kRows, int kStride>
  struct Feed<L, kRows, kStride, true> {
    using S = Share<true, kRows>;
    typename L::Row row[S::kPacks];
    Pack<T> staged[S::kPacks];
    int k, at;

    __device__ __forceinline__ Feed(const L& load, int64_t first) {
      const int t = static_cast<int>(threadIdx.x);
      k = t % S::kAcross * kPack;
      at = t / S::kAcross;
#pragma unroll
      for (int i = 0; i < S::kPacks; ++i) row[i] = load.row(first + at + i * S::kStep);
    }
    __device__ __forceinline__ void begin(const L& load, int64_t k0, T*) {
      const typename L::Depth depth = load.depth(k0 + k);
#pragma unroll
      for (int i = 0; i < S::kPacks; ++i) staged[i] = load.fetch(row[i], depth);
    }
    __device__ __forceinline__ void finish(T* shared) const {
#pragma unroll
      for (int i = 0; i < S::kPacks; ++i) {
#pragma unroll
        for (int j = 0; j < kPack; ++j) shared[(k + j) * kStride + at + i * S::kStep] = staged[i].v[j];
      }
    }
  };

  template <class L, int kRows, int kStride>
  struct Feed<L, kRows, kStride, false> {
    using S = Share<false, kRows>;
    typename L::Row row;
    int k, at;

    __device__ __forceinline__ Feed(const L& load, int64_t first) {
      const int t = static_cast<int>(threadIdx.x);
      at = t % S::kAcross * kPack;
      k = t / S::kAcross;
      row = load.row(first + at);
    }
    __device__ __forceinline__ void begin(const L& load, int64_t k0, T* shared) const {
#pragma unroll
      for (int i = 0; i < S::kPacks; ++i) {
        const int place = k + i * S::kStep;
        load.copy(shared + place * kStride + at, row, load.depth(k0 + place));
      }
    }
    __device__ __forceinline__ void finish(T*) const {}
  };

  template <class LoadA, class LoadB, class Epilogue>
  static __device__ __forceinline__ void run(const LoadA& load_a, const LoadB& load_b, int64_t row0, int64_t column0,
                                             int64_t k_begin, int64_t k_end, int64_t rows, int64_t columns,
                                             const Epilogue& epilogue) {
    T* const shared = dynamic_shared<T>();
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    // Neighbouring lanes are neighbours in both directions: reads that are the same in pairs of lanes, and in pairs of
    // pairs, are served together.
    const int lane_m = (lane & 1) | (lane >> 4 << 1), lane_n = lane >> 1 & 7;
    const int m0 = warp / (kBlockN / kWarpN) * kWarpM + lane_m * kPack;
    const int n0 = warp % (kBlockN / kWarpN) * kWarpN + lane_n * kPack;

    T sums[kThreadM][kThreadN];
#pragma unroll
    for (int i = 0; i < kThreadM; ++i) {
#pragma unroll
      for (int j = 0; j < kThreadN; ++j) sums[i][j] = T(0);
    }

    if (k_begin < k_end) {
      Feed<LoadA, kBlockM, kStrideA> feed_a(load_a, row0);
      Feed<LoadB, kBlockN, kStrideB> feed_b(load_b, column0);
      feed_a.begin(load_a, k_begin, shared);
      feed_b.begin(load_b, k_begin, shared + kBlockK * kStrideA);
      copy_async_commit();
      feed_a.finish(shared);
      feed_b.finish(shared + kBlockK * kStrideA);
      copy_async_wait<0>();
      __syncthreads();
      int buffer = 0;
#pragma unroll 1
      for (int64_t k0 = k_begin; k0 < k_end; k0 += kBlockK) {
        T* const now_a = shared + buffer * kStage;
        T* const next_a = shared + (buffer ^ 1) * kStage;
        const bool more = k0 + kBlockK < k_end;
        if (more) {
          feed_a.begin(load_a, k0 + kBlockK, next_a);
          feed_b.begin(load_b, k0 + kBlockK, next_a + kBlockK * kStrideA);
          copy_async_commit();
        }
        multiply(now_a + m0, now_a + kBlockK * kStrideA + n0, sums);
        if (more) {
          feed_a.finish(next_a);
          feed_b.finish(next_a + kBlockK * kStrideA);
          copy_async_wait<0>();
        }
        __syncthreads();
        buffer ^= 1;
      }
    }
    store(shared, m0, n0, sums, row0, column0, rows, columns, epilogue);
  }

 private:
  static __device__ __forceinline__ void multiply(const T* a, const T* b, T (&sums)[kThreadM][kThreadN]) {
#pragma unroll
    for (int k = 0; k < kBlockK; ++k) {
      Pack<T> x[kGroupsM], y[kGroupsN];
#pragma unroll
      for (int g = 0; g < kGroupsM; ++g) x[g] = load_pack(a + k * kStrideA + g * kLanesM * kPack);
#pragma unroll
      for (int g = 0; g < kGroupsN; ++g) y[g] = load_pack(b + k * kStrideB + g * kLanesN * kPack);
#pragma unroll
      for (int i = 0; i < kThreadM; ++i) {
#pragma unroll
        for (int j = 0; j < kThreadN; ++j)
          sums[i][j] = fma(x[i / kPack].v[i % kPack], y[j / kPack].v[j % kPack], sums[i][j]);
      }
    }
  }

  // Through shared memory, a group of rows at a time: whole runs of a row are stored together, and the epilogue is in
  // one place of the program.
  template <class Epilogue>
  static __device__ __forceinline__ void store(T* shared, int m0, int n0, const T (&sums)[kThreadM][kThreadN],
                                               int64_t row0, int64_t column0, int64_t rows, int64_t columns,
                                               const Epilogue& epilogue) {
    constexpr int kRun = kLanesM * kPack;  // rows of a warp in a slab
    const int slab_row = m0 / kWarpM * kRun + m0 % kWarpM;
#pragma unroll 1
    for (int slab = 0; slab < kGroupsM; ++slab) {
      if (slab > 0) __syncthreads();
#pragma unroll
      for (int g = 0; g < kGroupsM; ++g) {
        if (g != slab) continue;
#pragma unroll
        for (int i = 0; i < kPack; ++i) {
#pragma unroll
          for (int h = 0; h < kGroupsN; ++h) {
            Pack<T> v;
#pragma unroll
            for (int j = 0; j < kPack; ++j) v.v[j] = sums[g * kPack + i][h * kPack + j];
            store_pack(shared + (slab_row + i) * kStrideB + n0 + h * kLanesN * kPack, v);
          }
        }
      }
      __syncthreads();
      constexpr int kTogether = rows_together<Epilogue>();
      static_assert(kRun % kTogether == 0);
#pragma unroll 1
      for (int p = static_cast<int>(threadIdx.x); p < kSlabRows / kTogether * (kBlockN / kPack); p += kThreads) {
        const int r = p / (kBlockN / kPack) * kTogether, c = p % (kBlockN / kPack) * kPack;
        const int64_t row = row0 + r / kRun * kWarpM + slab * kRun + r % kRun, column = column0 + c;
        if (row >= rows || column >= columns) continue;
        const int64_t left = columns - column;
        const int count = left < kPack ? static_cast<int>(left) : kPack;
        hand_over<kTogether, kStrideB>(shared + r * kStrideB + c, row, column, count, epilogue);
      }
    }
  }
};

// The loader of a matrix with any strides. `packed`: 16-byte loads are possible: the elements of a pack are neighbours,
// packs are aligned, and none of them crosses the matrix's end.
template <class T, bool kAlongK_>
struct MatrixLoader;

template <class T>
struct MatrixLoader<T, true> {
  static constexpr bool kAlongK = true;
  static constexpr int kPack = Pack<T>::kSize;
  const T* base;
  int64_t row_stride, k_stride, rows, k_end;
  bool packed;

  using Row = const T*;
  struct Depth {
    int64_t offset;
    int count;  // elements of the pack that exist
  };
  __device__ __forceinline__ Row row(int64_t r) const { return r < rows ? base + r * row_stride : nullptr; }
  __device__ __forceinline__ Depth depth(int64_t k) const {
    const int64_t left = k_end - k;
    return {k * k_stride, left > kPack ? kPack : static_cast<int>(left)};
  }
  __device__ __forceinline__ Pack<T> fetch(Row row, const Depth& d) const {
    Pack<T> v;
#pragma unroll
    for (int j = 0; j < kPack; ++j) v.v[j] = T{};
    if (row == nullptr) return v;
    if (packed) {
      if (d.count > 0) v = load_pack(row + d.offset);
    } else {
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        if (j < d.count) v.v[j] = row[d.offset + j * k_stride];
      }
    }
    return v;
  }
};

template <class T>
struct MatrixLoader<T, false> {
  static constexpr bool kAlongK = false;
  static constexpr int kPack = Pack<T>::kSize;
  const T* base;
  int64_t row_stride, k_stride, rows, k_end;
  bool packed;

  struct Row {
    const T* p;
    int count;
  };
  struct Depth {
    int64_t offset;
    bool inside;
  };
  __device__ __forceinline__ Row row(int64_t r) const {
    const int64_t left = rows - r;
    return {base + r * row_stride, left > kPack ? kPack : left < 0 ? 0 : static_cast<int>(left)};
  }
  __device__ __forceinline__ Depth depth(int64_t k) const { return {k * k_stride, k < k_end}; }
  __device__ __forceinline__ Pack<T> fetch(const Row& row, const Depth& d) const {
    Pack<T> v;
#pragma unroll
    for (int j = 0; j < kPack; ++j) v.v[j] = T{};
    if (!d.inside || row.count == 0) return v;
    if (packed) {
      v = load_pack(row.p + d.offset);
    } else {
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        if (j < row.count) v.v[j] = row.p[d.offset + j * row_stride];
      }
    }
    return v;
  }
  __device__ __forceinline__ void copy(T* shared, const Row& row, const Depth& d) const {
    const int count = d.inside ? row.count : 0;
    const T* p = count > 0 ? row.p + d.offset : base;
    if (packed) {
      copy_async<16>(shared, p, count > 0 ? 16 : 0);
    } else {
#pragma unroll
      for (int j = 0; j < kPack; ++j)
        copy_async<sizeof(T)>(shared + j, j < count ? p + j * row_stride : base,
                              j < count ? static_cast<int>(sizeof(T)) : 0);
    }
  }
};

// The same where `packed` holds, which takes fewer instructions and registers.
template <class T, bool kAlongK_>
struct PackedLoader;

template <class T>
struct PackedLoader<T, true> {
  static constexpr bool kAlongK = true;
  const T* base;
  int64_t row_stride, rows, k_end;

  using Row = const T*;
  struct Depth {
    int64_t k;
    bool inside;
  };
  __device__ __forceinline__ Row row(int64_t r) const { return r < rows ? base + r * row_stride : nullptr; }
  __device__ __forceinline__ Depth depth(int64_t k) const { return {k, k < k_end}; }
  __device__ __forceinline__ Pack<T> fetch(Row row, const Depth& d) const {
    if (d.inside && row != nullptr) return load_pack(row + d.k);
    Pack<T> v;
#pragma unroll
    for (int j = 0; j < Pack<T>::kSize; ++j) v.v[j] = T{};
    return v;
  }
};

template <class T>
struct PackedLoader<T, false> {
  static constexpr bool kAlongK = false;
  const T* base;
  int64_t k_stride, rows, k_end;

  struct Row {
    const T* p;
    bool inside;
  };
  struct Depth {
    int64_t offset;
    bool inside;
  };
  __device__ __forceinline__ Row row(int64_t r) const { return {base + r, r < rows}; }
  __device__ __forceinline__ Depth depth(int64_t k) const { return {k * k_stride, k < k_end}; }
  __device__ __forceinline__ Pack<T> fetch(const Row& row, const Depth& d) const {
    if (d.inside && row.inside) return load_pack(row.p + d.offset);
    Pack<T> v;
#pragma unroll
    for (int j = 0; j < Pack<T>::kSize; ++j) v.v[j] = T{};
    return v;
  }
  __device__ __forceinline__ void copy(T* shared, const Row& row, const Depth& d) const {
    copy_async<16>(shared, row.p + d.offset, d.inside && row.inside ? 16 : 0);  // of no bytes, nothing is read
  }
};

// The place of a block's tile among rows x columns of tiles. Blocks that run at the same time share rows and columns:
// they go through bands of kBand rows of tiles, column by column.
struct TilePlace {
  unsigned row, column;
};
__device__ __forceinline__ TilePlace tile_place(unsigned index, unsigned rows, unsigned columns) {
  constexpr unsigned kBand = 8;
  const unsigned band = index / (kBand * columns), within = index % (kBand * columns);
  const unsigned height = rows - band * kBand < kBand ? rows - band * kBand : kBand;
  return {band * kBand + within % height, within / height};
}

}  // namespace
}  // namespace lamella::cuda
