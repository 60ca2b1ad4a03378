// Plans: gradients against finite differences, no allocation after the first step, two threads on one plan, memory.
#include "graph/plan.h"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>
#include <thread>

#include "base/thread_pool.h"
#include "graph/memory.h"
#include "graph/trainer.h"
#include "testing.h"

namespace {
std::atomic<int64_t> allocations{0};
}  // namespace

// Counted for the whole test program; only differences between two moments are looked at. Not inline: where only one of
// a pair is, GCC warns of memory that new gave and free takes.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes > 0 ? bytes : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(bytes);
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace lamella {
namespace {

// A small network with its parameters, as a model would trace it.
class Net {
 public:
  explicit Net(DType dtype) : dtype_(dtype) {}

  int param(const std::string& name, const Shape& shape, double scale, bool trainable = true) {
    const TensorSpec spec{dtype_, shape};
    auto memory =
        std::shared_ptr<void>(std::aligned_alloc(64, static_cast<size_t>(spec.bytes() + 63) / 64 * 64), std::free);
    const TensorView v{memory.get(), dtype_, shape};
    for (int64_t i = 0; i < v.size(); ++i) {
      const double wave = scale * std::sin(1.7 * static_cast<double>(i) + 0.3 * static_cast<double>(name.size()));
      set(v, i, trainable ? wave : 0.5 + std::abs(wave));  // a running variance must be positive
    }
    return graph.add_param(name, v, memory, trainable);
  }
  int op(const std::string& name, const char* attrs, const std::vector<int>& in) {
    return graph.apply(OpRegistry::instance().make(name, Json::parse(attrs)), in, name)[0];
  }
  static void set(const TensorView& v, int64_t i, double x) {
    if (v.dtype == DType::kF32) {
      v.as<float>()[i] = static_cast<float>(x);
    } else {
      v.as<double>()[i] = x;
    }
  }
  static double get(const TensorView& v, int64_t i) {
    return v.dtype == DType::kF32 ? static_cast<double>(v.as<float>()[i]) : v.as<double>()[i];
  }

  Graph graph;
  int logits = -1, loss = -1;

 private:
  DType dtype_;
};

// Convolution, batch norm, pooling, a value with two readers, dense layers, softmax cross-entropy.
void build_cnn(Net& net, DType dtype, bool dropout) {
  Graph& g = net.graph;
  const int x = g.add_input("x", {dtype, {4, 8, 8, 2}});
  const int y = g.add_input("y", {DType::kI64, {4}});
  int h = net.op("conv2d", R"({"padding":"same","activation":"tanh"})",
                 {x, net.param("conv.kernel", {3, 3, 2, 4}, 0.4), net.param("conv.bias", {4}, 0.1)});
  h = net.op("batch_norm", R"({"momentum":0.9})",
             {h, net.param("bn.gamma", {4}, 1.1), net.param("bn.beta", {4}, 0.2), net.param("bn.mean", {4}, 0.0, false),
              net.param("bn.var", {4}, 1.0, false)});
  h = net.op("avg_pool2d", R"({"window":2})", {h});
  h = net.op("add", "{}", {h, net.op("activation", R"({"activation":"sigmoid"})", {h})});
  h = net.op("flatten", "{}", {h});
  if (dropout) h = net.op("dropout", R"({"rate":0.25})", {h});
  h = net.op("dense", R"({"activation":"gelu"})",
             {h, net.param("fc.kernel", {64, 6}, 0.2), net.param("fc.bias", {6}, 0.1)});
  net.logits = net.op("dense", "{}", {h, net.param("out.kernel", {6, 3}, 0.5)});
  net.loss = net.op("softmax_cross_entropy", "{}", {net.logits, y});
}

struct Batch {
  explicit Batch(DType dtype) : x(4 * 8 * 8 * 2), f(x.size()) {
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = std::cos(0.37 * static_cast<double>(i));
      f[i] = static_cast<float>(x[i]);
    }
    views = {{dtype == DType::kF64 ? static_cast<void*>(x.data()) : f.data(), dtype, {4, 8, 8, 2}},
             {y, DType::kI64, {4}}};
  }
  std::vector<double> x;
  std::vector<float> f;
  int64_t y[4] = {0, 2, 1, 2};
  std::vector<TensorView> views;
};

std::vector<TensorSpec> specs_of(const Batch& b) { return {b.views[0].spec(), b.views[1].spec()}; }

TEST_CASE("a plan's gradients are those of finite differences") {
  Net net(DType::kF64);
  build_cnn(net, DType::kF64, false);
  Batch batch(DType::kF64);
  Plan plan(net.graph, specs_of(batch), {true, {net.loss}});
  plan.run(batch.views);
  REQUIRE(plan.gradients().size() == 7);
  for (const Plan::ParamGrad& p : plan.gradients()) {
    std::vector<double> grad(static_cast<size_t>(p.grad.size()));
    plan.run(batch.views);
    for (size_t i = 0; i < grad.size(); ++i) grad[i] = p.grad.as<double>()[i];
    for (int64_t i = 0; i < p.value.size(); i += 5) {
      double* w = p.value.as<double>() + i;
      const double old = *w, step = 1e-5;
      *w = old + step;
      plan.run(batch.views);
      const double above = *plan.results()[0].as<double>();
      *w = old - step;
      plan.run(batch.views);
      const double below = *plan.results()[0].as<double>();
      *w = old;
      CHECK(grad[static_cast<size_t>(i)] == doctest::Approx((above - below) / (2 * step)).epsilon(1e-5).scale(1e-3));
    }
  }
}

TEST_CASE("training steps allocate nothing after the first") {
  Net net(DType::kF32);
  build_cnn(net, DType::kF32, true);
  Batch batch(DType::kF32);
  Plan plan(net.graph, specs_of(batch), {true, {net.loss}});
  const auto optimizer = Optimizer::make("adam", Json::parse(R"({"global_clipnorm":1.0})"));
  Update update{optimizer.get(), {}, {}};
  std::vector<ParamSlot>& slots = update.slots;
  std::vector<std::vector<float>> states;
  for (const Plan::ParamGrad& p : plan.gradients()) {
    ParamSlot s;
    s.value = p.value;
    s.grad = p.grad;
    for (int k = 0; k < 2; ++k) {
      states.emplace_back(static_cast<size_t>(p.value.size()), 0.0f);
      s.state[k] = {states.back().data(), DType::kF32, p.value.shape};
    }
    slots.push_back(s);
  }
  Samples samples;
  samples.arrays = batch.views;
  const int64_t order[4] = {3, 1, 0, 2};
  samples.order = order;
  samples.rows = 4;
  const double rate[1] = {0.01};
  StepTotals totals;
  train_steps(plan, samples, 0, 1, update, 1, rate, totals);
  const double first = totals.results[0];
  train_steps(plan, samples, 0, 1, update, 2, rate, totals);

  // Step by step, so that what a call to train_steps sets up does not count.
  plan.run(batch.views);
  optimizer->step(plan.exec(), slots, 3);
  const int64_t before = allocations;
  for (int step = 4; step < 8; ++step) {
    plan.run(batch.views);
    optimizer->step(plan.exec(), slots, step);
  }
  CHECK(allocations - before == 0);
  for (int64_t step = 8; step < 60; ++step) {
    totals = {};
    train_steps(plan, samples, 0, 1, update, step, rate, totals);
  }
  CHECK(totals.results[0] < first);
}

TEST_CASE("an inference plan and a training plan agree, for one thread and for two") {
  Net net(DType::kF32);
  build_cnn(net, DType::kF32, false);
  Batch batch(DType::kF32);
  const int threads = num_threads();
  std::vector<float> losses;
  for (int n : {1, 2}) {
    set_num_threads(n);
    Plan plan(net.graph, specs_of(batch), {false, {net.loss}});
    plan.run(batch.views);
    losses.push_back(*plan.results()[0].as<float>());
  }
  set_num_threads(threads);
  CHECK(losses[0] == losses[1]);
  CHECK(std::isfinite(losses[0]));
}

TEST_CASE("two threads predict on one plan") {
  Net net(DType::kF32);
  build_cnn(net, DType::kF32, false);
  Batch batch(DType::kF32);
  const std::vector<TensorSpec> specs = {batch.views[0].spec(), batch.views[1].spec()};
  Plan plan(net.graph, specs, {false, {net.logits}});
  plan.run(std::span(batch.views));
  const std::vector<float> want(plan.results()[0].as<float>(), plan.results()[0].as<float>() + 12);
  std::atomic<int> wrong{0};
  const auto work = [&] {
    for (int i = 0; i < 50; ++i) {
      const Plan::Turn turn(plan, nullptr);
      plan.run(batch.views);
      for (size_t k = 0; k < want.size(); ++k) wrong += plan.results()[0].as<float>()[k] != want[k];
    }
  };
  std::thread a(work), b(work);
  a.join();
  b.join();
  CHECK(wrong == 0);
}

TEST_CASE("a graph survives JSON") {
  Net net(DType::kF32);
  build_cnn(net, DType::kF32, true);
  net.graph.set_outputs({net.logits});
  const std::string text = net.graph.to_json().dump();
  std::vector<std::pair<std::string, TensorView>> tensors;
  for (const Value& v : net.graph.values())
    if (v.kind == ValueKind::kParam) tensors.emplace_back(v.name, v.data);
  const auto find = [](void* context, const std::string& name) -> const TensorView* {
    for (auto& [n, t] : *static_cast<std::vector<std::pair<std::string, TensorView>>*>(context))
      if (n == name) return &t;
    return nullptr;
  };
  const Graph again = Graph::from_json(Json::parse(text), find, &tensors, nullptr);
  CHECK(again.to_json().dump() == text);
  Batch batch(DType::kF32);
  Plan a(net.graph, specs_of(batch), {false, {}}), b(again, specs_of(batch), {false, {}});
  a.run(batch.views);
  b.run(batch.views);
  for (int64_t i = 0; i < 12; ++i) CHECK(Net::get(a.results()[0], i) == Net::get(b.results()[0], i));

  const auto spoiled = [&](const char* from, const char* to) {
    std::string s = text;
    const size_t at = s.find(from);
    REQUIRE(at != std::string::npos);
    return s.replace(at, std::string(from).size(), to);
  };
  CHECK_THROWS_AS(Graph::from_json(Json::parse(spoiled("\"in\":[0,", "\"in\":[99,")), find, &tensors, nullptr), Error);
  CHECK_THROWS_AS(Graph::from_json(Json::parse(spoiled("\"op\":\"add\"", "\"op\":\"sys\"")), find, &tensors, nullptr),
                  Error);
  CHECK_THROWS_AS(Graph::from_json(Json::parse(spoiled("conv.kernel", "conv.other_")), find, &tensors, nullptr), Error);
  CHECK_THROWS_AS(Graph::from_json(Json::parse(spoiled("[3,3,2,4]", "[3,3,4,2]")), find, &tensors, nullptr), Error);
  CHECK_THROWS_AS(Graph::from_json(Json::parse("{}"), find, &tensors, nullptr), Error);
}

TEST_CASE("wrong inputs of a plan are refused") {
  Net net(DType::kF32);
  build_cnn(net, DType::kF32, false);
  Batch batch(DType::kF32);
  Plan plan(net.graph, specs_of(batch), {false, {net.loss}});
  std::vector<TensorView> one = {batch.views[0]};
  CHECK_THROWS_AS(plan.run(one), Error);
  std::vector<TensorView> other = batch.views;
  other[0].shape = Shape{4, 8, 4, 4};
  CHECK_THROWS_AS(plan.run(other), Error);
  std::vector<TensorSpec> bad = specs_of(batch);
  bad[0].shape = Shape{4, 8, 8, 3};
  CHECK_THROWS_AS(Plan(net.graph, bad, {false, {net.loss}}), Error);
  CHECK_THROWS_AS(Plan(net.graph, specs_of(batch), {true, {net.logits}}), Error);
}

TEST_CASE("buffers that live together do not overlap") {
  std::vector<BufferLife> lives;
  for (int i = 0; i < 60; ++i) {
    const int first = i * 7 % 23;
    lives.push_back({1 + i * 977 % 5000, first, first + i % 9, 0});
  }
  lives.push_back({100, 5, 4, 0});  // never used
  const int64_t arena = plan_memory(lives);
  int64_t peak = 0;
  for (int t = 0; t < 40; ++t) {
    int64_t live = 0;
    for (const BufferLife& b : lives) live += b.first <= t && t <= b.last ? (b.bytes + 63) / 64 * 64 : 0;
    peak = std::max(peak, live);
  }
  CHECK(arena >= peak);
  CHECK(arena <= 2 * peak);
  for (size_t i = 0; i < lives.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const BufferLife &a = lives[i], &b = lives[j];
      if (a.last < a.first || b.last < b.first || a.last < b.first || b.last < a.first) continue;
      CHECK((a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset));
    }
  }
}

}  // namespace
}  // namespace lamella
