// Memory for tensors and workspaces.
#pragma once

#include <cstddef>

namespace lamella {

// At least `bytes`, on a cache line or, where it is large, on huge pages if the system has them: kernels walk memory
// with long strides and write around the caches, and both suffer from 4 KiB pages (an exp of 64 MiB runs at a third of
// the bandwidth). nullptr: out of memory. To be freed by std::free.
void* aligned_memory(size_t bytes);

}  // namespace lamella
