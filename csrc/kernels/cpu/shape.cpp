// Strided copies. Dimensions are first put into the order in which the destination is walked, neighbours that can be
// walked as one are joined; then the innermost pair is copied by rows where the source runs along with the destination,
// and by square blocks where it runs along another dimension (a transpose), so that both sides use whole cache lines.
#include "kernels/shape.h"

#include <cstring>

#include "base/half.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu/transpose_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr int kMaxRank = StridedCopyParams::kMaxRank;
constexpr int64_t kBlock = 16;  // 16 x 16 words: one cache line a row on both sides

struct Walk {
  int rank = 0;
  int64_t dims[kMaxRank], src[kMaxRank], dst[kMaxRank];
};

int64_t magnitude(int64_t v) { return v < 0 ? -v : v; }

// Sorted by destination stride (largest first), size-1 dimensions dropped, joinable neighbours joined.
Walk normalize(const StridedCopyParams& p) {
  Walk w;
  for (int i = 0; i < p.rank; ++i) {
    if (p.dims[i] == 1) continue;
    int at = w.rank;
    while (at > 0 && magnitude(w.dst[at - 1]) < magnitude(p.dst_strides[i])) {
      w.dims[at] = w.dims[at - 1];
      w.src[at] = w.src[at - 1];
      w.dst[at] = w.dst[at - 1];
      --at;
    }
    w.dims[at] = p.dims[i];
    w.src[at] = p.src_strides[i];
    w.dst[at] = p.dst_strides[i];
    ++w.rank;
  }
  int last = 0;
  for (int i = 1; i < w.rank; ++i) {
    if (w.src[last] == w.src[i] * w.dims[i] && w.dst[last] == w.dst[i] * w.dims[i]) {
      w.dims[last] *= w.dims[i];
      w.src[last] = w.src[i];
      w.dst[last] = w.dst[i];
    } else {
      ++last;
      w.dims[last] = w.dims[i];
      w.src[last] = w.src[i];
      w.dst[last] = w.dst[i];
    }
  }
  if (w.rank > 0) w.rank = last + 1;
  return w;
}

template <class E>
LAMELLA_INLINE void copy_row(E* LAMELLA_RESTRICT dst, int64_t ds, const E* LAMELLA_RESTRICT src, int64_t ss,
                             int64_t n) {
  if (ds == 1 && ss == 1) {
    std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(E));
  } else if (ds == 1) {
    for (int64_t i = 0; i < n; ++i) dst[i] = src[i * ss];
  } else {
    for (int64_t i = 0; i < n; ++i) dst[i * ds] = src[i * ss];
  }
}

// rows x cols of a transpose: the destination runs along cols, the source along rows.
template <class E>
void copy_block(E* LAMELLA_RESTRICT dst, int64_t dst_row, const E* LAMELLA_RESTRICT src, int64_t src_col, int64_t rows,
                int64_t cols) {
  if constexpr (sizeof(E) == 4) {
    // Words of any type move through float registers unchanged: nothing computes with them.
    constexpr int64_t W = Vec<float>::W;
    for (int64_t r = 0; r < rows; r += W) {
      for (int64_t c = 0; c < cols; c += W) {
        transpose_tile(cols - c < W ? cols - c : W, rows - r < W ? rows - r : W,
                       reinterpret_cast<const float*>(src + c * src_col + r), src_col,
                       reinterpret_cast<float*>(dst + r * dst_row + c), dst_row);
      }
    }
  } else if (rows == kBlock && cols == kBlock) {
    for (int64_t r = 0; r < kBlock; ++r)
      for (int64_t c = 0; c < kBlock; ++c) dst[r * dst_row + c] = src[c * src_col + r];
  } else {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) dst[r * dst_row + c] = src[c * src_col + r];
  }
}

template <class E>
void copy_typed(const Context& ctx, const StridedCopyParams& p) {
  for (int i = 0; i < p.rank; ++i)
    if (p.dims[i] == 0) return;
  Walk w = normalize(p);
  const E* src = static_cast<const E*>(p.src);
  E* dst = static_cast<E*>(p.dst);
  if (w.rank == 0) {
    *dst = *src;
    return;
  }
  // The dimension along which the source is contiguous, if it is not the innermost one already.
  const int inner = w.rank - 1;
  int along = -1;
  if (w.src[inner] != 1 && w.dst[inner] == 1) {
    for (int i = 0; i < inner; ++i)
      if (w.src[i] == 1) along = i;
  }
  int64_t outer = 1;
  for (int i = 0; i < inner; ++i)
    if (i != along) outer *= w.dims[i];

  const auto offsets = [&](int64_t index, int64_t& s, int64_t& d) {
    s = d = 0;
    for (int i = inner - 1; i >= 0; --i) {
      if (i == along) continue;
      const int64_t at = index % w.dims[i];
      index /= w.dims[i];
      s += at * w.src[i];
      d += at * w.dst[i];
    }
  };
  constexpr double kNsPerByte = 0.1;
  if (along >= 0) {
    const int64_t strips = (w.dims[along] + kBlock - 1) / kBlock;
    const double ns = kNsPerByte * static_cast<double>(kBlock * w.dims[inner]) * sizeof(E) * 2;
    const int64_t per_task = static_cast<int64_t>(20000.0 / ns) + 1;
    parallel_range(ctx, outer * strips, per_task, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t) {
        int64_t s, d;
        offsets(t / strips, s, d);
        const int64_t r0 = t % strips * kBlock;
        const int64_t rows = w.dims[along] - r0 < kBlock ? w.dims[along] - r0 : kBlock;
        for (int64_t c0 = 0; c0 < w.dims[inner]; c0 += kBlock) {
          const int64_t cols = w.dims[inner] - c0 < kBlock ? w.dims[inner] - c0 : kBlock;
          copy_block(dst + d + r0 * w.dst[along] + c0, w.dst[along], src + s + r0 + c0 * w.src[inner], w.src[inner],
                     rows, cols);
        }
      }
    });
    return;
  }
  // Long rows are split, so that one big contiguous copy uses every thread too.
  const int64_t n = w.dims[inner];
  const int64_t piece = n > 65536 ? 65536 : n;
  const int64_t pieces = (n + piece - 1) / piece;
  const double ns = kNsPerByte * static_cast<double>(piece) * sizeof(E) + 2.0;
  const int64_t per_task = static_cast<int64_t>(20000.0 / ns) + 1;
  parallel_range(ctx, outer * pieces, per_task, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      int64_t s, d;
      offsets(t / pieces, s, d);
      const int64_t i0 = t % pieces * piece;
      const int64_t count = n - i0 < piece ? n - i0 : piece;
      copy_row(dst + d + i0 * w.dst[inner], w.dst[inner], src + s + i0 * w.src[inner], w.src[inner], count);
    }
  });
}

void copy(const Context& ctx, const StridedCopyParams& p) {
  if (p.element_bytes == 4) {
    copy_typed<uint32_t>(ctx, p);
  } else if (p.element_bytes == 8) {
    copy_typed<uint64_t>(ctx, p);
  } else if (p.element_bytes == 2) {
    copy_typed<uint16_t>(ctx, p);
  } else {
    copy_typed<uint8_t>(ctx, p);
  }
}

template <class E>
void fill_typed(const Context& ctx, const FillBytesParams& p) {
  E* dst = static_cast<E*>(p.dst);
  const E value = static_cast<E>(p.pattern);
  parallel_range(ctx, p.n, grain(0.1 * sizeof(E)), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) dst[i] = value;
  });
}

void fill_bytes(const Context& ctx, const FillBytesParams& p) {
  if (p.element_bytes == 4) {
    fill_typed<uint32_t>(ctx, p);
  } else if (p.element_bytes == 8) {
    fill_typed<uint64_t>(ctx, p);
  } else if (p.element_bytes == 2) {
    fill_typed<uint16_t>(ctx, p);
  } else {
    fill_typed<uint8_t>(ctx, p);
  }
}

template <class To, class From>
LAMELLA_INLINE To convert(From v) {
  constexpr bool from_float = static_cast<From>(0.5) != static_cast<From>(0);
  constexpr bool to_float = static_cast<To>(0.5) != static_cast<To>(0);
  if constexpr (from_float && !to_float) {
    constexpr bool is_signed = static_cast<To>(-1) < static_cast<To>(0);
    constexpr int bits = static_cast<int>(sizeof(To)) * 8 - (is_signed ? 1 : 0);
    constexpr To top = static_cast<To>(~static_cast<To>(0)) < static_cast<To>(0)
                           ? static_cast<To>((static_cast<uint64_t>(1) << bits) - 1)
                           : static_cast<To>(~static_cast<To>(0));
    constexpr To bottom = is_signed ? static_cast<To>(-top - 1) : static_cast<To>(0);
    if (!(v == v)) return static_cast<To>(0);
    if (v <= static_cast<From>(bottom)) return bottom;
    if (v >= static_cast<From>(top)) return top;
    return static_cast<To>(v);
  } else {
    return static_cast<To>(v);
  }
}

template <class To, class From>
void cast_typed(const Context& ctx, const CastParams& p) {
  const From* src = static_cast<const From*>(p.src);
  To* dst = static_cast<To*>(p.dst);
  parallel_range(ctx, p.n, grain(1.0), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) dst[i] = convert<To, From>(src[i]);
  });
}

template <class From>
void cast_from(const Context& ctx, const CastParams& p) {
  switch (p.to) {
    case Element::kF32:
      return cast_typed<float, From>(ctx, p);
    case Element::kF64:
      return cast_typed<double, From>(ctx, p);
    case Element::kI32:
      return cast_typed<int32_t, From>(ctx, p);
    case Element::kI64:
      return cast_typed<int64_t, From>(ctx, p);
    case Element::kU8:
      return cast_typed<uint8_t, From>(ctx, p);
    case Element::kU64:
      return cast_typed<uint64_t, From>(ctx, p);
    default:
      return;  // 16 bits: see cast_through
  }
}

// Between floats of 16 bits and anything, a chunk of float32 at a time.
template <class H>
void widen(const void* src, float* dst, int64_t n) {
  const H* from = static_cast<const H*>(src);
  for (int64_t i = 0; i < n; ++i) dst[i] = to_float(from[i]);
}
template <class H>
void narrow(const float* src, void* dst, int64_t n) {
  H* to = static_cast<H*>(dst);
  for (int64_t i = 0; i < n; ++i) to[i] = narrowed<H>(src[i]);
}

constexpr bool is_half(Element e) { return e == Element::kF16 || e == Element::kBF16; }
constexpr int64_t size_of(Element e) {
  if (is_half(e)) return 2;
  if (e == Element::kU8) return 1;
  return e == Element::kF32 || e == Element::kI32 ? 4 : 8;
}

void cast(const Context& ctx, const CastParams& p);

void cast_through(const Context& ctx, const CastParams& p) {
  constexpr int64_t kChunk = 512;
  parallel_range(ctx, (p.n + kChunk - 1) / kChunk, 16, [&](int64_t begin, int64_t end, int) {
    float buffer[kChunk];
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk, n = p.n - first < kChunk ? p.n - first : kChunk;
      const char* src = static_cast<const char*>(p.src) + first * size_of(p.from);
      char* dst = static_cast<char*>(p.dst) + first * size_of(p.to);
      const auto through = [&](const void* from, Element from_type, void* to, Element to_type) {
        CastParams part;
        part.src = from;
        part.dst = to;
        part.from = from_type;
        part.to = to_type;
        part.n = n;
        Context alone = ctx;
        alone.threads = 1;
        cast(alone, part);
      };
      if (p.from == Element::kF16) {
        widen<f16>(src, buffer, n);
      } else if (p.from == Element::kBF16) {
        widen<bf16>(src, buffer, n);
      } else {
        through(src, p.from, buffer, Element::kF32);
      }
      if (p.to == Element::kF16) {
        narrow<f16>(buffer, dst, n);
      } else if (p.to == Element::kBF16) {
        narrow<bf16>(buffer, dst, n);
      } else {
        through(buffer, Element::kF32, dst, p.to);
      }
    }
  });
}

void cast(const Context& ctx, const CastParams& p) {
  if (is_half(p.from) || is_half(p.to)) return cast_through(ctx, p);
  switch (p.from) {
    case Element::kF32:
      return cast_from<float>(ctx, p);
    case Element::kF64:
      return cast_from<double>(ctx, p);
    case Element::kI32:
      return cast_from<int32_t>(ctx, p);
    case Element::kI64:
      return cast_from<int64_t>(ctx, p);
    case Element::kU8:
      return cast_from<uint8_t>(ctx, p);
    case Element::kU64:
      return cast_from<uint64_t>(ctx, p);
    default:
      return;
  }
}

template <class T>
void fill_table_part(ShapeKernels<T>& k) {
  k.copy = copy;
  k.fill_bytes = fill_bytes;
  k.cast = cast;
}

}  // namespace

void fill(ShapeKernels<float>& k) { fill_table_part(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(ShapeKernels<double>& k) { fill_table_part(k); }
#endif

}  // namespace lamella::LAMELLA_NS
