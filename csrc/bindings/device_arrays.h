// What the module of a device tells _cpu, which runs all ops, about the device's arrays. The two modules share no
// symbol: this struct goes from one to the other in a capsule.
#pragma once

#include <Python.h>

#include "base/tensor.h"
#include "kernels/backend.h"

namespace lamella::python {

struct DeviceArrays {
  enum class Found { kNone, kDense, kStrided, kError };  // kError: a Python error is set

  uint64_t abi = 0;  // backend_abi()
  const Backend* backend = nullptr;
  // Whether an object is an array of the device; fills in the view of a dense one.
  Found (*view)(PyObject* object, TensorView* view) = nullptr;
  // New arrays, from the pool of the library that the user's arrays come from. nullptr: a Python error is set.
  PyObject* (*dense)(PyObject* array) = nullptr;  // the values of a strided one
  PyObject* (*empty)(const TensorSpec& spec) = nullptr;
  // Where the caller's launches go now, in order; false: a Python error is set.
  bool (*stream)(void** stream) = nullptr;
};
constexpr const char* kDeviceArraysCapsule = "lamella.DeviceArrays";

}  // namespace lamella::python
