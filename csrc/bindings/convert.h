// Python objects <-> Json, NumPy arrays <-> TensorView.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vector>

#include "base/json.h"
#include "base/tensor.h"
#include "bindings/device_arrays.h"

namespace lamella::python {

namespace py = pybind11;

// None, bool, int, float, str, list, tuple, dict (NumPy scalars too); owner and argument are named in errors.
Json to_json(py::handle value, const std::string& owner, const std::string& argument);
py::object from_json(const Json& v);  // arrays come back as lists

py::dtype to_numpy(DType t);
// The array's dtype; throws Error(kType) naming op and argument for one that the engine does not have.
DType dtype_of(const py::array& a, const char* op, const char* argument);

// A dense native-endian array with the same values: `value` itself where it already is one, else a copy.
py::array dense(py::handle value, const char* op, const char* argument);
TensorView view_of(const py::array& a, const char* op, const char* argument);
// As view_of, but the array must be C-contiguous, native-endian and writable: out= arguments, parameters, states.
TensorView writable_view(py::handle value, const char* op, const char* argument);
// view_of for what needs no conversion, or false: then `dense` converts it or names what is wrong with it.
bool quick_view(py::handle value, TensorView& view);
py::array empty_array(const TensorSpec& spec);

// Arrays of a device, once its module has been attached.
void attach_device(const DeviceArrays* device);
const DeviceArrays* attached_device();  // or nullptr
// Whether `value` is an array of the device. A strided one is copied, and `value` becomes the copy.
bool device_view(py::object& value, TensorView& view);
py::object empty_on_device(const TensorSpec& spec);
void* device_stream();

py::tuple shape_tuple(const Shape& s);
Shape to_shape(py::handle sequence, const char* op, const char* argument);
// ("float32", (2, 3)) -> TensorSpec; None -> absent.
TensorSpec to_spec(py::handle pair, const char* op);
py::list from_specs(const std::vector<TensorSpec>& specs);

}  // namespace lamella::python
