// Convolution as a matrix product over indirection: the rows of A are never copied. For a panel of destination pixels
// and every kernel tap there is a pointer to the source pixel (or to zeros where that lies outside), and the register
// tile runs over taps and channels. B holds the weights in column panels. Runs everything; also the gradient to data.
#include "kernels/cpu/conv_epilogue.h"
#include "kernels/cpu/conv_geometry.h"
#include "kernels/cpu/gemm_micro.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/transpose_inl.h"

namespace lamella::LAMELLA_NS {
namespace {

// kMR is even: tiles come in even heights, a panel's missing rows point at zeros and are stored to a dummy. 12 rows
// leave a general register for every row pointer. kDepth: products summed in registers before a tile goes back to
// memory, so that the panel of B they need stays in cache. kPixels: destination pixels that share one table of
// pointers.
template <class T>
struct IgemmTile;
#if defined(LAMELLA_ISA_AVX512)
template <>
struct IgemmTile<float> {
  static constexpr int kMR = 12, kNV = 2;
  static constexpr int64_t kDepth = 1152, kPixels = 192;
};
#elif defined(LAMELLA_ISA_AVX2)
template <>
struct IgemmTile<float> {
  static constexpr int kMR = 6, kNV = 2;
  static constexpr int64_t kDepth = 576, kPixels = 192;
};
#else
template <class T>
struct IgemmTile {
  static constexpr int kMR = 4, kNV = 2;
  static constexpr int64_t kDepth = 576, kPixels = 128;
};
#endif
template <class T>
constexpr int64_t kNR = IgemmTile<T>::kNV* Vec<T>::W;

template <class T>
struct TileArgs {
  const T* const* rows;  // [taps][kMR]
  int64_t taps, kc;
  int64_t src_offset, dst_offset;  // channels
  const T* b;                      // [taps][kc][kNR]
  T* const* out;                   // [kMR]
  int64_t n;                       // columns that exist, in ((NV-1)*W, NV*W]
  const T* bias;
  int64_t ahead;  // elements to the rows of the next panel, to be fetched meanwhile; or 0
  bool accumulate, relu;
};

template <class T, int MR, int NV>
void igemm_tile(const TileArgs<T>& t) {
  using V = Vec<T>;
  constexpr int W = V::W;
  const int64_t last = t.n - (NV - 1) * W;
  V acc[MR][NV];
  if (t.accumulate) {
    unroll<MR>(LAMELLA_UNROLLED(i) {
      const T* c = t.out[i.value] + t.dst_offset;
      unroll<NV>(LAMELLA_UNROLLED(j) {
        acc[i.value][j.value] = j.value == NV - 1 ? V::load(c + j.value * W, last) : V::load(c + j.value * W);
      });
    });
  } else {
    V init[NV];
    unroll<NV>(LAMELLA_UNROLLED(j) {
      init[j.value] = t.bias != nullptr ? V::load(t.bias + j.value * W, j.value == NV - 1 ? last : W) : V::zero();
    });
    unroll<MR>(LAMELLA_UNROLLED(i) {
      unroll<NV>(LAMELLA_UNROLLED(j) {
        acc[i.value][j.value] = init[j.value];
        __builtin_prefetch(t.out[i.value] + t.dst_offset + j.value * W, 1);
      });
    });
  }
  const T* b = t.b;
  const T* const* rows = t.rows;
  for (int64_t tap = 0; tap < t.taps; ++tap, rows += IgemmTile<T>::kMR) {
    const T* a[MR];
    unroll<MR>(LAMELLA_UNROLLED(i) { a[i.value] = rows[i.value] + t.src_offset; });
    const auto steps = [&](int64_t begin, int64_t end) __attribute__((always_inline)) {
#pragma GCC unroll 1
      for (int64_t k = begin; k < end; ++k, b += IgemmTile<T>::kNV * W) {
        V row[NV];
        unroll<NV>(LAMELLA_UNROLLED(j) { row[j.value] = V::load(b + j.value * W); });
        unroll<MR>(LAMELLA_UNROLLED(i) {
          const V x(a[i.value][k]);
          unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = fma(x, row[j.value], acc[i.value][j.value]); });
        });
      }
    };
    if (t.ahead == 0) {
      steps(0, t.kc);
    } else {
      constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
      for (int64_t k = 0; k < t.kc; k += line) {
        unroll<MR>(LAMELLA_UNROLLED(i) { __builtin_prefetch(a[i.value] + k + t.ahead); });
        steps(k, min64(k + line, t.kc));
      }
    }
  }
  if (t.relu) {
    unroll<MR>(LAMELLA_UNROLLED(i) {
      unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value] = relu(acc[i.value][j.value]); });
    });
  }
  if (last == W) {
    unroll<MR>(LAMELLA_UNROLLED(i) {
      T* c = t.out[i.value] + t.dst_offset;
      unroll<NV>(LAMELLA_UNROLLED(j) { acc[i.value][j.value].store(c + j.value * W); });
    });
  } else {
    unroll<MR>(LAMELLA_UNROLLED(i) {
      T* c = t.out[i.value] + t.dst_offset;
      unroll<NV>(LAMELLA_UNROLLED(j) {
        if constexpr (j.value == NV - 1)
          acc[i.value][j.value].store(c + j.value * W, last);
        else
          acc[i.value][j.value].store(c + j.value * W);
      });
    });
  }
}

template <class T, class Halves>
struct TileTable;
template <class T, int... I>
struct TileTable<T, std::integer_sequence<int, I...>> {
  using Fn = void (*)(const TileArgs<T>&);
  static constexpr Fn kFn[2][sizeof...(I)] = {{igemm_tile<T, 2 * I + 2, 1>...}, {igemm_tile<T, 2 * I + 2, 2>...}};
};
template <class T>
using Tiles = TileTable<T, std::make_integer_sequence<int, IgemmTile<T>::kMR / 2>>;

// How the problem is cut; a function of the shape only.
template <class T>
struct Plan {
  ConvView v;
  int64_t col_blocks;  // column panels of one group
  int64_t all_cols;    // of all groups
  int64_t pixels;      // destination pixels per task at most
  int64_t max_taps;    // of a phase
  int64_t tap_block;   // taps summed in registers at once
  int64_t chan_block;  // channels of a tap summed in registers at once
};

template <class T>
Plan<T> make_plan(const ConvShape& s, ConvPass pass) {
  using Tile = IgemmTile<T>;
  Plan<T> p;
  p.v = conv_view(s, pass);
  p.col_blocks = ceil_div(p.v.nc, kNR<T>);
  p.all_cols = p.col_blocks * p.v.groups;
  p.max_taps = 0;
  for (int64_t a = 0; a < p.v.phases_h; ++a) {
    for (int64_t b = 0; b < p.v.phases_w; ++b) {
      p.max_taps = max64(p.max_taps, conv_axis_h(s, pass, a).taps * conv_axis_w(s, pass, b).taps);
    }
  }
  // The pointer table of a task stays within a part of L2.
  constexpr int64_t kTablePointers = 8192;
  p.pixels = min64(Tile::kPixels, max64(Tile::kMR, kTablePointers / max64(1, p.max_taps) / Tile::kMR * Tile::kMR));
  const int64_t kc = max64(1, p.v.kc);
  p.chan_block = kc <= Tile::kDepth ? kc : round_up(ceil_div(kc, ceil_div(kc, Tile::kDepth)), 16);
  p.tap_block = max64(1, Tile::kDepth / kc);
  return p;
}

template <class T>
int64_t packed_elements(const Plan<T>& p) {
  return p.all_cols * p.v.kh * p.v.kw * p.v.kc * kNR<T>;
}

// B of all phases: phase by phase, then [column panel][tap][k][kNR].
template <class T>
void pack_weights(const Context& ctx, const ConvShape& s, ConvPass pass, const Plan<T>& p, const T* weight, T* packed) {
  const ConvView& v = p.v;
  constexpr int W = Vec<T>::W;
  parallel_for(ctx, p.all_cols, [&](int64_t col, int) {
    const int64_t g = col / p.col_blocks, j0 = col % p.col_blocks * kNR<T>;
    const int64_t n = min64(kNR<T>, v.nc - j0);
    const T* w = weight + g * v.w_group + j0 * v.w_j;
    T* phase_base = packed;
    for (int64_t ph = 0; ph < v.phases_h; ++ph) {
      for (int64_t pw = 0; pw < v.phases_w; ++pw) {
        const ConvAxis ay = conv_axis_h(s, pass, ph), ax = conv_axis_w(s, pass, pw);
        T* dst = phase_base + col * ay.taps * ax.taps * v.kc * kNR<T>;
        for (int64_t qy = 0; qy < ay.taps; ++qy) {
          for (int64_t qx = 0; qx < ax.taps; ++qx) {
            const T* src = w + ((ay.tap0 + qy * ay.tap_step) * v.kw + ax.tap0 + qx * ax.tap_step) * v.w_tap;
            if (v.w_j == 1) {
              for (int64_t k = 0; k < v.kc; ++k, dst += kNR<T>) {
                for (int64_t j = 0; j < kNR<T>; j += W) Vec<T>::load(src + k * v.w_k + j, n - j).store(dst + j);
              }
            } else {
              for (int64_t k = 0; k < v.kc; k += W) {
                const int64_t kb = min64(W, v.kc - k);
                for (int64_t j = 0; j < kNR<T>; j += W) {
                  if (j < n) {
                    transpose_tile(min64(W, n - j), kb, src + j * v.w_j + k, v.w_j, dst + k * kNR<T> + j, kNR<T>);
                  }
                  for (int64_t z = max64(j, n); z < j + W; ++z) {
                    for (int64_t q = 0; q < kb; ++q) dst[(k + q) * kNR<T> + z] = T(0);
                  }
                }
              }
              dst += v.kc * kNR<T>;
            }
          }
        }
        phase_base += p.all_cols * ay.taps * ax.taps * v.kc * kNR<T>;
      }
    }
  });
}

template <class T>
struct Scratch {
  const T** rows;  // [panels][max_taps][kMR]
  T** out;         // [panels][kMR]
  T* dummy;        // where rows that do not exist go: one row of the destination
};

template <class T>
struct Buffers {
  T* zeros;  // a source pixel outside
  T* packed;
  Scratch<T>* per_thread;
};

template <class T>
int64_t table_panels(const Plan<T>& p) {
  // Panels are of equal height, so they may be more than pixels / kMR by one.
  return p.pixels / IgemmTile<T>::kMR + 1;
}

template <class T>
void carve(Carver& carver, const Plan<T>& p, bool prepared, Buffers<T>& b) {
  b.zeros = carver.take<T>(p.v.sc);
  b.packed = prepared ? nullptr : carver.take<T>(packed_elements(p));
}
template <class T>
Scratch<T> carve_thread(Carver& carver, const Plan<T>& p) {
  Scratch<T> s;
  s.rows = carver.take<const T*>(table_panels(p) * max64(1, p.max_taps) * IgemmTile<T>::kMR);
  s.out = carver.take<T*>(table_panels(p) * IgemmTile<T>::kMR);
  s.dummy = carver.take<T>(p.v.dc);
  return s;
}

template <class T>
size_t thread_bytes(const Plan<T>& p) {
  Carver c{nullptr};
  carve_thread<T>(c, p);
  return c.used;
}

template <class T>
size_t workspace(const ConvShape& s, ConvPass pass, bool prepared, int threads) {
  const Plan<T> p = make_plan<T>(s, pass);
  Carver c{nullptr};
  Buffers<T> b;
  carve(c, p, prepared, b);
  return c.used + thread_bytes(p) * static_cast<size_t>(threads);
}

// Pointers for destination pixels [m0, m0 + m) of a phase, in panels of mr rows.
template <class T>
void build_table(const ConvView& v, const ConvAxis& ay, const ConvAxis& ax, const T* src, T* dst, const T* zeros,
                 int64_t m0, int64_t m, int64_t mr, int64_t taps_stride, const Scratch<T>& t) {
  constexpr int kMR = IgemmTile<T>::kMR;
  int64_t j = m0 % ax.count, i = m0 / ax.count % ay.count, n = m0 / ax.count / ay.count;
  const int64_t panels = ceil_div(m, mr);
  for (int64_t p = 0, left = m; p < panels; ++p, left -= mr) {
    const T** rows = t.rows + p * taps_stride * kMR;
    T** out = t.out + p * kMR;
    const int64_t present = min64(mr, left);
    for (int64_t r = 0; r < kMR; ++r) {
      if (r >= present) {
        for (int64_t q = 0; q < ay.taps * ax.taps; ++q) rows[q * kMR + r] = zeros;
        out[r] = t.dummy;
        continue;
      }
      out[r] = dst + ((n * v.dh + ay.out0 + i * ay.out_step) * v.dw + ax.out0 + j * ax.out_step) * v.dc;
      const T* image = src + n * v.sh * v.sw * v.sc;
      const T** row = rows + r;
      for (int64_t qy = 0; qy < ay.taps; ++qy) {
        const int64_t y = i * ay.src_step + ay.off0 + qy * ay.off_step;
        const bool in_y = y >= 0 && y < v.sh;
        for (int64_t qx = 0; qx < ax.taps; ++qx, row += kMR) {
          const int64_t x = j * ax.src_step + ax.off0 + qx * ax.off_step;
          *row = in_y && x >= 0 && x < v.sw ? image + (y * v.sw + x) * v.sc : zeros;
        }
      }
      if (++j == ax.count) {
        j = 0;
        if (++i == ay.count) {
          i = 0;
          ++n;
        }
      }
    }
  }
}

template <class T>
void run(const Context& ctx, ConvPass pass, const ConvParams<T>& p) {
  using Tile = IgemmTile<T>;
  const ConvShape& s = p.shape;
  const Plan<T> plan = make_plan<T>(s, pass);
  const ConvView& v = plan.v;
  Carver carver{static_cast<char*>(ctx.workspace)};
  Buffers<T> buffers;
  carve(carver, plan, p.prepared != nullptr, buffers);
  char* const thread_base = carver.base + carver.used;
  const size_t thread_stride = thread_bytes(plan);

  for (int64_t i = 0; i < v.sc; ++i) buffers.zeros[i] = T(0);
  const T* packed = static_cast<const T*>(p.prepared);
  if (packed == nullptr) {
    pack_weights(ctx, s, pass, plan, p.weight, buffers.packed);
    packed = buffers.packed;
  }

  for (int64_t ph = 0; ph < v.phases_h; ++ph) {
    for (int64_t pw = 0; pw < v.phases_w; ++pw) {
      const ConvAxis ay = conv_axis_h(s, pass, ph), ax = conv_axis_w(s, pass, pw);
      const int64_t pixels = v.n * ay.count * ax.count, taps = ay.taps * ax.taps;
      const int64_t panel_elements = taps * v.kc * kNR<T>;
      // Few destination pixels: share out the columns too.
      constexpr int64_t kTasks = 32;
      const int64_t chunks = ceil_div(pixels, plan.pixels);
      const int64_t splits = min64(plan.all_cols, max64(1, kTasks / max64(1, chunks)));
      parallel_for(ctx, chunks * splits, [&](int64_t task, int thread) {
        Carver c{thread_base + thread_stride * static_cast<size_t>(thread)};
        const Scratch<T> scratch = carve_thread<T>(c, plan);
        const int64_t split = task % splits;
        const int64_t m0 = task / splits * plan.pixels, m = min64(plan.pixels, pixels - m0);
        const int64_t mr = ceil_div(m, ceil_div(m, Tile::kMR));
        build_table(v, ay, ax, p.src, p.dst, static_cast<const T*>(buffers.zeros), m0, m, mr, taps, scratch);
        for (int64_t col = plan.all_cols * split / splits; col < plan.all_cols * (split + 1) / splits; ++col) {
          const int64_t g = col / plan.col_blocks, j0 = col % plan.col_blocks * kNR<T>;
          TileArgs<T> t;
          t.n = min64(kNR<T>, v.nc - j0);
          t.dst_offset = g * v.nc + j0;
          // Single taps read every row once: nothing else has brought it near.
          t.ahead = taps == 1 && j0 == 0 ? mr * ax.src_step * v.sc : 0;
          const auto fn = Tiles<T>::kFn[t.n > Vec<T>::W ? 1 : 0][(mr + 1) / 2 - 1];
          const T* b = packed + col * panel_elements;
          int64_t tap = 0, k = 0;
          do {  // once even with no tap at all: the destination is still to be written
            t.taps = min64(plan.tap_block, taps - tap);
            t.kc = min64(plan.chan_block, v.kc - k);
            const bool last = tap + t.taps >= taps && k + t.kc >= v.kc;
            t.src_offset = g * v.kc + k;
            t.b = b + (tap * v.kc + k) * kNR<T>;
            t.accumulate = tap > 0 || k > 0;
            t.bias = p.bias == nullptr ? nullptr : p.bias + t.dst_offset;
            t.relu = last && p.act.act == Act::kRelu;
            for (int64_t i = 0, row = 0; row < m; ++i, row += mr) {
              t.rows = scratch.rows + (i * taps + tap) * Tile::kMR;
              t.out = scratch.out + i * Tile::kMR;
              fn(t);
              if (last && !act_in_tile(p.act.act)) {
                activate_rows(p.act, t.out, t.dst_offset, min64(mr, m - row), t.n);
              }
            }
            k += t.kc;
            if (k >= v.kc) {
              k = 0;
              tap += t.taps;
            }
          } while (tap < taps);
        }
      });
      packed += plan.all_cols * panel_elements;
    }
  }
}

template <class T>
size_t prepared_bytes(const ConvShape& s, ConvPass pass) {
  return static_cast<size_t>(packed_elements(make_plan<T>(s, pass))) * sizeof(T);
}
template <class T>
void prepare(const Context& ctx, const ConvShape& s, ConvPass pass, const T* weight, void* prepared) {
  pack_weights(ctx, s, pass, make_plan<T>(s, pass), weight, static_cast<T*>(prepared));
}

bool can_run(const ConvShape&, ConvPass) { return true; }

double cost(const ConvShape& s, ConvPass pass) {
  const ConvView v = conv_view(s, pass);
  // Whole vectors of destination channels are computed, whatever their number; every pointer has its price.
  // Whatever lies outside the source is multiplied too, as zeros; strides of the gradient are taken phase by phase.
  const double pixels = pass == ConvPass::kForward
                            ? static_cast<double>(s.oh * s.ow)
                            : static_cast<double>(s.h * s.w) / static_cast<double>(s.stride_h * s.stride_w);
  const double pairs = static_cast<double>(s.n) * pixels * static_cast<double>(s.kh * s.kw);
  return pairs * (static_cast<double>(v.groups * v.kc * round_up(v.nc, Vec<float>::W)) / 50.0 + 2.5);
}

}  // namespace

template <class T>
ConvCandidate<T> conv_igemm() {
  return {"igemm", can_run, cost, workspace<T>, run<T>, prepared_bytes<T>, prepare<T>, true};
}
#define LAMELLA_INSTANTIATE(T) template ConvCandidate<T> conv_igemm<T>();
LAMELLA_FOR_EACH_TYPE(LAMELLA_INSTANTIATE)

}  // namespace lamella::LAMELLA_NS
