#pragma once

#include <cstddef>

namespace lamella::python {

// Memory for result arrays: 64-byte aligned, contents undefined. Freed blocks are kept for later arrays of about the
// same size, because a training step makes the same arrays again and again, and page faults on memory fresh from the
// system would cost as much as the arithmetic. At most 512 MiB are kept, and never more than was in use.
// Both are called with the GIL held, so a fork finds the pool in order.
void* take_memory(size_t bytes);
void give_memory(void* data);

}  // namespace lamella::python
