// What plans ask of a device: recordings, streams and marks. The device is one whose kernels are the CPU's and run at
// once, and which remembers what it was asked for.
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>

#include "graph/trainer.h"
#include "testing.h"

namespace lamella {

struct RecordedGraph {};
struct DeviceEvent {
  void* stream = nullptr;
};

namespace {

struct Device {
  int recordings = 0, graphs = 0, launched = 0, marks = 0;
  void* launched_in = nullptr;
  bool recording = false;
  int dropouts = 0, fail_at = -1;              // calls of that kernel; the one that throws
  void* dropout_stream = nullptr;              // of the last one
  const uint64_t* dropout_key = nullptr;       // its PhiloxKey::step
  std::vector<std::pair<void*, void*>> waits;  // (for what is in a stream, in a stream)
  RecordedGraph graph;
  char stream[4];  // addresses: 0 is that of recordings
};
Device device;

void dropout(const Context& ctx, const DropoutParams<float>& p) {
  if (device.dropouts++ == device.fail_at) throw Error(ErrorKind::kValue, "dropout", "out of order");
  device.dropout_stream = ctx.stream;
  device.dropout_key = p.key.step;
}

const Backend& backend() {
  static KernelTable<float> table = cpu_kernels<float>();
  table.random.dropout = dropout;
  static Backend b;
  b.name = "test";
  b.f32 = &table;
  b.host_memory = true;
  b.allocate = [](size_t bytes, void*) { return std::aligned_alloc(256, (bytes + 256) / 256 * 256); };
  b.release = [](void* p, void*) { std::free(p); };
  b.copy = [](void* to, const void* from, size_t bytes, CopyKind, void*) -> const char* {
    std::memcpy(to, from, bytes);
    return nullptr;
  };
  b.zero = [](void* to, size_t bytes, void*) -> const char* {
    std::memset(to, 0, bytes);
    return nullptr;
  };
  b.synchronize = [](void*) -> const char* { return nullptr; };
  b.last_error = []() -> const char* { return nullptr; };
  b.index_error = [] {
    static IndexError none;
    return &none;
  };
  b.begin_recording = [](void** stream) -> const char* {
    CHECK(!device.recording);
    device.recording = true;
    ++device.recordings;
    *stream = &device.stream[0];
    return nullptr;
  };
  b.end_recording = [](void* stream, RecordedGraph** graph) -> const char* {
    CHECK(device.recording);
    CHECK(stream == &device.stream[0]);
    device.recording = false;
    ++device.graphs;
    *graph = &device.graph;
    return nullptr;
  };
  b.launch = [](RecordedGraph*, void* stream) -> const char* {
    ++device.launched;
    device.launched_in = stream;
    return nullptr;
  };
  b.release_graph = [](RecordedGraph* graph) { device.graphs -= graph != nullptr; };
  b.make_event = [](DeviceEvent** event) -> const char* {
    ++device.marks;
    *event = new DeviceEvent;
    return nullptr;
  };
  b.release_event = [](DeviceEvent* event) {
    --device.marks;
    delete event;
  };
  b.record_event = [](DeviceEvent* event, void* stream) -> const char* {
    event->stream = stream;
    return nullptr;
  };
  b.wait_for_event = [](DeviceEvent* event, void* stream) -> const char* {
    device.waits.emplace_back(event->stream, stream);
    return nullptr;
  };
  return b;
}

// A weight, perhaps dropped in part, times the input, against the input.
struct Net {
  explicit Net(bool drops = true) {
    const TensorSpec spec{DType::kF32, {8}};
    const int x = graph.add_input("x", spec);
    auto memory = std::shared_ptr<void>(std::calloc(8, sizeof(float)), std::free);
    w = graph.add_param("w", {memory.get(), DType::kF32, {8}}, memory, true);
    const auto op = [&](const char* name, const char* attrs, const std::vector<int>& in) {
      return graph.apply(OpRegistry::instance().make(name, Json::parse(attrs)), in, name)[0];
    };
    const int h = op("mul", "{}", {x, w});
    loss = op("mse_loss", "{}", {drops ? op("dropout", R"({"rate":0.5})", {h}) : h, x});
    for (int i = 0; i < 8; ++i) data[i] = static_cast<float>(i + 1);
    specs = {spec};
    inputs = {{data, DType::kF32, {8}}};
  }
  PlanOptions options(void* stream) const { return {true, {loss}, &backend(), stream}; }

  Graph graph;
  int loss = -1, w = -1;
  float data[8];
  std::vector<TensorSpec> specs;
  std::vector<TensorView> inputs;
};

TEST_CASE("a step that throws while it is recorded leaves a plan as it was") {
  device = {};
  Net net;
  {
    void* const stream = &device.stream[1];
    Plan plan(net.graph, net.specs, net.options(stream));
    plan.run(net.inputs);
    plan.run(net.inputs);
    CHECK(device.recordings == 0);
    device.fail_at = device.dropouts;
    CHECK_THROWS_AS(plan.run(net.inputs), Error);
    CHECK(device.recordings == 1);
    CHECK(!device.recording);
    CHECK(device.graphs == 0);
    CHECK(device.launched == 0);
    CHECK(plan.exec().stream() == stream);
    CHECK(plan.exec().next_key().step == nullptr);

    plan.run(net.inputs);  // records again
    CHECK(device.recordings == 2);
    CHECK(device.graphs == 1);
    CHECK(device.launched == 1);
    CHECK(device.launched_in == stream);
    CHECK(device.dropout_stream == &device.stream[0]);
    CHECK(device.dropout_key != nullptr);
    const uint64_t before = global_generator().next_stream();
    plan.run(net.inputs);
    CHECK(device.recordings == 2);
    CHECK(device.launched == 2);
    CHECK(global_generator().next_stream() == before + 1);
  }
  CHECK(device.graphs == 0);
}

TEST_CASE("a tail is recorded by its phases, and anew in another version") {
  device = {};
  Net net;
  Plan plan(net.graph, net.specs, net.options(&device.stream[1]));
  int launches = 0;
  std::string seen;
  Plan::Tail tail;
  tail.id = Plan::new_tail_id();
  tail.data.assign(3, 'a');
  tail.launch = [&](void* data) {
    ++launches;
    seen = static_cast<const char*>(data)[2];
  };
  const auto run = [&](int phase, char what) {
    tail.phase = phase;
    tail.data[2] = what;
    plan.run(net.inputs, &tail);
  };
  for (const char c : {'b', 'c'}) {
    run(0, c);
    CHECK(seen == std::string(1, c));
  }
  CHECK(device.recordings == 0);
  run(0, 'd');
  run(1, 'e');  // a first time of its own
  CHECK(device.recordings == 1);
  CHECK(device.launched == 1);
  run(1, 'f');
  run(1, 'g');
  run(0, 'h');
  CHECK(device.recordings == 2);
  CHECK(device.launched == 3);
  CHECK(launches == 6);  // two plain ones and a recording, twice
  tail.version = 1;
  run(0, 'i');
  CHECK(device.graphs == 0);
  CHECK(launches == 7);
  plan.run(net.inputs);  // without it
  CHECK(launches == 7);
}

TEST_CASE("a weight among the results is that before the update") {
  std::vector<double> sums[2];
  for (const bool on_device : {false, true}) {
    device = {};
    Net net(false);
    Plan plan(net.graph, net.specs, {true, {net.loss, net.w}, on_device ? &backend() : nullptr, nullptr});
    const auto optimizer = Optimizer::make("sgd", Json::parse(R"({"learning_rate":0.01})"));
    Update update{optimizer.get(), {}, {}};
    update.slots.push_back({plan.gradients()[0].value, plan.gradients()[0].grad, {}});
    Samples samples;
    samples.arrays = net.inputs;
    samples.rows = 8;
    const double rate[1] = {0.01};
    StepTotals totals;
    train_steps(plan, samples, 0, 1, update, 1, rate, totals);
    train_steps(plan, samples, 0, 1, update, 2, rate, totals);
    CHECK(totals.results[8] != 0);
    sums[on_device] = totals.results;
  }
  CHECK(sums[0] == sums[1]);
}

TEST_CASE("a plan goes where its caller's launches go, after those before") {
  device = {};
  Net net;
  {
    void *const first = &device.stream[1], *const second = &device.stream[2];
    Plan plan(net.graph, net.specs, net.options(first));
    for (int i = 0; i < 2; ++i) {
      const Plan::Turn turn(plan, first);
      plan.run(net.inputs);
      CHECK(device.dropout_stream == first);
    }
    CHECK(device.waits.empty());
    {
      const Plan::Turn turn(plan, second);
      plan.run(net.inputs);
    }
    CHECK(device.launched_in == second);
    REQUIRE(device.waits.size() == 1);
    CHECK(device.waits[0].first == first);
    CHECK(device.waits[0].second == second);
    {
      const Plan::Turn turn(plan, first);
      plan.run(net.inputs);
    }
    CHECK(device.launched_in == first);
    CHECK(device.waits.size() == 2);
    CHECK(device.marks == 1);
  }
  CHECK(device.marks == 0);
}

}  // namespace
}  // namespace lamella
