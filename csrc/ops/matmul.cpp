// matmul: products of stacks of matrices, with NumPy's broadcasting. gemm: the whole of the kernel,
// act(alpha * a b + beta * c + bias).
#include <algorithm>
#include <array>

#include "ops/broadcast.h"
#include "ops/memory.h"
#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

// How one operand's matrices lie in memory, as the product sees them: transposition included.
struct Stack {
  int64_t rows = 0, cols = 0, rs = 0, cs = 0;
  Shape batch;

  Stack transposed() const {
    Stack t = *this;
    std::swap(t.rows, t.cols);
    std::swap(t.rs, t.cs);
    return t;
  }
};

Stack stack_of(const Shape& s, bool transpose) {
  Stack m;
  m.rows = s[-2];
  m.cols = m.rs = s[-1];
  m.cs = 1;
  for (int i = 0; i + 2 < s.rank(); ++i) m.batch.push_back(s[i]);
  return transpose ? m.transposed() : m;
}

Shape batch_shape(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape out;
  for (int i = 0; i < rank; ++i) {
    const int ia = i - (rank - a.rank()), ib = i - (rank - b.rank());
    const int64_t da = ia < 0 ? 1 : a[ia], db = ib < 0 ? 1 : b[ib];
    if (da != db && da != 1 && db != 1) fail_value(op, "b", "batch dimensions that broadcast with " + a.str(), b.str());
    out.push_back(da == 1 ? db : da);
  }
  return out;
}

// Which of the operand's matrices takes part in product `index` of the broadcast batch.
int64_t matrix_of(int64_t index, const Shape& whole, const Shape& own) {
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

// Checks a and b and gives the product's shape.
Shape product_shape(const char* op, std::span<const TensorSpec> in, bool transpose_a, bool transpose_b) {
  check_float(op, "a", in[0]);
  check_same_dtype(op, "b", in[1], in[0].dtype);
  for (int i = 0; i < 2; ++i) {
    if (in[i].shape.rank() < 2) fail_value(op, i == 0 ? "a" : "b", "at least 2 dimensions", in[i].shape.str());
  }
  const Stack a = stack_of(in[0].shape, transpose_a), b = stack_of(in[1].shape, transpose_b);
  if (a.cols != b.rows) {
    fail_value(op, "b",
               std::to_string(a.cols) + (transpose_b ? " columns (transpose_b)" : " rows") + ", as a has " +
                   (transpose_a ? "rows (transpose_a)" : "columns"),
               in[1].shape.str() + " against " + in[0].shape.str());
  }
  Shape y = batch_shape(op, a.batch, b.batch);
  y.push_back(a.rows);
  y.push_back(b.cols);
  return y;
}

double product_flops(const Shape& y, const Shape& a, bool transpose_a) {
  return 2.0 * static_cast<double>(y.size()) * static_cast<double>(stack_of(a, transpose_a).cols);
}

// Runs products in the workspace behind its first `reserved` bytes, or only adds up how much of it they need: it must
// not grow, and move, once something has been put into the reserved part.
struct Products {
  Exec& exec;
  size_t reserved = 0;
  bool measuring = false;
  size_t most = 0;

  template <class T>
  void run(const GemmParams<T>& p) {
    const auto& k = exec.kernels<T>().gemm;
    const size_t bytes = k.gemm_workspace(p, exec.context().threads);
    most = std::max(most, bytes);
    if (measuring) return;
    Context ctx = exec.context(reserved + bytes);
    ctx.workspace = static_cast<char*>(ctx.workspace) + reserved;
    ctx.workspace_bytes -= reserved;
    k.gemm(ctx, p);
  }
};

// `p` holds alpha, beta, bias and act; `batch` products, strides apart.
template <class T>
void product(Products& products, GemmParams<T> p, const T* a, const Stack& sa, const T* b, const Stack& sb, T* c,
             int64_t batch = 1, int64_t stride_a = 0, int64_t stride_b = 0) {
  p.m = sa.rows;
  p.n = p.ldc = sb.cols;
  p.k = sa.cols;
  p.a = a;
  p.rs_a = sa.rs;
  p.cs_a = sa.cs;
  p.b = b;
  p.rs_b = sb.rs;
  p.cs_b = sb.cs;
  p.c = c;
  p.batch = batch;
  p.batch_stride_a = stride_a;
  p.batch_stride_b = stride_b;
  p.batch_stride_c = p.m * p.n;
  products.run(p);
}

// All products of the broadcast stacks; c is dense.
template <class T>
void multiply(Products& products, const char* op, const GemmParams<T>& p, const T* a, const Stack& sa, const T* b,
              const Stack& sb, T* c) {
  const Shape whole = batch_shape(op, sa.batch, sb.batch);
  const int64_t count = whole.size();
  const auto step = [&](const Stack& s) -> int64_t {  // distance from matrix to matrix, -1: irregular
    if (s.batch.size() == 1) return 0;
    return s.batch.size() == count ? s.rows * s.cols : -1;
  };
  if (step(sa) >= 0 && step(sb) >= 0) {
    product(products, p, a, sa, b, sb, c, count, step(sa), step(sb));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    product(products, p, a + matrix_of(i, whole, sa.batch) * sa.rows * sa.cols, sa,
            b + matrix_of(i, whole, sb.batch) * sb.rows * sb.cols, sb, c + i * sa.rows * sb.cols);
  }
}

// As multiply, but what was broadcast in forward is summed: c has the batch dimensions `own`.
template <class T>
void multiply_and_sum(Products& products, const char* op, GemmParams<T> p, const T* a, const Stack& sa, const T* b,
                      const Stack& sb, T* c, const Shape& own) {
  const Shape whole = batch_shape(op, sa.batch, sb.batch);
  if (own.size() == whole.size()) {
    multiply(products, op, p, a, sa, b, sb, c);
    return;
  }
  const int64_t matrix = sa.rows * sb.cols;
  std::vector<bool> written(static_cast<size_t>(own.size()), false);
  for (int64_t i = 0; i < whole.size(); ++i) {
    const int64_t target = matrix_of(i, whole, own);
    p.beta = written[static_cast<size_t>(target)] ? 1 : 0;
    written[static_cast<size_t>(target)] = true;
    product(products, p, a + matrix_of(i, whole, sa.batch) * sa.rows * sa.cols, sa,
            b + matrix_of(i, whole, sb.batch) * sb.rows * sb.cols, sb, c + target * matrix);
  }
  if (whole.size() == 0) {  // sums of nothing
    Stack none = sa;
    none.rows = own.size() * sa.rows;
    none.cols = 0;
    product(products, GemmParams<T>{}, a, none, b, sb, c);
  }
}

// The gradients of alpha * a b by a and b from that of the product, which may be absent: zero.
template <class T>
void product_gradients(Products& products, const char* op, Real<T> alpha, const TensorView& va, bool transpose_a,
                       const TensorView& vb, bool transpose_b, const T* g, const TensorView& grad_a,
                       const TensorView& grad_b) {
  const Stack a = stack_of(va.shape, transpose_a), b = stack_of(vb.shape, transpose_b);
  Shape shape = batch_shape(op, a.batch, b.batch);
  shape.push_back(a.rows);
  shape.push_back(b.cols);
  const Stack dy = stack_of(shape, false);
  const T *pa = va.as<T>(), *pb = vb.as<T>();
  GemmParams<T> scaled;
  scaled.alpha = alpha;
  const auto gradient = [&](const TensorView& to, const Shape& own, const T* l, const Stack& sl, const T* r,
                            const Stack& sr) {
    if (!to) return;
    Stack left = sl, right = sr;
    if (g == nullptr) left.cols = right.rows = 0;  // no gradient comes: an empty sum
    multiply_and_sum(products, op, scaled, l, left, r, right, to.as<T>(), own);
  };
  // da = dy b^T and db = a^T dy, or their transposes where the operand is stored transposed.
  if (transpose_a)
    gradient(grad_a, a.batch, pb, b, g, dy.transposed());
  else
    gradient(grad_a, a.batch, g, dy, pb, b.transposed());
  if (transpose_b)
    gradient(grad_b, b.batch, g, dy.transposed(), pa, a);
  else
    gradient(grad_b, b.batch, pa, a.transposed(), g, dy);
}

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
    return {{{in[0].dtype, product_shape("matmul", in, transpose_a_, transpose_b_)}}, {}};
  }

  uint32_t halves() const override { return kInForward | kInBackward | kOnDevice; }
  // The gradient of what is broadcast is a sum of products, which is to be rounded once.
  bool halves_fit(std::span<const TensorView> in) const override {
    return stack_of(in[0].shape, transpose_a_).batch == stack_of(in[1].shape, transpose_b_).batch;
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_real(args.in[0].dtype, "matmul", "a", [&]<class T>() {
      Products products{exec};
      GemmParams<T> p;
      p.alpha = static_cast<Real<T>>(alpha_);
      multiply(products, "matmul", p, args.in[0].as<T>(), stack_of(args.in[0].shape, transpose_a_), args.in[1].as<T>(),
               stack_of(args.in[1].shape, transpose_b_), args.out[0].as<T>());
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    dispatch_real(args.in[0].dtype, "matmul", "a", [&]<class T>() {
      Products products{exec};
      product_gradients(products, "matmul", static_cast<Real<T>>(alpha_), args.in[0], transpose_a_, args.in[1],
                        transpose_b_, args.grad_out[0].as<T>(), args.grad_in[0], args.grad_in[1]);
    });
  }
  BackwardUses backward_uses() const override { return {0b11, 0}; }
  double flops(std::span<const TensorSpec> in) const override {
    return product_flops(infer(in, false).outputs[0].shape, in[0].shape, transpose_a_);
  }

 private:
  bool transpose_a_ = false, transpose_b_ = false;
  double alpha_ = 1.0;
};

class GemmOp final : public Op {
 public:
  explicit GemmOp(const Json& json) {
    AttrReader a("gemm", json);
    transpose_a_ = a.get_bool("transpose_a", false);
    transpose_b_ = a.get_bool("transpose_b", false);
    alpha_ = a.get_double("alpha", 1.0);
    beta_ = a.get_double("beta", 0.0);
    const std::string name = a.get_string("activation", "identity");
    const Act act = activation_from_name("gemm", name, 0.0).act;
    act_ = activation_from_name("gemm", name, a.get_double("activation_alpha", activation_default_alpha(act)));
    a.done();
    // With a negative slope the sign of the output no longer tells that of the input.
    const bool signs = (act != Act::kLeakyRelu && act != Act::kElu) || act_.alpha >= 0.0;
    from_output_ = act_grad_from_output(act) && signs;
  }

  std::string_view name() const override { return "gemm"; }
  Json attrs() const override {
    return Json::Object{{"transpose_a", transpose_a_},
                        {"transpose_b", transpose_b_},
                        {"alpha", alpha_},
                        {"beta", beta_},
                        {"activation", activation_name(act_.act)},
                        {"activation_alpha", act_.alpha}};
  }

  // Inputs: a, b, c (read where beta is not 0), bias.
  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    check_count("gemm", in, 2, 4);
    const TensorSpec y{in[0].dtype, product_shape("gemm", in, transpose_a_, transpose_b_)};
    const bool c = in.size() > 2 && !absent(in[2]), bias = in.size() > 3 && !absent(in[3]);
    if (c != (beta_ != 0.0)) {
      fail_value("gemm", "c", c ? "beta other than 0 with c" : "an array, as beta is not 0", c ? "beta = 0" : "none");
    }
    if (c && !(in[2] == y)) fail_value("gemm", "c", y.str(), in[2].str());
    if (bias && !(in[3] == TensorSpec{y.dtype, Shape{y.shape[-1]}}))
      fail_value("gemm", "bias", TensorSpec{y.dtype, Shape{y.shape[-1]}}.str(), in[3].str());
    Signature sig{{y}, {}};
    if (training && !from_output_) sig.saved.push_back(y);  // what went into the activation
    return sig;
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, "gemm", "a", [&]<class T>() {
      const bool keep = !args.saved.empty();
      const TensorView& y = keep ? args.saved[0] : args.out[0];
      const ElementwiseKernels<T>& elementwise = exec.kernels<T>().elementwise;
      GemmParams<T> p;
      p.alpha = static_cast<T>(alpha_);
      p.beta = static_cast<T>(beta_);
      if (!keep) p.act = act_;
      p.bias = args.in.size() > 3 ? args.in[3].as<T>() : nullptr;
      if (beta_ != 0.0) elementwise.activation(exec.context(), {y.size(), args.in[2].as<T>(), y.as<T>(), {}});
      Products products{exec};
      multiply(products, "gemm", p, args.in[0].as<T>(), stack_of(args.in[0].shape, transpose_a_), args.in[1].as<T>(),
               stack_of(args.in[1].shape, transpose_b_), y.as<T>());
      if (keep) elementwise.activation(exec.context(), {y.size(), y.as<T>(), args.out[0].as<T>(), act_});
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, "gemm", "a", [&]<class T>() { run_backward<T>(exec, args); });
  }
  BackwardUses backward_uses() const override { return {0b11, act_.act != Act::kIdentity && from_output_ ? 1u : 0u}; }
  double flops(std::span<const TensorSpec> in) const override {
    return product_flops(infer(in, false).outputs[0].shape, in[0].shape, transpose_a_);
  }

 private:
  template <class T>
  void run_backward(Exec& exec, const BackwardArgs& args) const {
    const TensorView& dy = args.grad_out[0];
    const TensorView none;
    const TensorView& dc = args.grad_in.size() > 2 ? args.grad_in[2] : none;
    const TensorView& dbias = args.grad_in.size() > 3 ? args.grad_in[3] : none;
    if (!dy) {
      if (dc) zero_tensor(exec, dc);
      if (dbias) zero_tensor(exec, dbias);
    }
    const auto gradients = [&](Products& products, const T* dz) {
      product_gradients(products, "gemm", static_cast<T>(alpha_), args.in[0], transpose_a_, args.in[1], transpose_b_,
                        dz, args.grad_in[0], args.grad_in[1]);
    };
    const bool through = dy && act_.act != Act::kIdentity;
    Products products{exec, through ? (static_cast<size_t>(dy.spec().bytes()) + 63) / 64 * 64 : 0, true};
    ConvActivationParams<T> a;
    if (dy && (through || dbias)) {
      a.cols = dy.shape[-1];
      a.rows = dy.size() / std::max<int64_t>(a.cols, 1);
      a.act = act_;
      a.from_output = from_output_;
      a.value = !through ? nullptr : (from_output_ ? args.out[0] : args.saved[0]).template as<T>();
      a.dy = dy.as<T>();
      a.dbias = dbias.as<T>();
      const auto& conv = exec.kernels<T>().conv;
      products.most = conv.activation_backward_workspace(a);
      gradients(products, a.dy);  // measures
      Context ctx = exec.context(products.reserved + products.most);
      if (through) a.dz = static_cast<T*>(ctx.workspace);
      ctx.workspace = static_cast<char*>(ctx.workspace) + products.reserved;
      ctx.workspace_bytes -= products.reserved;
      conv.activation_backward(ctx, a);
    }
    products.measuring = false;
    const T* const dz = through ? a.dz : dy.as<T>();
    if (dy && dc) {
      ExpandParams<T> p;
      p.dims = collapse(dc.shape, std::array{dc.shape});
      p.x = dz;
      p.y = dc.as<T>();
      p.scale = static_cast<T>(beta_);
      exec.kernels<T>().elementwise.expand(exec.context(), p);
    }
    gradients(products, dz);
  }

  bool transpose_a_ = false, transpose_b_ = false;
  double alpha_ = 1.0, beta_ = 0.0;
  Activation act_;
  bool from_output_ = true;  // backward needs the output alone
};

}  // namespace

void register_matmul(OpRegistry& r) {
  r.add("matmul", [](const Json& a) -> OpPtr { return std::make_shared<MatmulOp>(a); });
  r.add("gemm", [](const Json& a) -> OpPtr { return std::make_shared<GemmOp>(a); });
}

}  // namespace lamella
