// Broadcasting arithmetic, forward and backward.
#include "kernels/cpu/elementwise_parts.h"
#include "kernels/cpu/reduce_inl.h"
#include "kernels/cpu/reduce_parts.h"
#include "kernels/cpu/vmath.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T, class F>
LAMELLA_INLINE Map<T> pair(const F& f) {
  return make_map<T, 2, 4>(0.4, f);
}

template <class T>
Map<T> forward_map(Binary fn) {
  using V = Vec<T>;
  switch (fn) {
    case Binary::kAdd:
      return pair<T>([](const V* v, const V*) { return v[0] + v[1]; });
    case Binary::kSub:
      return pair<T>([](const V* v, const V*) { return v[0] - v[1]; });
    case Binary::kMul:
      return pair<T>([](const V* v, const V*) { return v[0] * v[1]; });
    case Binary::kDiv:
      return pair<T>([](const V* v, const V*) { return v[0] / v[1]; });
    case Binary::kMaximum:
      return pair<T>([](const V* v, const V*) { return MaxOf::combine(v[0], v[1]); });
    case Binary::kMinimum:
      return pair<T>([](const V* v, const V*) { return MinOf::combine(v[0], v[1]); });
    case Binary::kPow:
    case Binary::kCount:
      return make_map<T, 2, 1>(Vec<T>::W >= 8 ? 1.5 : 10.0, [](const V* v, const V*) { return vpow(v[0], v[1]); });
  }
  return {};
}

// The whole gradient where the winner takes it, half where both are equal.
template <class T>
LAMELLA_INLINE Vec<T> share(Mask<T> loses, Mask<T> equal, Vec<T> dy) {
  return select(loses, Vec<T>::zero(), select(equal, Vec<T>(T(0.5)) * dy, dy));
}

// Operands: dy, a, b, and y for the exponent's gradient.
template <class T>
Map<T> backward_map(Binary fn, bool of_a) {
  using V = Vec<T>;
  switch (fn) {
    case Binary::kAdd:
      return make_map<T, 1, 4>(0.3, [](const V* v, const V*) { return v[0]; });
    case Binary::kSub:
      return of_a ? make_map<T, 1, 4>(0.3, [](const V* v, const V*) { return v[0]; })
                  : make_map<T, 1, 4>(0.3, [](const V* v, const V*) { return neg(v[0]); });
    case Binary::kMul:
      return of_a ? make_map<T, 3, 4>(0.4, [](const V* v, const V*) { return v[0] * v[2]; })
                  : make_map<T, 3, 4>(0.4, [](const V* v, const V*) { return v[0] * v[1]; });
    case Binary::kDiv:
      return of_a ? make_map<T, 3, 4>(0.4, [](const V* v, const V*) { return v[0] / v[2]; })
                  : make_map<T, 3, 4>(0.4, [](const V* v, const V*) { return neg(v[0] * (v[1] / v[2])) / v[2]; });
    case Binary::kMaximum:
      return of_a ? make_map<T, 3, 4>(0.4,
                                      [](const V* v, const V*) { return share(lt(v[1], v[2]), eq(v[1], v[2]), v[0]); })
                  : make_map<T, 3, 4>(0.4,
                                      [](const V* v, const V*) { return share(lt(v[2], v[1]), eq(v[1], v[2]), v[0]); });
    case Binary::kMinimum:
      return of_a ? make_map<T, 3, 4>(0.4,
                                      [](const V* v, const V*) { return share(gt(v[1], v[2]), eq(v[1], v[2]), v[0]); })
                  : make_map<T, 3, 4>(0.4,
                                      [](const V* v, const V*) { return share(gt(v[2], v[1]), eq(v[1], v[2]), v[0]); });
    case Binary::kPow:
    case Binary::kCount:
      // b a^(b-1), 0 for b = 0 whatever a is; y log(a), 0 where a = 0 and b >= 0.
      return of_a ? make_map<T, 3, 1>(Vec<T>::W >= 8 ? 1.5 : 10.0,
                                      [](const V* v, const V*) {
                                        const V d = v[0] * (v[2] * vpow(v[1], v[2] - V(T(1))));
                                        return select(eq(v[2], V::zero()), V::zero(), d);
                                      })
                  : make_map<T, 4, 1>(Vec<T>::W >= 8 ? 1.0 : 4.0, [](const V* v, const V*) {
                      const Mask<T> flat = eq(v[1], V::zero()) & ge(v[2], V::zero());
                      return select(flat, V::zero(), v[0] * (v[3] * vlog(v[1])));
                    });
  }
  return {};
}

template <class T>
void binary(const Context& ctx, const BinaryParams<T>& p) {
  const void* in[] = {p.a, p.b};
  broadcast_map(ctx, forward_map<T>(p.fn), p.dims, in, p.y);
}

template <class T>
size_t binary_backward_workspace(const BinaryBackwardParams<T>& p, int) {
  size_t bytes = 0;
  bool reduced[BroadcastDims::kMaxRank];
  for (int k = 0; k < 2; ++k) {
    if ((k == 0 ? p.da : p.db) == nullptr || !broadcast_over(p.dims, k, reduced)) continue;
    const size_t need = reduce_workspace_bytes<T>(reduce_dims(p.dims, reduced));
    bytes = need > bytes ? need : bytes;
  }
  return bytes;
}

template <class T>
void binary_backward(const Context& ctx, const BinaryBackwardParams<T>& p) {
  // Operands dy, a, b, y; dy and y lie as the output.
  BroadcastDims dims = p.dims;
  int64_t stride = 1;
  for (int i = dims.rank - 1; i >= 0; --i) {
    dims.strides[0][i] = dims.strides[3][i] = stride;
    dims.strides[1][i] = p.dims.strides[0][i];
    dims.strides[2][i] = p.dims.strides[1][i];
    stride *= dims.dims[i];
  }
  const void* in[] = {p.dy, p.a, p.b, p.y};
  T* workspace = static_cast<T*>(ctx.workspace);
  for (int k = 0; k < 2; ++k) {
    T* to = k == 0 ? p.da : p.db;
    if (to == nullptr) continue;
    const Map<T> map = backward_map<T>(p.fn, k == 0);
    bool reduced[BroadcastDims::kMaxRank];
    if (!broadcast_over(p.dims, k, reduced)) {
      broadcast_map(ctx, map, dims, in, to);
    } else if (map.operands == 1) {
      // dy or -dy itself is summed.
      const double divisor = p.fn == Binary::kSub && k == 1 ? -1 : 1;
      sum_array(ctx, reduce_dims(dims, reduced), p.dy, to, workspace, divisor);
    } else {
      sum_mapped(ctx, Mapped<T>{map.fn, map.operands, in}, dims, reduced, to, workspace);
    }
  }
}

template <class T>
void fill_part(ElementwiseKernels<T>& k) {
  k.binary = binary<T>;
  k.binary_backward_workspace = binary_backward_workspace<T>;
  k.binary_backward = binary_backward<T>;
}

}  // namespace

void fill_binary(ElementwiseKernels<float>& k) { fill_part(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_binary(ElementwiseKernels<double>& k) { fill_part(k); }
#endif

}  // namespace lamella::LAMELLA_NS
