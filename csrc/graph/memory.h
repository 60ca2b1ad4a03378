// Lays buffers with known lifetimes out in one arena.
#pragma once

#include <cstdint>
#include <vector>

namespace lamella {

struct BufferLife {
  int64_t bytes = 0;
  int first = 0;  // first and last step that touch the buffer, both inclusive
  int last = -1;  // last < first: never used, gets offset 0 and no room
  int64_t offset = 0;
};

// Fills the offsets (multiples of 64) so that buffers alive at the same step do not overlap; returns the arena's size.
// Greedy by size, each at the lowest gap that fits: within a few per cent of the largest live set for layered networks.
int64_t plan_memory(std::vector<BufferLife>& buffers);

}  // namespace lamella
