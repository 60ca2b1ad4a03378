// The workspace in which devices sort the places that picked a row, to add up the row's gradients in their order:
// embedding_grad and gather_grad there. The CPU needs none.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lamella {

struct RowSumsWorkspace {
  static constexpr int64_t kTile = 4096, kDigits = 256;  // of the sort
  enum Part : int32_t { kRowA, kPlaceA, kRowB, kPlaceB, kCounts, kTotals, kStart, kParts };

  bool wide;  // numbers of 8 bytes, not 4
  size_t offset[kParts];
  size_t bytes = 0;

  RowSumsWorkspace(int64_t indices, int64_t rows) : wide(indices >= UINT32_MAX || rows >= UINT32_MAX) {
    const int64_t tiles = (indices + kTile - 1) / kTile;
    const int64_t sizes[kParts] = {indices, indices, indices, indices, tiles * kDigits, kDigits, rows + 1};
    for (int i = 0; i < kParts; ++i) {
      offset[i] = bytes;
      bytes += (static_cast<size_t>(sizes[i]) * (wide ? 8 : 4) + 255) / 256 * 256;
    }
  }
};

}  // namespace lamella
