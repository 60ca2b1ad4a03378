#pragma once

#include "bindings/convert.h"

namespace lamella::python {

void bind_plan(py::module_& m);

}  // namespace lamella::python
