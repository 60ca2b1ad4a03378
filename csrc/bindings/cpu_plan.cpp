// class Plan: compiled graphs; whole runs of steps with the GIL released.
#include "bindings/cpu_plan.h"

#include <optional>

#include "bindings/cpu_optimizer.h"
#include "bindings/gil.h"
#include "graph/trainer.h"
#include "ops/backends.h"

namespace lamella::python {
namespace {

// Arrays that a call works on, kept alive while the GIL is released.
struct SampleArrays {
  std::vector<py::object> keep;
  Samples samples;

  // streams: arrays on the host may be samples of a plan on a device.
  const TensorView& add(py::handle h, const char* argument, bool on_device, bool streams = false) {
    TensorView view;
    py::object object = py::reinterpret_borrow<py::object>(h);
    const bool there = on_device && device_view(object, view);
    if (on_device && !there && !streams) {
      fail_type("plan", argument, "an array on the plan's device", "one on the CPU");
    }
    if (on_device && streams) samples.on_host.push_back(!there);
    if (there || quick_view(h, view)) {
      keep.push_back(std::move(object));
    } else {
      const py::array a = dense(h, "plan", argument);
      view = view_of(a, "plan", argument);
      keep.push_back(a);
    }
    return samples.arrays.emplace_back(view);
  }
};

// Whether a plan works on the arrays of the attached device, and not on NumPy's.
bool on_attached_device(const Plan& plan) {
  const Backend* backend = plan.exec().backend();
  return backend != nullptr && attached_device() != nullptr && backend == attached_device()->backend;
}

SampleArrays samples_of(const Plan& plan, const py::sequence& data, const py::object& order, int64_t begin,
                        int64_t steps) {
  SampleArrays s;
  const bool on_device = on_attached_device(plan);
  s.keep.reserve(4);
  s.samples.arrays.reserve(4);
  if (!order.is_none()) {
    const TensorView v = s.add(order, "order", false);
    if (v.dtype != DType::kI64 || v.shape.rank() != 1) fail_type("plan", "order", "a vector of int64", v.spec().str());
    s.samples.order = v.as<int64_t>();
    s.samples.rows = v.shape[0];
    s.samples.arrays.clear();
  }
  for (py::handle h : data) s.add(h, "data", on_device, true);
  if (order.is_none() && !s.samples.arrays.empty() && s.samples.arrays[0].shape.rank() > 0) {
    s.samples.rows = s.samples.arrays[0].shape[0];
  }
  check_samples(plan, s.samples, begin, steps);
  return s;
}

// Runs of steps add their results up.
void check_summable(const Plan& plan) {
  const auto results = plan.results();
  if (results.empty() || results[0].size() != 1) fail_value("plan", "results", "a scalar loss first", "none");
  for (const TensorView& r : results) {
    if (!is_float(r.dtype)) fail_value("plan", "results", "floating-point arrays", r.spec().str());
  }
}

using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;

// Totals that go on from sums so far, or from 0 where there are none. Lists of numbers are read without NumPy, as they
// come with every call.
StepTotals totals_after(const Plan& plan, const py::object& before) {
  StepTotals totals;
  if (py::isinstance<py::list>(before)) {
    for (py::handle number : before) totals.results.push_back(number.cast<double>());
  } else {
    const auto array = before.cast<Doubles>();
    totals.results.assign(array.data(), array.data() + array.size());
  }
  int64_t elements = 0;
  for (const TensorView& r : plan.results()) elements += r.size();
  const size_t given = totals.results.size();
  if (given != 0 && given != static_cast<size_t>(elements)) {
    fail_value("plan", "before", std::to_string(elements) + " numbers", std::to_string(given));
  }
  return totals;
}

// Sums of scalars as floats, those of arrays as arrays.
py::tuple totals_tuple(const Plan& plan, const StepTotals& t) {
  py::list sums;
  const double* from = t.results.data();
  for (const TensorView& r : plan.results()) {
    if (t.results.empty()) break;  // no step was run
    if (r.shape.rank() == 0) {
      sums.append(py::float_(*from));
    } else {
      py::array a = empty_array({DType::kF64, r.shape});
      if (r.size() > 0) std::memcpy(a.mutable_data(), from, static_cast<size_t>(r.size()) * sizeof(double));
      sums.append(std::move(a));
    }
    from += r.size();
  }
  return py::make_tuple(sums, t.samples, t.first_nan_step);
}

// Where the caller's launches go.
void* stream_of(const Plan& plan) { return on_attached_device(plan) ? device_stream() : nullptr; }

// A new array with the values of a plan's memory, on the plan's device.
py::object copy_of(Plan& plan, const TensorView& from) {
  TensorView to;
  py::object a;
  if (on_attached_device(plan)) {
    a = empty_on_device(from.spec());
    device_view(a, to);
  } else {
    py::array host = empty_array(from.spec());
    to.data = host.mutable_data();
    a = std::move(host);
  }
  plan.exec().copy(to.data, from.data, from.spec().bytes(), CopyKind::kOnDevice);
  return a;
}

py::list run(Plan& plan, const py::sequence& inputs) {
  const bool on_device = on_attached_device(plan);
  SampleArrays given;
  for (py::handle h : inputs) given.add(h, "input", on_device);
  const std::vector<TensorView>& views = given.samples.arrays;
  py::list outputs;
  void* const stream = stream_of(plan);
  std::optional<Plan::Turn> turn;
  {
    ReleaseGil release;
    turn.emplace(plan, stream);
    plan.refresh_prepared();
    plan.run(views);
    plan.exec().check_device();
  }
  for (const TensorView& r : plan.results()) outputs.append(copy_of(plan, r));
  return outputs;
}

// A plan with the optimizer and the arrays that its training steps change, which are looked at once.
class Trainer {
 public:
  Trainer(std::shared_ptr<Plan> plan, std::shared_ptr<Optimizer> optimizer, const py::sequence& params,
          const py::sequence& states, const py::object& weight_decays, const py::dict& constraints)
      : plan_(std::move(plan)), optimizer_(std::move(optimizer)) {
    const auto& gradients = plan_->gradients();
    if (gradients.empty()) fail_value("plan", "Trainer", "a plan compiled for training", "one for inference");
    check_summable(*plan_);
    std::vector<ParamSlot>& slots = update_.slots;
    slots = to_slots(*optimizer_, params, params, states, py::none(), weight_decays);
    if (slots.size() != gradients.size()) {
      fail_value("plan", "params", std::to_string(gradients.size()) + " arrays", std::to_string(slots.size()));
    }
    for (size_t i = 0; i < slots.size(); ++i) {
      if (slots[i].value.data != gradients[i].value.data) {
        fail_value("plan", "params", "the arrays of plan.parameters, in that order",
                   "another array at " + std::to_string(i));
      }
      slots[i].grad = gradients[i].grad;
    }
    update_.optimizer = optimizer_.get();
    for (py::handle p : params) keep_.push_back(py::reinterpret_borrow<py::object>(p));
    for (py::handle arrays : states)
      for (py::handle a : arrays) keep_.push_back(py::reinterpret_borrow<py::object>(a));
    for (auto [key, plan] : constraints) add_constraint(key.cast<size_t>(), plan.cast<std::shared_ptr<Plan>>());
  }

  py::tuple run(const py::sequence& data, const py::object& order, int64_t begin, int64_t steps, int64_t first_step,
                const py::object& learning_rates, const py::object& before) {
    const SampleArrays s = samples_of(*plan_, data, order, begin, steps);
    double constant = 0;
    Doubles listed;
    std::span<const double> rates(&constant, 1);
    if (PyFloat_Check(learning_rates.ptr())) {
      constant = PyFloat_AS_DOUBLE(learning_rates.ptr());
    } else {
      listed = learning_rates.cast<Doubles>();
      if (listed.size() != steps) {
        fail_value("plan", "learning_rates", std::to_string(steps) + " numbers", std::to_string(listed.size()));
      }
      rates = {listed.data(), static_cast<size_t>(steps)};
    }
    StepTotals totals = totals_after(*plan_, before);
    {
      void* const stream = stream_of(*plan_);
      ReleaseGil release;
      const Plan::Turn turn(*plan_, stream);
      train_steps(*plan_, s.samples, begin, steps, update_, first_step, rates, totals);
    }
    return totals_tuple(*plan_, totals);
  }

 private:
  void add_constraint(size_t param, std::shared_ptr<Plan> plan) {
    if (param >= update_.slots.size()) {
      fail_value("plan", "constraints", "numbers of params", std::to_string(param));
    }
    const TensorView& value = update_.slots[param].value;
    const auto fits = [&](const TensorSpec& s) { return s == value.spec(); };
    if (plan->input_specs().size() != 1 || plan->results().size() != 1 || !fits(plan->input_specs()[0]) ||
        !fits(plan->results()[0].spec())) {
      fail_value("plan", "constraints", "plans from " + value.spec().str() + " to the same", "another");
    }
    update_.constraints.push_back({plan.get(), value});
    constraint_plans_.push_back(std::move(plan));
  }

  std::shared_ptr<Plan> plan_;
  std::shared_ptr<Optimizer> optimizer_;
  Update update_;
  std::vector<std::shared_ptr<Plan>> constraint_plans_;
  std::vector<py::object> keep_;
};

}  // namespace

void bind_plan(py::module_& m) {
  py::class_<Plan, std::shared_ptr<Plan>>(m, "Plan", "A graph compiled for given input shapes.")
      .def(py::init([](const Graph& graph, const py::sequence& inputs, const std::vector<int>& results, bool training,
                       bool on_device) {
             std::vector<TensorSpec> specs;
             for (py::handle s : inputs) specs.push_back(to_spec(s, "plan"));
             PlanOptions options{training, results, default_backend(), nullptr};
             if (on_device) {
               if (attached_device() == nullptr) fail_value("plan", "on_device", "a device that is open", "none");
               options.backend = attached_device()->backend;
               options.stream = device_stream();
             }
             return std::make_shared<Plan>(graph, specs, options);
           }),
           py::arg("graph"), py::arg("inputs"), py::arg("results") = std::vector<int>{}, py::arg("training") = false,
           py::arg("on_device") = false)
      .def_property_readonly(
          "parameters",
          [](const Plan& p) {
            std::vector<int> ids;
            for (const auto& g : p.gradients()) ids.push_back(g.value_id);
            return ids;
          },
          "Value ids of the parameters that training updates.")
      .def_property_readonly(
          "results",
          [](const Plan& p) {
            std::vector<TensorSpec> specs;
            for (const TensorView& r : p.results()) specs.push_back(r.spec());
            return from_specs(specs);
          },
          "(dtype, shape) of each result.")
      .def_property_readonly("arena_bytes", &Plan::arena_bytes)
      .def_property_readonly("prepared_bytes", &Plan::prepared_bytes, "Memory of transformed and packed weights.")
      .def_property_readonly("step_count", &Plan::step_count)
      .def_property_readonly(
          "steps",
          [](const Plan& p) {
            py::list l;
            for (const auto& s : p.step_names()) {
              l.append(py::make_tuple(s.op, s.backward ? "backward" : "forward", s.label));
            }
            return l;
          },
          "(op, forward or backward, whose parameters it reads) of each step.")
      .def("run", &run, py::arg("inputs"), "Run once; returns the results as new arrays.")
      .def(
          "gradients",
          [](Plan& p) {
            void* const stream = stream_of(p);
            std::optional<Plan::Turn> turn;
            {
              ReleaseGil release;
              turn.emplace(p, stream);
            }
            py::list l;
            for (const auto& g : p.gradients()) l.append(copy_of(p, g.grad));
            return l;
          },
          "Copies of the gradients that the last run left, one per entry of `parameters`.")
      .def(
          "evaluate",
          [](Plan& plan, const py::sequence& data, const py::object& order, int64_t begin, int64_t steps,
             const py::object& before) {
            const SampleArrays s = samples_of(plan, data, order, begin, steps);
            check_summable(plan);
            StepTotals totals = totals_after(plan, before);
            {
              void* const stream = stream_of(plan);
              ReleaseGil release;
              const Plan::Turn turn(plan, stream);
              evaluate_steps(plan, s.samples, begin, steps, totals);
            }
            return totals_tuple(plan, totals);
          },
          py::arg("data"), py::arg("order"), py::arg("begin"), py::arg("steps"), py::arg("before") = py::list(),
          "Sum the results over steps, going on from `before`; returns what Trainer.run does.")
      .def(
          "predict",
          [](Plan& plan, const py::sequence& data, int64_t begin, int64_t steps, const py::sequence& outputs) {
            const SampleArrays s = samples_of(plan, data, py::none(), begin, steps);
            std::vector<TensorView> out;
            const bool on_device = on_attached_device(plan);
            bool to_host = false;
            for (py::handle h : outputs) {
              out.push_back(writable_view(h, "plan", "outputs"));
              to_host = on_device && py::isinstance<py::array>(h);
            }
            if (out.size() != plan.results().size()) {
              fail_value("plan", "outputs", std::to_string(plan.results().size()) + " arrays",
                         std::to_string(out.size()));
            }
            for (size_t i = 0; i < out.size(); ++i) {
              TensorSpec want = plan.results()[i].spec();
              const int64_t batch = plan.input_specs()[0].shape[0];
              if (want.shape.rank() == 0 || want.shape[0] != batch) {
                fail_value("predict", "output " + std::to_string(i),
                           "one row per sample, " + std::to_string(batch) + " rows", want.str());
              }
              want.shape[0] = s.samples.rows;
              if (!(out[i].spec() == want)) fail_value("plan", "outputs", want.str(), out[i].spec().str());
            }
            void* const stream = stream_of(plan);
            ReleaseGil release;
            const Plan::Turn turn(plan, stream);
            predict_steps(plan, s.samples, begin, steps, out, to_host);
          },
          py::arg("data"), py::arg("begin"), py::arg("steps"), py::arg("outputs"),
          "Write the results for rows [begin, begin + steps * batch) into `outputs`, arrays for all rows.");
  py::class_<Trainer>(m, "Trainer", "A plan with the optimizer and the arrays that its training steps change.")
      .def(py::init<std::shared_ptr<Plan>, std::shared_ptr<Optimizer>, const py::sequence&, const py::sequence&,
                    const py::object&, const py::dict&>(),
           py::arg("plan"), py::arg("optimizer"), py::arg("params"), py::arg("states"),
           py::arg("weight_decays") = py::none(), py::arg("constraints") = py::dict(),
           "constraints: by the number of a param, the plan that gives what it becomes after each update.")
      .def("run", &Trainer::run, py::arg("data"), py::arg("order"), py::arg("begin"), py::arg("steps"),
           py::arg("first_step"), py::arg("learning_rates"), py::arg("before") = py::list(),
           "Run training steps; returns (sums of results, samples, first step with a NaN or infinite loss or -1).\n"
           "learning_rates: one per step, or a float for all. before: sums to go on from, so that they have the same "
           "bits\n"
           "however the steps are cut into calls.");
}

}  // namespace lamella::python
