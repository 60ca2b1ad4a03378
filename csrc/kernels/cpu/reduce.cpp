#include "kernels/reduce.h"

#include "kernels/cpu/reduce_inl.h"
#include "kernels/cpu/reduce_parts.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

// Operands of which the first `full` lie as the input and the others as the output.
BroadcastDims operand_dims(const ReduceDims& d, int full) {
  BroadcastDims b;
  b.rank = d.rank;
  int64_t stride = 1, kept = 1;
  for (int i = d.rank - 1; i >= 0; --i) {
    b.dims[i] = d.dims[i];
    for (int k = 0; k < BroadcastDims::kMaxOperands; ++k)
      b.strides[k][i] = k < full ? stride : (d.reduced[i] ? 0 : kept);
    stride *= d.dims[i];
    if (!d.reduced[i]) kept *= d.dims[i];
  }
  return b;
}

int64_t product(const ReduceDims& d, bool reduced) {
  int64_t n = 1;
  for (int i = 0; i < d.rank; ++i)
    if (d.reduced[i] == reduced) n *= d.dims[i];
  return n;
}

template <class T>
size_t reduce_workspace(const ReduceParams<T>& p, int) {
  return reduce_workspace_bytes<T>(p.dims);
}

template <class T>
void reduce(const Context& ctx, const ReduceParams<T>& p) {
  T* workspace = static_cast<T*>(ctx.workspace);
  const ArraySource<T> source{p.x};
  Finish finish;
  switch (p.fn) {
    case Reduce::kMean:
      return sum_array(ctx, p.dims, p.x, p.y, workspace, static_cast<double>(product(p.dims, true)));
    case Reduce::kSum:
      return sum_array(ctx, p.dims, p.x, p.y, workspace);
    case Reduce::kMax:
      return reduce_all<MaxOf>(ctx, p.dims, source, p.y, workspace, finish);
    case Reduce::kMin:
      return reduce_all<MinOf>(ctx, p.dims, source, p.y, workspace, finish);
    case Reduce::kProd:
      return reduce_all<ProductOf>(ctx, p.dims, source, p.y, workspace, finish);
    case Reduce::kNorm:
      finish.root = true;
      [[fallthrough]];
    case Reduce::kSumSquares:
    case Reduce::kCount:
      return reduce_all<SumSquaresOf>(ctx, p.dims, source, p.y, workspace, finish);
  }
}

template <class T>
size_t reduce_backward_workspace(const ReduceBackwardParams<T>& p, int) {
  const size_t output = static_cast<size_t>(product(p.dims, false)) * sizeof(T);
  switch (p.fn) {
    case Reduce::kMax:
    case Reduce::kMin:
      return reduce_workspace_bytes<T>(p.dims) + output;
    case Reduce::kProd:
      return reduce_workspace_bytes<T>(p.dims) + 2 * output;
    default:
      return 0;
  }
}

template <class T>
LAMELLA_INLINE Mask<T> same(Vec<T> a, Vec<T> b) {
  return eq(a, b) | (is_nan(a) & is_nan(b));
}

template <class T>
void reduce_backward(const Context& ctx, const ReduceBackwardParams<T>& p) {
  using V = Vec<T>;
  switch (p.fn) {
    case Reduce::kSum:
    case Reduce::kMean: {
      const T scale = p.fn == Reduce::kSum ? T(1) : static_cast<T>(1.0 / static_cast<double>(product(p.dims, true)));
      const BroadcastDims dims = operand_dims(p.dims, 0);
      const void* in[] = {p.dy};
      const Map<T> map = make_map<T, 1, 4>(0.3, [](const V* v, const V* s) { return s[0] * v[0]; });
      return broadcast_map(ctx, map, dims, in, p.dx, scale);
    }
    case Reduce::kMax:
    case Reduce::kMin: {
      // How many elements share each extremum, then their shares.
      T* count = static_cast<T*>(ctx.workspace);
      T* partials = count + product(p.dims, false);
      const BroadcastDims dims = operand_dims(p.dims, 1);
      const void* in[] = {p.x, p.y, p.dy, count};
      const Map<T> equal =
          make_map<T, 2, 4>(0.4, [](const V* v, const V*) { return select(same(v[0], v[1]), V(T(1)), V::zero()); });
      sum_mapped(ctx, Mapped<T>{equal.fn, equal.operands, in}, dims, p.dims.reduced, count, partials);
      const Map<T> map =
          make_map<T, 4, 4>(0.5, [](const V* v, const V*) { return select(same(v[0], v[1]), v[2] / v[3], V::zero()); });
      return broadcast_map(ctx, map, dims, in, p.dx);
    }
    case Reduce::kProd: {
      // The product of the others: from the product of all but the zeros, and how many zeros there are.
      T* rest = static_cast<T*>(ctx.workspace);
      T* zeros = rest + product(p.dims, false);
      T* partials = zeros + product(p.dims, false);
      const BroadcastDims dims = operand_dims(p.dims, 1);
      const void* in[] = {p.x, p.dy, rest, zeros};
      const Map<T> skip =
          make_map<T, 1, 4>(0.3, [](const V* v, const V*) { return select(eq(v[0], V::zero()), V(T(1)), v[0]); });
      const Map<T> zero =
          make_map<T, 1, 4>(0.3, [](const V* v, const V*) { return select(eq(v[0], V::zero()), V(T(1)), V::zero()); });
      // By way of dx: one more pass in a rare gradient costs less than every product kernel over mapped elements.
      broadcast_map(ctx, skip, dims, in, p.dx);
      reduce_all<ProductOf>(ctx, p.dims, ArraySource<T>{p.dx}, rest, partials, Finish{});
      sum_mapped(ctx, Mapped<T>{zero.fn, zero.operands, in}, dims, p.dims.reduced, zeros, partials);
      const Map<T> map = make_map<T, 4, 1>(0.5, [](const V* v, const V*) {
        const Mask<T> is_zero = eq(v[0], V::zero());
        const V others = select(is_zero, v[2], v[2] / v[0]);
        const V zeros_among_others = v[3] - select(is_zero, V(T(1)), V::zero());
        return v[1] * select(eq(zeros_among_others, V::zero()), others, V::zero());
      });
      return broadcast_map(ctx, map, dims, in, p.dx);
    }
    case Reduce::kSumSquares: {
      const BroadcastDims dims = operand_dims(p.dims, 1);
      const void* in[] = {p.x, p.dy};
      const Map<T> map = make_map<T, 2, 4>(0.4, [](const V* v, const V*) { return (v[0] + v[0]) * v[1]; });
      return broadcast_map(ctx, map, dims, in, p.dx);
    }
    case Reduce::kNorm:
    case Reduce::kCount: {
      const BroadcastDims dims = operand_dims(p.dims, 1);
      const void* in[] = {p.x, p.y, p.dy};
      const Map<T> map = make_map<T, 3, 4>(
          0.4, [](const V* v, const V*) { return select(eq(v[1], V::zero()), V::zero(), v[0] * (v[2] / v[1])); });
      return broadcast_map(ctx, map, dims, in, p.dx);
    }
  }
}

// dvar/dx = 2 (x - mean) / (n - ddof); the root's is that over 2 root, and 0 where nothing varies.
template <class T>
void var_backward(const Context& ctx, const VarParams<T>& p) {
  using V = Vec<T>;
  const double n = static_cast<double>(product(p.dims, true));
  const T scale = static_cast<T>((p.root ? 1.0 : 2.0) / (n > p.ddof ? n - p.ddof : 0));
  const BroadcastDims dims = operand_dims(p.dims, 1);
  const void* in[] = {p.x, p.mean, p.dy, p.var};
  const Map<T> plain = make_map<T, 3, 4>(0.4, [](const V* v, const V* s) { return (v[0] - v[1]) * (s[0] * v[2]); });
  const Map<T> root = make_map<T, 4, 4>(0.5, [](const V* v, const V* s) {
    return select(eq(v[3], V::zero()), V::zero(), (v[0] - v[1]) * (s[0] * v[2] / v[3]));
  });
  broadcast_map(ctx, p.root ? root : plain, dims, in, p.dx, scale);
}

template <class T>
void fill_kernels(ReduceKernels<T>& k) {
  k.reduce_workspace = reduce_workspace<T>;
  k.reduce = reduce<T>;
  k.reduce_backward_workspace = reduce_backward_workspace<T>;
  k.reduce_backward = reduce_backward<T>;
  k.var_backward = var_backward<T>;
  fill_arg(k);
  fill_var(k);
  fill_sum_squares(k);
}

}  // namespace

void fill(ReduceKernels<float>& k) { fill_kernels(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(ReduceKernels<double>& k) { fill_kernels(k); }
#endif

}  // namespace lamella::LAMELLA_NS
