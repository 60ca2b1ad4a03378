// Recurrent layers: simple_rnn, lstm, gru over sequences, and their single steps rnn_step, lstm_step, gru_step.
#include <string>

#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {

namespace {

std::string dims(std::initializer_list<int64_t> d) { return Shape(d).str(); }

class RnnOp final : public Op {
 public:
  RnnOp(const char* name, RnnCell cell, bool step, const Json& json) : name_(name), cell_(cell), step_(step) {
    AttrReader a(name, json);
    act_ = activation(a, "activation", "tanh");
    if (cell != RnnCell::kSimple) gate_act_ = activation(a, "recurrent_activation", "sigmoid");
    if (cell == RnnCell::kGru) reset_after_ = a.get_bool("reset_after", true);
    if (!step) {
      reverse_ = a.get_bool("reverse", false);
      bidirectional_ = a.get_bool("bidirectional", false);
      processing_order_ = a.get_bool("processing_order", false);
      time_major_ = a.get_bool("time_major", false);
      return_sequences_ = a.get_bool("return_sequences", true);
      zero_masked_output_ = a.get_bool("zero_masked_output", false);
      if (reverse_ && bidirectional_) fail_value(name, "reverse", "false where bidirectional is true", "true");
      if (processing_order_ && !reverse_) fail_value(name, "processing_order", "false unless reverse is true", "true");
    } else {
      return_sequences_ = false;
    }
    a.done();
  }

  std::string_view name() const override { return name_; }

  Json attrs() const override {
    Json j{Json::Object{}};
    j.set("activation", activation_name(act_.act));
    if (cell_ != RnnCell::kSimple) j.set("recurrent_activation", activation_name(gate_act_.act));
    if (cell_ == RnnCell::kGru) j.set("reset_after", reset_after_);
    if (step_) return j;
    j.set("reverse", reverse_);
    j.set("bidirectional", bidirectional_);
    j.set("processing_order", processing_order_);
    j.set("time_major", time_major_);
    j.set("return_sequences", return_sequences_);
    j.set("zero_masked_output", zero_masked_output_);
    return j;
  }

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    check_count(name_, in, 3, inputs());
    check_float(name_, "x", in[0]);
    check_rank(name_, "x", in[0], step_ ? 2 : 3);
    const DType dtype = in[0].dtype;
    const Sizes s = sizes(in);
    const int64_t features = in[0].shape[-1];
    for (int i = 0; i < directions(); ++i) {
      const std::string suffix = i == 0 ? "" : "_reverse";
      const int base = i == 0 ? 1 : mask_input() + 1;
      if (static_cast<int>(in.size()) < base + 2)
        fail_value(name_, "w_ih" + suffix, "the weights of both directions", "none");
      check(in, base + 1, "w_hh" + suffix, dtype, {s.h, gates() * s.h}, false);
      check(in, base, "w_ih" + suffix, dtype, {features, gates() * s.h}, false);
      check(in, base + 2, "b_ih" + suffix, dtype, {gates() * s.h}, true);
      check(in, base + 3, "b_hh" + suffix, dtype, {gates() * s.h}, true);
      check(in, base + 4, "h0" + suffix, dtype, {s.n, s.h}, true);
      if (lstm()) check(in, base + 5, "c0" + suffix, dtype, {s.n, s.h}, true);
    }
    if (!step_ && given(in, mask_input())) check_mask(in[mask_input()], s);

    Signature sig;
    const auto sequence = [&](int64_t width) {
      return time_major_ ? TensorSpec{dtype, {s.t, s.n, width}} : TensorSpec{dtype, {s.n, s.t, width}};
    };
    if (return_sequences_) sig.outputs.push_back(sequence(directions() * s.h));
    for (int i = 0; i < directions() * states(); ++i) sig.outputs.push_back({dtype, {s.n, s.h}});
    if (!training) return sig;
    for (int i = 0; i < directions(); ++i) {
      if (saves_gates()) sig.saved.push_back(sequence(saved_gates() * s.h));
      if (lstm()) sig.saved.push_back(sequence(s.h));
      if (saves_states()) sig.saved.push_back(sequence(s.h));
    }
    return sig;
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, name_, "x", [&]<class T>() {
      RnnParams<T> p = params<T>(args.in);
      const T* packed = args.prepared.as<T>();
      int saved = 0;
      int out = return_sequences_ ? 1 : 0;
      for (int i = 0; i < directions(); ++i) {
        RnnDirection<T>& d = p.dir[i];
        if (packed != nullptr) d.packed = packed + i * exec.kernels<T>().rnn.rnn_packed_size(p);
        if (return_sequences_) {
          d.y = args.out[0].as<T>() + i * p.h;
          d.ldy = directions() * p.h;
        }
        d.hn = args.out[out++].as<T>();
        if (lstm()) d.cn = args.out[out++].as<T>();
        if (!args.saved.empty()) set_kept(p, i, args.out, args.saved, saved);
      }
      const auto& rnn = exec.kernels<T>().rnn;
      const Context ctx = exec.context(rnn.rnn_forward_workspace(p, exec.context().threads));
      rnn.rnn_forward(ctx, p);
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, name_, "x", [&]<class T>() {
      RnnBackwardParams<T> b;
      b.f = params<T>(args.in);
      int saved = 0;
      int out = return_sequences_ ? 1 : 0;
      for (int i = 0; i < directions(); ++i) {
        set_kept(b.f, i, args.out, args.saved, saved);
        RnnGradients<T>& g = b.grad[i];
        if (return_sequences_ && args.grad_out[0]) {
          g.dy = args.grad_out[0].as<T>() + i * b.f.h;
          g.ldy = directions() * b.f.h;
        }
        g.dhn = args.grad_out[out++].as<T>();
        if (lstm()) g.dcn = args.grad_out[out++].as<T>();
        const int base = i == 0 ? 1 : mask_input() + 1;
        g.dw_ih = at<T>(args.grad_in, base);
        g.dw_hh = at<T>(args.grad_in, base + 1);
        g.db_ih = at<T>(args.grad_in, base + 2);
        g.db_hh = at<T>(args.grad_in, base + 3);
        g.dh0 = at<T>(args.grad_in, base + 4);
        if (lstm()) g.dc0 = at<T>(args.grad_in, base + 5);
      }
      b.dx = at<T>(args.grad_in, 0);
      const auto& rnn = exec.kernels<T>().rnn;
      const Context ctx = exec.context(rnn.rnn_backward_workspace(b, exec.context().threads));
      rnn.rnn_backward(ctx, b);
    });
  }

  bool differentiable(int input) const override { return step_ || input != mask_input(); }

  BackwardUses backward_uses() const override {
    BackwardUses uses;
    for (int i = 0; i < directions(); ++i) {
      const int base = i == 0 ? 1 : mask_input() + 1;
      uses.inputs &= ~(3u << (base + 2));  // biases
    }
    uses.outputs = reads_output() ? 1u : 0u;
    return uses;
  }

  TensorSpec prepared_spec(Exec& exec, std::span<const TensorSpec> in) const override {
    return dispatch_float(in[0].dtype, name_, "x", [&]<class T>() {
      const int64_t elements =
          directions() * exec.kernels<T>().rnn.rnn_packed_size(shape_params<T>(sizes(in), in[0].shape[-1]));
      return TensorSpec{DType::kU8, {elements * static_cast<int64_t>(sizeof(T))}};
    });
  }
  void prepare(Exec& exec, std::span<const TensorView> in, const TensorView& prepared) const override {
    dispatch_float(in[0].dtype, name_, "x", [&]<class T>() {
      const RnnParams<T> p = params<T>(in);
      const auto& rnn = exec.kernels<T>().rnn;
      for (int i = 0; i < directions(); ++i)
        rnn.rnn_pack(exec.context(), p, i, prepared.as<T>() + i * rnn.rnn_packed_size(p));
    });
  }

  uint32_t prepared_inputs() const override {
    uint32_t weights = 0;
    for (int i = 0; i < directions(); ++i) weights |= 0b1111u << (i == 0 ? 1 : mask_input() + 1);  // and biases
    return weights;
  }

  double flops(std::span<const TensorSpec> in) const override {
    const Sizes s = sizes(in);
    return 2.0 * directions() * static_cast<double>(s.n * s.t) * static_cast<double>(in[0].shape[-1] + s.h) *
           static_cast<double>(gates() * s.h);
  }

 private:
  struct Sizes {
    int64_t n, t, h;
  };

  bool lstm() const { return cell_ == RnnCell::kLstm; }
  int64_t gates() const { return rnn_gates(cell_); }
  int64_t saved_gates() const { return cell_ == RnnCell::kGru && reset_after_ ? 4 : gates(); }
  int directions() const { return bidirectional_ ? 2 : 1; }
  int states() const { return lstm() ? 2 : 1; }
  // Inputs: x, then w_ih, w_hh, b_ih, b_hh, h0 (and c0) of the first direction; for sequences the mask; then those of
  // the second direction.
  int mask_input() const { return 5 + states(); }
  size_t inputs() const {
    return static_cast<size_t>(step_ ? mask_input() : mask_input() + 1 + (bidirectional_ ? 4 + states() : 0));
  }
  // Backward wants the states of all steps: y shows them unless it is masked or not there; a step's own state is its
  // output, and only the simple cell's derivative asks for it.
  bool saves_gates() const { return cell_ != RnnCell::kSimple; }
  bool saves_states() const { return !step_ && (!return_sequences_ || zero_masked_output_); }
  bool reads_output() const { return step_ ? cell_ == RnnCell::kSimple : !saves_states(); }

  Activation activation(AttrReader& a, const char* key, const char* fallback) const {
    const std::string given = a.get_string(key, fallback);
    const Activation act = activation_from_name(name_, given, __builtin_nan(""));
    if (!act_grad_from_output(act.act))
      fail_value(name_, key, "an activation whose derivative its output tells (tanh, sigmoid, relu, hard_sigmoid, ...)",
                 "'" + given + "'");
    return act;
  }

  static bool given(std::span<const TensorSpec> in, int i) {
    return i < static_cast<int>(in.size()) && !absent(in[static_cast<size_t>(i)]);
  }
  void check(std::span<const TensorSpec> in, int i, const std::string& argument, DType dtype, const Shape& expected,
             bool optional) const {
    if (optional && !given(in, i)) return;
    const TensorSpec& spec = in[static_cast<size_t>(i)];
    check_same_dtype(name_, argument.c_str(), spec, dtype);
    if (!(spec.shape == expected)) fail_value(name_, argument, expected.str(), spec.shape.str());
  }
  void check_mask(const TensorSpec& m, const Sizes& s) const {
    const Shape mask = time_major_ ? Shape{s.t, s.n} : Shape{s.n, s.t};
    const bool lengths = (m.dtype == DType::kI32 || m.dtype == DType::kI64) && m.shape == Shape{s.n};
    if (!lengths && !(m.dtype == DType::kU8 && m.shape == mask))
      fail_value(name_, "mask", "uint8 " + mask.str() + ", or lengths int32 or int64 " + dims({s.n}), m.str());
  }

  // Of anything that has .shape; w_hh says the hidden size.
  template <class S>
  Sizes sizes(std::span<const S> in) const {
    const Shape& x = in[0].shape;
    const Shape& w = in[2].shape;
    if (w.rank() != 2 || w[0] < 1) fail_value(name_, "w_hh", "(h, gates*h) with h of at least 1", w.str());
    if (step_) return {x[0], 1, w[0]};
    return time_major_ ? Sizes{x[1], x[0], w[0]} : Sizes{x[0], x[1], w[0]};
  }

  template <class T>
  static T* at(std::span<const TensorView> views, int i) {
    return i < static_cast<int>(views.size()) ? views[static_cast<size_t>(i)].as<T>() : nullptr;
  }

  template <class T>
  RnnParams<T> shape_params(const Sizes& s, int64_t features) const {
    RnnParams<T> p;
    p.cell = cell_;
    p.reset_after = reset_after_;
    p.act = act_;
    p.gate_act = gate_act_;
    p.n = s.n;
    p.t = s.t;
    p.in = features;
    p.h = s.h;
    p.time_major = time_major_;
    p.zero_masked = zero_masked_output_;
    p.processing_order = processing_order_;
    p.directions = directions();
    return p;
  }
  template <class T>
  RnnParams<T> params(std::span<const TensorView> in) const {
    RnnParams<T> p = shape_params<T>(sizes(in), in[0].shape[-1]);
    p.x = in[0].as<T>();
    for (int i = 0; i < directions(); ++i) {
      RnnDirection<T>& d = p.dir[i];
      const int base = i == 0 ? 1 : mask_input() + 1;
      d.w_ih = at<T>(in, base);
      d.w_hh = at<T>(in, base + 1);
      d.b_ih = at<T>(in, base + 2);
      d.b_hh = at<T>(in, base + 3);
      d.h0 = at<T>(in, base + 4);
      if (lstm()) d.c0 = at<T>(in, base + 5);
      d.reverse = i == 1 || reverse_;
    }
    if (!step_ && at<void>(in, mask_input()) != nullptr) {
      const TensorView& m = in[static_cast<size_t>(mask_input())];
      if (m.dtype == DType::kU8) p.mask = m.as<uint8_t>();
      if (m.dtype == DType::kI64) p.lengths64 = m.as<int64_t>();
      if (m.dtype == DType::kI32) p.lengths32 = m.as<int32_t>();
    }
    return p;
  }
  // What direction i keeps for backward; `next` counts the saved tensors.
  template <class T>
  void set_kept(RnnParams<T>& p, int i, std::span<const TensorView> out, std::span<const TensorView> saved,
                int& next) const {
    RnnDirection<T>& d = p.dir[i];
    const auto take = [&] { return saved[static_cast<size_t>(next++)].as<T>(); };
    if (saves_gates()) d.gates = take();
    if (lstm()) d.cells = take();
    if (saves_states()) {
      d.states = take();
      d.ld_states = p.h;
    } else if (reads_output()) {
      d.states = out[0].as<T>() + i * p.h;
      d.ld_states = directions() * p.h;
    }
  }

  const char* name_;
  RnnCell cell_;
  bool step_;
  Activation act_, gate_act_;
  bool reset_after_ = true;
  bool reverse_ = false, bidirectional_ = false, processing_order_ = false, time_major_ = false;
  bool return_sequences_ = true, zero_masked_output_ = false;
};

}  // namespace

void register_rnn(OpRegistry& r) {
  r.add("simple_rnn",
        [](const Json& a) -> OpPtr { return std::make_shared<RnnOp>("simple_rnn", RnnCell::kSimple, false, a); });
  r.add("lstm", [](const Json& a) -> OpPtr { return std::make_shared<RnnOp>("lstm", RnnCell::kLstm, false, a); });
  r.add("gru", [](const Json& a) -> OpPtr { return std::make_shared<RnnOp>("gru", RnnCell::kGru, false, a); });
  r.add("rnn_step",
        [](const Json& a) -> OpPtr { return std::make_shared<RnnOp>("rnn_step", RnnCell::kSimple, true, a); });
  r.add("lstm_step",
        [](const Json& a) -> OpPtr { return std::make_shared<RnnOp>("lstm_step", RnnCell::kLstm, true, a); });
  r.add("gru_step", [](const Json& a) -> OpPtr { return std::make_shared<RnnOp>("gru_step", RnnCell::kGru, true, a); });
}

}  // namespace lamella
