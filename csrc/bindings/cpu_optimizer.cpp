// class Optimizer: hyper-parameters and fused updates on lists of arrays.
#include "bindings/cpu_optimizer.h"

#include <cmath>

#include "bindings/cpu_op.h"
#include "bindings/gil.h"
#include "ops/global_norm.h"

namespace lamella::python {
namespace {

double number_at(const py::object& list, size_t i, double fallback) {
  if (list.is_none()) return fallback;
  const py::object v = py::reinterpret_borrow<py::sequence>(list)[i];
  return v.is_none() ? fallback : v.cast<double>();
}

void check_length(const char* what, const py::object& list, size_t n) {
  if (!list.is_none() && py::len(list) != n) {
    fail_value("optimizer", what, std::to_string(n) + " entries, one per parameter", std::to_string(py::len(list)));
  }
}

}  // namespace

std::vector<ParamSlot> to_slots(const Optimizer& optimizer, const py::sequence& params, const py::sequence& grads,
                                const py::sequence& states, const py::object& lr_scales,
                                const py::object& weight_decays) {
  const size_t n = params.size();
  check_length("grads", grads, n);
  check_length("states", states, n);
  check_length("lr_scales", lr_scales, n);
  check_length("weight_decays", weight_decays, n);
  std::vector<ParamSlot> slots;
  slots.reserve(n);
  for (size_t i = 0; i < n; ++i) {
    const py::object grad = grads[i];
    if (grad.is_none()) continue;
    ParamSlot s;
    s.value = writable_view(params[i], "optimizer", "parameter");
    s.grad = writable_view(grad, "optimizer", "gradient");
    const py::sequence state = py::reinterpret_borrow<py::sequence>(states[i]);
    if (state.size() != optimizer.slots().size()) {
      fail_value("optimizer", "states", std::to_string(optimizer.slots().size()) + " arrays per parameter",
                 std::to_string(state.size()));
    }
    for (size_t k = 0; k < state.size(); ++k) s.state[k] = writable_view(state[k], "optimizer", "state");
    s.lr_scale = number_at(lr_scales, i, 1.0);
    s.weight_decay = number_at(weight_decays, i, -1.0);
    slots.push_back(s);
  }
  return slots;
}

double global_norm(const py::sequence& arrays) {
  std::vector<py::object> keep;
  std::vector<SumSquaresArray> f32, f64;
  size_t on_device = 0;
  for (size_t i = 0; i < arrays.size(); ++i) {
    const std::string argument = "array " + std::to_string(i);
    TensorView v;
    py::object array = arrays[i];
    if (device_view(array, v)) {
      ++on_device;
    } else {
      array = dense(array, "global_norm", argument.c_str());
      v = view_of(py::reinterpret_borrow<py::array>(array), "global_norm", argument.c_str());
    }
    keep.push_back(std::move(array));
    check_float("global_norm", argument.c_str(), v.spec());
    (v.dtype == DType::kF32 ? f32 : f64).push_back({v.data, v.size()});
  }
  if (on_device != 0 && on_device != keep.size()) {
    fail_type("global_norm", "arrays", "all on one device",
              std::to_string(on_device) + " of " + std::to_string(keep.size()) + " on another than the CPU");
  }
  Exec& exec = on_device != 0 ? device_exec() : thread_exec();
  ReleaseGil release;
  return std::sqrt(sum_squares<float>(exec, f32) + sum_squares<double>(exec, f64));
}

void bind_optimizer(py::module_& m) {
  m.def("global_norm", &global_norm, py::arg("arrays"), "The L2 norm of all elements of several arrays together.");
  py::class_<Optimizer, std::shared_ptr<Optimizer>>(m, "Optimizer",
                                                    "Hyper-parameters and fused updates of one optimizer.")
      .def(py::init([](const std::string& kind, py::handle hyper) {
             return std::shared_ptr<Optimizer>(Optimizer::make(kind, to_json(hyper, "optimizer " + kind, "hyper")));
           }),
           py::arg("kind"), py::arg("hyper") = py::none())
      .def(py::pickle([](const Optimizer& o) { return py::make_tuple(o.kind(), from_json(o.hyper())); },
                      [](const py::tuple& state) {
                        const auto kind = state[0].cast<std::string>();
                        return std::shared_ptr<Optimizer>(Optimizer::make(kind, to_json(state[1], kind, "state")));
                      }))
      .def_property_readonly("kind", &Optimizer::kind)
      .def_property_readonly("hyper", [](const Optimizer& o) { return from_json(o.hyper()); })
      .def(
          "set_hyper",
          [](Optimizer& o, const std::string& name, py::handle value) {
            o.set_hyper(name, to_json(value, "optimizer " + o.kind(), name));
          },
          py::arg("name"), py::arg("value"))
      .def_property_readonly(
          "slots",
          [](const Optimizer& o) {
            py::list l;
            for (const Optimizer::Slot& s : o.slots()) l.append(py::make_tuple(s.name, s.initial));
            return l;
          },
          "(name, initial value) of each state array that a parameter needs.")
      .def(
          "step",
          [](Optimizer& o, const py::sequence& params, const py::sequence& grads, const py::sequence& states,
             int64_t step, const py::object& lr, const py::object& lr_scales, const py::object& weight_decays,
             double grad_scale) {
            if (step < 1) fail_value("optimizer", "step", "a step number >= 1", std::to_string(step));
            const std::vector<ParamSlot> slots = to_slots(o, params, grads, states, lr_scales, weight_decays);
            if (!lr.is_none()) o.set_learning_rate(lr.cast<double>());
            const bool on_device = params.size() > 0 && !py::isinstance<py::array>(params[0]);
            Exec& exec = on_device ? device_exec() : thread_exec();
            ReleaseGil release;
            o.step(exec, slots, step, grad_scale);
          },
          py::arg("params"), py::arg("grads"), py::arg("states"), py::arg("step"), py::arg("lr") = py::none(),
          py::arg("lr_scales") = py::none(), py::arg("weight_decays") = py::none(), py::arg("grad_scale") = 1.0,
          "Update `params` in place from `grads` and `states` (lists of lists); a None gradient skips its parameter.");
}

}  // namespace lamella::python
