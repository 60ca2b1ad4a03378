// The extension module lamella._cpu: a table of contents; each topic has its own file.
#include <pybind11/pybind11.h>

#include <algorithm>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "bindings/convert.h"
#include "bindings/cpu_graph.h"
#include "bindings/cpu_io.h"
#include "bindings/cpu_op.h"
#include "bindings/cpu_optimizer.h"
#include "bindings/cpu_plan.h"
#include "bindings/cpu_profiler.h"
#include "ops/backends.h"

// By this symbol threadpoolctl tells the module from others of the same file name.
extern "C" [[gnu::visibility("default")]] int lamella_num_threads() { return lamella::num_threads(); }

namespace lamella::python {
namespace {

void translate_errors() {
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const Error& e) {
      PyObject* type = PyExc_RuntimeError;
      switch (e.kind()) {
        case ErrorKind::kValue:
          type = PyExc_ValueError;
          break;
        case ErrorKind::kType:
          type = PyExc_TypeError;
          break;
        case ErrorKind::kMemory:
          type = PyExc_MemoryError;
          break;
        case ErrorKind::kOs:
          type = PyExc_OSError;
          break;
        case ErrorKind::kUnsupported:
          type = PyExc_NotImplementedError;
          break;
        case ErrorKind::kInternal:
          break;
      }
      PyErr_SetString(type, e.what());
    }
  });
}

std::vector<std::string> isa_names(bool only_supported) {
  std::vector<std::string> names;
  for (Isa i : isa_built())
    if (!only_supported || cpu_supports(i)) names.emplace_back(isa_name(i));
  return names;
}

void bind_config(py::module_& m) {
  m.attr("__version__") = LAMELLA_VERSION;
  m.def(
      "isa", [] { return isa_name(isa_choose()); }, "The active ISA level.");
  m.def("isas_built", [] { return isa_names(false); });
  m.def("isas_supported", [] { return isa_names(true); });
  m.def("cpu_model", &cpu_model);
  m.def("num_threads", &num_threads);
  m.def("set_num_threads", &set_num_threads, py::arg("n"));
  m.def(
      "seed", [](uint64_t seed, uint64_t stream) { global_generator().seed(seed, stream); }, py::arg("seed"),
      py::arg("next_stream") = 0);
  m.def(
      "rng_state", [] { return py::make_tuple(global_generator().seed_value(), global_generator().next_stream()); },
      "(seed, next stream): what `seed` takes to go on from here.");
  m.def(
      "attach_device",
      [](const py::capsule& capsule) {
        const auto* device = capsule.get_pointer<const DeviceArrays>();
        if (std::string(capsule.name()) != kDeviceArraysCapsule || device->abi != backend_abi()) {
          throw Error(ErrorKind::kUnsupported, "device", "its module is of another build of Lamella");
        }
        attach_device(device);
      },
      py::arg("arrays"), "Run ops on a device's arrays too; called by its module when it is loaded.");
  m.def(
      "run_everything_on",
      [](const std::string& path) { set_default_backend(path.empty() ? nullptr : load_backend(path)); },
      py::arg("path"), "For tests: ops and plans run on an emulated device, which works on NumPy's arrays.");
  m.def("strict_precision", &strict_precision);
  m.def("set_strict_precision", &set_strict_precision, py::arg("strict"));
  m.def("matmul_precision", [] { return static_cast<int>(matmul_precision()); });
  m.def(
      "set_matmul_precision", [](int p) { set_matmul_precision(static_cast<MatmulPrecision>(std::clamp(p, 0, 2))); },
      py::arg("precision"), "0: float32, 1: tf32, 2: bfloat16; on devices with matrix units.");
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  py::detail::npy_api::get();  // its first use releases the GIL: not later, in a thread that the interpreter may end
  translate_errors();
  isa_choose();  // a bad LAMELLA_ISA or LAMELLA_NUM_THREADS is an error at import, not in the middle of a run
  num_threads();
  bind_config(m);
  bind_op(m);
  bind_shortcuts(m);
  bind_graph(m);
  bind_optimizer(m);
  bind_plan(m);
  bind_io(m);
  bind_profiler(m);
}

}  // namespace lamella::python
