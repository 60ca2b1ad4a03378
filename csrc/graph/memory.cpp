#include "graph/memory.h"

#include <algorithm>
#include <numeric>

namespace lamella {

int64_t plan_memory(std::vector<BufferLife>& buffers) {
  const auto padded = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
  std::vector<int> order(buffers.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return buffers[a].bytes > buffers[b].bytes; });

  std::vector<int> placed;  // sorted by offset
  int64_t arena = 0;
  for (int i : order) {
    BufferLife& b = buffers[i];
    if (b.last < b.first || b.bytes == 0) continue;
    int64_t offset = 0;
    for (int j : placed) {
      const BufferLife& p = buffers[j];
      if (p.last < b.first || b.last < p.first) continue;
      if (offset + padded(b.bytes) <= p.offset) break;
      offset = std::max(offset, p.offset + padded(p.bytes));
    }
    b.offset = offset;
    arena = std::max(arena, offset + padded(b.bytes));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](int x, int y) { return buffers[x].offset < buffers[y].offset; }),
                  i);
  }
  return arena;
}

}  // namespace lamella
