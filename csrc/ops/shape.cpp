// Moves: reshape, flatten, expand_dims, squeeze (views); transpose, slice, pad, concat, split (strided copies); cast.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

Json list_json(const std::vector<int64_t>& v) {
  Json::Array a;
  for (int64_t x : v) a.push_back(x);
  return a;
}

// Element strides of a dense array.
std::array<int64_t, Shape::kMaxRank> dense_strides(const Shape& s) {
  std::array<int64_t, Shape::kMaxRank> strides{};
  int64_t n = 1;
  for (int i = s.rank() - 1; i >= 0; --i) {
    strides[static_cast<size_t>(i)] = n;
    n *= s[i];
  }
  return strides;
}

int normalized_axis(const char* op, int64_t axis, int rank) {
  if (axis < -rank || axis >= rank) {
    fail_value(op, "axis", "an axis of " + std::to_string(rank) + " dimensions", std::to_string(axis));
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

struct Copy {
  Copy(const TensorView& src, const TensorView& dst) {
    p.src = src.data;
    p.dst = dst.data;
    p.element_bytes = static_cast<int>(dtype_size(src.dtype));
  }
  void dim(int64_t n, int64_t src_stride, int64_t dst_stride) {
    p.dims[p.rank] = n;
    p.src_strides[p.rank] = src_stride;
    p.dst_strides[p.rank++] = dst_stride;
  }
  void shift(int64_t src_elements, int64_t dst_elements) {
    p.src = static_cast<const char*>(p.src) + src_elements * p.element_bytes;
    p.dst = static_cast<char*>(p.dst) + dst_elements * p.element_bytes;
  }
  void run(Exec& exec) const { exec.kernels<float>().shape.copy(exec.context(), p); }
  StridedCopyParams p;
};

void copy_all(Exec& exec, const TensorView& src, const TensorView& dst) {
  Copy c(src, dst);
  c.dim(src.size(), 1, 1);
  c.run(exec);
}

void fill(Exec& exec, const TensorView& dst, double value) {
  FillBytesParams p;
  p.dst = dst.data;
  p.n = dst.size();
  p.element_bytes = static_cast<int>(dtype_size(dst.dtype));
  switch (dst.dtype) {
    case DType::kF32:
      p.pattern = std::bit_cast<uint32_t>(static_cast<float>(value));
      break;
    case DType::kF64:
      p.pattern = std::bit_cast<uint64_t>(value);
      break;
    case DType::kF16:
      p.pattern = to_f16(static_cast<float>(value)).bits;
      break;
    case DType::kBF16:
      p.pattern = to_bf16(static_cast<float>(value)).bits;
      break;
    default:
      p.pattern = static_cast<uint64_t>(static_cast<int64_t>(value));
  }
  exec.kernels<float>().shape.fill_bytes(exec.context(), p);
}

// ---- views
// -----------------------------------------------------------------------------------------------------------

// The same elements in the same order under another shape.
class ViewOp : public Op {
 public:
  bool is_view() const override { return true; }
  uint32_t halves() const override { return kInForward | kInBackward; }
  BackwardUses backward_uses() const override { return {0, 0}; }
  void forward(Exec& exec, const ForwardArgs& args) const override { copy_all(exec, args.in[0], args.out[0]); }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_in[0].data) return;
    if (args.grad_out[0].data) {
      copy_all(exec, args.grad_out[0], args.grad_in[0]);
    } else {
      fill(exec, args.grad_in[0], 0);
    }
  }
};

class ReshapeOp final : public ViewOp {
 public:
  explicit ReshapeOp(const Json& json) {
    AttrReader a("reshape", json);
    shape_ = a.get_ints("shape", {});
    a.done();
    for (int64_t d : shape_) {
      if (d < -1) fail_value("reshape", "shape", "sizes, 0 to keep one, -1 for what is left", std::to_string(d));
    }
    if (std::count(shape_.begin(), shape_.end(), -1) > 1) fail_value("reshape", "shape", "at most one -1", "several");
  }
  std::string_view name() const override { return "reshape"; }
  Json attrs() const override { return Json::Object{{"shape", list_json(shape_)}}; }

  // A 0 copies the input's size at that place, unless the input has no elements and the shape says so itself.
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count("reshape", in, 1, 1);
    const Shape& x = in[0].shape;
    Shape y;
    int64_t known = 1;
    int infer_at = -1;
    for (size_t i = 0; i < shape_.size(); ++i) {
      int64_t d = shape_[i];
      if (d == 0) {
        if (static_cast<int>(i) >= x.rank())
          fail_value("reshape", "shape", "a 0 only where the input has a size", x.str());
        d = x[static_cast<int>(i)];
      }
      if (d == -1) {
        infer_at = static_cast<int>(i);
        d = 1;
      } else {
        known *= d;
      }
      y.push_back(d);
    }
    if (infer_at >= 0) {
      if (known == 0 || x.size() % known != 0) {
        fail_value("reshape", "shape", "sizes that divide the " + std::to_string(x.size()) + " elements of " + x.str(),
                   text());
      }
      y[infer_at] = x.size() / known;
    } else if (y.size() != x.size()) {
      fail_value("reshape", "shape", "as many elements as " + x.str() + " has", text());
    }
    return {{{in[0].dtype, y}}, {}};
  }

 private:
  std::string text() const { return list_json(shape_).dump(); }
  std::vector<int64_t> shape_;
};

class FlattenOp final : public ViewOp {
 public:
  explicit FlattenOp(const Json& json) {
    AttrReader a("flatten", json);
    start_ = a.get_int("start_axis", 1);
    end_ = a.get_int("end_axis", -1);
    a.done();
  }
  std::string_view name() const override { return "flatten"; }
  Json attrs() const override { return Json::Object{{"start_axis", start_}, {"end_axis", end_}}; }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count("flatten", in, 1, 1);
    const Shape& x = in[0].shape;
    if (x.rank() == 0) return {{{in[0].dtype, Shape{1}}}, {}};
    const int start = normalized_axis("flatten", start_, x.rank()), end = normalized_axis("flatten", end_, x.rank());
    if (start > end) fail_value("flatten", "start_axis", "at most end_axis", std::to_string(start_));
    Shape y;
    for (int i = 0; i < x.rank(); ++i) {
      if (i > start && i <= end) {
        y[-1] *= x[i];
      } else {
        y.push_back(x[i]);
      }
    }
    return {{{in[0].dtype, y}}, {}};
  }

 private:
  int64_t start_, end_;
};

class ExpandDimsOp final : public ViewOp {
 public:
  explicit ExpandDimsOp(const Json& json) {
    AttrReader a("expand_dims", json);
    axis_ = a.get_int("axis", -1);
    a.done();
  }
  std::string_view name() const override { return "expand_dims"; }
  Json attrs() const override { return Json::Object{{"axis", axis_}}; }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count("expand_dims", in, 1, 1);
    const Shape& x = in[0].shape;
    const int axis = normalized_axis("expand_dims", axis_, x.rank() + 1);
    Shape y;
    for (int i = 0; i <= x.rank(); ++i) {
      if (i == axis) y.push_back(1);
      if (i < x.rank()) y.push_back(x[i]);
    }
    return {{{in[0].dtype, y}}, {}};
  }

 private:
  int64_t axis_;
};

class SqueezeOp final : public ViewOp {
 public:
  explicit SqueezeOp(const Json& json) {
    AttrReader a("squeeze", json);
    all_ = !a.has("axis");
    axes_ = a.get_ints("axis", {});
    a.done();
  }
  std::string_view name() const override { return "squeeze"; }
  Json attrs() const override { return all_ ? Json(Json::Object{}) : Json(Json::Object{{"axis", list_json(axes_)}}); }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count("squeeze", in, 1, 1);
    const Shape& x = in[0].shape;
    std::vector<bool> drop(static_cast<size_t>(x.rank()), false);
    for (int i = 0; all_ && i < x.rank(); ++i) drop[static_cast<size_t>(i)] = x[i] == 1;
    for (int64_t axis : axes_) {
      const int i = normalized_axis("squeeze", axis, x.rank());
      if (x[i] != 1) fail_value("squeeze", "axis", "an axis of size 1", std::to_string(axis) + " of " + x.str());
      drop[static_cast<size_t>(i)] = true;
    }
    Shape y;
    for (int i = 0; i < x.rank(); ++i)
      if (!drop[static_cast<size_t>(i)]) y.push_back(x[i]);
    return {{{in[0].dtype, y}}, {}};
  }

 private:
  bool all_;
  std::vector<int64_t> axes_;
};

// ---- strided copies
// --------------------------------------------------------------------------------------------------

class MoveOp : public Op {
 public:
  uint32_t halves() const override { return kInForward | kInBackward; }
  BackwardUses backward_uses() const override { return {0, 0}; }
};

class TransposeOp final : public MoveOp {
 public:
  explicit TransposeOp(const Json& json) {
    AttrReader a("transpose", json);
    perm_ = a.get_ints("perm", {});
    a.done();
    std::vector<int64_t> sorted = perm_;
    std::sort(sorted.begin(), sorted.end());
    for (size_t i = 0; i < sorted.size(); ++i) {
      if (sorted[i] != static_cast<int64_t>(i)) {
        fail_value("transpose", "perm", "each axis once", list_json(perm_).dump());
      }
    }
  }
  std::string_view name() const override { return "transpose"; }
  Json attrs() const override { return Json::Object{{"perm", list_json(perm_)}}; }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count("transpose", in, 1, 1);
    if (in[0].shape.rank() != static_cast<int>(perm_.size())) {
      fail_value("transpose", "perm", std::to_string(in[0].shape.rank()) + " axes", list_json(perm_).dump());
    }
    Shape y;
    for (int64_t p : perm_) y.push_back(in[0].shape[static_cast<int>(p)]);
    return {{{in[0].dtype, y}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    const TensorView &x = args.in[0], &y = args.out[0];
    const auto sx = dense_strides(x.shape), sy = dense_strides(y.shape);
    Copy c(x, y);
    for (size_t i = 0; i < perm_.size(); ++i)
      c.dim(y.shape[static_cast<int>(i)], sx[static_cast<size_t>(perm_[i])], sy[i]);
    c.run(exec);
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView &dy = args.grad_out[0], &dx = args.grad_in[0];
    if (!dx.data) return;
    if (!dy.data) return fill(exec, dx, 0);
    const auto sx = dense_strides(dx.shape), sy = dense_strides(dy.shape);
    Copy c(dy, dx);
    for (size_t i = 0; i < perm_.size(); ++i)
      c.dim(dy.shape[static_cast<int>(i)], sy[i], sx[static_cast<size_t>(perm_[i])]);
    c.run(exec);
  }

 private:
  std::vector<int64_t> perm_;
};

// x[start:stop:step] along each axis, Python's rules; steps may be negative.
class SliceOp final : public MoveOp {
 public:
  explicit SliceOp(const Json& json) {
    AttrReader a("slice", json);
    starts_ = a.get_ints("starts", {});
    stops_ = a.get_ints("stops", {});
    steps_ = a.get_ints("steps", std::vector<int64_t>(starts_.size(), 1));
    a.done();
    if (starts_.size() != stops_.size() || starts_.size() != steps_.size()) {
      fail_value("slice", "starts, stops, steps", "lists of one length", "others");
    }
    for (int64_t s : steps_)
      if (s == 0) fail_value("slice", "steps", "steps other than 0", "0");
  }
  std::string_view name() const override { return "slice"; }
  Json attrs() const override {
    return Json::Object{{"starts", list_json(starts_)}, {"stops", list_json(stops_)}, {"steps", list_json(steps_)}};
  }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count("slice", in, 1, 1);
    if (static_cast<int>(starts_.size()) > in[0].shape.rank()) {
      fail_value("slice", "starts", "at most " + std::to_string(in[0].shape.rank()) + " entries",
                 std::to_string(starts_.size()));
    }
    Shape y;
    for (int i = 0; i < in[0].shape.rank(); ++i) y.push_back(range(in[0].shape, i).count);
    return {{{in[0].dtype, y}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override { move(exec, args.in[0], args.out[0], true); }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_in[0].data) return;
    fill(exec, args.grad_in[0], 0);
    if (args.grad_out[0].data) move(exec, args.grad_in[0], args.grad_out[0], false);
  }

 private:
  struct Range {
    int64_t first, count, step;
  };
  Range range(const Shape& x, int axis) const {
    const int64_t n = x[axis];
    if (axis >= static_cast<int>(starts_.size())) return {0, n, 1};
    const size_t k = static_cast<size_t>(axis);
    const int64_t step = steps_[k];
    // Python's rule: negative indices count from the end, then both are clamped.
    const auto clamp = [&](int64_t v) {
      if (v < 0) v = v < -n ? (step < 0 ? -1 : 0) : v + n;
      return std::min(v, step < 0 ? n - 1 : n);
    };
    const int64_t start = clamp(starts_[k]);
    // A stop below -n means "before the first element" for negative steps.
    const int64_t stop = clamp(stops_[k]);
    const int64_t span = step > 0 ? stop - start : start - stop;
    const int64_t size = step > 0 ? step : -std::max(step, -std::numeric_limits<int64_t>::max());
    const int64_t count = span > 0 ? (span - 1) / size + 1 : 0;
    return {start, count, count > 1 ? step : 1};  // a step that is not taken may be of any size
  }
  // whole -> part, or part -> whole.
  void move(Exec& exec, const TensorView& whole, const TensorView& part, bool forward) const {
    const auto sw = dense_strides(whole.shape), sp = dense_strides(part.shape);
    Copy c(forward ? whole : part, forward ? part : whole);
    int64_t offset = 0;
    for (int i = 0; i < whole.shape.rank(); ++i) {
      const Range r = range(whole.shape, i);
      const size_t k = static_cast<size_t>(i);
      offset += r.first * sw[k];
      c.dim(r.count, forward ? r.step * sw[k] : sp[k], forward ? sp[k] : r.step * sw[k]);
    }
    if (part.size() == 0) return;
    c.shift(forward ? offset : 0, forward ? 0 : offset);
    c.run(exec);
  }
  std::vector<int64_t> starts_, stops_, steps_;
};

// Constant padding: (before, after) for each axis; negative numbers crop.
class PadOp final : public MoveOp {
 public:
  explicit PadOp(const Json& json) {
    AttrReader a("pad", json);
    padding_ = a.get_sizes("padding", {});
    value_ = a.get_double("value", 0.0);
    a.done();
  }
  std::string_view name() const override { return "pad"; }
  Json attrs() const override { return Json::Object{{"padding", list_json(padding_)}, {"value", value_}}; }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count("pad", in, 1, 1);
    const Shape& x = in[0].shape;
    if (padding_.size() != 2 * static_cast<size_t>(x.rank())) {
      fail_value("pad", "padding", "(before, after) for each of " + std::to_string(x.rank()) + " axes",
                 list_json(padding_).dump());
    }
    Shape y;
    for (int i = 0; i < x.rank(); ++i) {
      const int64_t n = x[i] + before(i) + after(i);
      if (n < 0)
        fail_value("pad", "padding", "sizes >= 0 of the result", list_json(padding_).dump() + " on " + x.str());
      y.push_back(n);
    }
    return {{{in[0].dtype, y}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    fill(exec, args.out[0], value_);
    move(exec, args.in[0], args.out[0], true);
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_in[0].data) return;
    fill(exec, args.grad_in[0], 0);  // what was cropped away
    if (args.grad_out[0].data) move(exec, args.grad_in[0], args.grad_out[0], false);
  }

 private:
  int64_t before(int axis) const { return padding_[2 * static_cast<size_t>(axis)]; }
  int64_t after(int axis) const { return padding_[2 * static_cast<size_t>(axis) + 1]; }
  void move(Exec& exec, const TensorView& x, const TensorView& y, bool forward) const {
    const auto sx = dense_strides(x.shape), sy = dense_strides(y.shape);
    Copy c(forward ? x : y, forward ? y : x);
    int64_t in_x = 0, in_y = 0;
    for (int i = 0; i < x.shape.rank(); ++i) {
      const size_t k = static_cast<size_t>(i);
      const int64_t n = x.shape[i] + std::min<int64_t>(before(i), 0) + std::min<int64_t>(after(i), 0);
      if (n <= 0) return;
      in_x += std::max<int64_t>(-before(i), 0) * sx[k];
      in_y += std::max<int64_t>(before(i), 0) * sy[k];
      c.dim(n, forward ? sx[k] : sy[k], forward ? sy[k] : sx[k]);
    }
    c.shift(forward ? in_x : in_y, forward ? in_y : in_x);
    c.run(exec);
  }
  std::vector<int64_t> padding_;
  double value_;
};

class ConcatOp final : public MoveOp {
 public:
  explicit ConcatOp(const Json& json) {
    AttrReader a("concat", json);
    axis_ = a.get_int("axis", -1);
    a.done();
  }
  std::string_view name() const override { return "concat"; }
  Json attrs() const override { return Json::Object{{"axis", axis_}}; }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    if (in.empty()) fail_value("concat", "inputs", "at least one", "none");
    TensorSpec y = in[0];
    const int axis = normalized_axis("concat", axis_, y.shape.rank());
    for (size_t k = 1; k < in.size(); ++k) {
      const std::string argument = "input " + std::to_string(k);
      check_same_dtype("concat", argument.c_str(), in[k], y.dtype);
      check_rank("concat", argument.c_str(), in[k], y.shape.rank());
      for (int i = 0; i < y.shape.rank(); ++i) {
        if (i != axis && in[k].shape[i] != y.shape[i]) {
          fail_value("concat", argument,
                     "the first input's sizes but along axis " + std::to_string(axis) + ": " + in[0].shape.str(),
                     in[k].shape.str());
        }
      }
      y.shape[axis] += in[k].shape[axis];
    }
    return {{y}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override { move(exec, args.out[0], args.in, true); }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (args.grad_out[0].data) return move(exec, args.grad_out[0], args.grad_in, false);
    for (const TensorView& dx : args.grad_in)
      if (dx.data) fill(exec, dx, 0);
  }

 private:
  void move(Exec& exec, const TensorView& whole, std::span<const TensorView> parts, bool gather) const {
    const int axis = normalized_axis("concat", axis_, whole.shape.rank());
    int64_t outer = 1, inner = 1, offset = 0;
    for (int i = 0; i < axis; ++i) outer *= whole.shape[i];
    for (int i = axis + 1; i < whole.shape.rank(); ++i) inner *= whole.shape[i];
    const int64_t pitch = whole.shape[axis] * inner;
    for (const TensorView& part : parts) {
      const int64_t run = part.shape[axis] * inner;
      if (part.data && run > 0 && outer > 0) {
        Copy c(gather ? part : whole, gather ? whole : part);
        c.dim(outer, gather ? run : pitch, gather ? pitch : run);
        c.dim(run, 1, 1);
        c.shift(gather ? 0 : offset, gather ? offset : 0);
        c.run(exec);
      }
      offset += run;
    }
  }
  int64_t axis_;
};

Element element_of(DType t) {
  switch (t) {
    case DType::kF32:
      return Element::kF32;
    case DType::kF64:
      return Element::kF64;
    case DType::kI32:
      return Element::kI32;
    case DType::kI64:
      return Element::kI64;
    case DType::kU8:
      return Element::kU8;
    case DType::kF16:
      return Element::kF16;
    case DType::kBF16:
      return Element::kBF16;
    default:
      return Element::kU64;
  }
}

class CastOp final : public MoveOp {
 public:
  explicit CastOp(const Json& json) {
    AttrReader a("cast", json);
    to_ = dtype_from_name(a.get_string("dtype", "float32"));
    a.done();
  }
  std::string_view name() const override { return "cast"; }
  Json attrs() const override { return Json::Object{{"dtype", dtype_name(to_)}}; }
  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count("cast", in, 1, 1);
    return {{{to_, in[0].shape}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override { run(exec, args.in[0], args.out[0]); }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    if (!args.grad_in[0].data) return;
    if (!args.grad_out[0].data || !is_floating(args.grad_out[0].dtype)) return fill(exec, args.grad_in[0], 0);
    run(exec, args.grad_out[0], args.grad_in[0]);
  }

 private:
  static void run(Exec& exec, const TensorView& from, const TensorView& to) {
    exec.kernels<float>().shape.cast(exec.context(),
                                     {from.data, to.data, element_of(from.dtype), element_of(to.dtype), from.size()});
  }
  DType to_;
};

template <class O>
OpPtr make(const Json& a) {
  return std::make_shared<O>(a);
}

}  // namespace

void register_shape(OpRegistry& r) {
  r.add("reshape", make<ReshapeOp>);
  r.add("flatten", make<FlattenOp>);
  r.add("expand_dims", make<ExpandDimsOp>);
  r.add("squeeze", make<SqueezeOp>);
  r.add("transpose", make<TransposeOp>);
  r.add("slice", make<SliceOp>);
  r.add("pad", make<PadOp>);
  r.add("concat", make<ConcatOp>);
  r.add("cast", make<CastOp>);
}

}  // namespace lamella
