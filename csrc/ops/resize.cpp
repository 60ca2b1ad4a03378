// upsample2d on (n, h, w, c), to any size.
//
//   scale          [h, w] or one integer: whole factors;  or  size: [h, w], the output's
//   mode           "nearest" (floor(o * in / out)) or "bilinear" (pixel centres)
//   align_corners  bilinear only: the corner pixels of both grids coincide instead
#include "ops/memory.h"
#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

constexpr const char* kOp = "upsample2d";

class Upsample2d final : public Op {
 public:
  explicit Upsample2d(const Json& attrs) {
    AttrReader a(kOp, attrs);
    by_scale_ = a.has("scale");
    if (by_scale_ == a.has("size")) fail_value(kOp, "scale, size", "one of them", by_scale_ ? "both" : "neither");
    const char* key = by_scale_ ? "scale" : "size";
    to_ = a.get_sizes(key, {});
    if (to_.size() == 1) to_.push_back(to_[0]);
    if (to_.size() != 2 || to_[0] < 1 || to_[1] < 1) {
      fail_value(kOp, key, "one or two integers of at least 1", a.get(key)->dump());
    }
    const std::string mode = a.get_string("mode", "nearest");
    if (mode != "nearest" && mode != "bilinear") {
      fail_value(kOp, "mode", "'nearest' or 'bilinear'", "'" + mode + "'");
    }
    const bool align = a.get_bool("align_corners", false);
    if (align && mode == "nearest") fail_value(kOp, "align_corners", "false with mode 'nearest'", "true");
    mode_ = mode == "nearest" ? Resize::kNearest : align ? Resize::kBilinearAlignCorners : Resize::kBilinear;
    a.done();
  }

  std::string_view name() const override { return kOp; }
  Json attrs() const override {
    return Json::Object{{by_scale_ ? "scale" : "size", Json::Array{to_[0], to_[1]}},
                        {"mode", mode_ == Resize::kNearest ? "nearest" : "bilinear"},
                        {"align_corners", mode_ == Resize::kBilinearAlignCorners}};
  }
  BackwardUses backward_uses() const override { return {0, 0}; }

  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(kOp, in, 1, 1);
    check_float(kOp, "x", in[0]);
    check_rank(kOp, "x", in[0], 4);
    const Shape& x = in[0].shape;
    if (x[1] < 1 || x[2] < 1) fail_value(kOp, "x", "a height and width of at least 1", x.str());
    return {{{in[0].dtype, Shape{x[0], by_scale_ ? x[1] * to_[0] : to_[0], by_scale_ ? x[2] * to_[1] : to_[1], x[3]}}},
            {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    const TensorView &x = args.in[0], &y = args.out[0];
    dispatch_float(x.dtype, kOp, "x", [&]<class T>() {
      const ResizeParams<T> p = params<T>(x.shape, y.shape, x, y);
      const ResampleKernels<T>& k = exec.kernels<T>().resample;
      k.resize(exec.context(k.resize_workspace(p, exec.context().threads)), p);
    });
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView &dx = args.grad_in[0], &dy = args.grad_out[0];
    if (!dx) return;
    if (!dy) return zero_tensor(exec, dx);
    dispatch_float(dx.dtype, kOp, "x", [&]<class T>() {
      const ResizeParams<T> p = params<T>(dx.shape, dy.shape, dy, dx);
      const ResampleKernels<T>& k = exec.kernels<T>().resample;
      k.resize_backward(exec.context(k.resize_backward_workspace(p, exec.context().threads)), p);
    });
  }
  double flops(std::span<const TensorSpec> in) const override {
    return mode_ == Resize::kNearest ? 0.0 : 8.0 * static_cast<double>(infer(in, false).outputs[0].shape.size());
  }

 private:
  template <class T>
  ResizeParams<T> params(const Shape& x, const Shape& y, const TensorView& from, const TensorView& to) const {
    return {x[0], x[1], x[2], y[1], y[2], x[3], mode_, from.as<const T>(), to.as<T>()};
  }
  bool by_scale_;
  std::vector<int64_t> to_;
  Resize mode_;
};

}  // namespace

void register_resize(OpRegistry& r) {
  r.add(kOp, [](const Json& a) -> OpPtr { return std::make_shared<Upsample2d>(a); });
}

}  // namespace lamella
