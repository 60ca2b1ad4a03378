#include "graph/trainer.h"

#include <algorithm>
#include <cmath>

#include "ops/profiler.h"

namespace lamella {

namespace {

int64_t batch_of(const Plan& plan) { return plan.input_specs()[0].shape[0]; }

int64_t aligned(int64_t bytes) { return (bytes + Plan::kResultAlign - 1) / Plan::kResultAlign * Plan::kResultAlign; }

int64_t result_elements(const Plan& plan) {
  int64_t count = 0;
  for (const TensorView& r : plan.results()) count += r.size();
  return count;
}

// To device memory, one behind another.
void copy_results(Plan& plan, char* to) {
  for (const TensorView& r : plan.results()) {
    plan.exec().copy(to, r.data, r.spec().bytes(), CopyKind::kOnDevice);
    to += aligned(r.spec().bytes());
  }
}

// Whether a result is a parameter itself, which has other values after the update.
bool updates_results(const Plan& plan) {
  for (const TensorView& r : plan.results()) {
    for (const Plan::ParamGrad& p : plan.gradients())
      if (r.data == p.value.data) return true;
  }
  return false;
}

// What a run of steps needs on a device, besides the plan: the order of the samples, and the results of each step,
// which the host reads at the end, so that no step waits for it. On the CPU both lie where they are.
class StepMemory {
 public:
  StepMemory(Plan& plan, const Samples& samples, int64_t begin, int64_t steps, bool sums) : plan_(plan) {
    order_ = samples.order == nullptr ? nullptr : samples.order + begin;
    if (plan.exec().backend() == nullptr) return;
    const auto there = std::count(samples.on_host.begin(), samples.on_host.end(), true);
    const bool reads_order = order_ != nullptr && there != std::ssize(samples.arrays);
    const int64_t rows = reads_order ? steps * batch_of(plan) : 0;
    const int64_t order_bytes = aligned(rows * dtype_size(DType::kI64));
    if (sums) step_bytes_ = plan.result_copy_bytes();
    char* memory = static_cast<char*>(plan.scratch(std::max<int64_t>(order_bytes + steps * step_bytes_, 1)));
    if (rows > 0) {
      plan.exec().copy(memory, order_, rows * dtype_size(DType::kI64), CopyKind::kToDevice);
      order_ = reinterpret_cast<int64_t*>(memory);
    }
    results_ = memory + order_bytes;
  }

  // Row numbers of the steps, where kernels read them; nullptr: in order.
  const int64_t* order() const { return order_; }

  void keep_results(int64_t step, bool from_copies) {
    char* to = results_ + step * step_bytes_;
    if (from_copies) {
      plan_.exec().copy(to, plan_.result_copies(), step_bytes_, CopyKind::kOnDevice);
    } else {
      copy_results(plan_, to);
    }
  }

  // The results that were kept, brought to the host.
  void fetch(int64_t steps) {
    fetched_.resize(static_cast<size_t>(steps * step_bytes_));
    plan_.exec().copy(fetched_.data(), results_, steps * step_bytes_, CopyKind::kToHost);
    plan_.exec().synchronize();
  }
  std::vector<TensorView> results_of(int64_t step) {
    std::vector<TensorView> views;
    char* from = fetched_.data() + step * step_bytes_;
    for (const TensorView& r : plan_.results()) {
      views.push_back({from, r.dtype, r.shape});
      from += aligned(r.spec().bytes());
    }
    return views;
  }

 private:
  Plan& plan_;
  const int64_t* order_ = nullptr;
  char* results_ = nullptr;
  int64_t step_bytes_ = 0;
  std::vector<char> fetched_;
};

// Feeds the plan one batch at a time; in-order samples of the right dtype are read where they lie.
class Feeder {
 public:
  Feeder(Plan& plan, const Samples& samples, const StepMemory& memory, int64_t first, int64_t steps)
      : plan_(plan), samples_(samples), memory_(memory), first_(first), batch_(samples.arrays.size()) {
    std::vector<HostFeed::Array> streamed;
    for (size_t i = 0; i < samples.on_host.size(); ++i) {
      if (samples.on_host[i]) streamed.push_back({samples.arrays[i].data, row_bytes(samples.arrays[i])});
    }
    if (streamed.empty()) return;
    feed_ = &plan.host_feed();
    const int64_t* order = samples.order == nullptr ? nullptr : samples.order + first;
    feed_->start(streamed, order, first, batch_of(plan), steps);
  }

  void run(int64_t step, const Plan::Tail* tail = nullptr) {
    const int64_t rows = batch_of(plan_), begin = first_ + step * rows;
    size_t streamed = 0;
    for (size_t i = 0; i < batch_.size(); ++i) {
      const TensorView& data = samples_.arrays[i];
      const TensorSpec& want = plan_.input_specs()[i];
      const bool comes = feed_ != nullptr && samples_.on_host[i];
      // A recorded step reads its inputs at one place.
      const bool in_place = plan_.exec().backend() == nullptr || (samples_.rows == rows && !comes);
      if (samples_.order == nullptr && data.dtype == want.dtype && in_place) {
        batch_[i] = {static_cast<char*>(data.data) + begin * row_bytes(data), want.dtype, want.shape};
        continue;
      }
      batch_[i] = plan_.input_buffer(static_cast<int>(i));
      GatherRowsParams p;
      p.src = data.data;
      p.dst = batch_[i].data;
      if (comes) {
        p.src = feed_->rows(step, streamed++);
      } else {
        p.indices = memory_.order() == nullptr ? nullptr : memory_.order() + (begin - first_);
        p.first = memory_.order() == nullptr ? begin : 0;
      }
      p.rows = rows;
      p.row_bytes = row_bytes(data);
      p.u8_to_float = data.dtype == DType::kU8 && want.dtype == DType::kF32;
      profiled_part("gather_rows", "data", rows * p.row_bytes + batch_[i].spec().bytes(),
                    [&] { plan_.exec().kernels<float>().gather.gather_rows(plan_.exec().context(), p); });
    }
    if (feed_ != nullptr) feed_->taken(step);
    plan_.run(batch_, tail);
    if (feed_ != nullptr) feed_->launched(step);
  }

 private:
  static int64_t row_bytes(const TensorView& a) {
    return a.size() / std::max<int64_t>(a.shape[0], 1) * dtype_size(a.dtype);
  }

  Plan& plan_;
  const Samples& samples_;
  const StepMemory& memory_;
  int64_t first_;  // row of the first step
  std::vector<TensorView> batch_;
  HostFeed* feed_ = nullptr;
};

double element(const TensorView& v, int64_t i) {
  return v.dtype == DType::kF32 ? static_cast<double>(v.as<float>()[i]) : v.as<double>()[i];
}

// Adds the step's results; the loss is a mean over the batch, so it counts once per sample.
void add_results(const Plan& plan, std::span<const TensorView> results, int64_t step, StepTotals& totals) {
  if (totals.results.empty()) totals.results.resize(static_cast<size_t>(result_elements(plan)), 0.0);
  const double loss = element(results[0], 0);
  totals.results[0] += loss * static_cast<double>(batch_of(plan));
  if (!std::isfinite(loss) && totals.first_nan_step < 0) totals.first_nan_step = step;
  double* to = totals.results.data() + 1;
  for (const TensorView& r : results.subspan(1)) {
    for (int64_t i = 0; i < r.size(); ++i) *to++ += element(r, i);
  }
  totals.samples += batch_of(plan);
}

void constrain(const Constraint& c, Exec& exec) {
  c.plan->run_in(exec, {&c.value, 1});
  exec.copy(c.value.data, c.plan->results()[0].data, c.value.spec().bytes(), CopyKind::kOnDevice);
}

// The results of each step into the totals. after(s) follows each of them.
template <class After>
void run_on_host(Plan& plan, const Samples& samples, int64_t begin, int64_t steps, StepTotals& totals,
                 const After& after) {
  const StepMemory memory(plan, samples, begin, steps, true);
  Feeder feeder(plan, samples, memory, begin, steps);
  for (int64_t s = 0; s < steps; ++s) {
    feeder.run(s);
    add_results(plan, plan.results(), s, totals);
    after(s);
  }
}

// The same on a device, where nobody reads results before the last step has been launched. prepare(s) makes the tail
// ready for each step.
template <class Prepare>
void run_on_device(Plan& plan, const Samples& samples, int64_t begin, int64_t steps, StepTotals& totals,
                   const Plan::Tail* tail, bool from_copies, const Prepare& prepare) {
  StepMemory memory(plan, samples, begin, steps, true);
  Feeder feeder(plan, samples, memory, begin, steps);
  for (int64_t s = 0; s < steps; ++s) {
    prepare(s);
    feeder.run(s, tail);
    memory.keep_results(s, from_copies);
  }
  memory.fetch(steps);
  for (int64_t s = 0; s < steps; ++s) add_results(plan, memory.results_of(s), s, totals);
}

}  // namespace

void check_samples(const Plan& plan, const Samples& samples, int64_t begin, int64_t steps) {
  const auto& specs = plan.input_specs();
  if (samples.arrays.size() != specs.size()) {
    fail_value("plan", "data", std::to_string(specs.size()) + " arrays", std::to_string(samples.arrays.size()));
  }
  const int64_t end = begin + steps * batch_of(plan);
  if (begin < 0 || steps < 0 || end > samples.rows) {
    fail_value("plan", "begin, steps", "rows within the " + std::to_string(samples.rows) + " samples",
               std::to_string(begin) + " and " + std::to_string(steps) + " of " + std::to_string(batch_of(plan)));
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    const TensorView& a = samples.arrays[i];
    TensorSpec row = a.spec(), want = specs[i];
    const auto refuse = [&] {
      fail_value("plan", "data " + std::to_string(i), "rows like " + want.str(), a.spec().str());
    };
    if (row.shape.rank() == 0 || row.shape.rank() != want.shape.rank()) refuse();
    row.shape[0] = want.shape[0];
    if (row.dtype == DType::kU8 && want.dtype == DType::kF32) row.dtype = DType::kF32;
    if (!(row == want)) refuse();
    if (samples.order == nullptr && a.shape[0] != samples.rows) {
      fail_value("plan", "data " + std::to_string(i), std::to_string(samples.rows) + " rows",
                 std::to_string(a.shape[0]));
    }
  }
  if (samples.order == nullptr || samples.arrays.empty()) return;
  int64_t rows = samples.arrays[0].shape[0];
  for (const TensorView& a : samples.arrays) rows = std::min(rows, a.shape[0]);
  for (int64_t r = begin; r < end; ++r) {
    if (samples.order[r] < 0 || samples.order[r] >= rows) {
      fail_value("plan", "order", "row numbers in [0, " + std::to_string(rows) + ")", std::to_string(samples.order[r]));
    }
  }
}

void train_steps(Plan& plan, const Samples& samples, int64_t begin, int64_t steps, const Update& update,
                 int64_t first_step, std::span<const double> learning_rates, StepTotals& totals) {
  plan.refresh_prepared();
  for (const Constraint& c : update.constraints) c.plan->refresh_prepared(plan.exec());
  Optimizer& optimizer = *update.optimizer;
  const auto set_rate = [&](int64_t s) {
    optimizer.set_learning_rate(learning_rates[learning_rates.size() == 1 ? 0 : static_cast<size_t>(s)]);
  };
  const auto updating = [&](const auto& work) {
    profiled_part("optimizer", "update", plan.flat_gradients().spec().bytes(), work);
  };
  if (plan.exec().backend() == nullptr) {
    return run_on_host(plan, samples, begin, steps, totals, [&](int64_t s) {
      set_rate(s);
      updating([&] { optimizer.step(plan.exec(), update.slots, first_step + s); });
      for (const Constraint& c : update.constraints) constrain(c, c.plan->exec());
    });
  }
  int64_t step = first_step;
  Plan::Tail tail;
  tail.id = update.id;
  tail.version = optimizer.version();
  for (const Constraint& c : update.constraints) tail.recordable = tail.recordable && c.plan->recordable();
  tail.data.resize(static_cast<size_t>(optimizer.step_bytes(update.slots)));
  const bool from_copies = updates_results(plan);
  char* const copies = from_copies ? plan.result_copies() : nullptr;
  tail.launch = [&](void* data) {
    if (from_copies) copy_results(plan, copies);
    updating([&] { optimizer.launch(plan.exec(), update.slots, step, data); });
    for (const Constraint& c : update.constraints) constrain(c, plan.exec());
  };
  run_on_device(plan, samples, begin, steps, totals, &tail, from_copies, [&](int64_t s) {
    step = first_step + s;
    set_rate(s);
    tail.phase = optimizer.phase(step);
    optimizer.write_step(tail.data.data(), update.slots, step);
  });
}

void evaluate_steps(Plan& plan, const Samples& samples, int64_t begin, int64_t steps, StepTotals& totals) {
  plan.refresh_prepared();
  if (plan.exec().backend() == nullptr) return run_on_host(plan, samples, begin, steps, totals, [](int64_t) {});
  run_on_device(plan, samples, begin, steps, totals, nullptr, false, [](int64_t) {});
}

void predict_steps(Plan& plan, const Samples& samples, int64_t begin, int64_t steps,
                   std::span<const TensorView> outputs, bool to_host) {
  plan.refresh_prepared();
  const StepMemory memory(plan, samples, begin, steps, false);
  Feeder feeder(plan, samples, memory, begin, steps);
  for (int64_t s = 0; s < steps; ++s) {
    const int64_t row = begin + s * batch_of(plan);
    feeder.run(s);
    for (size_t i = 0; i < outputs.size(); ++i) {
      const TensorView r = plan.results()[i];
      const int64_t bytes = r.spec().bytes();
      plan.exec().copy(outputs[i].as<char>() + row * (bytes / batch_of(plan)), r.data, bytes,
                       to_host ? CopyKind::kToHost : CopyKind::kOnDevice);
    }
  }
  plan.exec().check_device();
}

}  // namespace lamella
