#pragma once

#include "bindings/convert.h"
#include "ops/op.h"

namespace lamella::python {

Exec& thread_exec();        // one per calling thread: workspace and flags are not shared
Exec& device_exec();        // likewise, of the attached device and the caller's stream
OpPtr op_of(py::handle h);  // the op inside a Python Op object
// The output of an op that has one, for arrays that need no conversion; None where anything is out of the ordinary:
// `Op.forward` then does it or says what is wrong. inputs: at most 8, arrays or None; out: likewise.
py::object run_direct(const Op& op, PyObject* const* inputs, size_t n, py::handle out);
void bind_op(py::module_& m);
void bind_shortcuts(py::module_& m);

}  // namespace lamella::python
