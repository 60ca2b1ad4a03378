// Moves that repeat, reverse or pick: repeat, tile, broadcast_to, reverse, gather, stack, split. Their gradients are
// sums over what was repeated, or the move backwards.
#include <algorithm>
#include <limits>

#include "kernels/row_sums.h"
#include "ops/index_list.h"
#include "ops/memory.h"
#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

Json list_json(const std::vector<int64_t>& v) {
  Json::Array a;
  for (int64_t x : v) a.emplace_back(x);
  return a;
}

int axis_of(const char* op, int64_t axis, int rank) {
  if (axis < -rank || axis >= rank) {
    fail_value(op, "axis", "an axis of " + std::to_string(rank) + " dimensions", std::to_string(axis));
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

// The sizes before, along and behind an axis.
struct Cut {
  Cut(const Shape& s, int axis) : length(s[axis]) {
    for (int i = 0; i < axis; ++i) outer *= s[i];
    for (int i = axis + 1; i < s.rank(); ++i) inner *= s[i];
  }
  int64_t outer = 1, length, inner = 1;
};

void run_copy(Exec& exec, StridedCopyParams p, const TensorView& src, const TensorView& dst) {
  p.src = src.data;
  p.dst = dst.data;
  p.element_bytes = static_cast<int>(dtype_size(src.dtype));
  exec.kernels<float>().shape.copy(exec.context(), p);
}

// ---- repetition ----------------------------------------------------------------------------------------------------

// The output's dimensions from the outermost in: those of the input, and those along which it is repeated.
class Pattern {
 public:
  explicit Pattern(const char* op) : op_(op) {}
  void kept(int64_t n) { add(n, false); }
  void repeated(int64_t n) { add(n, true); }

  void forward(Exec& exec, const TensorView& x, const TensorView& y) const {
    if (y.size() == 0) return;
    StridedCopyParams p;
    p.rank = rank_;
    int64_t src = 1, dst = 1;
    for (int i = rank_ - 1; i >= 0; --i) {
      p.dims[i] = dims_[i];
      p.src_strides[i] = repeats_[i] ? 0 : src;
      p.dst_strides[i] = dst;
      dst *= dims_[i];
      if (!repeats_[i]) src *= dims_[i];
    }
    run_copy(exec, p, x, y);
  }

  void backward(Exec& exec, const TensorView& grad_out, const TensorView& grad_in) const {
    if (!grad_out || grad_out.size() == 0) return zero_tensor(exec, grad_in);
    if (grad_out.size() == grad_in.size()) return copy_tensor(exec, grad_out, grad_in);
    dispatch_float(grad_in.dtype, op_, "x", [&]<class T>() {
      ReduceParams<T> p;
      p.dims.rank = rank_;
      for (int i = 0; i < rank_; ++i) {
        p.dims.dims[i] = dims_[i];
        p.dims.reduced[i] = repeats_[i];
      }
      p.x = grad_out.as<const T>();
      p.y = grad_in.as<T>();
      p.fn = Reduce::kSum;
      const ReduceKernels<T>& k = exec.kernels<T>().reduce;
      k.reduce(exec.context(k.reduce_workspace(p, exec.context().threads)), p);
    });
  }

 private:
  void add(int64_t n, bool repeats) {
    if (n == 1) return;
    if (rank_ > 0 && repeats_[rank_ - 1] == repeats) {
      dims_[rank_ - 1] *= n;
      return;
    }
    if (rank_ == ReduceDims::kMaxRank) fail_value(op_, "x", "at most 4 repeated axes with kept ones between", "more");
    dims_[rank_] = n;
    repeats_[rank_++] = repeats;
  }
  const char* op_;
  int rank_ = 0;
  int64_t dims_[ReduceDims::kMaxRank] = {};
  bool repeats_[ReduceDims::kMaxRank] = {};
};

class RepeatingOp : public Op {
 public:
  uint32_t halves() const override { return kInForward; }
  BackwardUses backward_uses() const override { return {0, 0}; }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(name().data(), in, 1, 1);
    const Shape y = output(in[0].shape);
    pattern(in[0].shape);  // refuses what the kernels cannot walk
    return {{{in[0].dtype, y}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    pattern(args.in[0].shape).forward(exec, args.in[0], args.out[0]);
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (args.grad_in[0]) pattern(args.grad_in[0].shape).backward(exec, args.grad_out[0], args.grad_in[0]);
  }

 protected:
  virtual Shape output(const Shape& x) const = 0;
  virtual Pattern pattern(const Shape& x) const = 0;
};

// Each element `repeats` times in place along an axis, as numpy.repeat.
class RepeatOp final : public RepeatingOp {
 public:
  explicit RepeatOp(const Json& attrs) {
    AttrReader a(kName, attrs);
    if (!a.has("repeats")) fail_value(kName, "repeats", "a number", "none");
    repeats_ = a.get_int("repeats", 1);
    axis_ = a.get_int("axis", 0);
    a.done();
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
    if (repeats_ < 0 || repeats_ > kMost) {
      fail_value(kName, "repeats", "from 0 to " + std::to_string(kMost), std::to_string(repeats_));
    }
  }
  std::string_view name() const override { return kName; }
  Json attrs() const override { return Json::Object{{"repeats", repeats_}, {"axis", axis_}}; }

 private:
  static constexpr const char* kName = "repeat";
  Shape output(const Shape& x) const override {
    Shape y = x;
    y[axis_of(kName, axis_, x.rank())] *= repeats_;
    return y;
  }
  Pattern pattern(const Shape& x) const override {
    const Cut c(x, axis_of(kName, axis_, x.rank()));
    Pattern p(kName);
    p.kept(c.outer * c.length);
    p.repeated(repeats_);
    p.kept(c.inner);
    return p;
  }
  int64_t repeats_, axis_;
};

// The whole array repeated along each axis, as numpy.tile; `reps` counts from the last axis.
class TileOp final : public RepeatingOp {
 public:
  explicit TileOp(const Json& attrs) {
    AttrReader a(kName, attrs);
    reps_ = a.get_sizes("reps", {});
    a.done();
    for (int64_t r : reps_)
      if (r < 0) fail_value(kName, "reps", "numbers of at least 0", list_json(reps_).dump());
  }
  std::string_view name() const override { return kName; }
  Json attrs() const override { return Json::Object{{"reps", list_json(reps_)}}; }

 private:
  static constexpr const char* kName = "tile";
  int rank(const Shape& x) const { return std::max(x.rank(), static_cast<int>(reps_.size())); }
  int64_t size(const Shape& x, int i) const {
    const int at = i - (rank(x) - x.rank());
    return at < 0 ? 1 : x[at];
  }
  int64_t reps(const Shape& x, int i) const {
    const int at = i - (rank(x) - static_cast<int>(reps_.size()));
    return at < 0 ? 1 : reps_[static_cast<size_t>(at)];
  }
  Shape output(const Shape& x) const override {
    Shape y;
    for (int i = 0; i < rank(x); ++i) y.push_back(size(x, i) * reps(x, i));
    return y;
  }
  Pattern pattern(const Shape& x) const override {
    Pattern p(kName);
    for (int i = 0; i < rank(x); ++i) {
      p.repeated(reps(x, i));
      p.kept(size(x, i));
    }
    return p;
  }
  std::vector<int64_t> reps_;
};

// NumPy's broadcasting; -1 keeps the input's size along that axis.
class BroadcastToOp final : public RepeatingOp {
 public:
  explicit BroadcastToOp(const Json& attrs) {
    AttrReader a(kName, attrs);
    shape_ = a.get_ints("shape", {});
    a.done();
    for (int64_t d : shape_)
      if (d < -1) fail_value(kName, "shape", "sizes, or -1 to keep one", list_json(shape_).dump());
  }
  std::string_view name() const override { return kName; }
  Json attrs() const override { return Json::Object{{"shape", list_json(shape_)}}; }

 private:
  static constexpr const char* kName = "broadcast_to";
  int64_t before(const Shape& x) const { return static_cast<int64_t>(shape_.size()) - x.rank(); }
  Shape output(const Shape& x) const override {
    Shape y;
    const int64_t extra = before(x);
    for (int64_t i = 0; i < static_cast<int64_t>(shape_.size()); ++i) {
      const int64_t want = shape_[static_cast<size_t>(i)];
      const int64_t have = i < extra ? (want == -1 ? -1 : 1) : x[static_cast<int>(i - extra)];
      if (extra < 0 || have == -1 || (want != -1 && have != 1 && have != want)) {
        fail_value(kName, "shape", "a shape that " + x.str() + " broadcasts to", list_json(shape_).dump());
      }
      y.push_back(want == -1 ? have : want);
    }
    if (extra < 0)
      fail_value(kName, "shape", "at least " + std::to_string(x.rank()) + " sizes", list_json(shape_).dump());
    return y;
  }
  Pattern pattern(const Shape& x) const override {
    const Shape y = output(x);
    Pattern p(kName);
    for (int i = 0; i < y.rank(); ++i) {
      const int at = i - (y.rank() - x.rank());
      if (at < 0 || x[at] != y[i]) {
        p.repeated(y[i]);
      } else {
        p.kept(y[i]);
      }
    }
    return p;
  }
  std::vector<int64_t> shape_;
};

// ---- reverse -------------------------------------------------------------------------------------------------------

class ReverseOp final : public Op {
 public:
  explicit ReverseOp(const Json& attrs) {
    AttrReader a(kName, attrs);
    axis_ = a.get_int("axis", 0);
    a.done();
  }
  std::string_view name() const override { return kName; }
  Json attrs() const override { return Json::Object{{"axis", axis_}}; }
  uint32_t halves() const override { return kInForward | kInBackward; }
  BackwardUses backward_uses() const override { return {0, 0}; }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(kName, in, 1, 1);
    axis_of(kName, axis_, in[0].shape.rank());
    return {{in[0]}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override { move(exec, args.in[0], args.out[0]); }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_in[0]) return;
    if (!args.grad_out[0]) return zero_tensor(exec, args.grad_in[0]);
    move(exec, args.grad_out[0], args.grad_in[0]);
  }

 private:
  static constexpr const char* kName = "reverse";
  void move(Exec& exec, TensorView from, const TensorView& to) const {
    if (from.size() == 0) return;
    const Cut c(from.shape, axis_of(kName, axis_, from.shape.rank()));
    StridedCopyParams p;
    p.rank = 3;
    p.dims[0] = c.outer;
    p.src_strides[0] = p.dst_strides[0] = c.length * c.inner;
    p.dims[1] = c.length;
    p.src_strides[1] = -c.inner;
    p.dst_strides[1] = c.inner;
    p.dims[2] = c.inner;
    p.src_strides[2] = p.dst_strides[2] = 1;
    from.data = static_cast<char*>(from.data) + (c.length - 1) * c.inner * dtype_size(from.dtype);
    run_copy(exec, p, from, to);
  }
  int64_t axis_;
};

// ---- gather
// ----------------------------------------------------------------------------------------------------------

// Inputs x and indices (int32 or int64, any shape); the indices' shape takes the axis' place, as numpy.take.
class GatherOp final : public Op {
 public:
  enum : size_t { kX, kIndices };

  explicit GatherOp(const Json& attrs) {
    AttrReader a(kName, attrs);
    axis_ = a.get_int("axis", 0);
    a.done();
  }
  std::string_view name() const override { return kName; }
  Json attrs() const override { return Json::Object{{"axis", axis_}}; }
  bool differentiable(int input) const override { return input == static_cast<int>(kX); }
  uint32_t halves() const override { return kInForward; }
  BackwardUses backward_uses() const override { return {1u << kIndices, 0}; }

  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(kName, in, 2, 2);
    if (!is_index(in[kIndices].dtype)) fail_type(kName, "indices", "int32 or int64", dtype_name(in[kIndices].dtype));
    const Shape& x = in[kX].shape;
    const int axis = axis_of(kName, axis_, x.rank());
    Shape y;
    for (int i = 0; i < axis; ++i) y.push_back(x[i]);
    for (int64_t d : in[kIndices].shape) y.push_back(d);
    for (int i = axis + 1; i < x.rank(); ++i) y.push_back(x[i]);
    return {{{in[kX].dtype, y}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    const TensorView& x = args.in[kX];
    const Cut c(x.shape, axis_of(kName, axis_, x.shape.rank()));
    check_range(exec, args.in[kIndices], c.length);
    const GatherParams p{index_list(args.in[kIndices]),        c.outer, c.length, c.inner, x.data, args.out[0].data,
                         static_cast<int>(dtype_size(x.dtype))};
    exec.kernels<float>().resample.gather(exec.context(), p);
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView& grad_in = args.grad_in[kX];
    if (!grad_in) return;
    if (!args.grad_out[0]) return zero_tensor(exec, grad_in);
    const Cut c(grad_in.shape, axis_of(kName, axis_, grad_in.shape.rank()));
    dispatch_float(grad_in.dtype, kName, "x", [&]<class T>() {
      const GatherGradParams<T> p{index_list(args.in[kIndices]),  c.outer,        c.length, c.inner,
                                  args.grad_out[0].as<const T>(), grad_in.as<T>()};
      const size_t bytes = exec.backend() == nullptr ? 0 : RowSumsWorkspace(p.index.n, p.rows).bytes;
      exec.kernels<T>().resample.gather_grad(exec.context(bytes), p);
    });
  }

 private:
  static constexpr const char* kName = "gather";
  static void check_range(Exec& exec, const TensorView& indices, int64_t limit) {
    IndexCheckParams p;
    p.index = index_list(indices);
    p.limit = limit;
    p.op = kName;
    p.argument = "indices";
    const int64_t bad = first_bad_index(exec, p, exec.kernels<float>().embedding.check_indices);
    if (bad < 0) return;
    fail_value(kName, "indices", "values in [0, " + std::to_string(limit) + ")",
               std::to_string(index_at(p.index, bad)) + " at position " + std::to_string(bad));
  }
  int64_t axis_;
};

// ---- stack and split
// -------------------------------------------------------------------------------------------------

// Copies `part`, [outer, run], out of or into `whole`, [outer, pitch], at `offset`.
void move_part(Exec& exec, const TensorView& whole, const TensorView& part, int64_t outer, int64_t pitch, int64_t run,
               int64_t offset, bool out) {
  if (outer == 0 || run == 0) return;
  StridedCopyParams p;
  p.rank = 2;
  p.dims[0] = outer;
  p.src_strides[0] = out ? pitch : run;
  p.dst_strides[0] = out ? run : pitch;
  p.dims[1] = run;
  p.src_strides[1] = p.dst_strides[1] = 1;
  TensorView w = whole;
  w.data = static_cast<char*>(w.data) + offset * dtype_size(w.dtype);
  run_copy(exec, p, out ? w : part, out ? part : w);
}

// Equal arrays along a new axis.
class StackOp final : public Op {
 public:
  explicit StackOp(const Json& attrs) {
    AttrReader a(kName, attrs);
    axis_ = a.get_int("axis", 0);
    a.done();
  }
  std::string_view name() const override { return kName; }
  Json attrs() const override { return Json::Object{{"axis", axis_}}; }
  uint32_t halves() const override { return kInForward | kInBackward; }
  BackwardUses backward_uses() const override { return {0, 0}; }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    if (in.empty()) fail_value(kName, "inputs", "at least one", "none");
    for (size_t k = 1; k < in.size(); ++k) {
      if (!(in[k] == in[0])) fail_value(kName, "input " + std::to_string(k), in[0].str(), in[k].str());
    }
    const int axis = axis_of(kName, axis_, in[0].shape.rank() + 1);
    Shape y;
    for (int i = 0; i <= in[0].shape.rank(); ++i) {
      if (i == axis) y.push_back(static_cast<int64_t>(in.size()));
      if (i < in[0].shape.rank()) y.push_back(in[0].shape[i]);
    }
    return {{{in[0].dtype, y}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override { move(exec, args.out[0], args.in, false); }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (args.grad_out[0]) return move(exec, args.grad_out[0], args.grad_in, true);
    for (const TensorView& g : args.grad_in)
      if (g) zero_tensor(exec, g);
  }

 private:
  static constexpr const char* kName = "stack";
  void move(Exec& exec, const TensorView& whole, std::span<const TensorView> parts, bool out) const {
    const Cut c(whole.shape, axis_of(kName, axis_, whole.shape.rank()));
    for (size_t k = 0; k < parts.size(); ++k) {
      if (!parts[k]) continue;
      move_part(exec, whole, parts[k], c.outer, c.length * c.inner, c.inner, static_cast<int64_t>(k) * c.inner, out);
    }
  }
  int64_t axis_;
};

// Pieces of the given sizes along an axis, which they fill.
class SplitOp final : public Op {
 public:
  explicit SplitOp(const Json& attrs) {
    AttrReader a(kName, attrs);
    sizes_ = a.get_ints("sizes", {});
    axis_ = a.get_int("axis", -1);
    a.done();
    if (sizes_.empty() || std::any_of(sizes_.begin(), sizes_.end(), [](int64_t s) { return s < 0; })) {
      fail_value(kName, "sizes", "at least one size, each >= 0", list_json(sizes_).dump());
    }
  }
  std::string_view name() const override { return kName; }
  Json attrs() const override { return Json::Object{{"sizes", list_json(sizes_)}, {"axis", axis_}}; }
  uint32_t halves() const override { return kInForward | kInBackward; }
  BackwardUses backward_uses() const override { return {0, 0}; }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(kName, in, 1, 1);
    const int axis = axis_of(kName, axis_, in[0].shape.rank());
    Signature sig;
    int64_t sum = 0;
    for (int64_t size : sizes_) {
      sum += size;
      sig.outputs.push_back(in[0]);
      sig.outputs.back().shape[axis] = size;
    }
    if (sum != in[0].shape[axis]) {
      fail_value(kName, "sizes", "sizes that sum to " + std::to_string(in[0].shape[axis]), list_json(sizes_).dump());
    }
    return sig;
  }
  void forward(Exec& exec, const ForwardArgs& args) const override { move(exec, args.in[0], args.out, true); }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_in[0]) return;
    if (std::any_of(args.grad_out.begin(), args.grad_out.end(), [](const TensorView& g) { return !g; })) {
      zero_tensor(exec, args.grad_in[0]);
    }
    move(exec, args.grad_in[0], args.grad_out, false);
  }

 private:
  static constexpr const char* kName = "split";
  void move(Exec& exec, const TensorView& whole, std::span<const TensorView> parts, bool out) const {
    const Cut c(whole.shape, axis_of(kName, axis_, whole.shape.rank()));
    int64_t offset = 0;
    for (size_t k = 0; k < parts.size(); ++k) {
      const int64_t run = sizes_[k] * c.inner;
      if (parts[k]) move_part(exec, whole, parts[k], c.outer, c.length * c.inner, run, offset, out);
      offset += run;
    }
  }
  std::vector<int64_t> sizes_;
  int64_t axis_;
};

template <class O>
OpPtr make(const Json& a) {
  return std::make_shared<O>(a);
}

}  // namespace

void register_repeat(OpRegistry& r) {
  r.add("repeat", make<RepeatOp>);
  r.add("tile", make<TileOp>);
  r.add("broadcast_to", make<BroadcastToOp>);
  r.add("reverse", make<ReverseOp>);
  r.add("gather", make<GatherOp>);
  r.add("stack", make<StackOp>);
  r.add("split", make<SplitOp>);
}

}  // namespace lamella
