#pragma once

#include "bindings/convert.h"
#include "ops/op.h"

namespace lamella::python {

Exec& thread_exec();        // one per calling thread: workspace and flags are not shared
OpPtr op_of(py::handle h);  // the op inside a Python Op object
void bind_op(py::module_& m);

}  // namespace lamella::python
