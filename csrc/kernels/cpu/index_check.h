// Reading and checking index lists.
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/index_check.h"

namespace lamella::LAMELLA_NS {
namespace {

LAMELLA_INLINE int64_t index_at(const IndexList& list, int64_t i) { return list.i32 ? list.i32[i] : list.i64[i]; }

// As unsigned numbers, negative indices are large too.
template <class I, class U>
int64_t first_bad_index(const I* index, int64_t n, const IndexCheckParams& p) {
  constexpr int64_t kBlock = 256;
  const U limit = static_cast<U>(p.limit < 0 ? 0 : p.limit);
  const bool none_too_large = sizeof(I) == 4 && p.limit > INT32_MAX;
  for (int64_t b = 0; b < n; b += kBlock) {
    const int64_t e = b + kBlock < n ? b + kBlock : n;
    // A block without a doubt is over in one pass without branches.
    I doubt = 0;
    if (none_too_large) {
      for (int64_t i = b; i < e; ++i) doubt |= index[i] < 0;
    } else {
      for (int64_t i = b; i < e; ++i) doubt |= static_cast<U>(index[i]) >= limit;
    }
    if (doubt == 0) continue;
    for (int64_t i = b; i < e; ++i) {
      const int64_t v = index[i];
      if ((v < 0 || v >= p.limit) && !(p.has_allowed && v == p.allowed)) return i;
    }
  }
  return -1;
}

// Memory-bound and short beside what follows it, so not worth a hand-off to other threads.
inline void check_indices(const Context&, const IndexCheckParams& p) {
  *p.first_bad = p.index.i32   ? first_bad_index<int32_t, uint32_t>(p.index.i32, p.index.n, p)
                 : p.index.i64 ? first_bad_index<int64_t, uint64_t>(p.index.i64, p.index.n, p)
                               : -1;
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
