#include "bindings/cpu_memory.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "base/aligned_memory.h"
#include "base/error.h"

namespace lamella::python {
namespace {

constexpr size_t kKeep = size_t{512} << 20;

// What stands in front of the data; its last bytes are the block's capacity. Large arrays begin with a page: NumPy's do
// so 16 bytes later, and results a little in front of their operands, modulo 4 KiB, are the better place (see
// map_inl.h).
size_t header_of(size_t capacity) { return capacity >= (size_t{1} << 20) ? 4096 : 64; }
size_t& capacity_at(void* data) { return static_cast<size_t*>(data)[-1]; }

struct Block {
  unsigned char* start;
  size_t capacity;  // with the header
};

// Rounded up by at most an eighth, so that arrays of nearly equal sizes share blocks.
size_t capacity_for(size_t bytes) {
  const size_t step = std::max<size_t>(std::bit_floor(bytes) / 8, 4096);
  return (bytes + header_of(bytes + step) + step - 1) / step * step;
}

class Pool {
 public:
  unsigned char* take(size_t capacity) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = kept_.size(); i-- > 0;) {  // the latest first: it may still be in the cache
      if (kept_[i].capacity != capacity) continue;
      unsigned char* const start = kept_[i].start;
      kept_.erase(kept_.begin() + static_cast<ptrdiff_t>(i));
      bytes_ -= capacity;
      return start;
    }
    return nullptr;
  }

  void give(const Block& block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (block.capacity > kKeep) return std::free(block.start);
    size_t gone = 0;
    while (bytes_ + block.capacity > kKeep) {  // sizes that nobody asked for lately
      std::free(kept_[gone].start);
      bytes_ -= kept_[gone++].capacity;
    }
    kept_.erase(kept_.begin(), kept_.begin() + static_cast<ptrdiff_t>(gone));
    kept_.push_back(block);
    bytes_ += block.capacity;
  }

 private:
  std::mutex mutex_;
  std::vector<Block> kept_;  // oldest first
  size_t bytes_ = 0;
};

// Never destroyed: arrays may outlive static destruction.
Pool& pool() {
  static Pool* const p = new Pool;
  return *p;
}

}  // namespace

void* take_memory(size_t bytes) {
  const size_t capacity = capacity_for(bytes);
  unsigned char* start = pool().take(capacity);
  if (start == nullptr) start = static_cast<unsigned char*>(aligned_memory(capacity));
  if (start == nullptr) throw Error(ErrorKind::kMemory, "array", "out of memory: " + std::to_string(bytes) + " bytes");
  void* const data = start + header_of(capacity);
  capacity_at(data) = capacity;
  return data;
}

void give_memory(void* data) {
  const size_t capacity = capacity_at(data);
  pool().give({static_cast<unsigned char*>(data) - header_of(capacity), capacity});
}

}  // namespace lamella::python
