#pragma once

#include "bindings/convert.h"

namespace lamella::python {

void bind_profiler(py::module_& m);

}  // namespace lamella::python
