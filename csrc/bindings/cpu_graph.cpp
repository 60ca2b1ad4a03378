// class Graph: what tracing records.
#include "bindings/cpu_graph.h"

#include "bindings/cpu_op.h"
#include "graph/graph.h"

namespace lamella::python {
namespace {

// Keeps an array alive from C++; the last owner may let go without the GIL.
std::shared_ptr<const void> hold(py::object array) {
  auto* owned = new py::object(std::move(array));
  return {owned, [owned](const void*) {
            py::gil_scoped_acquire gil;
            delete owned;
          }};
}

int add_param(Graph& g, const std::string& name, py::object array, bool trainable) {
  const TensorView v = writable_view(array, "graph", name.c_str());
  return g.add_param(name, v, hold(std::move(array)), trainable);
}

int add_const(Graph& g, const std::string& name, py::handle value) {
  py::array a = dense(value, "graph", name.c_str());
  const TensorView v = view_of(a, "graph", name.c_str());
  return g.add_const(name, v, hold(std::move(a)));
}

std::vector<int> ids_of(const py::sequence& ids) {
  std::vector<int> r;
  for (py::handle id : ids) r.push_back(id.is_none() ? -1 : id.cast<int>());
  return r;
}

}  // namespace

void bind_graph(py::module_& m) {
  py::class_<Graph, std::shared_ptr<Graph>>(m, "Graph", "Values joined by ops.")
      .def(py::init<>())
      .def(
          "add_input",
          [](Graph& g, const std::string& name, const std::string& dtype, py::handle shape) {
            return g.add_input(name, {dtype_from_name(dtype), to_shape(shape, "graph", name.c_str())});
          },
          py::arg("name"), py::arg("dtype"), py::arg("shape"))
      .def("add_param", &add_param, py::arg("name"), py::arg("array"), py::arg("trainable") = true)
      .def("add_const", &add_const, py::arg("name"), py::arg("array"))
      .def(
          "apply",
          [](Graph& g, py::handle op, const py::sequence& ids, const std::string& name) {
            return g.apply(op_of(op), ids_of(ids), name);
          },
          py::arg("op"), py::arg("ids"), py::arg("name") = "")
      .def(
          "set_outputs", [](Graph& g, const py::sequence& ids) { g.set_outputs(ids_of(ids)); }, py::arg("ids"))
      .def_property_readonly("inputs", [](const Graph& g) { return g.inputs(); })
      .def_property_readonly("outputs", [](const Graph& g) { return g.outputs(); })
      .def("spec",
           [](const Graph& g, int id) {
             const TensorSpec& s = g.value(id).spec;
             return py::make_tuple(dtype_name(s.dtype), shape_tuple(s.shape));
           })
      .def("name", [](const Graph& g, int id) { return g.value(id).name; })
      .def_property_readonly(
          "nodes",
          [](const Graph& g) {
            py::list l;
            for (const Node& n : g.nodes()) {
              l.append(py::make_tuple(std::string(n.op->name()), n.name, from_json(n.op->attrs()), n.in, n.out));
            }
            return l;
          })
      .def("to_json", [](const Graph& g) { return g.to_json().dump(); });
}

}  // namespace lamella::python
