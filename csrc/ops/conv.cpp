// conv2d, conv1d and their transposes, with fused bias and activation.
//
// Attributes: stride, dilation (an integer or one per axis), padding ("valid", "same", "causal" in 1-D, an integer, one
// per axis, or both sides of every axis: top, bottom, left, right), groups, activation, alpha, algorithm ("auto" or the
// name of a candidate); the transposes also take output_padding. "same" is TensorFlow's: output ceil(size / stride),
// the odd pixel of padding at the bottom or right.
//
// conv2d also takes pool: a max pooling by 2x2 between bias and activation, its windows cut off at the bottom and right
// where they do not fit. Plans make it of a convolution and a pooling that follow each other.
//
// x (n,h,w,c), weight (kh,kw,c/groups,oc), bias (oc); in 1-D the h is left out. conv2d_transpose is the exact adjoint
// of the conv2d that takes its output to its input, so its weight is that convolution's: (kh,kw,oc/groups,c).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <set>

#include "ops/memory.h"
#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {

namespace {

enum class Padding { kExplicit, kValid, kSame, kCausal };

struct Attrs {
  int64_t stride[2] = {1, 1}, dilation[2] = {1, 1};
  Padding padding = Padding::kValid;
  int64_t before[2] = {0, 0}, after[2] = {0, 0};  // explicit padding
  bool has_output_padding = false;
  int64_t output_padding[2] = {0, 0};
  int64_t groups = 1;
  bool pool = false;
  Activation act;
  std::string algorithm;  // "auto" or a candidate's name
};

constexpr const char* kPassNames[] = {"forward", "gradient to data", "gradient to weight"};

template <class T>
int find_candidate(const ConvKernels<T>& k, ConvPass pass, const std::string& name) {
  for (int i = 0; i < k.candidates(pass); ++i)
    if (name == k.name(pass, i)) return i;
  return -1;
}

std::string describe(const ConvShape& s) {
  const auto n = [](int64_t v) { return std::to_string(v); };
  return n(s.n) + "x" + n(s.h) + "x" + n(s.w) + "x" + n(s.c) + " -> " + n(s.oh) + "x" + n(s.ow) + "x" + n(s.oc) +
         ", kernel " + n(s.kh) + "x" + n(s.kw) + ", stride " + n(s.stride_h) + "x" + n(s.stride_w) + ", dilation " +
         n(s.dilation_h) + "x" + n(s.dilation_w) + ", padding " + n(s.pad_top) + "," + n(s.pad_left) + ", groups " +
         n(s.groups);
}

void say_once(const std::string& line) {
  static std::mutex mutex;
  static std::set<std::string> said;
  const std::lock_guard<std::mutex> lock(mutex);
  if (said.insert(line).second) std::fprintf(stderr, "lamella: %s\n", line.c_str());
}

// LAMELLA_CONV_ALGO as it was when the first convolution asked for it; "" for none.
const std::string& algorithm_of_environment() {
  static const std::string algorithm = [] {
    const char* env = std::getenv("LAMELLA_CONV_ALGO");
    return std::string(env == nullptr ? "" : env);
  }();
  return algorithm;
}

size_t round_up_64(size_t bytes) { return (bytes + 63) / 64 * 64; }

class ConvOp final : public Op {
 public:
  ConvOp(const char* name, int axes, bool transposed, const Json& json)
      : name_(name), axes_(axes), transposed_(transposed) {
    AttrReader a(name_, json);
    read_ints(a, "stride", attrs_.stride, 1, 1);
    read_ints(a, "dilation", attrs_.dilation, 1, 1);
    read_padding(a);
    if (transposed_ && a.has("output_padding")) {
      attrs_.has_output_padding = true;
      read_ints(a, "output_padding", attrs_.output_padding, 0, 0);
      for (int i = 2 - axes_; i < 2; ++i) {
        const int64_t most = std::max(attrs_.stride[i], attrs_.dilation[i]);
        if (attrs_.output_padding[i] >= most) {
          fail_value(name_, "output_padding",
                     "less than the larger of stride and dilation (" + std::to_string(most) + ")",
                     std::to_string(attrs_.output_padding[i]));
        }
      }
    }
    attrs_.groups = a.get_int("groups", 1);
    if (attrs_.groups < 1) fail_value(name_, "groups", "at least 1", std::to_string(attrs_.groups));
    if (axes_ == 2 && !transposed_) attrs_.pool = a.get_bool("pool", false);
    const std::string activation = a.get_string("activation", "identity");
    attrs_.act =
        activation_from_name(name_, activation, a.get_double("alpha", std::numeric_limits<double>::quiet_NaN()));
    attrs_.algorithm = a.get_string("algorithm", "auto");
    a.done();
    check_algorithm_name(attrs_.algorithm, "algorithm");
  }

  std::string_view name() const override { return name_; }

  Json attrs() const override {
    Json j{Json::Object{}};
    j.set("stride", ints(attrs_.stride));
    j.set("dilation", ints(attrs_.dilation));
    switch (attrs_.padding) {
      case Padding::kValid:
        j.set("padding", "valid");
        break;
      case Padding::kSame:
        j.set("padding", "same");
        break;
      case Padding::kCausal:
        j.set("padding", "causal");
        break;
      case Padding::kExplicit: {
        Json::Array p;
        for (int i = 2 - axes_; i < 2; ++i) {
          p.emplace_back(attrs_.before[i]);
          p.emplace_back(attrs_.after[i]);
        }
        j.set("padding", std::move(p));
        break;
      }
    }
    if (attrs_.has_output_padding) j.set("output_padding", ints(attrs_.output_padding));
    j.set("groups", attrs_.groups);
    if (attrs_.pool) j.set("pool", true);
    j.set("activation", activation_name(attrs_.act.act));
    j.set("alpha", attrs_.act.alpha);
    j.set("algorithm", attrs_.algorithm);
    return j;
  }

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    check_count(name_, in, 2, 3);
    check_rank(name_, "x", in[0], axes_ + 2);
    check_float(name_, "x", in[0]);
    check_rank(name_, "weight", in[1], axes_ + 2);
    check_same_dtype(name_, "weight", in[1], in[0].dtype);
    const Shape &x = in[0].shape, &w = in[1].shape;
    for (int i = 1; i < axes_ + 2; ++i) {
      if (x[i] < 1) fail_value(name_, "x", "at least 1 in every dimension but the first", x.str());
    }
    for (int i = 0; i < axes_ + 2; ++i) {
      if (w[i] < 1) fail_value(name_, "weight", "at least 1 in every dimension", w.str());
    }
    const int64_t c = x[-1], groups = attrs_.groups;
    const std::string per_group = std::to_string(groups) + " groups";
    if (transposed_) {
      if (w[-1] != c) {
        fail_value(name_, "weight",
                   std::to_string(c) + " input channels in the last dimension of (" + kernel_text() +
                       ", oc/groups, c), as x has",
                   w.str());
      }
      if (c % groups != 0)
        fail_value(name_, "groups", "a divisor of the " + std::to_string(c) + " input channels", per_group);
    } else {
      if (c % groups != 0)
        fail_value(name_, "groups", "a divisor of the " + std::to_string(c) + " input channels", per_group);
      if (w[-2] != c / groups) {
        fail_value(name_, "weight",
                   std::to_string(c / groups) + " input channels in the dimension before the last of (" +
                       kernel_text() + ", c/groups, oc), as x has " + std::to_string(c) + " in " + per_group,
                   w.str());
      }
      if (w[-1] % groups != 0)
        fail_value(name_, "groups", "a divisor of the " + std::to_string(w[-1]) + " output channels", per_group);
    }
    const int64_t oc = out_channels(w);
    if (in.size() > 2 && !absent(in[2])) {
      check_rank(name_, "bias", in[2], 1);
      check_same_dtype(name_, "bias", in[2], in[0].dtype);
      if (in[2].shape[0] != oc) fail_value(name_, "bias", "(" + std::to_string(oc) + ",)", in[2].shape.str());
    }
    const ConvShape s = shape(x, w);
    Signature sig;
    TensorSpec y{in[0].dtype, Shape{x[0]}};
    if (axes_ == 2) y.shape.push_back((transposed_ ? s.h : s.oh) / window());
    y.shape.push_back((transposed_ ? s.w : s.ow) / window());
    y.shape.push_back(oc);
    sig.outputs = {y};
    if (training && attrs_.pool) sig.saved.push_back({DType::kU8, y.shape});
    if (training && needs_preactivation()) sig.saved.push_back(y);
    if (attrs_.pool && (s.oh == 0 || s.ow == 0)) {
      fail_value(name_, "pool", "an output of at least 2 rows and columns to pool", s.oh == 0 ? "1 row" : "1 column");
    }
    if (!y.shape.representable()) return sig;  // infer_checked refuses it; nothing below may count with such sizes
    dispatch_float(in[0].dtype, name_, "x",
                   [&]<class T>() { choose<T>(cpu_kernels<T>().conv, s, forward_pass(), false); });
    return sig;
  }

  uint32_t halves() const override { return kInForward | kInBackward | kOnDevice; }
  // One channel a group is too little for the matrix units.
  bool halves_fit(std::span<const TensorView> in) const override {
    if (attrs_.algorithm != "auto" || !algorithm_of_environment().empty()) return false;
    const ConvShape s = shape(in[0].shape, in[1].shape);
    return s.groups == 1 || (s.c / s.groups > 4 && s.oc / s.groups > 4);
  }
  bool saves_halves() const override { return true; }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_real(args.in[0].dtype, name_, "x", [&]<class T>() { run_forward<T>(exec, args); });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView& any = args.in[0] ? args.in[0] : args.in[1];
    dispatch_real(any.dtype, name_, "x", [&]<class T>() { run_backward<T>(exec, args); });
  }

  BackwardUses backward_uses() const override {
    const bool output = attrs_.act.act != Act::kIdentity && !needs_preactivation();
    return {0b011u, output ? 1u : 0u};
  }

  TensorSpec prepared_spec(Exec& exec, std::span<const TensorSpec> in) const override {
    const ConvShape s = shape(in[0].shape, in[1].shape);
    return dispatch_float(in[0].dtype, name_, "x", [&]<class T>() -> TensorSpec {
      const ConvKernels<T>& k = exec.kernels<T>().conv;
      const size_t bytes = k.prepared_bytes(s, forward_pass(), choose<T>(k, s, forward_pass(), false));
      return {DType::kU8, Shape{bytes == 0 ? 0 : kPreparedHeader + static_cast<int64_t>(bytes)}};
    });
  }

  void prepare(Exec& exec, std::span<const TensorView> in, const TensorView& prepared) const override {
    if (!prepared) return;
    const ConvShape s = shape(in[0].shape, in[1].shape);
    dispatch_float(in[1].dtype, name_, "weight", [&]<class T>() {
      const ConvKernels<T>& k = exec.kernels<T>().conv;
      const int64_t room = prepared.size() - kPreparedHeader;
      const int algorithm = choose<T>(k, s, forward_pass(), false);
      const size_t bytes = k.prepared_bytes(s, forward_pass(), algorithm);
      const bool fits = bytes > 0 && static_cast<int64_t>(bytes) <= room;
      *static_cast<int64_t*>(prepared.data) = fits ? algorithm : -1;
      if (fits) k.prepare(exec.context(), s, forward_pass(), algorithm, in[1].as<T>(), prepared_weights(prepared));
    });
  }

  uint32_t prepared_inputs() const override { return 0b010u; }

  double flops(std::span<const TensorSpec> in) const override {
    const ConvShape s = shape(in[0].shape, in[1].shape);
    return 2.0 * static_cast<double>(s.n * s.oh * s.ow) * static_cast<double>(in[1].shape.size());
  }

 private:
  // ---- attributes ---------------------------------------------------------------------------------------------------

  // One value per axis (axis 0 of a 1-D op keeps its default), or one for all.
  void read_ints(AttrReader& a, const char* key, int64_t (&out)[2], int64_t fallback, int64_t least) {
    const std::vector<int64_t> v = a.get_sizes(key, {fallback});
    if (v.size() != 1 && v.size() != static_cast<size_t>(axes_)) {
      fail_value(name_, key, axes_ == 1 ? "an integer" : "an integer or one for each of the 2 axes",
                 std::to_string(v.size()) + " values");
    }
    for (int i = 0; i < axes_; ++i) {
      const int64_t value = v.size() == 1 ? v[0] : v[static_cast<size_t>(i)];
      if (value < least) fail_value(name_, key, "at least " + std::to_string(least), std::to_string(value));
      out[2 - axes_ + i] = value;
    }
  }

  void read_padding(AttrReader& a) {
    const Json* v = a.get("padding");
    if (v == nullptr) return;
    const std::string known =
        std::string("'valid', 'same'") + (axes_ == 1 && !transposed_ ? ", 'causal'" : "") +
        (axes_ == 1 ? ", an integer or (left, right)" : ", an integer, (h, w) or (top, bottom, left, right)");
    if (v->is_string()) {
      const std::string& s = v->as_string();
      if (s == "valid")
        attrs_.padding = Padding::kValid;
      else if (s == "same")
        attrs_.padding = Padding::kSame;
      else if (s == "causal" && axes_ == 1 && !transposed_)
        attrs_.padding = Padding::kCausal;
      else
        fail_value(name_, "padding", known, "'" + s + "'");
      return;
    }
    const std::vector<int64_t> p = a.get_sizes("padding", {});
    attrs_.padding = Padding::kExplicit;
    const auto axes = static_cast<size_t>(axes_);
    if (p.size() != 1 && p.size() != axes && p.size() != 2 * axes) {
      fail_value(name_, "padding", known, std::to_string(p.size()) + " values");
    }
    for (size_t i = 0; i < axes; ++i) {
      const size_t axis = 2 - axes + i;
      attrs_.before[axis] = p.size() == 2 * axes ? p[2 * i] : p.size() == axes ? p[i] : p[0];
      attrs_.after[axis] = p.size() == 2 * axes ? p[2 * i + 1] : attrs_.before[axis];
    }
    for (int64_t value : p) {
      if (value < 0) fail_value(name_, "padding", "no negative value", std::to_string(value));
    }
  }

  Json ints(const int64_t (&v)[2]) const {
    Json::Array a;
    for (int i = 2 - axes_; i < 2; ++i) a.emplace_back(v[i]);
    return a;
  }

  std::string kernel_text() const { return axes_ == 1 ? "k" : "kh, kw"; }

  // ---- geometry -----------------------------------------------------------------------------------------------------

  // A side of the windows that are pooled.
  int64_t window() const { return attrs_.pool ? 2 : 1; }
  static PoolShape pool_shape(const ConvShape& s) {
    const auto axis = [](int64_t size) { return PoolAxis{size, size / 2, 2, 2}; };
    return {s.n, s.oc, axis(s.oh), axis(s.ow)};
  }

  ConvPass forward_pass() const { return transposed_ ? ConvPass::kBackwardData : ConvPass::kForward; }
  ConvPass data_pass() const { return transposed_ ? ConvPass::kForward : ConvPass::kBackwardData; }
  int64_t out_channels(const Shape& w) const { return transposed_ ? w[-2] * attrs_.groups : w[-1]; }

  // Derivatives that cannot be told from the output need what went into the activation.
  bool needs_preactivation() const {
    const bool slope = attrs_.act.act == Act::kLeakyRelu || attrs_.act.act == Act::kElu;
    return !act_grad_from_output(attrs_.act.act) || (slope && attrs_.act.alpha < 0);
  }

  // The convolution of this op, or the one that its transpose is the adjoint of.
  ConvShape shape(const Shape& x, const Shape& w) const {
    ConvShape s;
    s.n = x[0];
    s.groups = attrs_.groups;
    s.kh = axes_ == 2 ? w[0] : 1;
    s.kw = w[axes_ - 1];
    s.stride_h = attrs_.stride[0];
    s.stride_w = attrs_.stride[1];
    s.dilation_h = attrs_.dilation[0];
    s.dilation_w = attrs_.dilation[1];
    int64_t big[2], small[2] = {axes_ == 2 ? x[1] : 1, x[axes_]}, before[2];
    for (int i = 0; i < 2; ++i) {
      const int64_t kernel = i == 0 ? s.kh : s.kw;
      if (transposed_) {
        big[i] = transposed_size(i, small[i], kernel, &before[i]);
      } else {
        big[i] = small[i];
        small[i] = output_size(i, big[i], kernel, &before[i]);
      }
    }
    s.h = big[0];
    s.w = big[1];
    s.oh = small[0] / window() * window();
    s.ow = small[1] / window() * window();
    s.pad_top = before[0];
    s.pad_left = before[1];
    s.c = transposed_ ? out_channels(w) : x[-1];
    s.oc = transposed_ ? x[-1] : w[-1];
    return s;
  }

  const char* axis_name(int axis) const { return axes_ == 1 ? "length" : axis == 0 ? "height" : "width"; }

  // No axis is longer, so that no size here overflows.
  static constexpr int64_t kMostPixels = int64_t{1} << 48;

  int64_t extent_of(int axis, int64_t kernel) const {
    const int64_t dilation = attrs_.dilation[axis];
    if (kernel > kMostPixels / dilation) {
      fail_value(name_, "dilation", std::string("a kernel of a representable ") + axis_name(axis),
                 std::to_string(dilation) + " for " + std::to_string(kernel) + " taps");
    }
    return (kernel - 1) * dilation + 1;
  }

  int64_t output_size(int axis, int64_t size, int64_t kernel, int64_t* before) const {
    if (axes_ == 1 && axis == 0) {
      *before = 0;
      return 1;
    }
    const int64_t stride = attrs_.stride[axis], extent = extent_of(axis, kernel);
    int64_t after = 0;
    *before = 0;
    switch (attrs_.padding) {
      case Padding::kValid:
        break;
      case Padding::kSame: {
        const int64_t out = (size + stride - 1) / stride;
        const int64_t total = std::max<int64_t>(0, (out - 1) * stride + extent - size);
        *before = total / 2;
        return out;
      }
      case Padding::kCausal:
        *before = extent - 1;
        break;
      case Padding::kExplicit:
        *before = attrs_.before[axis];
        after = attrs_.after[axis];
        break;
    }
    const int64_t room = size + *before + after - extent;
    if (room < 0) {
      fail_value(name_, "x",
                 std::string("a padded ") + axis_name(axis) + " of at least the kernel's " + std::to_string(extent),
                 std::to_string(size + *before + after));
    }
    return room / stride + 1;
  }

  int64_t transposed_size(int axis, int64_t size, int64_t kernel, int64_t* before) const {
    if (axes_ == 1 && axis == 0) {
      *before = 0;
      return 1;
    }
    const int64_t stride = attrs_.stride[axis], extent = extent_of(axis, kernel);
    if (size > kMostPixels / stride) {
      fail_value(name_, "stride", std::string("an output ") + axis_name(axis) + " of a representable size",
                 std::to_string(stride) + " for " + std::to_string(size));
    }
    const int64_t span = (size - 1) * stride + extent;
    int64_t out = 0;
    *before = 0;
    if (attrs_.padding == Padding::kExplicit) {
      *before = attrs_.before[axis];
      out = span - attrs_.before[axis] - attrs_.after[axis] + attrs_.output_padding[axis];
    } else if (attrs_.has_output_padding) {
      // Keras: half the kernel off either side where "same".
      *before = attrs_.padding == Padding::kSame ? extent / 2 : 0;
      out = span - 2 * *before + attrs_.output_padding[axis];
    } else if (attrs_.padding == Padding::kSame) {
      out = size * stride;
      *before = std::max<int64_t>(0, span - out) / 2;
    } else {
      out = (size - 1) * stride + std::max(extent, stride);
    }
    if (out < 1) {
      fail_value(name_, "padding", std::string("an output ") + axis_name(axis) + " of at least 1", std::to_string(out));
    }
    return out;
  }

  // ---- choice of the algorithm --------------------------------------------------------------------------------------

  void check_algorithm_name(const std::string& algorithm, const char* argument) const {
    if (algorithm == "auto") return;
    const ConvKernels<float>& k = cpu_kernels<float>().conv;
    std::vector<std::string> known{"auto"};
    for (ConvPass pass : {ConvPass::kForward, ConvPass::kBackwardWeight}) {
      for (int i = 0; i < k.candidates(pass); ++i) {
        if (algorithm == k.name(pass, i)) return;
        if (std::find(known.begin(), known.end(), k.name(pass, i)) == known.end()) known.emplace_back(k.name(pass, i));
      }
    }
    std::string list;
    for (const std::string& n : known) list += (list.empty() ? "" : ", ") + n;
    fail_value(name_, argument, "one of " + list, "'" + algorithm + "'");
  }

  // A device has candidates of its own, most of them of the CPU's names: what it has in no pass is refused.
  template <class T>
  void check_device_has(const ConvKernels<T>& k, const std::string& algorithm, const char* argument) const {
    std::string list;
    for (ConvPass pass : {ConvPass::kForward, ConvPass::kBackwardData, ConvPass::kBackwardWeight}) {
      if (find_candidate(k, pass, algorithm) >= 0) return;
      if (pass != ConvPass::kForward) continue;
      for (int i = 0; i < k.candidates(pass); ++i) list += std::string(", ") + k.name(pass, i);
    }
    fail_value(name_, argument, "an algorithm that can run on this device (auto" + list + ")", "'" + algorithm + "'");
  }

  // The candidate that the attribute or LAMELLA_CONV_ALGO asks for, where the pass has one of that name; else the
  // cheapest.
  template <class T>
  int choose(const ConvKernels<T>& k, const ConvShape& s, ConvPass pass, bool announce) const {
    const char* argument = "algorithm";
    const std::string* wanted = &attrs_.algorithm;
    if (*wanted == "auto" && !algorithm_of_environment().empty()) {
      argument = "LAMELLA_CONV_ALGO";
      wanted = &algorithm_of_environment();
      check_algorithm_name(*wanted, argument);
    }
    int algorithm = *wanted == "auto" ? -1 : find_candidate(k, pass, *wanted);
    const auto pass_name = kPassNames[static_cast<int>(pass)];
    if (algorithm < 0) {
      if constexpr (is_float(DTypeOf<T>::value)) {
        if (*wanted != "auto" && &k != &cpu_kernels<T>().conv) check_device_has(k, *wanted, argument);
      }
      algorithm = k.choose(s, pass, strict_precision());
    } else if (!k.can_run(s, pass, algorithm)) {
      fail_value(name_, argument, std::string("an algorithm that can run the ") + pass_name + " of " + describe(s),
                 "'" + *wanted + "'");
    }
    static const bool verbose = [] {
      const char* env = std::getenv("LAMELLA_VERBOSE");
      return env != nullptr && *env != '\0' && std::string(env) != "0";
    }();
    if (verbose && announce) {
      say_once(std::string(name_) + ", " + pass_name + ", " + describe(s) + ", " + dtype_name(DTypeOf<T>::value) +
               ": " + k.name(pass, algorithm));
    }
    return algorithm;
  }

  // ---- prepared weights ---------------------------------------------------------------------------------------------

  // They begin with the algorithm that they are for, or -1: the choice may be another one by the time of a run (strict
  // precision), and then they are of no use, and may not even have the size.
  static constexpr int64_t kPreparedHeader = 64;
  static void* prepared_weights(const TensorView& prepared) {
    return static_cast<char*>(prepared.data) + kPreparedHeader;
  }

  // ---- running ------------------------------------------------------------------------------------------------------

  template <class T>
  void run_forward(Exec& exec, const ForwardArgs& args) const {
    const TensorView& y = args.out[0];
    if (y.size() == 0) return;
    const ConvKernels<T>& k = exec.kernels<T>().conv;
    const ConvPass pass = forward_pass();
    ConvParams<T> p;
    p.shape = shape(args.in[0].shape, args.in[1].shape);
    p.algorithm = choose<T>(k, p.shape, pass, true);
    p.src = args.in[0].as<T>();
    p.weight = args.in[1].as<T>();
    p.bias = args.in.size() > 2 ? args.in[2].as<T>() : nullptr;
    const bool fit = args.prepared && *static_cast<const int64_t*>(args.prepared.data) == p.algorithm;
    p.prepared = fit ? prepared_weights(args.prepared) : nullptr;
    const bool training = !args.saved.empty(), keep = training && needs_preactivation();
    T* const value =
        keep ? args.saved.back().template as<T>() : y.as<T>();  // before the activation, where that is kept
    const int threads = exec.context().threads;
    const size_t scratch = k.workspace(p.shape, pass, p.algorithm, p.prepared != nullptr, threads);
    p.dst = value;
    bool activated = !keep;
    uint8_t* const argmax = attrs_.pool && training ? args.saved[0].as<uint8_t>() : nullptr;
    if (!attrs_.pool || k.fuses_pool(p.algorithm)) {
      if (activated) p.act = attrs_.act;
      p.pool = attrs_.pool;
      p.argmax = argmax;
      (transposed_ ? k.backward_data : k.forward)(exec.context(scratch), p);
    } else {
      const auto& pool = exec.kernels<T>().pool;
      MaxPoolParams<T> m{pool_shape(p.shape), nullptr, value, argmax};
      const size_t whole = round_up_64(static_cast<size_t>(y.size()) * 4 * sizeof(T));
      Context ctx = exec.context(whole + std::max(scratch, pool.max_forward_workspace(m, threads)));
      m.x = p.dst = static_cast<T*>(ctx.workspace);
      skip(ctx, whole);
      // The activation comes last, as where the pooling is fused: the same pixel stands for a window in both.
      k.forward(ctx, p);
      pool.max_forward(ctx, m);
      activated = false;
    }
    if (!activated && (keep || attrs_.act.act != Act::kIdentity)) {
      exec.kernels<T>().elementwise.activation(exec.context(), {y.size(), value, y.as<T>(), attrs_.act});
    }
  }

  static void skip(Context& ctx, size_t bytes) {
    ctx.workspace = static_cast<char*>(ctx.workspace) + bytes;
    ctx.workspace_bytes -= bytes;
  }

  template <class T>
  void run_backward(Exec& exec, const BackwardArgs& args) const {
    const TensorView &dx = args.grad_in[0], &dw = args.grad_in[1];
    const TensorView db = args.grad_in.size() > 2 ? args.grad_in[2] : TensorView{};
    const TensorView& dy = args.grad_out[0];
    if (!dy || dy.size() == 0) {
      for (const TensorView& g : args.grad_in) {
        zero_tensor(exec, g);
      }
      return;
    }
    const ConvKernels<T>& k = exec.kernels<T>().conv;
    const ConvShape s = shape(args.in[0].shape, args.in[1].shape);
    const bool through = attrs_.act.act != Act::kIdentity;
    const int threads = exec.context().threads;

    ConvActivationParams<T> a;
    a.rows = dy.size() / dy.shape[-1];
    a.cols = dy.shape[-1];
    a.act = attrs_.act;
    a.from_output = !needs_preactivation();
    a.value = !through ? nullptr : (a.from_output ? args.out[0] : args.saved.back()).template as<T>();
    a.dy = dy.as<T>();
    a.dbias = db ? db.as<T>() : nullptr;
    ConvParams<T> data;
    ConvWeightParams<T> weight;
    data.shape = weight.shape = s;
    if (dx) data.algorithm = choose<T>(k, s, data_pass(), true);
    if (dw) weight.algorithm = choose<T>(k, s, ConvPass::kBackwardWeight, true);
    // Nobody else needs the gradient before the activation: the weights' kernel may take it on the way.
    const bool fused = dw && !dx && !transposed_ && k.fuses_activation(weight.algorithm);

    const auto& pool = exec.kernels<T>().pool;
    MaxPoolBackwardParams<T> spread;
    if (attrs_.pool) spread = {pool_shape(s), dy.as<T>(), args.saved[0].data, nullptr};

    // One workspace for all: the gradients before the activation and before the pooling first, then each kernel's
    // scratch in turn.
    const bool apart = through && !fused, spread_apart = attrs_.pool && !fused;
    const size_t size = static_cast<size_t>(dy.size()) * sizeof(T), inner = apart ? round_up_64(size) : 0;
    const size_t reserved = inner + (spread_apart ? round_up_64(4 * size) : 0);
    size_t scratch = fused ? 0 : k.activation_backward_workspace(a);
    if (spread_apart) scratch = std::max(scratch, pool.max_backward_workspace(spread, threads));
    if (dx) scratch = std::max(scratch, k.workspace(s, data_pass(), data.algorithm, false, threads));
    if (dw) {
      scratch = std::max(scratch, k.workspace(s, ConvPass::kBackwardWeight, weight.algorithm, false, threads));
    }
    Context ctx = exec.context(reserved + scratch);
    const T* dz = dy.as<T>();
    char* const memory = static_cast<char*>(ctx.workspace);
    if (apart) dz = a.dz = reinterpret_cast<T*>(memory);
    skip(ctx, reserved);
    if (!fused && (through || db)) k.activation_backward(ctx, a);
    if (spread_apart) {
      spread.grad_out = dz;
      dz = spread.grad_in = reinterpret_cast<T*>(memory + inner);
      pool.max_backward(ctx, spread);
    }
    if (dx) {
      data.src = dz;
      data.weight = args.in[1].as<T>();
      data.dst = dx.as<T>();
      (transposed_ ? k.forward : k.backward_data)(ctx, data);
    }
    if (dw) {
      weight.x = transposed_ ? dz : args.in[0].as<T>();
      weight.dy = transposed_ ? args.in[0].as<T>() : dz;
      weight.dweight = dw.as<T>();
      if (fused) {
        weight.act = a.act;
        weight.from_output = a.from_output;
        weight.value = a.value;
        weight.dbias = a.dbias;
        if (attrs_.pool) weight.argmax = args.saved[0].template as<uint8_t>();
      }
      k.backward_weight(ctx, weight);
    }
  }

  const char* name_;
  int axes_;
  bool transposed_;
  Attrs attrs_;
};

}  // namespace

void register_conv(OpRegistry& r) {
  r.add("conv1d", [](const Json& a) -> OpPtr { return std::make_shared<ConvOp>("conv1d", 1, false, a); });
  r.add("conv2d", [](const Json& a) -> OpPtr { return std::make_shared<ConvOp>("conv2d", 2, false, a); });
  r.add("conv1d_transpose",
        [](const Json& a) -> OpPtr { return std::make_shared<ConvOp>("conv1d_transpose", 1, true, a); });
  r.add("conv2d_transpose",
        [](const Json& a) -> OpPtr { return std::make_shared<ConvOp>("conv2d_transpose", 2, true, a); });
}

}  // namespace lamella
