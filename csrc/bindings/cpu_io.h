#pragma once

#include "bindings/convert.h"

namespace lamella::python {

void bind_io(py::module_& m);

}  // namespace lamella::python
