// Running a plan: step by step, or on a device from recordings.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <utility>

#include "graph/plan.h"
#include "ops/profiler.h"

namespace lamella {

namespace {

constexpr size_t kKeyBytes = 4 * sizeof(uint64_t), kTailAt = 64;

// Launches of an Exec go into a recording while one of these lives.
class Recorder {
 public:
  Recorder(Exec& exec, const uint64_t* step_key) : exec_(exec) {
    error_ = exec.backend()->begin_recording(&stream_);
    if (error_ != nullptr) return;
    own_ = exec.use_stream(stream_);
    exec.record_keys(step_key);
    open_ = true;
  }
  ~Recorder() {
    RecordedGraph* graph = nullptr;
    uint64_t keys = 0;
    if (open_ && finish(&graph, &keys) == nullptr) exec_.backend()->release_graph(graph);  // something was thrown
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  const char* error() const { return error_; }
  const char* finish(RecordedGraph** graph, uint64_t* keys) {
    open_ = false;
    *keys = exec_.record_keys(nullptr);
    exec_.use_stream(own_);
    return exec_.backend()->end_recording(stream_, graph);
  }

 private:
  Exec& exec_;
  void *stream_ = nullptr, *own_ = nullptr;
  const char* error_ = nullptr;
  bool open_ = false;
};

}  // namespace

void Plan::refresh_prepared(Exec& exec) {
  const auto fingerprint = [&](const TensorView& v) {
    return exec.kernels<float>().fingerprint.fingerprint(exec.context(), v.data, v.spec().bytes());
  };
  uint64_t sources = 0;
  for (const TensorView& v : setup_sources_) sources = sources * 31 + fingerprint(v);
  if (!is_set_up_ || sources != setup_fingerprint_) {
    for (const Step& s : setup_) run_forward(*s.op, exec, {s.in, s.out, s.saved, {}});
    setup_fingerprint_ = sources;
    is_set_up_ = true;
  }
  for (Step& s : steps_) {
    if (!s.prepared) continue;
    uint64_t now = 0;
    for (size_t k = 0; k < s.in.size(); ++k) {
      if ((s.prepared_from >> k & 1) == 0) continue;
      now = now * 31 + fingerprint(s.in[k]);
    }
    if (s.is_prepared && now == s.prepared_fingerprint) continue;
    profiled_part("prepare_weights", "prepare", s.prepared.spec().bytes(),
                  [&] { s.op->prepare(exec, s.in, s.prepared); });
    s.prepared_fingerprint = now;
    s.is_prepared = true;
  }
}

void Plan::set_inputs(std::span<const TensorView> inputs) {
  if (inputs.size() != input_specs_.size()) {
    fail_value("plan", "inputs", std::to_string(input_specs_.size()) + " arrays", std::to_string(inputs.size()));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!(inputs[i].spec() == input_specs_[i])) {
      fail_value("plan", "input " + std::to_string(i), input_specs_[i].str(), inputs[i].spec().str());
    }
  }
  for (const Patch& p : patches_) p.view->data = inputs[p.input].data;
}

void Plan::run(std::span<const TensorView> inputs, const Tail* tail) {
  set_inputs(inputs);
  if (exec_.backend() != nullptr) return run_on_device(inputs, tail);
  run_steps(exec_);
}

void Plan::run_in(Exec& exec, std::span<const TensorView> inputs) {
  set_inputs(inputs);
  struct Mode {
    Exec& exec;
    bool before;
    ~Mode() { exec.training = before; }
  } const mode{exec, std::exchange(exec.training, exec_.training)};
  run_steps(exec);
}

void Plan::run_steps(Exec& exec) {
  if (Profiler::on()) [[unlikely]]
    return run_profiled(exec);
  for (const Step& s : steps_) run_step(exec, s);
}

void Plan::run_on_device(std::span<const TensorView> inputs, const Tail* tail) {
  if (recordable_ && !Profiler::on() && (tail == nullptr || tail->recordable)) {
    Recording& r = recording_for(inputs, tail);
    if (++r.runs > 2 && (r.graph != nullptr || record(r, tail))) {
      send(tail, r.keys);
      const Backend& device = *exec_.backend();
      const char* error = device.launch(r.graph, exec_.stream());
      if (error != nullptr) throw Error(ErrorKind::kInternal, device.name, error);
      return;
    }
  }
  send(tail, 0);
  run_steps(exec_);
  if (tail != nullptr) tail->launch(sent_ + kTailAt);
}

uint64_t Plan::new_tail_id() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

Plan::Recording& Plan::recording_for(std::span<const TensorView> inputs, const Tail* tail) {
  const auto same = [](const TensorView& v, const void* data) { return v.data == data; };
  const int precision = strict_precision() ? -1 : static_cast<int>(matmul_precision());
  const uint64_t id = tail == nullptr ? 0 : tail->id, version = tail == nullptr ? 0 : tail->version;
  if (precision != recorded_precision_ || id != recorded_tail_ || version != recorded_version_ ||
      !std::equal(inputs.begin(), inputs.end(), recorded_inputs_.begin(), recorded_inputs_.end(), same)) {
    drop_recordings();
    recordings_.clear();
    recorded_precision_ = precision;
    recorded_tail_ = id;
    recorded_version_ = version;
    recorded_inputs_.clear();
    for (const TensorView& v : inputs) recorded_inputs_.push_back(v.data);
  }
  // One phase may need a larger workspace than others that have been recorded.
  const void* const memory[] = {exec_.context().workspace, exec_.scratch(0)};
  if (!std::equal(std::begin(memory), std::end(memory), std::begin(recorded_memory_))) drop_recordings();
  std::copy(std::begin(memory), std::end(memory), std::begin(recorded_memory_));
  const int phase = tail == nullptr ? 0 : tail->phase;
  for (Recording& r : recordings_)
    if (r.phase == phase) return r;
  return recordings_.emplace_back(Recording{phase});
}

void Plan::drop_recordings() {
  for (Recording& r : recordings_) {
    if (r.graph != nullptr) exec_.backend()->release_graph(std::exchange(r.graph, nullptr));
  }
}

bool Plan::record(Recording& r, const Tail* tail) {
  make_room(tail);
  Recorder recorder(exec_, reinterpret_cast<uint64_t*>(sent_));
  const char* error = recorder.error();
  if (error == nullptr) {
    run_steps(exec_);
    if (tail != nullptr) tail->launch(sent_ + kTailAt);
    error = recorder.finish(&r.graph, &r.keys);
  }
  recordable_ = error == nullptr;
  return recordable_;
}

void Plan::make_room(const Tail* tail) {
  const size_t bytes = kTailAt + (tail == nullptr ? 0 : tail->data.size());
  if (to_send_.size() >= bytes) return;
  drop_recordings();
  exec_.release(std::exchange(sent_, nullptr));
  to_send_.resize(bytes);
  sent_ = static_cast<char*>(exec_.allocate(static_cast<int64_t>(bytes), "plan"));
}

// One copy for each run.
void Plan::send(const Tail* tail, uint64_t keys) {
  const size_t tail_bytes = tail == nullptr ? 0 : tail->data.size();
  if (keys == 0 && tail_bytes == 0) return;
  make_room(tail);
  if (keys > 0) {
    Generator& generator = exec_.generator();
    const uint64_t stream = generator.take(keys);
    const uint64_t key[] = {generator.seed_value(), stream, 0, stream};
    std::memcpy(to_send_.data(), key, kKeyBytes);
  }
  if (tail_bytes > 0) std::memcpy(to_send_.data() + kTailAt, tail->data.data(), tail_bytes);
  const size_t bytes = tail_bytes > 0 ? kTailAt + tail_bytes : kKeyBytes;
  exec_.copy(sent_, to_send_.data(), static_cast<int64_t>(bytes), CopyKind::kToDevice);
}

inline void Plan::run_step(Exec& exec, const Step& s) {
  if (s.backward) {
    run_backward(*s.op, exec, {s.in, s.out, s.saved, s.grad_out, s.grad_in});
  } else {
    run_forward(*s.op, exec, {s.in, s.out, s.saved, s.is_prepared ? s.prepared : TensorView{}});
  }
}

void Plan::run_profiled(Exec& exec) {
  Profiler& profiler = Profiler::instance();
  if (profile_generation_ != profiler.generation()) {
    profile_generation_ = profiler.generation();
    const int plan = profiler.add_plan(
        {exec_.training, arena_bytes_, prepared_bytes_, flat_gradients_ ? flat_gradients_.spec().bytes() : 0});
    for (Step& s : steps_) {
      ProfileSite site = profile_site(*s.op, s.backward, s.in, s.out, s.saved, s.grad_out, s.grad_in);
      site.plan = plan;
      site.label = s.label;
      s.profile_site = profiler.add_site(std::move(site));
    }
  }
  for (const Step& s : steps_) {
    const int64_t begin = Profiler::now_ns();
    run_step(exec, s);
    profiler.add(s.profile_site, begin, Profiler::now_ns());
  }
}

}  // namespace lamella
