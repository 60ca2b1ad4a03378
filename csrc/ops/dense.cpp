// dense: act(x @ weight + bias) over the last axis.
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

// As an empty sum, so that it happens where the array lives.
template <class T>
void write_zeros(Exec& exec, const TensorView& x) {
  if (!x) return;
  GemmParams<T> p;
  p.m = 1;
  p.n = p.ldc = x.size();
  p.c = x.as<T>();
  const auto& k = exec.kernels<T>().gemm;
  k.gemm(exec.context(k.gemm_workspace(p, exec.context().threads)), p);
}

class DenseOp final : public Op {
 public:
  explicit DenseOp(const Json& json) {
    AttrReader a("dense", json);
    const std::string name = a.get_string("activation", "identity");
    const Act act = activation_from_name("dense", name, 0.0).act;
    act_ = activation_from_name("dense", name, a.get_double("alpha", activation_default_alpha(act)));
    a.done();
    // With a negative slope the sign of the output no longer tells that of the input.
    const bool signs = (act != Act::kLeakyRelu && act != Act::kElu) || act_.alpha >= 0.0;
    from_output_ = act_grad_from_output(act) && signs;
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
    if (training && !from_output_) s.saved.push_back(y);  // what went into the activation
    return s;
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_real(args.in[0].dtype, "dense", "x", [&]<class T>() { run_forward<T>(exec, args); });
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    dispatch_real(args.in[1].dtype, "dense", "x", [&]<class T>() {
      if (args.grad_out[0]) {
        run_backward<T>(exec, args);
      } else {
        for (const TensorView& g : args.grad_in) write_zeros<T>(exec, g);
      }
    });
  }
  uint32_t halves() const override { return kInForward | kInBackward | kOnDevice; }
  bool saves_halves() const override { return true; }
  BackwardUses backward_uses() const override { return {0b11, act_.act != Act::kIdentity && from_output_ ? 1u : 0u}; }
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
    a.from_output = from_output_;
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
  bool from_output_ = true;  // backward needs the output alone
};

}  // namespace

void register_dense(OpRegistry& r) {
  r.add("dense", [](const Json& a) -> OpPtr { return std::make_shared<DenseOp>(a); });
}

}  // namespace lamella
