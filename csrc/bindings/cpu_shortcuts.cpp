// Shortcuts: what a raw function runs, by the settings of a call. A call that has been described once goes to its op
// without any Python.
#include <cstring>

#include "bindings/cpu_op.h"

namespace lamella::python {
namespace {

constexpr size_t kMost = 32;       // calls with other settings than the last so many are described again
constexpr size_t kMostInputs = 8;  // of an op

// Settings by which calls are told apart: what cannot change behind our back.
bool plain(PyObject* v) {
  if (v == Py_None || PyBool_Check(v) || PyLong_CheckExact(v) || PyFloat_CheckExact(v) || PyUnicode_CheckExact(v)) {
    return true;
  }
  if (!PyTuple_CheckExact(v)) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(v); ++i)
    if (!plain(PyTuple_GET_ITEM(v, i))) return false;
  return true;
}

bool same(PyObject* a, PyObject* b) {
  if (a == b) return true;
  if (Py_TYPE(a) != Py_TYPE(b)) return false;
  if (PyTuple_CheckExact(a)) {  // (1,) and (True,) are equal
    if (PyTuple_GET_SIZE(a) != PyTuple_GET_SIZE(b)) return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(a); ++i)
      if (!same(PyTuple_GET_ITEM(a, i), PyTuple_GET_ITEM(b, i))) return false;
    return true;
  }
  const int equal = PyObject_RichCompareBool(a, b, Py_EQ);
  if (equal < 0) PyErr_Clear();
  return equal == 1;
}

// An argument: an array, whichever, or a setting.
struct Argument {
  py::object name;   // none: by position
  py::object value;  // none (a null handle): an array
};

struct Shortcut {
  std::vector<Argument> arguments;
  OpPtr op;                // null: calls like this are described each time
  std::vector<int> order;  // the op's inputs among the arguments; -1: absent
};

class Shortcuts {
 public:
  // The result; None where the call is to be described, NotImplemented where it may be learned then.
  PyObject* call(PyObject* args, PyObject* kwargs, PyObject* out) {
    for (size_t i = 0; i < known_.size(); ++i) {
      PyObject* values[kMostArguments];
      if (!fits(*known_[i], args, kwargs, values)) continue;
      if (i > 0) std::swap(known_[i], known_[i - 1]);
      const Shortcut& s = *known_[i > 0 ? i - 1 : 0];
      if (s.op == nullptr) return Py_NewRef(Py_None);
      PyObject* inputs[kMostInputs];
      for (size_t k = 0; k < s.order.size(); ++k) inputs[k] = s.order[k] < 0 ? Py_None : values[s.order[k]];
      const OpPtr op = s.op;
      return run_direct(*op, inputs, s.order.size(), out).release().ptr();
    }
    return Py_NewRef(may_be_learned(args, kwargs) ? Py_NotImplemented : Py_None);
  }

  // op: an Op, with `order` telling its inputs among the arguments, positional ones first; or None.
  void learn(const py::tuple& args, const py::dict& kwargs, const py::object& op, const py::object& order) {
    auto s = std::make_unique<Shortcut>();
    if (!may_be_learned(args.ptr(), kwargs.ptr())) return;
    const auto add = [&](py::handle name, py::handle v) {
      s->arguments.push_back({py::reinterpret_borrow<py::object>(name),
                              is_array(v.ptr()) ? py::object() : py::reinterpret_borrow<py::object>(v)});
    };
    for (py::handle v : args) add({}, v);
    for (auto [name, v] : kwargs) add(name, v);
    if (!op.is_none()) {
      for (py::handle at : order) s->order.push_back(at.is_none() ? -1 : at.cast<int>());
      if (s->order.size() <= kMostInputs) s->op = op_of(op);
    }
    if (known_.size() == kMost) known_.pop_back();
    known_.push_back(std::move(s));
  }

  void clear() { known_.clear(); }
  size_t count(bool taken) const {
    size_t n = 0;
    for (const auto& s : known_) n += (s->op != nullptr) == taken;
    return n;
  }

 private:
  static constexpr size_t kMostArguments = 16;

  static bool is_array(PyObject* v) { return Py_TYPE(v) == py::detail::npy_api::get().PyArray_Type_; }

  static bool may_be_learned(PyObject* args, PyObject* kwargs) {
    const Py_ssize_t n = PyTuple_GET_SIZE(args);
    bool all = n + PyDict_GET_SIZE(kwargs) <= static_cast<Py_ssize_t>(kMostArguments);
    const auto look = [&](PyObject* v) { all = all && (is_array(v) || plain(v)); };
    for (Py_ssize_t i = 0; i < n; ++i) look(PyTuple_GET_ITEM(args, i));
    PyObject* value;
    for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, nullptr, &value);) look(value);
    return all;
  }

  static bool fits(const Argument& a, PyObject* v) { return a.value ? same(a.value.ptr(), v) : is_array(v); }

  // Whether a call is of this kind; then its arguments in order.
  static bool fits(const Shortcut& s, PyObject* args, PyObject* kwargs, PyObject** values) {
    const Py_ssize_t n = PyTuple_GET_SIZE(args), more = PyDict_GET_SIZE(kwargs);
    if (s.arguments.size() != static_cast<size_t>(n + more)) return false;
    Py_ssize_t i = 0;
    for (; i < n; ++i) {
      const Argument& a = s.arguments[i];
      values[i] = PyTuple_GET_ITEM(args, i);
      if (a.name || !fits(a, values[i])) return false;
    }
    PyObject *name, *value;
    for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, &name, &value); ++i) {
      const Argument& a = s.arguments[i];
      if (!a.name || (a.name.ptr() != name && !same(a.name.ptr(), name)) || !fits(a, value)) return false;
      values[i] = value;
    }
    return true;
  }

  std::vector<std::unique_ptr<Shortcut>> known_;
};

// The calls themselves go past pybind11's dispatch.
PyObject* call_shortcut(PyObject* self, PyObject* const* args, Py_ssize_t n) {
  if (n != 3 || !PyTuple_Check(args[0]) || !PyDict_Check(args[1])) {
    PyErr_SetString(PyExc_TypeError, "call: expected a tuple, a dict and an array or None");
    return nullptr;
  }
  try {
    return static_cast<Shortcuts*>(PyCapsule_GetPointer(self, nullptr))->call(args[0], args[1], args[2]);
  } catch (...) {  // the call that is described fails likewise, and says why
    PyErr_Clear();
    return Py_NewRef(Py_None);
  }
}

PyMethodDef call_definition = {"call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_shortcut)),
                               METH_FASTCALL, nullptr};

}  // namespace

void bind_shortcuts(py::module_& m) {
  py::class_<Shortcuts>(m, "Shortcuts", "What a raw function runs, by the settings of a call.")
      .def(py::init())
      .def_property_readonly(
          "call",
          [](py::handle self) {
            // The capsule holds the table's Python object.
            auto* table = self.cast<Shortcuts*>();
            PyObject* owner = PyCapsule_New(
                table, nullptr, [](PyObject* c) { Py_DECREF(static_cast<PyObject*>(PyCapsule_GetContext(c))); });
            if (owner == nullptr) throw py::error_already_set();
            PyCapsule_SetContext(owner, Py_NewRef(self.ptr()));
            const auto held = py::reinterpret_steal<py::object>(owner);
            return py::reinterpret_steal<py::object>(PyCFunction_NewEx(&call_definition, held.ptr(), nullptr));
          },
          "call(args, kwargs, out): the result, None where the call is to be described, NotImplemented where it may "
          "be\n"
          "learned then.")
      .def("learn", &Shortcuts::learn, py::arg("args"), py::arg("kwargs"), py::arg("op"), py::arg("order"))
      .def("clear", &Shortcuts::clear)
      .def("count", &Shortcuts::count, py::arg("taken"), "How many lead to an op, or to none.");
}

}  // namespace lamella::python
