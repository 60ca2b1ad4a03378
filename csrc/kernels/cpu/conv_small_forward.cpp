// Forward of convolutions with few input channels: a tile of pixels of one output row (of two, where pooling follows) x
// output channels in registers, over all taps.
#include "kernels/cpu/conv_epilogue.h"
#include "kernels/cpu/conv_pool_inl.h"
#include "kernels/cpu/conv_small_inl.h"
#include "kernels/cpu/gemm_micro.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/parallel.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
struct RowTile;
#if defined(LAMELLA_ISA_AVX512)
template <>
struct RowTile<float> {
  static constexpr int kMR = 14, kNV = 2;
};
#elif defined(LAMELLA_ISA_AVX2)
template <>
struct RowTile<float> {
  static constexpr int kMR = 6, kNV = 2;
};
#else
template <class T>
struct RowTile {
  static constexpr int kMR = 4, kNV = 2;
};
#endif
template <class T>
constexpr int64_t kNR = RowTile<T>::kNV* Vec<T>::W;

template <class T>
struct TileArgs {
  const T* x;
  int64_t row, pixel;  // strides of a kernel row and of an output pixel
  int64_t kh, run;     // run: kw * c
  const T* b;          // [kh][run][kNR]
  const T* bias;
  T* y;
  int64_t ldy, n;  // n: columns that exist, in ((NV-1)*W, NV*W]
  bool relu, stream;
  // Of a tile that is pooled:
  int64_t below;    // from an output row's x to the next one's
  uint8_t* argmax;  // or nullptr; same offset as y
};

template <class T, int MR, int NV>
void row_tile(const TileArgs<T>& t) {
  using V = Vec<T>;
  constexpr int W = V::W;
  const int64_t last = t.n - (NV - 1) * W;
  V acc[MR][NV];
  unroll<NV>(LAMELLA_UNROLLED(j) {
    const V init = t.bias != nullptr ? V::load(t.bias + j.value * W, j.value == NV - 1 ? last : W) : V::zero();
    unroll<MR>(LAMELLA_UNROLLED(i) {
      acc[i.value][j.value] = init;
      if (!t.stream) __builtin_prefetch(t.y + i.value * t.ldy + j.value * W, 1);
    });
  });
  const int64_t pixel = t.pixel;
  const T* b = t.b;
  for (int64_t r = 0; r < t.kh; ++r) {
    const T* a = t.x + r * t.row;
    for (int64_t k = 0; k < t.run; ++k, ++a, b += kNR<T>) {
      V row[NV];
      unroll<NV>(LAMELLA_UNROLLED(j) { row[j.value] = V::load(b + j.value * W); });
      unroll<MR>(LAMELLA_UNROLLED(i) {
        const V x(a[i.value * pixel]);
        unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = fma(x, row[j.value], acc[i.value][j.value]); });
      });
    }
  }
  if (t.relu) {
    unroll<MR>(LAMELLA_UNROLLED(i) {
      unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = relu(acc[i.value][j.value]); });
    });
  }
  if (t.stream) {
    unroll<MR>(LAMELLA_UNROLLED(i) {
      unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value].stream(t.y + i.value * t.ldy + j.value * W); });
    });
    return;
  }
  unroll<MR>(LAMELLA_UNROLLED(i) {
    T* y = t.y + i.value * t.ldy;
    unroll<NV>(LAMELLA_UNROLLED(j) {
      if (j.value < NV - 1 || last == W)
        acc[i.value][j.value].store(y + j.value * W);
      else
        acc[i.value][j.value].store(y + j.value * W, last);
    });
  });
}

// COLS pixels of each of two rows, pooled by 2x2.
template <class T, int COLS, int NV>
void pooled_tile(const TileArgs<T>& t) {
  using V = Vec<T>;
  constexpr int W = V::W, MR = 2 * COLS;
  const int64_t last = t.n - (NV - 1) * W;
  V acc[MR][NV];
  unroll<NV>(LAMELLA_UNROLLED(j) {
    const V init = t.bias != nullptr ? V::load(t.bias + j.value * W, j.value == NV - 1 ? last : W) : V::zero();
    unroll<MR>(LAMELLA_UNROLLED(i) { acc[i.value][j.value] = init; });
  });
  const int64_t pixel = t.pixel;
  const T* b = t.b;
  for (int64_t r = 0; r < t.kh; ++r) {
    const T *above = t.x + r * t.row, *below = above + t.below;
    for (int64_t k = 0; k < t.run; ++k, ++above, ++below, b += kNR<T>) {
      V row[NV];
      unroll<NV>(LAMELLA_UNROLLED(j) { row[j.value] = V::load(b + j.value * W); });
      unroll<MR>(LAMELLA_UNROLLED(i) {
        const V x((i.value < COLS ? above : below)[i.value % COLS * pixel]);
        unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = fma(x, row[j.value], acc[i.value][j.value]); });
      });
    }
  }
  unroll<COLS / 2>(LAMELLA_UNROLLED(i) {
    unroll<NV>(LAMELLA_UNROLLED(j) {
      constexpr int left = 2 * i.value, right = left + 1;
      const int64_t at = i.value * t.ldy + j.value * W;
      pool_window(acc[left][j.value], acc[right][j.value], acc[COLS + left][j.value], acc[COLS + right][j.value],
                  t.relu, PooledTo<T>{t.y + at, t.argmax == nullptr ? nullptr : t.argmax + at},
                  j.value < NV - 1 ? W : last);
    });
  });
}

// Tiles of 1 pixel and of every even number of them.
template <class T, class Halves>
struct TileTable;
template <class T, int... I>
struct TileTable<T, std::integer_sequence<int, I...>> {
  using Fn = void (*)(const TileArgs<T>&);
  static constexpr Fn kFn[2][sizeof...(I)] = {{row_tile<T, (I == 0 ? 1 : 2 * I), 1>...},
                                              {row_tile<T, (I == 0 ? 1 : 2 * I), 2>...}};
};
template <class T>
using Tiles = TileTable<T, std::make_integer_sequence<int, RowTile<T>::kMR / 2 + 1>>;

// Pooled tiles of 2, 4, ... pixels of each row.
template <class T, class Pairs>
struct PooledTable;
template <class T, int... I>
struct PooledTable<T, std::integer_sequence<int, I...>> {
  static constexpr typename Tiles<T>::Fn kFn[2][sizeof...(I)] = {{pooled_tile<T, 2 * I + 2, 1>...},
                                                                 {pooled_tile<T, 2 * I + 2, 2>...}};
};
template <class T>
using PooledTiles = PooledTable<T, std::make_integer_sequence<int, RowTile<T>::kMR / 4>>;

// The height whose tiles cover a row of ow pixels with the least work; the last tile may overlap the one before it, so
// a tile is never higher than ow.
template <class T>
int64_t tile_height(int64_t ow) {
  int64_t best = 1, best_work = ow * 3;
  for (int64_t mr = 2; mr <= RowTile<T>::kMR && mr <= ow; mr += 2) {
    const int64_t work = ceil_div(ow, mr) * (mr + 1);
    if (work <= best_work) {
      best = mr;
      best_work = work;
    }
  }
  return best;
}

// The same for the width of a pooled tile.
template <class T>
int64_t pooled_width(int64_t ow) {
  int64_t best = 2, best_work = ow * 3;
  for (int64_t cols = 2; 2 * cols <= RowTile<T>::kMR && cols <= ow; cols += 2) {
    const int64_t work = ceil_div(ow, cols) * (2 * cols + 1);
    if (work <= best_work) {
      best = cols;
      best_work = work;
    }
  }
  return best;
}

struct Plan {
  int64_t rows, bands;  // output rows of a task (even, but in the last), tasks per image
  int64_t depth, panels;
};
template <class T>
Plan make_plan(const ConvShape& s) {
  Plan p;
  constexpr int64_t kTaskBytes = 256 << 10, kTaskProducts = 100'000;
  p.rows = max64(1, min64(s.oh, kTaskBytes / max64(1, s.ow * s.oc * static_cast<int64_t>(sizeof(T)))));
  // Few images: each is shared out, as far as that is worth a hand-off.
  if (s.n < 4) p.rows = min64(p.rows, ceil_div(kTaskProducts, max64(1, s.ow * s.oc * s.kh * s.kw * s.c)));
  p.rows = round_up(p.rows, 2);
  p.bands = ceil_div(s.oh, p.rows);
  p.depth = s.kh * s.kw * s.c;
  p.panels = ceil_div(s.oc, kNR<T>);
  return p;
}

template <class T>
struct Buffers {
  T *packed, *bands;
  int64_t band;  // elements per thread
};
template <class T>
Buffers<T> carve(Carver& c, const ConvShape& s, int threads) {
  const Plan p = make_plan<T>(s);
  Buffers<T> b;
  b.packed = c.take<T>(p.panels * p.depth * kNR<T>);
  b.band = round_up(band_elements(s, p.rows), 16);
  b.bands = c.take<T>(b.band * threads);
  return b;
}
template <class T>
size_t workspace(const ConvShape& s, ConvPass, bool, int threads) {
  Carver c{nullptr};
  carve<T>(c, s, threads);
  return c.used;
}

template <class T>
void run(const Context& ctx, ConvPass, const ConvParams<T>& p) {
  constexpr int64_t W = Vec<T>::W;
  const ConvShape& s = p.shape;
  const Plan plan = make_plan<T>(s);
  Carver carver{static_cast<char*>(ctx.workspace)};
  const Buffers<T> buffers = carve<T>(carver, s, ctx.threads);
  for (int64_t panel = 0; panel < plan.panels; ++panel) {
    T* b = buffers.packed + panel * plan.depth * kNR<T>;
    for (int64_t k = 0; k < plan.depth; ++k, b += kNR<T>) {
      for (int64_t j = 0; j < kNR<T>; j += W) {
        const int64_t o = panel * kNR<T> + j;
        Vec<T>::load(p.weight + k * s.oc + o, s.oc - o).store(b + j);
      }
    }
  }
  const int64_t mr = p.pool ? pooled_width<T>(s.ow) : tile_height<T>(s.ow), tiles = ceil_div(s.ow, mr);
  const int64_t pixel = s.stride_w * s.c;
  // Of a row of results: conv rows that it comes from, its pixels.
  const int64_t step = p.pool ? 2 : 1, width = s.ow / step;
  const bool stream = !p.pool && s.n * s.oh * s.ow * s.oc * static_cast<int64_t>(sizeof(T)) >= kStreamBytes &&
                      s.oc % W == 0 && vector_aligned(p.dst) && act_in_tile(p.act.act);
  const auto tile_of = [&](int nv) { return p.pool ? PooledTiles<T>::kFn[nv][mr / 2 - 1] : Tiles<T>::kFn[nv][mr / 2]; };
  const typename Tiles<T>::Fn tile_fn[2] = {tile_of(0), tile_of(1)};
  parallel_for(ctx, s.n * plan.bands, [&](int64_t task, int thread) {
    const int64_t n = task / plan.bands, i0 = task % plan.bands * plan.rows, rows = min64(plan.rows, s.oh - i0);
    const Band<T> band = make_band(s, p.src, n, i0, rows, buffers.bands + thread * buffers.band);
    TileArgs<T> t;
    t.row = s.dilation_h * band.row;
    t.pixel = pixel;
    t.kh = s.kh;
    t.run = s.kw * s.c;
    t.ldy = s.oc;
    t.relu = p.act.act == Act::kRelu;
    t.stream = stream;
    t.below = s.stride_h * band.row;
    for (int64_t i = 0; i < rows; i += step) {
      const T* x = band.x + i * s.stride_h * band.row;
      const int64_t line = ((n * s.oh + i0 + i) / step * width) * s.oc;
      T* y = p.dst + line;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t j = min64(tile * mr, s.ow - mr);
        t.x = x + j * t.pixel;
        // Whole pixels are finished one after the other: the cache likes its lines written in order.
        for (int64_t o = 0; o < s.oc; o += kNR<T>) {
          t.n = min64(kNR<T>, s.oc - o);
          t.b = buffers.packed + o * plan.depth;
          t.bias = p.bias == nullptr ? nullptr : p.bias + o;
          t.y = y + j / step * s.oc + o;
          t.argmax = p.argmax == nullptr ? nullptr : p.argmax + (t.y - p.dst);
          tile_fn[t.n > W](t);
        }
      }
      if (!act_in_tile(p.act.act)) activate_row(p.act, y, width * s.oc);
    }
    if (stream) stream_fence();
  });
}

bool can_run(const ConvShape& s, ConvPass) { return small_channels(s); }

double cost(const ConvShape& s, ConvPass) {
  const double pixels = static_cast<double>(s.n) * static_cast<double>(s.oh * s.ow);
  return pixels * static_cast<double>((s.kh * s.kw * s.c + 3) * round_up(s.oc, Vec<float>::W)) / 50.0;
}
size_t prepared_bytes(const ConvShape&, ConvPass) { return 0; }

}  // namespace

template <class T>
ConvCandidate<T> conv_small_channels() {
  return {"small_channels", can_run, cost, workspace<T>, run<T>, prepared_bytes, nullptr, true, true};
}
#define LAMELLA_INSTANTIATE(T) template ConvCandidate<T> conv_small_channels<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
