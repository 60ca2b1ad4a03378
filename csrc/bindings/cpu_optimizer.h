#pragma once

#include "bindings/convert.h"
#include "graph/optimizer.h"

namespace lamella::python {

// One slot per parameter from parallel lists. grads may hold None: those parameters are left out.
std::vector<ParamSlot> to_slots(const Optimizer& optimizer, const py::sequence& params, const py::sequence& grads,
                                const py::sequence& states, const py::object& lr_scales,
                                const py::object& weight_decays);
void bind_optimizer(py::module_& m);

}  // namespace lamella::python
