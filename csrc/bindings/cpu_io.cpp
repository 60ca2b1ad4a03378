// Safetensors files as dicts of arrays.
#include "bindings/cpu_io.h"

#include "base/safetensors.h"
#include "bindings/gil.h"

namespace lamella::python {
namespace {

void write(const std::string& path, const py::dict& tensors, const py::dict& metadata) {
  std::vector<py::array> keep;
  std::vector<NamedTensor> named;
  for (auto [name, value] : tensors) {
    const std::string n = name.cast<std::string>();
    keep.push_back(dense(value, "save", n.c_str()));
    named.push_back({n, view_of(keep.back(), "save", n.c_str())});
  }
  std::vector<std::pair<std::string, std::string>> meta;
  for (auto [key, value] : metadata) meta.emplace_back(key.cast<std::string>(), value.cast<std::string>());
  ReleaseGil release;
  safetensors_write(path, named, meta);
}

py::tuple read(const std::string& path) {
  const SafetensorsFile file(path);
  py::dict tensors, metadata;
  for (const NamedTensor& t : file.tensors()) {
    py::array a = empty_array(t.view.spec());
    std::memcpy(a.mutable_data(), t.view.data, static_cast<size_t>(t.view.spec().bytes()));
    tensors[py::str(t.name)] = std::move(a);
  }
  for (const auto& [key, value] : file.all_metadata()) metadata[py::str(key)] = py::str(value);
  return py::make_tuple(std::move(tensors), std::move(metadata));
}

}  // namespace

void bind_io(py::module_& m) {
  m.def("safetensors_write", &write, py::arg("path"), py::arg("tensors"), py::arg("metadata") = py::dict(),
        "Write a dict of arrays and a dict of strings; the file appears whole or not at all.");
  m.def("safetensors_read", &read, py::arg("path"), "Read (dict of arrays, dict of strings); every field is checked.");
}

}  // namespace lamella::python
