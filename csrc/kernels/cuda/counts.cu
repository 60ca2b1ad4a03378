// Weighted counts of scores over thresholds, and of labels against predictions: sums of doubles into slots that the
// data chooses, in an order that is fixed all the same. A warp walks a piece of the elements with slots of its own in
// shared memory; lanes that meet in a slot take turns, in their order. Pieces are added up in theirs. Where there are
// more slots than shared memory has room for, several warps walk the same piece, each for a range of slots: they read
// it from a cache.
//
// An element costs 2 to 4 loads and as many rounds as the fullest slot of its 32 neighbours has members, of some 50
// cycles each; 16 warps or more on a multiprocessor hide most of that.
#include "kernels/counts.h"
#include "kernels/cuda/fast_div.h"
#include "kernels/cuda/index_check.h"
#include "kernels/cuda/row_team.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int64_t kMostSlots = 3072;  // doubles per warp: 96 KB per block, two of them on a multiprocessor
constexpr int64_t kMostWarps = 2048;

// How elements and slots are divided, by their numbers alone.
struct CountPlan {
  int64_t slots = 0, range = 0, ranges = 0;  // of kValues doubles each
  int64_t piece = 0, pieces = 0;             // elements
  int64_t parts = 0;                         // what is left to be added up
};

CountPlan count_plan(int64_t n, int64_t slots, int values) {
  CountPlan p;
  p.slots = slots;
  p.range = slots < kMostSlots / values ? slots : kMostSlots / values;
  p.ranges = slots > 0 ? ceil_div(slots, p.range) : 0;
  // Pieces that take longer than adding up their slots.
  int64_t least = 4 * slots;
  least = least > 1024 ? least : 1024;
  int64_t most = p.ranges > 0 ? kMostWarps / p.ranges : 1;
  most = most > 1 ? most : 1;
  p.pieces = ceil_div(n, least);
  if (p.pieces > most) p.pieces = most;
  if (p.pieces < 1) p.pieces = 1;
  p.piece = ceil_div(ceil_div(n, p.pieces), 32) * 32;
  p.pieces = p.piece > 0 ? ceil_div(n, p.piece) : 1;
  // A block's warps have pieces of the same slots, and add them up themselves; or ranges of the same piece.
  p.parts = p.ranges == 1 ? ceil_div(p.pieces, kWarps) : p.pieces;
  return p;
}

size_t workspace_of(const CountPlan& p, int values) {
  return p.parts > 1 ? static_cast<size_t>(p.parts * p.slots * values) * sizeof(double) : 0;
}

// Source: `at(element, v)` gives the element's slot, or -1, and its values. out: (parts, kValues, slots).
template <class Source, int kValues>
__global__ void __launch_bounds__(kWarps * 32) count(Source source, int64_t n, CountPlan plan, double* out) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t job = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  const int64_t piece = plan.ranges == 1 ? job : job / plan.ranges;
  const int64_t first_slot = (job - piece * plan.ranges) * plan.range;
  const int range = static_cast<int>(plan.range);
  double* const all = dynamic_shared<double>();
  double* const own = all + static_cast<int64_t>(warp) * range * kValues;
  for (int i = lane; i < range * kValues; i += 32) own[i] = 0;
  __syncwarp();

  const int64_t begin = piece * plan.piece;
  const int64_t end = piece >= plan.pieces ? begin : begin + plan.piece < n ? begin + plan.piece : n;
  constexpr int kTogether = 4;  // their loads are under way at the same time
  for (int64_t e = begin; e < end; e += 32 * kTogether) {
    int slot[kTogether];
    double v[kTogether][kValues];
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const int64_t i = e + k * 32 + lane;
      slot[k] = -1;
      if (i < end) {
        const int64_t s = source.at(i, v[k]) - first_slot;
        if (s >= 0 && s < range) slot[k] = static_cast<int>(s);
      }
    }
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      if (!__any_sync(~0u, slot[k] >= 0)) continue;
      const unsigned peers = __match_any_sync(~0u, slot[k]);
      const int before = __popc(peers & ((1u << lane) - 1));
      for (int turn = 0; __any_sync(~0u, slot[k] >= 0 && before >= turn); ++turn) {
        if (slot[k] >= 0 && before == turn) {
#pragma unroll
          for (int j = 0; j < kValues; ++j) own[j * range + slot[k]] += v[k][j];
        }
        __syncwarp();
      }
    }
  }

  if (plan.ranges == 1) {
    __syncthreads();
    double* const to = out + static_cast<int64_t>(blockIdx.x) * range * kValues;
    for (int i = static_cast<int>(threadIdx.x); i < range * kValues; i += kWarps * 32) {
      double sum = 0;
      for (int w = 0; w < kWarps; ++w) sum += all[w * range * kValues + i];
      to[i] = sum;
    }
  } else if (piece < plan.pieces) {
    double* const to = out + piece * plan.slots * kValues + first_slot;
    for (int i = lane; i < range && first_slot + i < plan.slots; i += 32) {
#pragma unroll
      for (int j = 0; j < kValues; ++j) to[j * plan.slots + i] = own[j * range + i];
    }
  }
}

// Block: 32 neighbouring slots, kShares shares of the parts.
constexpr int kShares = 8;
__global__ void __launch_bounds__(32 * kShares) add_up(const double* parts, int64_t count, int64_t slots, double* out) {
  __shared__ double scratch[kShares][32];
  const int64_t slot = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  double sum = 0;
  if (slot < slots)
    for (int64_t i = threadIdx.y; i < count; i += kShares) sum += parts[i * slots + slot];
  scratch[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || slot >= slots) return;
  for (int k = 1; k < kShares; ++k) sum += scratch[k][threadIdx.x];
  out[slot] = sum;
}

template <int kValues, class Source>
void run(const Context& ctx, const Source& source, int64_t n, const CountPlan& plan, void* workspace, double* counts) {
  if (plan.slots == 0) return;
  double* const out = plan.parts > 1 ? static_cast<double*>(workspace) : counts;
  const auto blocks = static_cast<unsigned>(ceil_div(plan.pieces * plan.ranges, kWarps));
  const size_t shared = static_cast<size_t>(plan.range * kValues * kWarps) * sizeof(double);
  launch(ctx, count<Source, kValues>, {dim3(blocks), dim3(kWarps * 32), shared}, source, n, plan, out);
  if (plan.parts == 1) return;
  const int64_t all = plan.slots * kValues;
  launch(ctx, add_up, {dim3(static_cast<unsigned>(ceil_div(all, 32))), dim3(32, kShares)},
         static_cast<const double*>(out), plan.parts, all, counts);
}

// ---- scores over thresholds -----------------------------------------------------------------------------------------

// How many of the ascending thresholds are below x.
template <class T>
__device__ int64_t thresholds_below(const T* thresholds, int64_t n, T x) {
  const T* base = thresholds;
  for (; n > 1; n -= n / 2) base += base[n / 2 - 1] < x ? n / 2 : 0;
  return base - thresholds + (n == 1 && *base < x);
}

// The smallest of a row's k largest scores, by value and position.
template <class T>
struct Least {
  T value;
  int64_t at;
};

template <class T, class Team>
__global__ void __launch_bounds__(512)
    least_of_top(const T* x, int64_t rows, int64_t cols, int64_t k, Team team, Least<T>* least) {
  for_rows(team, rows, [&](int64_t r, bool inside) {
    const T* row = x + r * cols;
    T value = T(INFINITY);
    int64_t at = -1;
    bool full = true;
    for (int64_t taken = 0; taken < k; ++taken) {
      T best = T(-INFINITY);
      int64_t best_at = INT64_MAX;
      for_places<false>(team, row, typename Team::Index{0}, static_cast<typename Team::Index>(cols), [&](auto places) {
        const auto v = load_at(row, places);
#pragma unroll
        for (int j = 0; j < places.kCount; ++j) {
          const bool left = v[j] < value || (v[j] == value && places[j] > at);
          if (left && (best_at == INT64_MAX || v[j] > best)) {
            best = v[j];
            best_at = places[j];
          }
        }
      });
      const T top = team_max(team, best);
      if (best != top) best_at = INT64_MAX;
      best_at = team.fold(best_at, int64_t{INT64_MAX}, [](int64_t a, int64_t b) { return a < b ? a : b; });
      // The others are NaN; the row's turns go on with those of its warp's other rows.
      full = full && best_at != INT64_MAX;
      if (full) {
        value = top;
        at = best_at;
      }
    }
    if (inside && team.rank() == 0) least[r] = full ? Least<T>{value, at} : Least<T>{T(-INFINITY), INT64_MAX};
  });
}

template <class T>
struct Scores {
  ThresholdCountsParams<T> p;
  int64_t width, first;   // the columns that count
  const Least<T>* least;  // one per row, or nullptr: all scores of a row count

  __device__ int64_t at(int64_t e, double* v) const {
    const int64_t r = width == 1 ? e : quotient(e, width), c = first + (e - r * width), i = r * p.cols + c;
    const T x = p.x[i];
    const double t = static_cast<double>(p.target[i]);
    const double w = p.weight == nullptr ? 1.0 : static_cast<double>(p.weight[p.group == 1 ? i : quotient(i, p.group)]);
    v[0] = w * t;
    v[1] = w * (1.0 - t);
    bool counts = true;
    if (least != nullptr) {
      const Least<T> l = least[r];
      counts = x > l.value || (x == l.value && c <= l.at);
    }
    const int64_t bin = counts ? thresholds_below(p.thresholds, p.threshold_count, x) : 0;
    return p.per_label ? bin * p.cols + c : bin;
  }
};

template <class T>
struct ThresholdPlan {
  CountPlan counts;
  bool top;
  size_t top_bytes;

  explicit ThresholdPlan(const ThresholdCountsParams<T>& p)
      : counts(count_plan(p.column < 0 ? p.rows * p.cols : p.rows, (p.threshold_count + 1) * (p.per_label ? p.cols : 1),
                          2)),
        top(p.k > 0 && p.k < p.cols),
        top_bytes(top ? (static_cast<size_t>(p.rows) * sizeof(Least<T>) + 255) / 256 * 256 : 0) {}
};

template <class T>
size_t threshold_counts_workspace(const ThresholdCountsParams<T>& p, int) {
  const ThresholdPlan<T> plan(p);
  return plan.top_bytes + workspace_of(plan.counts, 2);
}

template <class T>
void threshold_counts(const Context& ctx, const ThresholdCountsParams<T>& p) {
  const ThresholdPlan<T> plan(p);
  Scores<T> source{p, p.column < 0 ? p.cols : 1, p.column < 0 ? 0 : p.column, nullptr};
  if (plan.top && p.rows > 0) {
    Least<T>* const least = static_cast<Least<T>*>(ctx.workspace);
    const RowLaunch l = row_launch(p.rows, p.cols, int64_t{1} << 30);
    if (l.by_block) {
      launch(ctx, least_of_top<T, BlockTeam>, l.launch, p.x, p.rows, p.cols, p.k, BlockTeam(), least);
    } else {
      launch(ctx, least_of_top<T, LaneTeam>, l.launch, p.x, p.rows, p.cols, p.k, l.lanes, least);
    }
    source.least = least;
  }
  run<2>(ctx, source, p.rows * source.width, plan.counts, static_cast<char*>(ctx.workspace) + plan.top_bytes, p.counts);
}

// ---- labels against predictions -------------------------------------------------------------------------------------

template <class T>
struct Pairs {
  ConfusionParams<T> p;

  // Labels and predictions out of range have no slot.
  __device__ int64_t at(int64_t e, double* v) const {
    const int64_t label = index_at(p.labels, e), prediction = index_at(p.predictions, e);
    if (p.has_ignore && label == p.ignore_index) return -1;
    if (label < 0 || label >= p.classes || prediction < 0 || prediction >= p.classes) return -1;
    v[0] = p.weight == nullptr ? 1.0 : static_cast<double>(p.weight[p.group == 1 ? e : quotient(e, p.group)]);
    return label * p.classes + prediction;
  }
};

template <class T>
size_t confusion_workspace(const ConfusionParams<T>& p, int) {
  return workspace_of(count_plan(p.n, p.classes * p.classes, 1), 1);
}

template <class T>
void confusion(const Context& ctx, const ConfusionParams<T>& p) {
  run<1>(ctx, Pairs<T>{p}, p.n, count_plan(p.n, p.classes * p.classes, 1), ctx.workspace, p.counts);
}

template <class T>
void fill_kernels(CountKernels<T>& k) {
  k.threshold_counts_workspace = threshold_counts_workspace<T>;
  k.threshold_counts = threshold_counts<T>;
  k.confusion_workspace = confusion_workspace<T>;
  k.confusion = confusion<T>;
}

}  // namespace

void fill(CountKernels<float>& k) { fill_kernels(k); }
void fill(CountKernels<double>& k) { fill_kernels(k); }

}  // namespace lamella::cuda
