// dense: act(x @ weight + bias) over the last axis. matmul: products of matrices, batched with broadcasting.
#include <algorithm>

#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

size_t round_up_64(size_t bytes) { return (bytes + 63) / 64 * 64; }

// The same context with the first `bytes` of its workspace left out.
Context skip_workspace(Context ctx, size_t bytes) {
  ctx.workspace = static_cast<char*>(ctx.workspace) + bytes;
  ctx.workspace_bytes -= bytes;
  return ctx;
}

class DenseOp final : public Op {
 public:
  explicit DenseOp(const Json& json) {
    AttrReader a("dense", json);
    const std::string name = a.get_string("activation", "identity");
    const Act act = activation_from_name("dense", name, 0.0).act;
    act_ = activation_from_name("dense", name, a.get_double("alpha", activation_default_alpha(act)));
    a.done();
  }

  std::string_view name() const override { return "dense"; }
  Json attrs() const override { return Json::Object{{"activation", activation_name(act_.act)}, {"alpha", act_.alpha}}; }

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    check_count("dense", in, 2, 3);
    const TensorSpec &x = in[0], &w = in[1];
    check_float("dense", "x", x);
    check_rank("dense", "weight", w, 2);
    check_same_dtype("dense", "weight", w, x.dtype);
    if (x.shape.rank() < 1) fail_value("dense", "x", "at least one dimension", x.shape.str());
    if (x.shape[-1] != w.shape[0]) {
      fail_value("dense", "x",
                 "a last dimension of " + std::to_string(w.shape[0]) + ", as weight " + w.shape.str() + " has rows",
                 x.shape.str());
    }
    if (in.size() > 2 && !absent(in[2])) {
      check_same_dtype("dense", "bias", in[2], x.dtype);
      if (!(in[2].shape == Shape{w.shape[1]})) {
        fail_value("dense", "bias", "shape " + Shape{w.shape[1]}.str(), in[2].shape.str());
      }
    }
    TensorSpec y{x.dtype, x.shape};
    y.shape[-1] = w.shape[1];
    Signature s{{y}, {}};
    if (training && !act_grad_from_output(act_.act)) s.saved.push_back(y);  // what went into the activation
    return s;
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, "dense", "x", [&]<class T>() { run_forward<T>(exec, args); });
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    dispatch_float(args.in[1].dtype, "dense", "x", [&]<class T>() { run_backward<T>(exec, args); });
  }
  BackwardUses backward_uses() const override {
    return {0b11, act_.act != Act::kIdentity && act_grad_from_output(act_.act) ? 1u : 0u};
  }
  double flops(std::span<const TensorSpec> in) const override {
    return 2.0 * static_cast<double>(in[0].shape.size()) * static_cast<double>(in[1].shape[1]);
  }

 private:
  template <class T>
  void run_forward(Exec& exec, const ForwardArgs& args) const {
    const TensorView &x = args.in[0], &w = args.in[1];
    const bool keep = !args.saved.empty();
    const TensorView& y = keep ? args.saved[0] : args.out[0];
    GemmParams<T> p;
    p.k = w.shape[0];
    p.n = w.shape[1];
    p.m = args.out[0].size() / std::max<int64_t>(p.n, 1);
    p.a = x.as<T>();
    p.rs_a = p.k;
    p.b = w.as<T>();
    p.rs_b = p.n;
    p.c = y.as<T>();
    p.ldc = p.n;
    p.bias = args.in.size() > 2 ? args.in[2].as<T>() : nullptr;
    if (!keep) p.act = act_;
    const auto& k = exec.kernels<T>();
    const Context ctx = exec.context();
    k.gemm.gemm(exec.context(k.gemm.gemm_workspace(p, ctx.threads)), p);
    if (keep) k.elementwise.activation(ctx, {y.size(), y.as<T>(), args.out[0].as<T>(), act_});
  }

  template <class T>
  void run_backward(Exec& exec, const BackwardArgs& args) const {
    const TensorView &w = args.in[1], &dy = args.grad_out[0];
    const TensorView &dx = args.grad_in[0], &dw = args.grad_in[1];
    const TensorView db = args.grad_in.size() > 2 ? args.grad_in[2] : TensorView{};
    const int64_t k = w.shape[0], n = w.shape[1];
    const int64_t m = dy.size() / std::max<int64_t>(n, 1);
    const bool through = act_.act != Act::kIdentity;
    const auto& kernels = exec.kernels<T>();
    const int threads = exec.context().threads;

    ConvActivationParams<T> a;
    a.rows = m;
    a.cols = n;
    a.act = act_;
    a.from_output = act_grad_from_output(act_.act);
    a.value = !through ? nullptr : (a.from_output ? args.out[0] : args.saved[0]).template as<T>();
    a.dy = dy.as<T>();
    a.dbias = db.data != nullptr ? db.as<T>() : nullptr;

    GemmParams<T> gx;  // dx = dz w^T
    gx.m = m;
    gx.n = k;
    gx.k = n;
    gx.rs_a = n;
    gx.b = w.as<T>();
    gx.rs_b = 1;
    gx.cs_b = n;
    gx.c = dx.as<T>();
    gx.ldc = k;
    GemmParams<T> gw;  // dw = x^T dz
    gw.m = k;
    gw.n = n;
    gw.k = m;
    gw.a = args.in[0].as<T>();
    gw.rs_a = 1;
    gw.cs_a = k;
    gw.rs_b = n;
    gw.c = dw.as<T>();
    gw.ldc = n;

    const size_t reserved = through ? round_up_64(static_cast<size_t>(m * n) * sizeof(T)) : 0;
    size_t scratch = kernels.conv.activation_backward_workspace(a);
    if (dx.data != nullptr) scratch = std::max(scratch, kernels.gemm.gemm_workspace(gx, threads));
    if (dw.data != nullptr) scratch = std::max(scratch, kernels.gemm.gemm_workspace(gw, threads));
    const Context whole = exec.context(reserved + scratch);
    const Context ctx = skip_workspace(whole, reserved);
    const T* dz = dy.as<T>();
    if (through) {
      a.dz = static_cast<T*>(whole.workspace);
      dz = a.dz;
    }
    if (through || db.data != nullptr) kernels.conv.activation_backward(ctx, a);
    if (dx.data != nullptr) {
      gx.a = dz;
      kernels.gemm.gemm(ctx, gx);
    }
    if (dw.data != nullptr) {
      gw.b = dz;
      kernels.gemm.gemm(ctx, gw);
    }
  }

  Activation act_;
};

// Row- or column-major matrices of a stack: how one operand of matmul lies in memory.
struct Stack {
  int64_t rows = 0, cols = 0, rs = 0, cs = 0;  // as the product sees it, transposition included
  Shape batch;
};

class MatmulOp final : public Op {
 public:
  explicit MatmulOp(const Json& json) {
    AttrReader a("matmul", json);
    transpose_a_ = a.get_bool("transpose_a", false);
    transpose_b_ = a.get_bool("transpose_b", false);
    alpha_ = a.get_double("alpha", 1.0);
    a.done();
  }

  std::string_view name() const override { return "matmul"; }
  Json attrs() const override {
    return Json::Object{{"transpose_a", transpose_a_}, {"transpose_b", transpose_b_}, {"alpha", alpha_}};
  }

  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count("matmul", in, 2, 2);
    check_float("matmul", "a", in[0]);
    check_same_dtype("matmul", "b", in[1], in[0].dtype);
    for (int i = 0; i < 2; ++i) {
      if (in[i].shape.rank() < 2) fail_value("matmul", i == 0 ? "a" : "b", "at least 2 dimensions", in[i].shape.str());
    }
    const Stack a = stack(in[0].shape, transpose_a_), b = stack(in[1].shape, transpose_b_);
    if (a.cols != b.rows) {
      fail_value("matmul", "b", std::to_string(a.cols) + " rows, as a has columns",
                 in[1].shape.str() + " against " + in[0].shape.str());
    }
    Shape y = batch_shape(a.batch, b.batch);
    y.push_back(a.rows);
    y.push_back(b.cols);
    return {{{in[0].dtype, y}}, {}};
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, "matmul", "a", [&]<class T>() {
      const Stack a = stack(args.in[0].shape, transpose_a_), b = stack(args.in[1].shape, transpose_b_);
      multiply<T>(exec, args.in[0].as<T>(), a, args.in[1].as<T>(), b, args.out[0].as<T>());
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    dispatch_float(args.grad_out[0].dtype, "matmul", "a", [&]<class T>() {
      const Stack a = stack(args.in[0].shape, transpose_a_), b = stack(args.in[1].shape, transpose_b_);
      const Stack dy = stack(args.grad_out[0].shape, false);
      const T* g = args.grad_out[0].as<T>();
      if (args.grad_in[0]) {
        if (transpose_a_) {  // a is stored transposed: its gradient is b dy^T
          gradient<T>(exec, args.in[1].as<T>(), b, g, transposed(dy), args.grad_in[0].as<T>(), a.batch);
        } else {
          gradient<T>(exec, g, dy, args.in[1].as<T>(), transposed(b), args.grad_in[0].as<T>(), a.batch);
        }
      }
      if (args.grad_in[1]) {
        if (transpose_b_) {
          gradient<T>(exec, g, transposed(dy), args.in[0].as<T>(), a, args.grad_in[1].as<T>(), b.batch);
        } else {
          gradient<T>(exec, args.in[0].as<T>(), transposed(a), g, dy, args.grad_in[1].as<T>(), b.batch);
        }
      }
    });
  }
  BackwardUses backward_uses() const override { return {0b11, 0}; }
  double flops(std::span<const TensorSpec> in) const override {
    const Signature s = infer(in, false);
    return 2.0 * static_cast<double>(s.outputs[0].shape.size()) *
           static_cast<double>(stack(in[0].shape, transpose_a_).cols);
  }

 private:
  static Stack stack(const Shape& s, bool transpose) {
    Stack m;
    m.rows = s[-2];
    m.cols = s[-1];
    m.rs = s[-1];
    m.cs = 1;
    for (int i = 0; i + 2 < s.rank(); ++i) m.batch.push_back(s[i]);
    return transpose ? transposed(m) : m;
  }
  static Stack transposed(Stack m) {
    std::swap(m.rows, m.cols);
    std::swap(m.rs, m.cs);
    return m;
  }

  static Shape batch_shape(const Shape& a, const Shape& b) {
    const int rank = std::max(a.rank(), b.rank());
    Shape out;
    for (int i = 0; i < rank; ++i) {
      const int ia = i - (rank - a.rank()), ib = i - (rank - b.rank());
      const int64_t da = ia < 0 ? 1 : a[ia], db = ib < 0 ? 1 : b[ib];
      if (da != db && da != 1 && db != 1) {
        fail_value("matmul", "b", "batch dimensions that broadcast with " + a.str(), b.str());
      }
      out.push_back(da == 1 ? db : da);
    }
    return out;
  }

  // Number of the operand's matrix that belongs to matrix `index` of the broadcast batch.
  static int64_t matrix_of(int64_t index, const Shape& whole, const Shape& own) {
    int64_t result = 0, stride = 1;
    for (int i = whole.rank() - 1; i >= 0; --i) {
      const int64_t at = index % whole[i];
      index /= whole[i];
      const int k = i - (whole.rank() - own.rank());
      if (k < 0) continue;
      if (own[k] != 1) result += at * stride;
      stride *= own[k];
    }
    return result;
  }

  // c (dense, batch = broadcast of both) = alpha * a b, or added to what `matrix` of c holds.
  template <class T>
  void one(Exec& exec, const T* a, const Stack& sa, const T* b, const Stack& sb, T* c, T beta, int64_t batch,
           int64_t stride_a, int64_t stride_b) const {
    GemmParams<T> p;
    p.m = sa.rows;
    p.n = sb.cols;
    p.k = sa.cols;
    p.a = a;
    p.rs_a = sa.rs;
    p.cs_a = sa.cs;
    p.b = b;
    p.rs_b = sb.rs;
    p.cs_b = sb.cs;
    p.c = c;
    p.ldc = p.n;
    p.alpha = static_cast<T>(alpha_);
    p.beta = beta;
    p.batch = batch;
    p.batch_stride_a = stride_a;
    p.batch_stride_b = stride_b;
    p.batch_stride_c = p.m * p.n;
    const auto& k = exec.kernels<T>().gemm;
    k.gemm(exec.context(k.gemm_workspace(p, exec.context().threads)), p);
  }

  template <class T>
  void multiply(Exec& exec, const T* a, const Stack& sa, const T* b, const Stack& sb, T* c) const {
    const Shape whole = batch_shape(sa.batch, sb.batch);
    const int64_t count = whole.size();
    const auto steps = [&](const Stack& s) -> int64_t {  // distance from matrix to matrix, -1: irregular
      if (s.batch.size() == 1) return 0;
      return s.batch.size() == count ? s.rows * s.cols : -1;
    };
    if (steps(sa) >= 0 && steps(sb) >= 0) {
      one(exec, a, sa, b, sb, c, T(0), count, steps(sa), steps(sb));
      return;
    }
    for (int64_t i = 0; i < count; ++i) {
      one(exec, a + matrix_of(i, whole, sa.batch) * sa.rows * sa.cols, sa,
          b + matrix_of(i, whole, sb.batch) * sb.rows * sb.cols, sb, c + i * sa.rows * sb.cols, T(0), 1, 0, 0);
    }
  }

  // As multiply, but what was broadcast in forward is summed: c has the batch dimensions `own`.
  template <class T>
  void gradient(Exec& exec, const T* a, const Stack& sa, const T* b, const Stack& sb, T* c, const Shape& own) const {
    const Shape whole = batch_shape(sa.batch, sb.batch);
    if (own.size() == whole.size()) {
      multiply(exec, a, sa, b, sb, c);
      return;
    }
    const int64_t matrix = sa.rows * sb.cols;
    std::vector<bool> written(static_cast<size_t>(own.size()), false);
    for (int64_t i = 0; i < whole.size(); ++i) {
      const int64_t target = matrix_of(i, whole, own);
      const T beta = written[static_cast<size_t>(target)] ? T(1) : T(0);
      written[static_cast<size_t>(target)] = true;
      one(exec, a + matrix_of(i, whole, sa.batch) * sa.rows * sa.cols, sa,
          b + matrix_of(i, whole, sb.batch) * sb.rows * sb.cols, sb, c + target * matrix, beta, 1, 0, 0);
    }
    if (whole.size() == 0) std::fill(c, c + own.size() * matrix, T(0));
  }

  bool transpose_a_ = false, transpose_b_ = false;
  double alpha_ = 1.0;
};

}  // namespace

void register_dense(OpRegistry& r) {
  r.add("dense", [](const Json& a) -> OpPtr { return std::make_shared<DenseOp>(a); });
  r.add("matmul", [](const Json& a) -> OpPtr { return std::make_shared<MatmulOp>(a); });
}

}  // namespace lamella
