// attention: softmax(scale * q k^T + mask) v for some heads at once, with masks, dropout and, where wanted, the
// weights.
#include <algorithm>
#include <cmath>
#include <string>

#include "ops/memory.h"
#include "ops/noise.h"
#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

constexpr const char* kName = "attention";

// Inputs: q, k, v; mask; key_mask. Either (n, heads, l, e), (n, heads, s, e), (n, heads, s, ev), or with the heads side
// by side, (n, l, heads*e), (n, s, heads*e), (n, s, heads*ev), the attribute `heads` saying how many.
class AttentionOp final : public Op {
 public:
  explicit AttentionOp(const Json& json) {
    AttrReader a(kName, json);
    heads_ = a.get_int("heads", 1);
    scale_given_ = a.has("scale");
    scale_ = a.get_double("scale", 0.0);
    causal_ = a.get_bool("causal", false);
    dropout_ = a.get_double("dropout", 0.0);
    weights_ = a.get_string("weights", "none");
    key_.read(a, kName);
    a.done();
    if (heads_ < 1) fail_value(kName, "heads", "at least 1", std::to_string(heads_));
    if (!(dropout_ >= 0 && dropout_ <= 1)) fail_value(kName, "dropout", "a number in [0, 1]", std::to_string(dropout_));
    if (weights_ != "none" && weights_ != "plain" && weights_ != "dropped")
      fail_value(kName, "weights", "'none', 'plain' (before dropout) or 'dropped'", "'" + weights_ + "'");
  }

  std::string_view name() const override { return kName; }
  Json attrs() const override {
    Json a = Json::Object{{"heads", heads_}, {"causal", causal_}, {"dropout", dropout_}, {"weights", weights_}};
    if (scale_given_) a.set("scale", scale_);
    key_.write(a);
    return a;
  }

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    check_count(kName, in, 3, 5);
    check_float(kName, "q", in[0]);
    const DType dtype = in[0].dtype;
    const Shape& q = in[0].shape;
    if (q.rank() != 3 && q.rank() != 4) fail_value(kName, "q", "3 or 4 dimensions", q.str());
    const bool apart = q.rank() == 4;
    if (apart && heads_ != 1)
      fail_value(kName, "heads", "1 where q has 4 dimensions, of which the second is that", std::to_string(heads_));
    for (int i = 1; i < 3; ++i) {
      const char* argument = i == 1 ? "k" : "v";
      check_same_dtype(kName, argument, in[static_cast<size_t>(i)], dtype);
      check_rank(kName, argument, in[static_cast<size_t>(i)], q.rank());
    }
    const Shape &k = in[1].shape, &v = in[2].shape;
    Shape wanted = q;
    wanted[-2] = k[-2];
    if (!(k == wanted)) fail_value(kName, "k", wanted.str(), k.str());
    wanted = k;
    wanted[-1] = v[-1];
    if (!(v == wanted)) fail_value(kName, "v", wanted.str(), v.str());
    if (!apart && (q[-1] % heads_ != 0 || v[-1] % heads_ != 0)) {
      const bool of_q = q[-1] % heads_ != 0;
      fail_value(kName, of_q ? "q" : "v", "a multiple of " + std::to_string(heads_) + " heads as its last dimension",
                 (of_q ? q : v).str());
    }
    const int64_t heads = apart ? q[1] : heads_, l = q[-2], s = k[-2];
    if (given(in, 3)) {
      const TensorSpec& m = in[3];
      if (m.dtype != DType::kU8) check_same_dtype(kName, "mask", m, dtype);
      const Shape whole{q[0], heads, l, s};
      bool fits = m.shape.rank() <= 4;
      for (int i = 0; fits && i < m.shape.rank(); ++i) fits = m.shape[-1 - i] == 1 || m.shape[-1 - i] == whole[-1 - i];
      if (!fits) fail_value(kName, "mask", "a shape that broadcasts to " + whole.str(), m.shape.str());
    }
    if (given(in, 4) && !(in[4] == TensorSpec{DType::kU8, {q[0], s}}))
      fail_value(kName, "key_mask", TensorSpec{DType::kU8, {q[0], s}}.str(), in[4].str());

    Signature sig;
    Shape out = q;
    out[-1] = v[-1];
    sig.outputs.push_back({dtype, out});
    if (weights_ != "none") sig.outputs.push_back({dtype, {q[0], heads, l, s}});
    if (training) {
      sig.saved.push_back({dtype, {q[0], heads, l, 2}});
      if (dropout_ > 0) {
        sig.saved.push_back(saved_key_spec());
        sig.saved_on_host = 0b10;
      }
    }
    return sig;
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, kName, "q", [&]<class T>() {
      AttentionParams<T> p = params<T>(args.in);
      p.out = layout<T>(args.out[0], args.in[0].shape.rank());
      if (weights_ != "none") p.weights = args.out[1].as<T>();
      if (!args.saved.empty()) p.stats = args.saved[0].as<T>();
      if (exec.training && dropout_ > 0) {
        const PhiloxKey key = key_.take(exec);
        if (!args.saved.empty()) save_key(key, args.saved[1]);
        set_dropout(p, key);
      }
      const auto& k = exec.kernels<T>().attention;
      const Context ctx = exec.context(k.attention_workspace(p, exec.context().threads));
      k.attention(ctx, p);
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, kName, "q", [&]<class T>() {
      AttentionBackwardParams<T> b;
      b.f = params<T>(args.in);
      b.f.stats = args.saved[0].as<T>();
      if (dropout_ > 0) set_dropout(b.f, saved_key(args.saved[1]));
      const int rank = args.in[0].shape.rank();
      if (args.grad_out[0]) b.dout = layout<const T>(args.grad_out[0], rank);
      if (weights_ != "none") b.dweights = args.grad_out[1].as<const T>();
      b.dq = layout<T>(args.grad_in[0], rank);
      b.dk = layout<T>(args.grad_in[1], rank);
      b.dv = layout<T>(args.grad_in[2], rank);
      if (args.grad_in.size() > 3 && args.grad_in[3]) {
        zero_tensor(exec, args.grad_in[3]);
        if (is_float(args.grad_in[3].dtype)) b.dmask = args.grad_in[3].as<T>();
      }
      const auto& k = exec.kernels<T>().attention;
      const Context ctx = exec.context(k.attention_backward_workspace(b, exec.context().threads));
      k.attention_backward(ctx, b);
    });
  }

  bool differentiable(int input) const override { return input < 4; }
  BackwardUses backward_uses() const override { return {0b11111, 0}; }
  double flops(std::span<const TensorSpec> in) const override {
    const double rows =
        static_cast<double>(in[0].shape.size()) / std::max<double>(1, static_cast<double>(in[0].shape[-1]));
    const double width = static_cast<double>(in[0].shape[-1] + in[2].shape[-1]);
    return 2.0 * rows * static_cast<double>(in[1].shape[-2]) * width * (causal_ ? 0.5 : 1.0);
  }

 private:
  static bool given(std::span<const TensorSpec> in, size_t i) { return i < in.size() && !absent(in[i]); }

  // (n, heads, rows, width), or (n, rows, heads*width).
  template <class T>
  AttentionArray<T> layout(const TensorView& t, int rank) const {
    AttentionArray<T> a;
    if (!t) return a;
    a.data = t.as<T>();
    const int64_t rows = t.shape[-2], width = t.shape[-1];
    a.row = width;
    a.head = rank == 4 ? rows * width : width / heads_;
    a.batch = rank == 4 ? t.shape[1] * rows * width : rows * width;
    return a;
  }

  template <class T>
  AttentionParams<T> params(std::span<const TensorView> in) const {
    AttentionParams<T> p;
    const Shape &q = in[0].shape, &v = in[2].shape;
    const bool apart = q.rank() == 4;
    p.n = q[0];
    p.heads = apart ? q[1] : heads_;
    p.l = q[-2];
    p.s = v[-2];
    p.e = apart ? q[-1] : q[-1] / heads_;
    p.ev = apart ? v[-1] : v[-1] / heads_;
    p.q = layout<const T>(in[0], q.rank());
    p.k = layout<const T>(in[1], q.rank());
    p.v = layout<const T>(in[2], q.rank());
    p.scale = static_cast<T>(scale_given_ ? scale_ : 1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(1, p.e))));
    p.causal = causal_;
    p.weights_dropped = weights_ == "dropped";
    if (in.size() > 3 && in[3]) {
      const Shape& m = in[3].shape;
      p.mask.data = in[3].data;
      p.mask.bytes = in[3].dtype == DType::kU8;
      int64_t* const strides[4] = {&p.mask.column, &p.mask.row, &p.mask.head, &p.mask.batch};
      int64_t stride = 1;
      for (int i = 0; i < m.rank(); ++i) {
        *strides[i] = m[-1 - i] == 1 ? 0 : stride;
        stride *= m[-1 - i];
      }
    }
    if (in.size() > 4) p.key_mask = in[4].as<const uint8_t>();
    return p;
  }

  template <class T>
  void set_dropout(AttentionParams<T>& p, PhiloxKey key) const {
    p.dropout = true;
    p.key = key;
    const bool none = probability_threshold(dropout_, p.threshold);
    if (none) p.threshold = 0;
    p.keep = static_cast<T>(none ? 0.0 : 1.0 / (1.0 - dropout_));
  }

  int64_t heads_ = 1;
  bool scale_given_ = false, causal_ = false;
  double scale_ = 0, dropout_ = 0;
  std::string weights_;
  KeyAttr key_;
};

}  // namespace

void register_attention(OpRegistry& r) {
  r.add(kName, [](const Json& a) -> OpPtr { return std::make_shared<AttentionOp>(a); });
}

}  // namespace lamella
