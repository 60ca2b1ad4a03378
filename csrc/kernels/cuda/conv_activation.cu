// Backward through the fused bias and activation in one pass over the gradient: reads dy and (but for the identity) the
// value, writes dz, 12 bytes per element of float. Blocks have vectors of columns in x and rows in y and take a part of
// the rows each; their column sums meet in shared memory, the parts' in a second pass.
#include "kernels/cuda/activation.h"
#include "kernels/cuda/conv_geometry.h"
#include "kernels/cuda/conv_parts.h"

namespace lamella::cuda {
namespace {

constexpr int kThreads = 256;

struct Plan {
  int vector = 1;  // elements
  bool aligned = true;
  dim3 block;
  int64_t column_blocks = 0, rows_per_part = 0, parts = 0;
};

// How sums are cut is a function of the size alone.
template <class T>
Plan make_plan(const ConvActivationParams<T>& p) {
  constexpr int V = Pack<T>::kSize;
  constexpr int64_t kMostParts = 1024, kRowsOfThread = 8;
  Plan r;
  r.vector = p.cols % V == 0 ? V : 1;
  r.aligned = aligned16(p.value) && aligned16(p.dy) && aligned16(p.dz);
  r.block = channel_block(p.cols / r.vector, kThreads);
  r.column_blocks = ceil_div(p.cols, int64_t{r.block.x} * r.vector);
  if (p.rows == 0 || p.cols == 0) return r;
  const int64_t most = r.column_blocks < kMostParts ? kMostParts / r.column_blocks : 1;
  const int64_t wanted = ceil_div(p.rows, r.block.y * kRowsOfThread);
  r.rows_per_part = ceil_div(p.rows, wanted < most ? wanted : most);
  r.parts = ceil_div(p.rows, r.rows_per_part);
  return r;
}

// V neighbouring elements.
template <int V, class T>
__device__ __forceinline__ Few<T, V> load_few(const T* p, bool aligned) {
  if (aligned) return load_few<T, V>(p);
  Few<T, V> r;
#pragma unroll
  for (int i = 0; i < V; ++i) r.v[i] = p[i];
  return r;
}
template <int V, class T>
__device__ __forceinline__ void store_few(T* p, const Few<T, V>& r, bool aligned) {
  if (aligned) return store_few<T, V>(p, r);
#pragma unroll
  for (int i = 0; i < V; ++i) p[i] = r.v[i];
}

template <Act A, bool kFromOutput, int V, class T>
__device__ __forceinline__ void column(const ConvActivationParams<T>& p, int64_t begin, int64_t end, int64_t col,
                                       bool aligned, Real<T> (&sum)[V]) {
  using R = Real<T>;
  const R alpha = static_cast<R>(p.act.alpha);
#pragma unroll 2
  for (int64_t row = begin + threadIdx.y; row < end; row += blockDim.y) {
    const int64_t at = row * p.cols + col;
    Few<T, V> dy = load_few<V>(p.dy + at, aligned);
    R g[V];
#pragma unroll
    for (int i = 0; i < V; ++i) g[i] = widened(dy.v[i]);
    if constexpr (A != Act::kIdentity) {
      const Few<T, V> v = load_few<V>(p.value + at, aligned);
#pragma unroll
      for (int i = 0; i < V; ++i) {
        if constexpr (kFromOutput) {
          g[i] = act_backward_from_output<A>(widened(v.v[i]), g[i], alpha);
        } else {
          g[i] = act_backward_from_input<A>(widened(v.v[i]), g[i], alpha);
        }
      }
    }
    if (p.dz != nullptr) {
#pragma unroll
      for (int i = 0; i < V; ++i) dy.v[i] = rounded_to<T>(g[i]);
      store_few<V>(p.dz + at, dy, aligned);
    }
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] += g[i];
  }
}

template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    act_bias(ConvActivationParams<T> p, int64_t rows_per_part, bool aligned, Real<T>* sums) {
  using R = Real<T>;
  __shared__ R shared[kThreads * V];
  const int64_t begin = blockIdx.x * rows_per_part;
  const int64_t end = begin + rows_per_part < p.rows ? begin + rows_per_part : p.rows;
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int width = static_cast<int>(blockDim.x) * V;
  for (int64_t first = static_cast<int64_t>(blockIdx.y) * width; first < p.cols;
       first += static_cast<int64_t>(gridDim.y) * width) {
    const int64_t col = first + x * V;
    R sum[V] = {};
    if (col < p.cols) {
      with_act(p.act.act, [&](auto tag) {
        constexpr Act A = decltype(tag)::value;
        if constexpr (act_grad_from_output(A)) {
          if (p.from_output) return column<A, true, V>(p, begin, end, col, aligned, sum);
        }
        column<A, false, V>(p, begin, end, col, aligned, sum);
      });
    }
    if (sums == nullptr) continue;
#pragma unroll
    for (int i = 0; i < V; ++i) shared[y * width + x * V + i] = sum[i];
    __syncthreads();
    for (int half = static_cast<int>(blockDim.y) / 2; half > 0; half /= 2) {
      if (y < half)
#pragma unroll
        for (int i = 0; i < V; ++i) shared[y * width + x * V + i] += shared[(y + half) * width + x * V + i];
      __syncthreads();
    }
    if (y == 0 && col < p.cols)
#pragma unroll
      for (int i = 0; i < V; ++i) sums[blockIdx.x * p.cols + col + i] = shared[x * V + i];
    __syncthreads();
  }
}

template <class T, int V>
void run(const Context& ctx, const ConvActivationParams<T>& p, const Plan& plan, Real<T>* sums) {
  const int64_t most = 65535;
  const auto y = static_cast<unsigned>(plan.column_blocks < most ? plan.column_blocks : most);
  launch(ctx, act_bias<T, V>, {dim3(static_cast<unsigned>(plan.parts), y), plan.block}, p, plan.rows_per_part,
         plan.aligned, sums);
}

// Whether column sums take a second pass: they are in parts, or their result is of another type.
template <class T>
bool sums_apart(const ConvActivationParams<T>& p, const Plan& plan) {
  return p.dbias != nullptr && (plan.parts > 1 || kIsHalf<T>);
}

}  // namespace

template <class T>
size_t conv_activation_backward_workspace(const ConvActivationParams<T>& p) {
  const Plan plan = make_plan(p);
  return sums_apart(p, plan) ? static_cast<size_t>(plan.parts * p.cols) * sizeof(Real<T>) : 0;
}

template <class T>
void conv_activation_backward(const Context& ctx, const ConvActivationParams<T>& p) {
  const Plan plan = make_plan(p);
  if (plan.parts == 0) {  // no rows: their sum
    if (p.dbias != nullptr) sum_parts<Real<T>>(ctx, nullptr, 0, p.cols, p.dbias);
    return;
  }
  Real<T>* sums = static_cast<Real<T>*>(ctx.workspace);
  if (!sums_apart(p, plan)) {
    sums = nullptr;
    if constexpr (!kIsHalf<T>) sums = p.dbias;
  }
  if (plan.vector == 1)
    run<T, 1>(ctx, p, plan, sums);
  else
    run<T, Pack<T>::kSize>(ctx, p, plan, sums);
  if (sums_apart(p, plan)) sum_parts(ctx, sums, static_cast<int>(plan.parts), p.cols, p.dbias);
}

#define LAMELLA_INSTANTIATE(T)                                                           \
  template size_t conv_activation_backward_workspace<T>(const ConvActivationParams<T>&); \
  template void conv_activation_backward<T>(const Context&, const ConvActivationParams<T>&);
LAMELLA_INSTANTIATE(float)
LAMELLA_INSTANTIATE(double)
LAMELLA_INSTANTIATE(f16)
LAMELLA_INSTANTIATE(bf16)
#undef LAMELLA_INSTANTIATE

}  // namespace lamella::cuda
