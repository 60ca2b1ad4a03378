#include "base/aligned_memory.h"

#include <cstdint>
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lamella {

void* aligned_memory(size_t bytes) {
  constexpr size_t kLine = 64, kHugePage = size_t{2} << 20;
  const bool huge = bytes >= kHugePage;
  const size_t alignment = huge ? kHugePage : kLine;
  if (bytes > SIZE_MAX - alignment) return nullptr;
  const size_t rounded = (bytes + kLine - 1) / kLine * kLine;
  void* p = nullptr;
  if (posix_memalign(&p, alignment, rounded > 0 ? rounded : kLine) != 0) return nullptr;
#if defined(__linux__)
  if (huge) madvise(p, rounded, MADV_HUGEPAGE);  // a hint: without transparent huge pages nothing is lost
#endif
  return p;
}

}  // namespace lamella
