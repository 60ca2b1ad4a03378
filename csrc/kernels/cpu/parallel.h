// parallel_for over fixed chunks: body(chunk, thread). Chunk counts and bounds must depend on the problem only, never
// on the number of threads, so that results keep their bits.
#pragma once

#include "kernels/context.h"
#include "kernels/cpu/isa.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class Body>
LAMELLA_INLINE void parallel_for(const Context& ctx, int64_t chunks, const Body& body) {
  if (chunks <= 0) return;
  if (chunks == 1 || ctx.threads <= 1 || ctx.parallel_for == nullptr) {
    for (int64_t i = 0; i < chunks; ++i) body(i, 0);
    return;
  }
  ctx.parallel_for(
      ctx.pool, chunks, ctx.threads,
      [](void* arg, int64_t chunk, int thread) { (*static_cast<const Body*>(arg))(chunk, thread); },
      const_cast<Body*>(&body));
}

// Elements per chunk of a flat loop of n elements, each costing about `ns` nanoseconds on one core: chunks of some 20
// us, so that a hand-off (a few us) pays. Rounded to 64 elements to keep chunks on cache lines.
LAMELLA_INLINE int64_t grain(double ns) {
  const int64_t g = static_cast<int64_t>(20000.0 / ns);
  return g < 64 ? 64 : (g + 63) / 64 * 64;
}

// body(begin, end, thread) over [0, n) in chunks of `step` elements.
template <class Body>
LAMELLA_INLINE void parallel_range(const Context& ctx, int64_t n, int64_t step, const Body& body) {
  parallel_for(ctx, (n + step - 1) / step, [&](int64_t chunk, int thread) {
    const int64_t begin = chunk * step;
    const int64_t end = begin + step < n ? begin + step : n;
    body(begin, end, thread);
  });
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
