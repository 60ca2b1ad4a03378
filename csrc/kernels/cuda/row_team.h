// Threads that share a row: some lanes of a warp, or a block. Both fold a value of each thread in a fixed order, and
// then every thread of the team has the result.
#pragma once

#include <type_traits>

#include "kernels/cuda/device.h"

namespace lamella::cuda {

// `width` neighbouring lanes, a power of two. All teams of a warp fold at the same time, also those without a row.
struct LaneTeam {
  using Index = int;  // of the places in a row
  int width = 32;

  __device__ int rank() const { return static_cast<int>(threadIdx.x) & (width - 1); }
  __device__ int size() const { return width; }
  // The number of the team in the grid, and how many there are. The loops over rows go by warps: those of a warp take
  // the same number of turns.
  __device__ int64_t number() const { return thread_number() / width; }
  __device__ int64_t count() const { return thread_count() / width; }
  __device__ int64_t first_of_warp() const { return thread_number() / 32 * (32 / width); }

  template <class V, class F>
  __device__ V fold(V v, V, const F& f) const {
    for (int d = width / 2; d > 0; d /= 2) v = f(v, __shfl_xor_sync(~0u, v, d));
    return v;
  }
};

struct BlockTeam {
  using Index = int64_t;
  __device__ int rank() const { return static_cast<int>(threadIdx.x); }
  __device__ int size() const { return static_cast<int>(blockDim.x); }
  __device__ int64_t number() const { return blockIdx.x; }
  __device__ int64_t count() const { return gridDim.x; }
  __device__ int64_t first_of_warp() const { return blockIdx.x; }

  template <class V, class F>
  __device__ V fold(V v, V nothing, const F& f) const {
    __shared__ V scratch[32];
    const int lane = static_cast<int>(threadIdx.x) % 32, warps = static_cast<int>(blockDim.x) / 32;
    for (int d = 16; d > 0; d /= 2) v = f(v, __shfl_xor_sync(~0u, v, d));
    __syncthreads();
    if (lane == 0) scratch[threadIdx.x / 32] = v;
    __syncthreads();
    v = lane < warps ? scratch[lane] : nothing;
    for (int d = 16; d > 0; d /= 2) v = f(v, __shfl_xor_sync(~0u, v, d));
    return v;
  }
};

// body(row, inside) for every row's turn of the calling thread's team. Teams of a warp that holds a last row but have
// none themselves are called too, with inside false and some row that exists.
template <class Team, class F>
__device__ void for_rows(const Team& team, int64_t rows, const F& body) {
  const int64_t offset = team.number() - team.first_of_warp();
  for (int64_t first = team.first_of_warp(); first < rows; first += team.count()) {
    const int64_t row = first + offset;
    body(row < rows ? row : rows - 1, row < rows);
  }
}

template <class Team, class V>
__device__ V team_sum(const Team& team, V v) {
  return team.fold(v, V(0), [](V a, V b) { return a + b; });
}
// Passes over NaN.
template <class Team, class T>
__device__ T team_max(const Team& team, T v) {
  return team.fold(v, T(-INFINITY), [](T a, T b) { return a > b ? a : b; });
}

// Values of a row: N of them `stride` apart, or next to each other in 16 bytes.
template <int N, bool kPacked>
struct Places {
  int64_t first;
  int64_t stride;
  static constexpr int kCount = N;
  __device__ int64_t operator[](int k) const { return kPacked ? first + k : first + k * stride; }
};
template <class T, int N>
struct Values {
  T v[N];
  __device__ T& operator[](int k) { return v[k]; }
  __device__ const T& operator[](int k) const { return v[k]; }
};
template <class T, int N, bool kPacked>
__device__ Values<T, N> load_at(const T* p, const Places<N, kPacked>& at) {
  Values<T, N> r;
  if constexpr (kPacked) {
    const Pack<T> pack = load_pack(p + at.first);
#pragma unroll
    for (int k = 0; k < N; ++k) r[k] = pack.v[k];
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) r[k] = p[at[k]];
  }
  return r;
}
template <class T, int N, bool kPacked>
__device__ void store_at(T* p, const Places<N, kPacked>& at, const Values<T, N>& r) {
  if constexpr (kPacked) {
    Pack<T> pack;
#pragma unroll
    for (int k = 0; k < N; ++k) pack.v[k] = r[k];
    store_pack(p + at.first, pack);
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) p[at[k]] = r[k];
  }
}

// f(places) until the team has seen the places [begin, end) of a row. kPacked: 16 bytes at a time, where `row` (and
// every other array that is to be read or written there) begins; the team has at least 32 threads.
template <bool kPacked, class T, class Team, class F>
__device__ void for_places(const Team& team, const T* row, typename Team::Index begin, typename Team::Index end,
                           const F& f) {
  using Index = typename Team::Index;
  const Index size = team.size();
  Index i = begin + team.rank();
  if constexpr (kPacked) {
    constexpr int kSize = Pack<T>::kSize;
    const int past = static_cast<int>(reinterpret_cast<uintptr_t>(row + begin) % 16 / sizeof(T));
    Index head = begin + (past == 0 ? 0 : kSize - past);
    head = head < end ? head : end;
    if (i < head) f(Places<1, false>{i, 1});
    i = head + Index{team.rank()} * kSize;
#pragma unroll 4
    for (; i + kSize <= end; i += size * kSize) f(Places<kSize, true>{i, 1});
    const Index tail = head + (end - head) / kSize * kSize;
    i = tail + team.rank();
    if (i < end) f(Places<1, false>{i, 1});
  } else {
    constexpr int kTogether = 4;
    for (; i + (kTogether - 1) * size < end; i += kTogether * size) f(Places<kTogether, false>{i, size});
    for (; i < end; i += size) f(Places<1, false>{i, 1});
  }
}

// The largest value so far, NaNs passed over, and the sum of exp(value - it).
template <class T>
struct RunningSum {
  T top = T(-INFINITY), sum = 0;

  template <int N>
  __device__ void add(const Values<T, N>& v) {
    T m = top;
#pragma unroll
    for (int k = 0; k < N; ++k) m = v[k] > m ? v[k] : m;
    const T base = m == T(-INFINITY) ? T(0) : m;
    sum *= exp(top - base);
#pragma unroll
    for (int k = 0; k < N; ++k) sum += exp(v[k] - base);
    top = m;
  }

  // Of all threads together: their sum, with the largest value in `all_top`.
  template <class Team>
  __device__ T of_team(const Team& team, T& all_top) const {
    all_top = team_max(team, top);
    return team_sum(team, sum * exp(top - all_top));
  }
};

// Whether arrays begin at the same place of 16 bytes, so that they may be read together, from some element on.
template <class T>
bool same_place(const T* a, const T* b) {
  return reinterpret_cast<uintptr_t>(a) % 16 == reinterpret_cast<uintptr_t>(b) % 16;
}

// How rows are given to teams: lanes where rows are short, blocks where they are long, or few. Fixed by the shape, as
// the order of sums is.
struct RowLaunch {
  bool by_block = false;
  LaneTeam lanes;
  Launch launch;
};
// sums: all blocks' results are to be added up.
inline RowLaunch row_launch(int64_t rows, int64_t length, int64_t most_blocks, bool sums = false) {
  constexpr int kBlockThreads = 512, kWarps = 8;
  RowLaunch r;
  const auto blocks = [&](int64_t n) { return dim3(static_cast<unsigned>(n < most_blocks ? n : most_blocks)); };
  r.by_block = length > 2048 || (length > 512 && rows < 1024);
  if (r.by_block) {
    r.launch = {blocks(rows), dim3(kBlockThreads)};
    return r;
  }
  while (r.lanes.width > 1 && r.lanes.width / 2 >= length) r.lanes.width /= 2;
  const int64_t warps = ceil_div(rows, 32 / r.lanes.width);
  // What one block does in no time needs no second launch that adds up blocks' results.
  if (sums && warps <= 128 && rows * length <= 16384) {
    r.launch = {dim3(rows > 0 ? 1 : 0), dim3(static_cast<unsigned>(32 * (warps < 16 ? warps : 16)))};
  } else {
    r.launch = {blocks(ceil_div(warps, kWarps)), dim3(32 * kWarps)};
  }
  return r;
}

}  // namespace lamella::cuda
