// How a block lies over an image's pixels and channels where it works on pixel after pixel.
#pragma once

#include "kernels/cuda/launch.h"

namespace lamella::cuda {

// A block of up to 256 threads lies over a tile of channels, `lanes` groups of them, and `rows` pixels; a tile is no
// wider than 64 lanes, so that at least 4 pixels are under way.
constexpr int kBlockThreads = 256;
struct TileShape {
  int lanes, rows;
  int64_t tiles;

  TileShape(int64_t c, int group) {
    const int64_t groups = c / group;
    tiles = ceil_div(groups, 64);
    lanes = static_cast<int>(ceil_div(groups, tiles));
    rows = kBlockThreads / lanes;
  }
  unsigned threads() const { return static_cast<unsigned>(lanes * rows); }
};

}  // namespace lamella::cuda
