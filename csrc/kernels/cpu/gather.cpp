#include "kernels/gather.h"

#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

// Rows of so few bytes that a call of memcpy would cost more than the copy.
template <int64_t kBytes>
void copy_rows(const GatherRowsParams& p, int64_t begin, int64_t end) {
  const auto* src = static_cast<const unsigned char*>(p.src);
  auto* dst = static_cast<unsigned char*>(p.dst);
  for (int64_t r = begin; r < end; ++r)
    std::memcpy(dst + r * kBytes, src + (p.indices ? p.indices[r] : p.first + r) * kBytes, kBytes);
}

constexpr int64_t kAhead = 4096;  // bytes; further on in a row the hardware fetches by itself

void gather_rows(const Context& ctx, const GatherRowsParams& p) {
  const auto* src = static_cast<const unsigned char*>(p.src);
  // About 10 GB/s per core for scattered rows: tasks of some 20 us.
  const int64_t bytes = p.row_bytes > 0 ? p.row_bytes : 1;
  const int64_t step = 200000 / bytes > 0 ? 200000 / bytes : 1;
  parallel_range(ctx, p.rows, step, [&](int64_t begin, int64_t end, int) {
    if (!p.u8_to_float) {
      if (p.row_bytes == 4) return copy_rows<4>(p, begin, end);
      if (p.row_bytes == 8) return copy_rows<8>(p, begin, end);
      if (p.row_bytes == 16) return copy_rows<16>(p, begin, end);
    }
    for (int64_t r = begin; r < end; ++r) {
      // The next rows lie anywhere in memory: their beginnings are fetched while this one is copied.
      if (p.indices != nullptr && r + 2 < end) {
        const unsigned char* next = src + p.indices[r + 2] * p.row_bytes;
        for (int64_t i = 0; i < p.row_bytes && i < kAhead; i += 64) __builtin_prefetch(next + i, 0, 2);
      }
      const unsigned char* from = src + (p.indices ? p.indices[r] : p.first + r) * p.row_bytes;
      if (p.u8_to_float) {
        float* to = static_cast<float*>(p.dst) + r * p.row_bytes;
        for (int64_t i = 0; i < p.row_bytes; ++i) to[i] = static_cast<float>(from[i]);
      } else {
        std::memcpy(static_cast<unsigned char*>(p.dst) + r * p.row_bytes, from, static_cast<size_t>(p.row_bytes));
      }
    }
  });
}

}  // namespace

void fill(GatherKernels<float>& k) { k.gather_rows = gather_rows; }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(GatherKernels<double>& k) { k.gather_rows = gather_rows; }
#endif

}  // namespace lamella::LAMELLA_NS
