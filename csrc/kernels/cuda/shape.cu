// Strided copies and fills; all of it is bound by memory. Dimensions are put into the order of the destination, and
// neighbours that can be walked as one are joined. Then
// - one dense stretch is copied in packs of 16 bytes;
// - where the source runs along another dimension than the destination (a transpose), tiles of 32 x 32 turn in shared
//   memory, so that both sides use whole sectors;
// - everything else is walked in the order of the destination, in units as wide as the dense innermost stretch and the
//   alignment allow. Sides of a transpose that are shorter than half a tile are here too: what a block reads lies so
//   close together that the cache has it.
#include "kernels/cuda/device.h"
#include "kernels/cuda/fast_div.h"
#include "kernels/cuda/shape_parts.h"
#include "kernels/cuda/tables.h"
#include "kernels/shape.h"

namespace lamella::cuda {
namespace {

constexpr int kMaxRank = StridedCopyParams::kMaxRank;
constexpr int kThreads = 256;
constexpr int kPerThread = 4;  // loads in flight
constexpr int kBlockItems = kThreads * kPerThread;
constexpr int64_t kMostUnits = int64_t{1} << 31;  // of one launch: indices have 32 bits

// ---- one dense stretch ----------------------------------------------------------------------------------------------

// n units, and where units are packs up to 15 bytes before and after them.
template <class Unit>
__global__ void __launch_bounds__(kThreads)
    copy_dense(char* __restrict__ dst, const char* __restrict__ src, int64_t n, int before, int after) {
  const Unit* from = reinterpret_cast<const Unit*>(src + before);
  Unit* to = reinterpret_cast<Unit*>(dst + before);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kBlockItems + threadIdx.x;
  Unit v[kPerThread];
#pragma unroll
  for (int k = 0; k < kPerThread; ++k)
    if (first + k * kThreads < n) v[k] = from[first + k * kThreads];
#pragma unroll
  for (int k = 0; k < kPerThread; ++k)
    if (first + k * kThreads < n) to[first + k * kThreads] = v[k];
  if (blockIdx.x == 0) {
    const int t = static_cast<int>(threadIdx.x);
    const int64_t end = before + n * static_cast<int64_t>(sizeof(Unit));
    if (t < before) dst[t] = src[t];
    if (t < after) dst[end + t] = src[end + t];
  }
}

uintptr_t address(const void* p) { return reinterpret_cast<uintptr_t>(p); }

int64_t block_count(int64_t items) { return items > 0 ? ceil_div(items, kBlockItems) : 1; }

template <class Unit>
void launch_dense(const Context& ctx, char* dst, const char* src, int64_t n, int before, int after) {
  launch(ctx, copy_dense<Unit>, {dim3(static_cast<unsigned>(block_count(n))), dim3(kThreads)}, dst, src, n, before,
         after);
}

void run_dense(const Context& ctx, char* dst, const char* src, int64_t bytes) {
  const uintptr_t apart = address(dst) ^ address(src);
  if (apart % 16 == 0) {
    int64_t before = static_cast<int64_t>((16 - address(dst) % 16) % 16);
    if (before > bytes) before = bytes;
    const int64_t packs = (bytes - before) / 16;
    launch_dense<uint4>(ctx, dst, src, packs, static_cast<int>(before), static_cast<int>(bytes - before - packs * 16));
  } else if ((apart | address(dst) | static_cast<uintptr_t>(bytes)) % 8 == 0) {
    launch_dense<uint64_t>(ctx, dst, src, bytes / 8, 0, 0);
  } else if ((apart | address(dst) | static_cast<uintptr_t>(bytes)) % 4 == 0) {
    launch_dense<uint32_t>(ctx, dst, src, bytes / 4, 0, 0);
  } else {
    launch_dense<uint8_t>(ctx, dst, src, bytes, 0, 0);
  }
}

// ---- what is to be walked -------------------------------------------------------------------------------------------

// Strides in units; those of the destination are positive and fall.
struct Walk {
  int rank = 0;
  int64_t dims[kMaxRank], src_stride[kMaxRank], dst_stride[kMaxRank];
  const char* src;
  char* dst;
  int unit;  // bytes

  void remove(int i) {
    for (--rank; i < rank; ++i) {
      dims[i] = dims[i + 1];
      src_stride[i] = src_stride[i + 1];
      dst_stride[i] = dst_stride[i + 1];
    }
  }
  int64_t units() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
};

Walk normalize(const StridedCopyParams& p) {
  Walk w;
  w.src = static_cast<const char*>(p.src);
  w.dst = static_cast<char*>(p.dst);
  w.unit = p.element_bytes;
  for (int i = 0; i < p.rank; ++i) {
    const int64_t n = p.dims[i];
    if (n == 1) continue;
    int64_t s = p.src_strides[i], d = p.dst_strides[i];
    if (d < 0) {
      w.src += s * (n - 1) * w.unit;
      w.dst += d * (n - 1) * w.unit;
      s = -s;
      d = -d;
    }
    int at = w.rank++;
    for (; at > 0 && w.dst_stride[at - 1] < d; --at) {
      w.dims[at] = w.dims[at - 1];
      w.src_stride[at] = w.src_stride[at - 1];
      w.dst_stride[at] = w.dst_stride[at - 1];
    }
    w.dims[at] = n;
    w.src_stride[at] = s;
    w.dst_stride[at] = d;
  }
  for (int i = w.rank - 1; i > 0; --i) {
    if (w.src_stride[i - 1] != w.src_stride[i] * w.dims[i] || w.dst_stride[i - 1] != w.dst_stride[i] * w.dims[i])
      continue;
    w.dims[i] *= w.dims[i - 1];
    w.remove(i - 1);
  }
  return w;
}

// Takes several elements of a dense innermost dimension as one unit.
void widen(Walk& w) {
  const int inner = w.rank - 1;
  if (w.src_stride[inner] != 1 || w.dst_stride[inner] != 1) return;
  for (int bytes = 16; bytes > w.unit; bytes /= 2) {
    if (bytes == 2) continue;
    const int64_t count = bytes / w.unit;
    bool fits = w.dims[inner] % count == 0 && (address(w.src) | address(w.dst)) % static_cast<uintptr_t>(bytes) == 0;
    for (int i = 0; i < inner; ++i) fits = fits && w.src_stride[i] % count == 0 && w.dst_stride[i] % count == 0;
    if (!fits) continue;
    w.unit = bytes;
    w.dims[inner] /= count;
    for (int i = 0; i < inner; ++i) {
      w.src_stride[i] /= count;
      w.dst_stride[i] /= count;
    }
    if (w.dims[inner] == 1) w.remove(inner);
    return;
  }
}

// ---- in the order of the destination --------------------------------------------------------------------------------

template <int kRank, class Offset>
struct Strides {
  FastDiv dims[kRank];  // the first is not asked
  Offset src[kRank], dst[kRank];
};

template <class Unit, int kRank, class Offset>
__global__ void __launch_bounds__(kThreads)
    copy_strided(Unit* __restrict__ dst, const Unit* __restrict__ src, uint32_t n, Strides<kRank, Offset> strides) {
  const uint32_t first = blockIdx.x * static_cast<uint32_t>(kBlockItems) + threadIdx.x;
  Unit v[kPerThread];
  Offset to[kPerThread];
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    uint32_t i = first + static_cast<uint32_t>(k * kThreads);
    if (i >= n) continue;
    Offset from = 0;
    to[k] = 0;
#pragma unroll
    for (int d = kRank - 1; d > 0; --d) {
      const auto at = static_cast<Offset>(strides.dims[d].split(i));
      from += at * strides.src[d];
      to[k] += at * strides.dst[d];
    }
    from += static_cast<Offset>(i) * strides.src[0];
    to[k] += static_cast<Offset>(i) * strides.dst[0];
    v[k] = src[from];
  }
#pragma unroll
  for (int k = 0; k < kPerThread; ++k)
    if (first + static_cast<uint32_t>(k * kThreads) < n) dst[to[k]] = v[k];
}

template <class Unit, int kRank, class Offset>
void launch_strided(const Context& ctx, const Walk& w, int64_t n) {
  Strides<kRank, Offset> s;
  for (int k = 0; k < kRank; ++k) {
    const int i = k - (kRank - w.rank);
    s.dims[k] = FastDiv(i < 0 ? 1 : w.dims[i]);
    s.src[k] = i < 0 ? 0 : static_cast<Offset>(w.src_stride[i]);
    s.dst[k] = i < 0 ? 0 : static_cast<Offset>(w.dst_stride[i]);
  }
  launch(ctx, copy_strided<Unit, kRank, Offset>, {dim3(static_cast<unsigned>(block_count(n))), dim3(kThreads)},
         reinterpret_cast<Unit*>(w.dst), reinterpret_cast<const Unit*>(w.src), static_cast<uint32_t>(n), s);
}

template <class Unit>
void run_strided(const Context& ctx, const Walk& w) {
  int64_t src_extent = 0, dst_extent = 0;
  for (int i = 0; i < w.rank; ++i) {
    src_extent += (w.dims[i] - 1) * (w.src_stride[i] < 0 ? -w.src_stride[i] : w.src_stride[i]);
    dst_extent += (w.dims[i] - 1) * w.dst_stride[i];
  }
  const bool narrow = src_extent < kMostUnits && dst_extent < kMostUnits;
  const int64_t n = w.units();
  if (narrow && w.rank <= 2) return launch_strided<Unit, 2, int32_t>(ctx, w, n);
  if (narrow && w.rank <= 4) return launch_strided<Unit, 4, int32_t>(ctx, w, n);
  if (w.rank <= 4) return launch_strided<Unit, 4, int64_t>(ctx, w, n);
  launch_strided<Unit, kMaxRank, int64_t>(ctx, w, n);
}

// ---- transposes -----------------------------------------------------------------------------------------------------

constexpr int kTile = 32, kTileRows = 8;

// The destination runs along `cols`, the source along `rows`; the other dimensions are numbered by blocks.
struct Tiles {
  int rows, cols;
  int64_t dst_row, src_col;
  FastDiv row_tiles, col_tiles;
  int rank;
  FastDiv dims[kMaxRank];
  int64_t src[kMaxRank], dst[kMaxRank];
};

// A column of the tile is read from 32 different banks, for rows are one unit longer than it is wide.
template <class Unit>
__global__ void __launch_bounds__(kTile* kTileRows)
    copy_tiles(Unit* __restrict__ dst, const Unit* __restrict__ src, Tiles t) {
  __shared__ Unit tile[kTile][kTile + 1];
  uint32_t at = blockIdx.x;
  const int c0 = static_cast<int>(t.col_tiles.split(at)) * kTile, r0 = static_cast<int>(t.row_tiles.split(at)) * kTile;
  for (int d = t.rank - 1; d >= 0; --d) {
    const int64_t i = t.dims[d].split(at);
    src += i * t.src[d];
    dst += i * t.dst[d];
  }
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
#pragma unroll
  for (int k = 0; k < kTile; k += kTileRows)
    if (c0 + y + k < t.cols && r0 + x < t.rows) tile[y + k][x] = src[(c0 + y + k) * t.src_col + r0 + x];
  __syncthreads();
#pragma unroll
  for (int k = 0; k < kTile; k += kTileRows)
    if (r0 + y + k < t.rows && c0 + x < t.cols) dst[(r0 + y + k) * t.dst_row + c0 + x] = tile[x][y + k];
}

// The dimension along which the source is dense where it is another than the destination's; -1: none worth tiles.
int other_dense(const Walk& w) {
  const int inner = w.rank - 1;
  if (w.dst_stride[inner] != 1 || w.src_stride[inner] == 1 || w.dims[inner] < kTile / 2) return -1;
  for (int i = 0; i < inner; ++i)
    if (w.src_stride[i] == 1 && w.dims[i] >= kTile / 2) return i;
  return -1;
}

template <class Unit>
void run_tiles(const Context& ctx, const Walk& w, int along) {
  const int inner = w.rank - 1;
  const int64_t row_tiles = ceil_div(w.dims[along], kTile), col_tiles = ceil_div(w.dims[inner], kTile);
  int64_t blocks = row_tiles * col_tiles;
  Tiles t;
  t.rows = static_cast<int>(w.dims[along]);
  t.cols = static_cast<int>(w.dims[inner]);
  t.dst_row = w.dst_stride[along];
  t.src_col = w.src_stride[inner];
  t.row_tiles = FastDiv(row_tiles);
  t.col_tiles = FastDiv(col_tiles);
  t.rank = 0;
  for (int i = 0; i < inner; ++i) {
    if (i == along) continue;
    blocks *= w.dims[i];
    t.dims[t.rank] = FastDiv(w.dims[i]);
    t.src[t.rank] = w.src_stride[i];
    t.dst[t.rank++] = w.dst_stride[i];
  }
  launch(ctx, copy_tiles<Unit>, {dim3(static_cast<unsigned>(blocks)), dim3(kTile, kTileRows)},
         reinterpret_cast<Unit*>(w.dst), reinterpret_cast<const Unit*>(w.src), t);
}

template <class Unit>
void run_units(const Context& ctx, const Walk& w) {
  const int along = other_dense(w);
  if (along >= 0) {
    run_tiles<Unit>(ctx, w, along);
  } else {
    run_strided<Unit>(ctx, w);
  }
}

void run(const Context& ctx, const Walk& w) {
  if (w.units() >= kMostUnits) {
    int longest = 0;
    for (int i = 1; i < w.rank; ++i)
      if (w.dims[i] > w.dims[longest]) longest = i;
    Walk half = w;
    half.dims[longest] /= 2;
    run(ctx, half);
    half.src += half.dims[longest] * w.src_stride[longest] * w.unit;
    half.dst += half.dims[longest] * w.dst_stride[longest] * w.unit;
    half.dims[longest] = w.dims[longest] - half.dims[longest];
    return run(ctx, half);
  }
  switch (w.unit) {
    case 16:
      return run_units<uint4>(ctx, w);
    case 8:
      return run_units<uint64_t>(ctx, w);
    case 4:
      return run_units<uint32_t>(ctx, w);
    case 2:
      return run_units<uint16_t>(ctx, w);
    default:
      return run_units<uint8_t>(ctx, w);
  }
}

void copy(const Context& ctx, const StridedCopyParams& p) {
  for (int i = 0; i < p.rank; ++i)
    if (p.dims[i] == 0) return;
  Walk w = normalize(p);
  if (w.rank == 0) return run_dense(ctx, w.dst, w.src, w.unit);
  if (w.rank == 1 && w.src_stride[0] == 1 && w.dst_stride[0] == 1)
    return run_dense(ctx, w.dst, w.src, w.dims[0] * w.unit);
  widen(w);
  run(ctx, w);
}

// ---- fills ----------------------------------------------------------------------------------------------------------

// Both ends are whole elements, for the destination is aligned to them.
__global__ void __launch_bounds__(kThreads)
    fill_packs(char* dst, int64_t packs, uint4 pattern, uint64_t element, int element_bytes, int before, int after) {
  uint4* to = reinterpret_cast<uint4*>(dst + before);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kBlockItems + threadIdx.x;
#pragma unroll
  for (int k = 0; k < kPerThread; ++k)
    if (first + k * kThreads < packs) to[first + k * kThreads] = pattern;
  if (blockIdx.x == 0) {
    const int t = static_cast<int>(threadIdx.x);
    const char byte = static_cast<char>(element >> (t % element_bytes * 8));
    if (t < before) dst[t] = byte;
    if (t < after) dst[before + packs * 16 + t] = byte;
  }
}

void fill_bytes(const Context& ctx, const FillBytesParams& p) {
  if (p.n == 0) return;
  const int64_t bytes = p.n * p.element_bytes;
  int64_t before = static_cast<int64_t>((16 - address(p.dst) % 16) % 16);
  if (before > bytes) before = bytes;
  const int64_t packs = (bytes - before) / 16;
  uint64_t word = p.pattern;
  if (p.element_bytes == 1) word = (word & 0xFF) * 0x0101010101010101u;
  if (p.element_bytes == 2) word = (word & 0xFFFF) * 0x0001000100010001u;
  if (p.element_bytes == 4) word = (word & 0xFFFFFFFF) * 0x0000000100000001u;
  const auto low = static_cast<unsigned>(word), high = static_cast<unsigned>(word >> 32);
  launch(ctx, fill_packs, {dim3(static_cast<unsigned>(block_count(packs))), dim3(kThreads)}, static_cast<char*>(p.dst),
         packs, make_uint4(low, high, low, high), p.pattern, p.element_bytes, static_cast<int>(before),
         static_cast<int>(bytes - before - packs * 16));
}

template <class T>
void fill_kernels(ShapeKernels<T>& k) {
  k.copy = copy;
  k.fill_bytes = fill_bytes;
  k.cast = cast;
}

}  // namespace

void copy_bytes(const Context& ctx, void* dst, const void* src, int64_t bytes) {
  if (bytes > 0) run_dense(ctx, static_cast<char*>(dst), static_cast<const char*>(src), bytes);
}

void fill(ShapeKernels<float>& k) { fill_kernels(k); }
void fill(ShapeKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
