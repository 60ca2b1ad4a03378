#include <cmath>

#include "ops/exec.h"
#include "ops/op.h"
#include "testing.h"

namespace lamella {
namespace {

using testing::contains;
using testing::error_of;

TEST_CASE("attributes are read with defaults and refused when wrong") {
  const Json attrs = Json::parse(
      "{\"groups\":2,\"eps\":1,\"flag\":true,\"mode\":\"same\",\"stride\":[1,2],\"pad\":3,"
      "\"none\":null,\"half\":0.5,\"whole\":4.0}");
  AttrReader a("conv2d", attrs);
  CHECK(a.get_int("groups", 1) == 2);
  CHECK(a.get_int("whole", 1) == 4);
  CHECK(a.get_int("missing", 7) == 7);
  CHECK(a.get_int("none", 7) == 7);
  CHECK(a.get_double("eps", 0.0) == 1.0);
  CHECK(a.get_bool("flag", false));
  CHECK(a.get_string("mode", "valid") == "same");
  CHECK(a.get_ints("stride", {}) == std::vector<int64_t>{1, 2});
  CHECK(a.get_ints("pad", {}) == std::vector<int64_t>{3});
  CHECK(a.get_ints("missing", {5, 6}) == std::vector<int64_t>{5, 6});
  CHECK(a.has("flag"));
  CHECK(!a.has("none"));
  CHECK(error_of(ErrorKind::kType, [&] { a.get_int("half", 0); }) == "conv2d: half: expected an integer, got 0.5");
  CHECK(error_of(ErrorKind::kType, [&] { a.get_int("flag", 0); }) == "conv2d: flag: expected an integer, got true");
  CHECK(contains(error_of(ErrorKind::kType, [&] { a.get_double("mode", 0); }), "a number, got \"same\""));
  CHECK(contains(error_of(ErrorKind::kType, [&] { a.get_bool("groups", false); }), "true or false, got 2"));
  CHECK(contains(error_of(ErrorKind::kType, [&] { a.get_string("pad", ""); }), "a string, got 3"));
  CHECK(contains(error_of(ErrorKind::kType, [&] { a.get_ints("mode", {}); }), "list of integers"));
  CHECK_NOTHROW(a.done());

  const Json typo = Json::parse("{\"strde\":1}");
  AttrReader b("conv2d", typo);
  b.get_int("stride", 1);
  b.get_int("groups", 1);
  CHECK(error_of(ErrorKind::kValue, [&] { b.done(); }) ==
        "conv2d: attributes: expected only known names (groups, stride), got 'strde'; did you mean 'stride'?");
  const Json nothing;
  AttrReader c("relu", nothing);
  CHECK_NOTHROW(c.done());
  const Json number(1);
  CHECK(contains(error_of(ErrorKind::kType, [&] { AttrReader("relu", number); }), "an object, got 1"));
}

TEST_CASE("activations go by their names") {
  for (int32_t i = 0; i < static_cast<int32_t>(Act::kCount); ++i) {
    const Act act = static_cast<Act>(i);
    CHECK(activation_from_name("dense", activation_name(act), 0.25).act == act);
  }
  CHECK(activation_from_name("dense", "linear", 0).act == Act::kIdentity);
  CHECK(activation_from_name("dense", "swish", 0).act == Act::kSilu);
  CHECK(std::string(activation_name(Act::kSilu)) == "silu");
  CHECK(activation_from_name("dense", "leaky_relu", 0.25).alpha == 0.25);
  CHECK(activation_from_name("dense", "leaky_relu", std::nan("")).alpha == 0.01);
  CHECK(activation_from_name("dense", "elu", std::nan("")).alpha == 1.0);
  const std::string message = error_of(ErrorKind::kValue, [] { activation_from_name("dense", "rleu", 0); });
  CHECK(contains(message, "dense: activation: expected one of identity, linear, relu"));
  CHECK(contains(message, "got 'rleu'; did you mean 'relu'?"));
}

TEST_CASE("the closest name is a likely one or none") {
  const std::vector<std::string> known = {"dense", "conv2d", "max_pool2d", "softmax", "lstm", "gru"};
  CHECK(closest_name("convd2", known) == "conv2d");
  CHECK(closest_name("Dense", known) == "dense");
  CHECK(closest_name("maxpool2d", known) == "max_pool2d");
  CHECK(closest_name("sofmax", known) == "softmax");
  CHECK(closest_name("xyz", known).empty());
  CHECK(closest_name("", known).empty());
  CHECK(closest_name("embedding", known).empty());
  CHECK(closest_name("gru", {}).empty());
}

TEST_CASE("shape checks name op, argument, expected and got") {
  const TensorSpec spec{DType::kI32, {2, 3}};
  const TensorSpec specs[] = {spec, spec};
  CHECK_NOTHROW(check_count("dense", specs, 2, 3));
  CHECK(error_of(ErrorKind::kValue, [&] { check_count("dense", specs, 3, 4); }) ==
        "dense: inputs: expected 3 to 4 arrays, got 2");
  CHECK(error_of(ErrorKind::kValue, [&] { check_count("relu", specs, 1, 1); }) ==
        "relu: inputs: expected 1 array, got 2");
  CHECK_NOTHROW(check_rank("dense", "x", spec, 2));
  CHECK(error_of(ErrorKind::kValue, [&] { check_rank("conv2d", "x", spec, 4); }) ==
        "conv2d: x: expected 4 dimensions, got 2 in shape (2, 3)");
  CHECK(error_of(ErrorKind::kType, [&] { check_float("relu", "x", spec); }) ==
        "relu: x: expected float32 or float64, got int32");
  CHECK(error_of(ErrorKind::kType, [&] { check_same_dtype("dense", "kernel", spec, DType::kF32); }) ==
        "dense: kernel: expected float32, got int32");
}

TEST_CASE("an op without a backward says so") {
  struct Forward : Op {
    std::string_view name() const override { return "argmax"; }
    Json attrs() const override { return Json(Json::Object()); }
    Signature infer(std::span<const TensorSpec>, bool) const override { return {}; }
    void forward(Exec&, const ForwardArgs&) const override {}
  };
  Generator generator(1);
  Exec exec(&generator);
  CHECK(
      contains(error_of(ErrorKind::kUnsupported, [&] { Forward().backward(exec, {}); }), "argmax: not differentiable"));
}

TEST_CASE("the workspace is aligned, grows and stays") {
  Generator generator(1);
  Exec exec(&generator);
  CHECK(exec.context().workspace == nullptr);
  void* last = nullptr;
  for (size_t bytes : {size_t{1}, size_t{100}, size_t{4096}, size_t{5000}, size_t{3} << 20, size_t{5} << 20}) {
    const Context ctx = exec.context(bytes);
    CHECK(ctx.workspace_bytes >= bytes);
    CHECK(reinterpret_cast<uintptr_t>(ctx.workspace) % 64 == 0);
    if (bytes > 2 << 20) CHECK(reinterpret_cast<uintptr_t>(ctx.workspace) % (2 << 20) == 0);
    static_cast<char*>(ctx.workspace)[0] = 1;
    static_cast<char*>(ctx.workspace)[bytes - 1] = 1;
    last = ctx.workspace;
  }
  CHECK(exec.context(10).workspace == last);
  for (size_t bytes : {SIZE_MAX, SIZE_MAX / 2})
    CHECK(contains(error_of(ErrorKind::kMemory, [&] { exec.context(bytes); }), std::to_string(bytes) + " bytes"));
  CHECK(exec.context(100).workspace != nullptr);
}

TEST_CASE("precision is strict on demand") {
  Generator generator(1);
  Exec exec(&generator);
  CHECK(!exec.context().strict);
  set_strict_precision(true);
  CHECK(strict_precision());
  CHECK(exec.context().strict);
  set_strict_precision(false);
  CHECK(!exec.context().strict);
}

}  // namespace
}  // namespace lamella
