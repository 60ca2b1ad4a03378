// Threads around the product: C is cut into a grid of ranges; a product that is deep and small in C is cut along k; a
// batch is cut between its members. Only the cut along k adds in another order, so it alone must not, and does not,
// depend on the number of threads.
#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/gemm_plan.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr double kTaskMicros = 10.0;          // what a task should last at least, for its hand-off to pay
constexpr int64_t kSharedBytes = 16ll << 20;  // B packed at once for all threads

constexpr int64_t kAlign = 64;

template <class T>
int64_t align_up(int64_t elements) {
  return round_up(elements, kAlign / static_cast<int64_t>(sizeof(T)));
}

// Rough time of a product on one core: arithmetic, or reading A and B from L3.
template <class T>
double micros(double m, double n, double k) {
  const double flops = 2e-3 * m * n * k / GemmTile<T>::kGflops;
  const double bytes = (m * k + k * n) * sizeof(T) / 40e3;
  return flops > bytes ? flops : bytes;
}

// Parts that k is cut into: a function of the shape. Weight gradients are such products: few elements, each a sum over
// a whole batch.
template <class T>
int64_t depth_parts(const GemmParams<T>& p) {
  constexpr int64_t kPart = 512;
  if (p.batch != 1 || p.k < 4 * kPart || p.m * p.n > 65536 || p.k < 4 * max64(p.m, p.n)) return 1;
  const int64_t by_time = static_cast<int64_t>(micros<T>(p.m, p.n, p.k) / (1.5 * kTaskMicros));
  return max64(1, min64(32, min64(p.k / kPart, by_time)));
}

template <class T>
struct DepthCut {
  int64_t parts, length, c_elements, workspace;  // per part; workspace per thread

  explicit DepthCut(const GemmParams<T>& p) {
    parts = depth_parts(p);
    length = round_up(div_up(p.k, parts), 16);
    parts = div_up(p.k, length);
    c_elements = align_up<T>(p.m * p.n);
    workspace = 0;
    if (parts == 1) return;
    for (int64_t i = 0; i < parts; i += parts - 1) {  // the last part may be shorter and be run in another way
      const size_t bytes = gemm_serial_workspace(part(p, i, nullptr));
      workspace = max64(workspace, align_up<T>(static_cast<int64_t>(bytes / sizeof(T))));
    }
  }
  GemmParams<T> part(const GemmParams<T>& p, int64_t index, T* c) const {
    GemmParams<T> q = p;
    q.a += index * length * p.cs_a;
    q.b += index * length * p.rs_b;
    q.k = min64(length, p.k - index * length);
    q.c = c;
    q.ldc = p.n;
    q.alpha = 1;
    q.beta = 0;
    q.bias = nullptr;
    q.act = Activation{};
    return q;
  }
};

template <class T>
void run_depth(const Context& ctx, const GemmParams<T>& p, const DepthCut<T>& cut) {
  T* partial = static_cast<T*>(ctx.workspace);
  T* scratch = partial + cut.parts * cut.c_elements;
  parallel_for(ctx, cut.parts, [&](int64_t i, int thread) {
    gemm_serial(cut.part(p, i, partial + i * cut.c_elements), scratch + thread * cut.workspace);
  });
  // The parts are added in order; each chunk of C does so on its own.
  const TileOut<T> out = tile_out(p.c, p.ldc, gemm_epilogue(p, true, true));
  const int64_t rows = max64(1, grain(0.1 * static_cast<double>(cut.parts)) / p.n);
  parallel_range(ctx, p.m, rows, [&](int64_t begin, int64_t end, int) {
    constexpr int64_t W = Vec<T>::W;
    T* sums = partial + begin * p.n;
    const int64_t n = (end - begin) * p.n;
    for (int64_t i = 1; i < cut.parts; ++i) {
      const T* more = partial + i * cut.c_elements + begin * p.n;
      for (int64_t j = 0; j < n; j += W)
        (Vec<T>::load(sums + j, n - j) + Vec<T>::load(more + j, n - j)).store(sums + j, n - j);
    }
    for (int64_t i = begin; i < end; ++i) store_row(partial + i * p.n, p.n, p.c + i * p.ldc, p.bias, out);
  });
}

// The ranges of C that tasks take.
struct Grid {
  int64_t rows, columns;  // of one range
};

template <class T>
Grid make_grid(const GemmParams<T>& p, const GemmPlan& plan, int64_t n, int threads) {
  const double time = micros<T>(p.m, n, p.k);
  int64_t want = threads == 1 ? 1 : min64(4ll * threads, static_cast<int64_t>(time / kTaskMicros));
  const int64_t step = plan.path == GemmPath::kDots ? 8 : kGemmNR<T>;
  Grid grid{p.m, n};
  if (want <= 1) return grid;
  if (want > threads) want -= want % threads;                          // the same for each
  if (plan.path == GemmPath::kRows && want > threads) want = threads;  // long runs of memory
  if (plan.path == GemmPath::kRows || (plan.path == GemmPath::kDots && p.m < n)) {
    grid.columns = max64(round_up(div_up(n, want), step), 4 * step);
    return grid;
  }
  if (plan.path == GemmPath::kDots) {
    grid.rows = round_up(div_up(p.m, want), GemmTile<T>::kDotRows);
    return grid;
  }
  // Rows first, down to some panels: a range of rows packs its own A, and once. Then columns.
  int64_t row_cuts = min64(want, div_up(p.m, (plan.pack_a ? 4 : 2) * kGemmMR<T>));
  if (row_cuts > threads) row_cuts -= row_cuts % threads;
  const int64_t column_cuts = min64(div_up(want, row_cuts), div_up(n, plan.pack_a ? 8 * step : 2 * step));
  grid.rows = div_up(p.m, row_cuts);
  grid.columns = round_up(div_up(n, column_cuts), step);
  return grid;
}

// Few threads and a small B: each thread packs what it needs for itself. What two threads pack twice costs less than
// one of them reading from the other's cache, and there is nothing to wait for in between.
template <class T>
bool pack_apart(const GemmParams<T>& p, const GemmPlan& plan, int threads) {
  return plan.path == GemmPath::kTiles && plan.pack_b && threads <= 4 &&
         p.k * p.n * static_cast<int64_t>(sizeof(T)) <= (4ll << 20) &&
         max64(p.m / kGemmMR<T>, p.n / kGemmNR<T>) >= threads;
}

template <class T>
void run_apart(const Context& ctx, const GemmParams<T>& p, const GemmPlan& plan, int64_t workspace) {
  // The side that threads share most evenly.
  const int64_t row_panels = div_up(p.m, kGemmMR<T>), column_panels = div_up(p.n, kGemmNR<T>);
  const int64_t threads = ctx.threads;
  const bool columns = div_up(column_panels, threads) * row_panels <= div_up(row_panels, threads) * column_panels;
  const int64_t n = columns ? div_up(column_panels, threads) * kGemmNR<T> : p.n;
  const int64_t m = columns ? p.m : div_up(p.m, threads);
  parallel_for(ctx, columns ? div_up(p.n, n) : div_up(p.m, m), [&](int64_t task, int thread) {
    const int64_t i = columns ? 0 : task * m, j = columns ? task * n : 0;
    GemmParams<T> q = p;
    q.a += i * p.rs_a;
    q.b += j * p.cs_b;
    q.c += i * p.ldc + j;
    q.m = min64(m, p.m - i);
    q.n = min64(n, p.n - j);
    q.bias = offset(p.bias, j);
    gemm_alone(q, plan, static_cast<T*>(ctx.workspace) + thread * workspace);
  });
}

// Columns of B packed at once, for all of k.
template <class T>
int64_t shared_columns(const GemmParams<T>& p) {
  const int64_t fits = kSharedBytes / static_cast<int64_t>(sizeof(T)) / max64(p.k, 1) / kGemmNR<T> * kGemmNR<T>;
  const int64_t chunks = div_up(p.n, max64(fits, 8 * kGemmNR<T>));
  return round_up(div_up(p.n, chunks), kGemmNR<T>);
}

// One product, cut into ranges of C.
template <class T>
struct Ranges {
  GemmPlan plan;
  int64_t columns, shared, workspace;  // columns at a time, elements of the shared pack, elements per thread
  bool alone;                          // not worth a second thread
  bool apart;                          // each thread packs for itself

  Ranges(const GemmParams<T>& p, int threads) : plan(gemm_plan(p, false)) {
    alone = threads == 1 || micros<T>(p.m, p.n, p.k) < 2 * kTaskMicros;
    apart = !alone && pack_apart(p, plan, threads);
    columns = p.n;
    shared = 0;
    if (alone || apart) {
      workspace = align_up<T>(gemm_alone_elements(p, plan));
      return;
    }
    if (plan.path == GemmPath::kDots) {
      shared = gemm_dots_elements(p, plan);
    } else if (plan.pack_b) {
      columns = shared_columns(p);
      shared = columns * p.k;
    }
    shared = align_up<T>(shared);
    workspace = align_up<T>(gemm_range_elements(p, plan));
  }
  size_t bytes(int threads) const {
    return static_cast<size_t>(alone ? workspace : shared + threads * workspace) * sizeof(T);
  }
};

// k blocks of columns [j, j + n) of B, as gemm_prepack_b leaves them, one task per block and run of columns.
template <class T>
void pack_shared(const Context& ctx, const GemmParams<T>& p, int64_t kc, int64_t j, int64_t n, T* packed) {
  const int64_t width = round_up(n, kGemmNR<T>), run = round_up(div_up(16384, kc), kGemmNR<T>);
  const int64_t runs = div_up(n, run);
  parallel_for(ctx, runs * div_up(p.k, kc), [&](int64_t task, int) {
    const int64_t p0 = task / runs * kc, first = task % runs * run, steps = min64(kc, p.k - p0);
    gemm_pack_b(steps, min64(run, n - first), p.b + p0 * p.rs_b + (j + first) * p.cs_b, p.rs_b, p.cs_b,
                packed + p0 * width + first * steps);
  });
}

template <class T>
void run_ranges(const Context& ctx, const GemmParams<T>& p, const Ranges<T>& r) {
  if (r.apart) return run_apart(ctx, p, r.plan, r.workspace);
  T* shared = static_cast<T*>(ctx.workspace);
  T* scratch = shared + r.shared;
  const bool dots = r.plan.path == GemmPath::kDots;
  if (dots) gemm_dots_pack(p, r.plan, shared);
  for (int64_t j = 0; j < p.n; j += r.columns) {
    const int64_t n = min64(r.columns, p.n - j);
    const T* packed = dots ? shared : nullptr;
    if (!dots && r.plan.pack_b) {
      pack_shared(ctx, p, r.plan.kc, j, n, shared);
      packed = shared;
    }
    const Grid grid = make_grid(p, r.plan, n, ctx.threads);
    const int64_t across = div_up(n, grid.columns);
    parallel_for(ctx, across * div_up(p.m, grid.rows), [&](int64_t task, int thread) {
      const int64_t i0 = task / across * grid.rows, j0 = j + task % across * grid.columns;
      gemm_range(p, r.plan, i0, min64(i0 + grid.rows, p.m), j0, min64(j0 + grid.columns, j + n), packed, j, n,
                 scratch + thread * r.workspace);
    });
  }
}

// The same product in its easiest form. A batch whose members share B and lie one after the other is one taller
// product. A single column from a column-major A is the row b^T A^T: then A is streamed along its contiguous side.
template <class T>
GemmParams<T> canonical(const GemmParams<T>& params) {
  GemmParams<T> p = params;
  if (p.batch > 1 && p.batch_stride_b == 0 && p.batch_stride_a == p.m * p.rs_a && p.batch_stride_c == p.m * p.ldc) {
    p.m *= p.batch;
    p.batch = 1;
  }
  if (p.n == 1 && p.m > 1 && p.ldc == 1 && p.rs_a == 1 && p.cs_a != 1 && p.bias == nullptr) {
    p.n = p.m;
    p.m = 1;
    p.a = params.b;
    p.rs_a = 1;
    p.cs_a = params.rs_b;
    p.b = params.a;
    p.rs_b = params.cs_a;
    p.cs_b = 1;
    p.ldc = p.n;
    p.batch_stride_a = params.batch_stride_b;
    p.batch_stride_b = params.batch_stride_a;
  }
  return p;
}

// Not worth a thought about threads.
template <class T>
bool small(const GemmParams<T>& p) {
  return p.batch == 1 && p.k < 1024 && micros<T>(p.m, p.n, p.k) < kTaskMicros;
}

template <class T>
bool empty(const GemmParams<T>& p) {
  return p.m <= 0 || p.n <= 0 || p.batch <= 0;
}

// Members of a batch are run whole by one thread each, unless they are few and large.
template <class T>
bool cut_batch(const GemmParams<T>& p, int threads) {
  return p.batch > 1 && (p.batch >= 2 * threads || micros<T>(p.m, p.n, p.k) < 5 * kTaskMicros);
}

template <class T>
size_t gemm_workspace(const GemmParams<T>& params, int threads) {
  if (empty(params)) return 0;
  const GemmParams<T> p = canonical(params);
  if (small(p)) return gemm_serial_workspace(p);
  if (cut_batch(p, threads))
    return static_cast<size_t>(threads * align_up<T>(static_cast<int64_t>(gemm_serial_workspace(p) / sizeof(T)))) *
           sizeof(T);
  if (const DepthCut<T> cut(p); cut.parts > 1)
    return static_cast<size_t>(cut.parts * cut.c_elements + threads * cut.workspace) * sizeof(T);
  return Ranges<T>(p, threads).bytes(threads);
}

template <class T>
void gemm(const Context& ctx, const GemmParams<T>& params) {
  if (empty(params)) return;
  GemmParams<T> p = canonical(params);
  if (small(p)) return gemm_serial(p, ctx.workspace);
  if (cut_batch(p, ctx.threads)) {
    const int64_t stride = align_up<T>(static_cast<int64_t>(gemm_serial_workspace(p) / sizeof(T)));
    const int64_t each = max64(1, static_cast<int64_t>(kTaskMicros / (micros<T>(p.m, p.n, p.k) + 0.05)));
    parallel_range(ctx, p.batch, each, [&](int64_t begin, int64_t end, int thread) {
      GemmParams<T> q = p;
      q.a += begin * p.batch_stride_a;
      q.b += begin * p.batch_stride_b;
      q.c += begin * p.batch_stride_c;
      q.batch = end - begin;
      gemm_serial(q, static_cast<T*>(ctx.workspace) + thread * stride);
    });
    return;
  }
  if (const DepthCut<T> cut(p); cut.parts > 1) return run_depth(ctx, p, cut);
  const Ranges<T> ranges(p, ctx.threads);
  if (ranges.alone) return gemm_serial(p, ctx.workspace);
  const int64_t batch = p.batch;
  p.batch = 1;
  for (int64_t i = 0; i < batch; ++i) {
    run_ranges(ctx, p, ranges);
    p.a += p.batch_stride_a;
    p.b += p.batch_stride_b;
    p.c += p.batch_stride_c;
  }
}

template <class T>
void fill_all(GemmKernels<T>& k) {
  k.gemm_workspace = gemm_workspace<T>;
  k.gemm = gemm<T>;
}

}  // namespace

void fill(GemmKernels<float>& k) { fill_all(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(GemmKernels<double>& k) { fill_all(k); }
#endif

}  // namespace lamella::LAMELLA_NS
