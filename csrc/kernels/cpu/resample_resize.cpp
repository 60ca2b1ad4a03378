// Resizing images: one row of the output (backward: of the input) at a time. First the rows that it mixes are blended
// over their whole length, pixels and channels alike; then pixels of that line are blended.
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

LAMELLA_INLINE size_t lines_of(size_t bytes) { return (bytes + 63) / 64 * 64; }
LAMELLA_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
LAMELLA_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Output o is (1 - part) * in[low] + part * in[high].
template <class T>
struct Source {
  int32_t low, high;
  T part;
};

template <class T>
LAMELLA_INLINE Source<T> source_of(Resize mode, int64_t in, int64_t out, int64_t o) {
  if (mode == Resize::kNearest) {
    const int32_t i = static_cast<int32_t>(o * in / out);
    return {i, i, T(0)};
  }
  double at;
  if (mode == Resize::kBilinear) {
    at = (static_cast<double>(o) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5;
  } else {
    at = out > 1 ? static_cast<double>(o * (in - 1)) / static_cast<double>(out - 1) : 0.0;
  }
  if (at < 0) at = 0;
  if (at > static_cast<double>(in - 1)) at = static_cast<double>(in - 1);
  const int64_t low = static_cast<int64_t>(at);
  return {static_cast<int32_t>(low), static_cast<int32_t>(least(low + 1, in - 1)),
          static_cast<T>(at - static_cast<double>(low))};
}

// to = a * (1 - part) + b * part; with part 0 not a trace of b, not even its NaN.
template <class T>
LAMELLA_INLINE void blend(T* to, const T* a, const T* b, T part, int64_t n) {
  constexpr int W = Vec<T>::W;
  if (part == T(0)) {
    std::memcpy(to, a, sizeof(T) * static_cast<size_t>(n));
    return;
  }
  const Vec<T> wa(T(1) - part), wb(part);
  int64_t j = 0;
  for (; j + W <= n; j += W) fma(Vec<T>::load(b + j), wb, Vec<T>::load(a + j) * wa).store(to + j);
  for (; j < n; ++j) to[j] = a[j] * (T(1) - part) + b[j] * part;
}

template <class T>
size_t resize_workspace(const ResizeParams<T>& p, int threads) {
  return lines_of(sizeof(Source<T>) * static_cast<size_t>(p.ow)) + sizeof(T) * static_cast<size_t>(threads * p.w * p.c);
}

template <class T>
void resize(const Context& ctx, const ResizeParams<T>& p) {
  if (p.n * p.oh * p.ow * p.c == 0) return;
  Source<T>* cols = static_cast<Source<T>*>(ctx.workspace);
  T* lines =
      reinterpret_cast<T*>(static_cast<char*>(ctx.workspace) + lines_of(sizeof(Source<T>) * static_cast<size_t>(p.ow)));
  for (int64_t o = 0; o < p.ow; ++o) cols[o] = source_of<T>(p.mode, p.w, p.ow, o);
  const int64_t row = p.w * p.c, out_row = p.ow * p.c;
  const int64_t per_task = 1 + grain(0.4) / (row + out_row);
  parallel_range(ctx, p.n * p.oh, per_task, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t oh = i % p.oh;
      const Source<T> s = source_of<T>(p.mode, p.h, p.oh, oh);
      T* y = p.y + i * out_row;
      if (i > begin && oh > 0 && s.part == T(0)) {
        const Source<T> above = source_of<T>(p.mode, p.h, p.oh, oh - 1);
        if (above.part == T(0) && above.low == s.low) {
          std::memcpy(y, y - out_row, sizeof(T) * static_cast<size_t>(out_row));
          continue;
        }
      }
      const T* image = p.x + i / p.oh * p.h * row;
      const T* line = image + s.low * row;
      if (s.part != T(0)) {
        T* own = lines + thread * row;
        blend(own, line, image + s.high * row, s.part, row);
        line = own;
      }
      if (p.c < Vec<T>::W) {
        for (int64_t o = 0; o < p.ow; ++o) {
          const T* a = line + cols[o].low * p.c;
          const T* b = line + cols[o].high * p.c;
          const T part = cols[o].part;
          for (int64_t ch = 0; ch < p.c; ++ch)
            y[o * p.c + ch] = part == T(0) ? a[ch] : a[ch] * (T(1) - part) + b[ch] * part;
        }
      } else {
        for (int64_t o = 0; o < p.ow; ++o)
          blend(y + o * p.c, line + cols[o].low * p.c, line + cols[o].high * p.c, cols[o].part, p.c);
      }
    }
  });
}

// ---- backward ------------------------------------------------------------------------------------------------------

// For every input along an axis the outputs that it went into, ascending, with its weight in each.
template <class T>
struct Uses {
  struct Use {
    int32_t out;
    T weight;
  };
  const int32_t* first;  // [in + 1]
  const Use* use;
};
template <class T>
LAMELLA_INLINE size_t uses_bytes(int64_t in, int64_t out) {
  return lines_of(sizeof(int32_t) * static_cast<size_t>(in + 1)) +
         lines_of(sizeof(typename Uses<T>::Use) * static_cast<size_t>(2 * out));
}
template <class T>
LAMELLA_NOINLINE Uses<T> make_uses(Resize mode, int64_t in, int64_t out, char* memory) {
  int32_t* first = reinterpret_cast<int32_t*>(memory);
  auto* use =
      reinterpret_cast<typename Uses<T>::Use*>(memory + lines_of(sizeof(int32_t) * static_cast<size_t>(in + 1)));
  const auto each = [&](const auto& body) {
    for (int64_t o = 0; o < out; ++o) {
      const Source<T> s = source_of<T>(mode, in, out, o);
      body(s.low, o, T(1) - s.part);
      if (s.part != T(0)) body(s.high, o, s.part);
    }
  };
  for (int64_t i = 0; i <= in; ++i) first[i] = 0;
  each([&](int32_t i, int64_t, T) { ++first[i + 1]; });
  for (int64_t i = 0; i < in; ++i) first[i + 1] += first[i];
  // Fill from each input's begin, which moves to its end, then shift the begins back.
  each([&](int32_t i, int64_t o, T weight) { use[first[i]++] = {static_cast<int32_t>(o), weight}; });
  for (int64_t i = in; i > 0; --i) first[i] = first[i - 1];
  first[0] = 0;
  return {first, use};
}

template <class T>
size_t resize_backward_workspace(const ResizeParams<T>& p, int threads) {
  return uses_bytes<T>(p.h, p.oh) + uses_bytes<T>(p.w, p.ow) + sizeof(T) * static_cast<size_t>(threads * p.ow * p.c);
}

template <class T>
void resize_backward(const Context& ctx, const ResizeParams<T>& p) {
  constexpr int W = Vec<T>::W;
  if (p.n * p.h * p.w * p.c == 0) return;
  char* memory = static_cast<char*>(ctx.workspace);
  const Uses<T> rows = make_uses<T>(p.mode, p.h, p.oh, memory);
  const Uses<T> cols = make_uses<T>(p.mode, p.w, p.ow, memory + uses_bytes<T>(p.h, p.oh));
  T* lines = reinterpret_cast<T*>(memory + uses_bytes<T>(p.h, p.oh) + uses_bytes<T>(p.w, p.ow));
  const int64_t row = p.w * p.c, out_row = p.ow * p.c;
  const int64_t per_task = 1 + grain(0.4) / (row + out_row * most(1, p.oh / p.h));
  parallel_range(ctx, p.n * p.h, per_task, [&](int64_t begin, int64_t end, int thread) {
    T* line = lines + thread * out_row;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t ih = i % p.h;
      const T* image = p.x + i / p.h * p.oh * out_row;
      const auto sum_rows = [&](auto lanes, int64_t j) {
        decltype(lanes) acc(T(0));
        for (int32_t a = rows.first[ih]; a < rows.first[ih + 1]; ++a) {
          const T* g = image + rows.use[a].out * out_row + j;
          if constexpr (sizeof(lanes) == sizeof(T)) {
            acc += *g * rows.use[a].weight;
          } else {
            acc = fma(decltype(lanes)::load(g), decltype(lanes)(rows.use[a].weight), acc);
          }
        }
        return acc;
      };
      int64_t j = 0;
      for (; j + W <= out_row; j += W) sum_rows(Vec<T>::zero(), j).store(line + j);
      for (; j < out_row; ++j) line[j] = sum_rows(T(0), j);
      T* y = p.y + i * row;
      for (int64_t iw = 0; iw < p.w; ++iw) {
        const int32_t b0 = cols.first[iw], b1 = cols.first[iw + 1];
        int64_t ch = 0;
        for (; ch + W <= p.c; ch += W) {
          Vec<T> acc = Vec<T>::zero();
          for (int32_t b = b0; b < b1; ++b)
            acc = fma(Vec<T>::load(line + cols.use[b].out * p.c + ch), Vec<T>(cols.use[b].weight), acc);
          acc.store(y + iw * p.c + ch);
        }
        for (; ch < p.c; ++ch) {
          T acc = 0;
          for (int32_t b = b0; b < b1; ++b) acc += line[cols.use[b].out * p.c + ch] * cols.use[b].weight;
          y[iw * p.c + ch] = acc;
        }
      }
    }
  });
}

template <class T>
void fill_typed(ResampleKernels<T>& k) {
  k.resize_workspace = resize_workspace<T>;
  k.resize = resize<T>;
  k.resize_backward_workspace = resize_backward_workspace<T>;
  k.resize_backward = resize_backward<T>;
}

}  // namespace

void fill_resize(ResampleKernels<float>& k) { fill_typed(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_resize(ResampleKernels<double>& k) { fill_typed(k); }
#endif

}  // namespace lamella::LAMELLA_NS
