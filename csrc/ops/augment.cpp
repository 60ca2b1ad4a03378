// affine_warp, and random changes of images (n, h, w, c) in training: random_affine, random_color, random_erasing. Out
// of training the random ones give their input, random_affine with `crop` the window in the middle.
//
// Those that draw keep their Philox key, two uint64 numbers, and draw the same again in backward. They take the next
// stream of the generator, or
//   key   [seed, stream]: that stream
//   seed  the next stream, but of this seed
#include <cmath>
#include <limits>

#include "ops/memory.h"
#include "ops/noise.h"
#include "ops/registry.h"

namespace lamella {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// One finite number for both ends, or [low, high] with `least` <= low <= high <= `most`.
Range read_range(AttrReader& a, const char* op, const char* key, Range fallback, double least, double most) {
  const Json* v = a.get(key);
  if (v == nullptr) return fallback;
  const auto refuse = [&] {
    std::string expected = "a number or [low, high] with low <= high";
    if (least > -kInfinity) expected += ", from " + std::to_string(least);
    if (most < kInfinity) expected += ", up to " + std::to_string(most);
    fail_value(op, key, expected, v->dump());
  };
  Range r;
  if (v->is_number()) {
    r.low = r.high = v->as_double();
  } else if (v->is_array() && v->as_array().size() == 2 && v->as_array()[0].is_number() &&
             v->as_array()[1].is_number()) {
    r = {v->as_array()[0].as_double(), v->as_array()[1].as_double()};
  } else {
    refuse();
  }
  if (!(std::isfinite(r.low) && std::isfinite(r.high) && r.low <= r.high && r.low >= least && r.high <= most)) refuse();
  return r;
}

Json to_json(Range r) { return Json::Array{r.low, r.high}; }

double read_number(AttrReader& a, const char* op, const char* key, double fallback, double least, double most) {
  const double v = a.get_double(key, fallback);
  if (!(v >= least && v <= most)) {
    fail_value(op, key, "a number from " + std::to_string(least) + " to " + std::to_string(most), std::to_string(v));
  }
  return v;
}

void check_images(const char* op, const TensorSpec& x) {
  check_float(op, "x", x);
  check_rank(op, "x", x, 4);
  if (x.shape[1] < 1 || x.shape[2] < 1) fail_value(op, "x", "a height and width of at least 1", x.shape.str());
}

// What lies beyond the border, and how pixels are interpolated.
struct Sampling {
  Border border = Border::kConstant;
  bool bilinear = true;
  double fill = 0;

  static constexpr const char* kBorders[] = {"constant", "nearest", "reflect", "wrap"};

  void read(AttrReader& a, const char* op) {
    const std::string mode = a.get_string("fill_mode", "constant");
    int found = -1;
    for (int i = 0; i < 4; ++i) found = mode == kBorders[i] ? i : found;
    if (found < 0) fail_value(op, "fill_mode", "'constant', 'nearest', 'reflect' or 'wrap'", "'" + mode + "'");
    border = static_cast<Border>(found);
    fill = a.get_double("fill_value", 0.0);
    const std::string how = a.get_string("interpolation", "bilinear");
    if (how != "bilinear" && how != "nearest") {
      fail_value(op, "interpolation", "'bilinear' or 'nearest'", "'" + how + "'");
    }
    bilinear = how == "bilinear";
  }
  void write(Json& a) const {
    a.set("fill_mode", kBorders[static_cast<int>(border)]);
    a.set("fill_value", fill);
    a.set("interpolation", bilinear ? "bilinear" : "nearest");
  }
  void check(const char* op, const Shape& x) const {
    if (x[1] * x[2] * x[3] > std::numeric_limits<int32_t>::max()) {
      fail_value(op, "x", "images of fewer than 2^31 numbers", x.str());
    }
  }
  // From images x to images y, forward or backward.
  template <class T>
  WarpParams<T> params(const Shape& x, const Shape& y) const {
    WarpParams<T> p;
    p.n = x[0], p.h = x[1], p.w = x[2], p.c = x[3], p.oh = y[1], p.ow = y[2];
    p.border = border;
    p.bilinear = bilinear;
    p.fill = static_cast<T>(fill);
    return p;
  }
};

std::vector<int64_t> read_size(AttrReader& a, const char* op, const char* key) {
  std::vector<int64_t> size = a.get_sizes(key, {});
  if (size.size() == 1) size.push_back(size[0]);
  if (!size.empty() && (size.size() != 2 || size[0] < 1 || size[1] < 1)) {
    fail_value(op, key, "one or two integers of at least 1", a.get(key)->dump());
  }
  return size;
}

Shape resized(const Shape& x, const std::vector<int64_t>& size) {
  return size.empty() ? x : Shape{x[0], size[0], size[1], x[3]};
}

// Output pixel (i, j) of image k is the input's at column m00 j + m01 i + m02 and row m10 j + m11 i + m12, with
// m = matrix[k]. size: [h, w] of the output, the input's without it.
class AffineWarp final : public Op {
 public:
  static constexpr const char* kName = "affine_warp";

  explicit AffineWarp(const Json& attrs) {
    AttrReader a(kName, attrs);
    size_ = read_size(a, kName, "size");
    sampling_.read(a, kName);
    a.done();
  }

  std::string_view name() const override { return kName; }
  Json attrs() const override {
    Json a = Json::Object{};
    if (!size_.empty()) a.set("size", Json::Array{size_[0], size_[1]});
    sampling_.write(a);
    return a;
  }
  bool differentiable(int input) const override { return input == 0; }
  BackwardUses backward_uses() const override { return {2, 0}; }

  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(kName, in, 2, 2);
    check_images(kName, in[0]);
    check_same_dtype(kName, "matrix", in[1], in[0].dtype);
    const Shape& x = in[0].shape;
    sampling_.check(kName, x);
    if (!(in[1].shape == Shape{x[0], 2, 3})) {
      fail_value(kName, "matrix", "shape " + Shape{x[0], 2, 3}.str() + ", a matrix per image", in[1].shape.str());
    }
    return {{{in[0].dtype, resized(x, size_)}}, {}};
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    dispatch_float(args.in[0].dtype, kName, "x", [&]<class T>() {
      WarpParams<T> p = sampling_.params<T>(args.in[0].shape, args.out[0].shape);
      p.matrix = args.in[1].as<const T>();
      p.x = args.in[0].as<const T>();
      p.y = args.out[0].as<T>();
      exec.kernels<T>().augment.warp(exec.context(), p);
    });
  }
  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView &dx = args.grad_in[0], &dy = args.grad_out[0];
    if (!dx) return;
    if (!dy) return zero_tensor(exec, dx);
    dispatch_float(dx.dtype, kName, "x", [&]<class T>() {
      WarpParams<T> p = sampling_.params<T>(dx.shape, dy.shape);
      p.matrix = args.in[1].as<const T>();
      p.x = dy.as<const T>();
      p.y = dx.as<T>();
      exec.kernels<T>().augment.warp_backward(exec.context(), p);
    });
  }

 private:
  std::vector<int64_t> size_;
  Sampling sampling_;
};

// What the random ones share.
class RandomImages : public Op {
 public:
  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    const char* op = name().data();
    check_count(op, in, 1, 1);
    check_images(op, in[0]);
    Signature sig;
    sig.outputs = {{in[0].dtype, output_shape(in[0].shape)}};
    if (training) {
      sig.saved = {saved_key_spec()};
      sig.saved_on_host = 1;
    }
    return sig;
  }
  void forward(Exec& exec, const ForwardArgs& args) const override {
    if (!exec.training) return rest(exec, args.in[0], args.out[0]);
    const PhiloxKey key = key_.take(exec);
    if (!args.saved.empty()) save_key(key, args.saved[0]);
    apply(exec, key, args.in[0], args.out[0]);
  }
  BackwardUses backward_uses() const override { return {0, 0}; }

 protected:
  virtual Shape output_shape(const Shape& x) const { return x; }
  virtual void apply(Exec& exec, PhiloxKey key, const TensorView& x, const TensorView& y) const = 0;
  virtual void rest(Exec& exec, const TensorView& x, const TensorView& y) const { copy_tensor(exec, x, y); }

  KeyAttr key_;
};

// rotation in radians, counterclockwise; zoom_height and zoom_width: input pixels per output pixel (zoom_width: as
// zoom_height without it); shift_height and shift_width as shares of the sizes, down and to the right; flip_vertical
// and flip_horizontal: probabilities. crop: [h, w] of a window that is taken as it lies; then there is no rotation,
// zoom and shift.
class RandomAffine final : public RandomImages {
 public:
  static constexpr const char* kName = "random_affine";

  explicit RandomAffine(const Json& attrs) {
    AttrReader a(kName, attrs);
    crop_ = read_size(a, kName, "crop");
    for (const char* key : {"rotation", "zoom_height", "zoom_width", "shift_height", "shift_width"}) {
      if (!crop_.empty() && a.has(key)) fail_value(kName, key, "none with crop", a.get(key)->dump());
    }
    rotation_ = read_range(a, kName, "rotation", {}, -kInfinity, kInfinity);
    zoom_h_ = read_range(a, kName, "zoom_height", {1, 1}, 0, kInfinity);
    same_zoom_ = !a.has("zoom_width");
    zoom_w_ = read_range(a, kName, "zoom_width", {1, 1}, 0, kInfinity);
    shift_h_ = read_range(a, kName, "shift_height", {}, -kInfinity, kInfinity);
    shift_w_ = read_range(a, kName, "shift_width", {}, -kInfinity, kInfinity);
    flip_h_ = read_number(a, kName, "flip_vertical", 0, 0, 1);
    flip_w_ = read_number(a, kName, "flip_horizontal", 0, 0, 1);
    sampling_.read(a, kName);
    key_.read(a, kName);
    a.done();
  }

  std::string_view name() const override { return kName; }
  Json attrs() const override {
    Json a = Json::Object{};
    if (crop_.empty()) {
      a.set("rotation", to_json(rotation_)).set("zoom_height", to_json(zoom_h_));
      if (!same_zoom_) a.set("zoom_width", to_json(zoom_w_));
      a.set("shift_height", to_json(shift_h_)).set("shift_width", to_json(shift_w_));
    } else {
      a.set("crop", Json::Array{crop_[0], crop_[1]});
    }
    a.set("flip_vertical", flip_h_).set("flip_horizontal", flip_w_);
    sampling_.write(a);
    key_.write(a);
    return a;
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView &dx = args.grad_in[0], &dy = args.grad_out[0];
    if (!dx) return;
    if (!dy) return zero_tensor(exec, dx);
    if (args.saved.empty())
      return crop_.empty() ? copy_tensor(exec, dy, dx) : run(exec, nullptr, dx.shape, dy, dx, true);
    const PhiloxKey key = saved_key(args.saved[0]);
    run(exec, &key, dx.shape, dy, dx, true);
  }

 protected:
  Shape output_shape(const Shape& x) const override {
    sampling_.check(kName, x);
    if (!crop_.empty() && (crop_[0] > x[1] || crop_[1] > x[2])) {
      fail_value(kName, "crop", "a window inside images of " + x.str(),
                 std::to_string(crop_[0]) + " x " + std::to_string(crop_[1]));
    }
    return resized(x, crop_);
  }
  void apply(Exec& exec, PhiloxKey key, const TensorView& x, const TensorView& y) const override {
    run(exec, &key, x.shape, x, y, false);
  }
  void rest(Exec& exec, const TensorView& x, const TensorView& y) const override {
    if (crop_.empty()) return copy_tensor(exec, x, y);
    run(exec, nullptr, x.shape, x, y, false);
  }

 private:
  // key nullptr: nothing is drawn.
  void run(Exec& exec, const PhiloxKey* key, const Shape& x, const TensorView& from, const TensorView& to,
           bool back) const {
    dispatch_float(from.dtype, kName, "x", [&]<class T>() {
      const AugmentKernels<T>& k = exec.kernels<T>().augment;
      const Context ctx = exec.context(static_cast<size_t>(x[0]) * 6 * sizeof(T));
      RandomAffineParams<T> r;
      WarpParams<T> p = sampling_.params<T>(x, back ? from.shape : to.shape);
      r.n = p.n, r.h = p.h, r.w = p.w, r.oh = p.oh, r.ow = p.ow;
      r.crop = !crop_.empty();
      r.center = key == nullptr;
      r.same_zoom = same_zoom_;
      r.matrix = static_cast<T*>(ctx.workspace);
      if (key != nullptr) {
        r.key = *key;
        r.angle = rotation_, r.zoom_h = zoom_h_, r.zoom_w = zoom_w_, r.shift_h = shift_h_, r.shift_w = shift_w_;
        r.flip_h = flip_h_, r.flip_w = flip_w_;
      }
      k.random_affine(ctx, r);
      p.matrix = r.matrix;
      p.x = from.as<const T>();
      p.y = to.as<T>();
      (back ? k.warp_backward : k.warp)(ctx, p);
    });
  }

  std::vector<int64_t> crop_;
  Range rotation_, zoom_h_{1, 1}, zoom_w_{1, 1}, shift_h_, shift_w_;
  bool same_zoom_ = true;
  double flip_h_ = 0, flip_w_ = 0;
  Sampling sampling_;
};

// y = gain * (contrast * (x - mean) + mean) + offset, drawn per image; the mean is each channel's, or with `gray` that
// of the grey image. low, high: the range that results are cut to.
class RandomColor final : public RandomImages {
 public:
  static constexpr const char* kName = "random_color";

  explicit RandomColor(const Json& attrs) {
    AttrReader a(kName, attrs);
    gain_ = read_range(a, kName, "gain", {1, 1}, -kInfinity, kInfinity);
    contrast_ = read_range(a, kName, "contrast", {1, 1}, -kInfinity, kInfinity);
    offset_ = read_range(a, kName, "offset", {}, -kInfinity, kInfinity);
    gray_ = a.get_bool("gray", false);
    has_low_ = a.has("low");
    has_high_ = a.has("high");
    low_ = a.get_double("low", -kInfinity);
    high_ = a.get_double("high", kInfinity);
    if (!(low_ <= high_)) {
      fail_value(kName, "low, high", "low <= high", std::to_string(low_) + " and " + std::to_string(high_));
    }
    key_.read(a, kName);
    a.done();
  }

  std::string_view name() const override { return kName; }
  Json attrs() const override {
    Json a = Json::Object{
        {"gain", to_json(gain_)}, {"contrast", to_json(contrast_)}, {"offset", to_json(offset_)}, {"gray", gray_}};
    if (has_low_) a.set("low", low_);
    if (has_high_) a.set("high", high_);
    key_.write(a);
    return a;
  }
  bool can_run_in_place() const override { return true; }

  BackwardUses backward_uses() const override { return {0, 1}; }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView &dx = args.grad_in[0], &dy = args.grad_out[0];
    if (!dx) return;
    if (!dy) return zero_tensor(exec, dx);
    if (args.saved.empty()) return copy_tensor(exec, dy, dx);
    run(exec, saved_key(args.saved[0]), dy, &args.out[0], dx);
  }

 protected:
  void apply(Exec& exec, PhiloxKey key, const TensorView& x, const TensorView& y) const override {
    run(exec, key, x, nullptr, y);
  }

 private:
  // result: that of forward, for backward.
  void run(Exec& exec, PhiloxKey key, const TensorView& from, const TensorView* result, const TensorView& to) const {
    dispatch_float(from.dtype, kName, "x", [&]<class T>() {
      RandomColorParams<T> p;
      p.key = key;
      p.n = from.shape[0], p.pixels = from.shape[1] * from.shape[2], p.c = from.shape[3];
      p.gain = gain_, p.contrast = contrast_, p.offset = offset_;
      p.gray = gray_;
      p.low = static_cast<T>(low_);
      p.high = static_cast<T>(high_);
      p.x = from.as<const T>();
      p.result = result == nullptr ? nullptr : result->as<const T>();
      p.y = to.as<T>();
      const AugmentKernels<T>& k = exec.kernels<T>().augment;
      k.random_color(exec.context(k.random_color_workspace(p, exec.context().threads)), p);
    });
  }

  Range gain_{1, 1}, contrast_{1, 1}, offset_;
  bool gray_ = false, has_low_ = false, has_high_ = false;
  double low_, high_;
};

// A rectangle of each image, with a probability drawn from `probability`, is overwritten: with `value` (a number, or
// one for each channel) or with normal noise of deviation `noise`. area: its share of the image; without `aspect` each
// side is the square root of a share of its own, with it the sides have that ratio of height to width.
class RandomErasing final : public RandomImages {
 public:
  static constexpr const char* kName = "random_erasing";

  explicit RandomErasing(const Json& attrs) {
    AttrReader a(kName, attrs);
    probability_ = read_range(a, kName, "probability", {1, 1}, 0, 1);
    area_ = read_range(a, kName, "area", {0.02, 0.33}, 0, 1);
    if (a.has("aspect")) {
      aspect_ = read_range(a, kName, "aspect", {}, std::numeric_limits<double>::min(), kInfinity);
    }
    noise_ = read_number(a, kName, "noise", 0, 0, std::numeric_limits<double>::max());
    if (a.has("value")) {
      if (noise_ > 0) fail_value(kName, "value, noise", "one of them", "both");
      const Json& v = *a.get("value");
      if (v.is_number()) {
        value_ = {v.as_double()};
      } else if (v.is_array() && !v.as_array().empty()) {
        for (const Json& item : v.as_array()) value_.push_back(item.as_double());
      } else {
        fail_value(kName, "value", "a number or one for each channel", v.dump());
      }
    } else {
      value_ = {0.0};
    }
    for (double v : value_) value_f32_.push_back(static_cast<float>(v));
    key_.read(a, kName);
    a.done();
  }

  std::string_view name() const override { return kName; }
  Json attrs() const override {
    Json a = Json::Object{{"probability", to_json(probability_)}, {"area", to_json(area_)}};
    if (aspect_.high > 0) a.set("aspect", to_json(aspect_));
    if (noise_ > 0) {
      a.set("noise", noise_);
    } else {
      Json::Array value;
      for (double v : value_) value.emplace_back(v);
      a.set("value", std::move(value));
    }
    key_.write(a);
    return a;
  }
  bool can_run_in_place() const override { return true; }

  Signature infer(std::span<const TensorSpec> in, bool training) const override {
    Signature sig = RandomImages::infer(in, training);
    if (value_.size() != 1 && static_cast<int64_t>(value_.size()) != in[0].shape[3]) {
      fail_value(kName, "value", "1 number or " + std::to_string(in[0].shape[3]) + ", one for each channel",
                 std::to_string(value_.size()));
    }
    return sig;
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView &dx = args.grad_in[0], &dy = args.grad_out[0];
    if (!dx) return;
    if (!dy) return zero_tensor(exec, dx);
    if (args.saved.empty()) return copy_tensor(exec, dy, dx);
    run(exec, saved_key(args.saved[0]), dy, dx, true);
  }

 protected:
  void apply(Exec& exec, PhiloxKey key, const TensorView& x, const TensorView& y) const override {
    run(exec, key, x, y, false);
  }

 private:
  void run(Exec& exec, PhiloxKey key, const TensorView& from, const TensorView& to, bool back) const {
    dispatch_float(from.dtype, kName, "x", [&]<class T>() {
      RandomErasingParams<T> p;
      p.key = key;
      p.n = from.shape[0], p.h = from.shape[1], p.w = from.shape[2], p.c = from.shape[3];
      p.probability = probability_, p.area = area_, p.aspect = aspect_;
      static constexpr T kZero = 0;
      p.values = back ? 1 : static_cast<int64_t>(value_.size());
      if constexpr (sizeof(T) == 4) {
        p.value = back ? &kZero : value_f32_.data();
      } else {
        p.value = back ? &kZero : value_.data();
      }
      p.noise = back ? T(0) : static_cast<T>(noise_);
      p.x = from.as<const T>();
      p.y = to.as<T>();
      exec.kernels<T>().augment.random_erasing(exec.context(), p);
    });
  }

  Range probability_{1, 1}, area_, aspect_;
  double noise_ = 0;
  std::vector<double> value_;
  std::vector<float> value_f32_;  // the same
};

}  // namespace

void register_augment(OpRegistry& r) {
  r.add(AffineWarp::kName, [](const Json& a) -> OpPtr { return std::make_shared<AffineWarp>(a); });
  r.add(RandomAffine::kName, [](const Json& a) -> OpPtr { return std::make_shared<RandomAffine>(a); });
  r.add(RandomColor::kName, [](const Json& a) -> OpPtr { return std::make_shared<RandomColor>(a); });
  r.add(RandomErasing::kName, [](const Json& a) -> OpPtr { return std::make_shared<RandomErasing>(a); });
}

}  // namespace lamella
