// The extension module lamella._cuda: CuPy's arrays, and others that speak DLPack, for the ops of lamella._cpu. It
// holds the kernels too, and nothing of it is loaded before somebody asks for the device.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/device_arrays.h"

namespace nb = nanobind;

extern "C" const lamella::Backend* lamella_backend();

namespace lamella::python {
namespace {

// What of CuPy is used, looked up once. Never freed: arrays may outlive the module.
struct CuPy {
  PyObject* ndarray;                                                  // the class
  PyObject* empty;                                                    // cupy.empty
  PyObject* dense;                                                    // cupy.ascontiguousarray
  PyObject* alloc;                                                    // cupy.cuda.alloc
  PyObject* stream;                                                   // cupy.cuda.get_current_stream
  PyObject* dtypes[8];                                                // by DType
  PyObject *data, *ptr, *shape, *dtype, *num, *flags, *c_contiguous;  // names
};
CuPy* cupy = nullptr;

constexpr const char* kDtypeNames[] = {"float32", "float64", "int32", "int64", "uint8", "uint64", "float16"};
constexpr int kBFloat16 = static_cast<int>(DType::kBF16);  // looked up when it is first needed

PyObject* keep(nb::object o) { return o.release().ptr(); }

void find_cupy() {
  if (cupy != nullptr) return;
  const nb::module_ m = nb::module_::import_("cupy");
  const nb::object cuda = m.attr("cuda");
  auto* c = new CuPy;
  c->ndarray = keep(m.attr("ndarray"));
  c->empty = keep(m.attr("empty"));
  c->dense = keep(m.attr("ascontiguousarray"));
  c->alloc = keep(cuda.attr("alloc"));
  c->stream = keep(cuda.attr("get_current_stream"));
  const nb::object dtype = m.attr("dtype");
  for (int i = 0; i < kBFloat16; ++i) c->dtypes[i] = keep(dtype(kDtypeNames[i]));
  c->dtypes[kBFloat16] = nullptr;
  c->data = PyUnicode_InternFromString("data");
  c->ptr = PyUnicode_InternFromString("ptr");
  c->shape = PyUnicode_InternFromString("shape");
  c->dtype = PyUnicode_InternFromString("dtype");
  c->num = PyUnicode_InternFromString("num");
  c->flags = PyUnicode_InternFromString("flags");
  c->c_contiguous = PyUnicode_InternFromString("c_contiguous");
  cupy = c;
}

using Found = DeviceArrays::Found;

Found refuse(const std::string& what) {
  PyErr_SetString(PyExc_TypeError, what.c_str());
  return Found::kError;
}

// NumPy's type numbers, whose letters CuPy's dtypes share.
bool dtype_of_number(long number, DType* t) {
  switch (number) {
    case 0:  // bool
    case 2:  // uint8
      *t = DType::kU8;
      return true;
    case 5:
      *t = DType::kI32;
      return true;
    case 7:  // long
    case 9:  // long long
      *t = DType::kI64;
      return true;
    case 8:
    case 10:
      *t = DType::kU64;
      return true;
    case 11:
      *t = DType::kF32;
      return true;
    case 12:
      *t = DType::kF64;
      return true;
    case 23:
      *t = DType::kF16;
      return true;
    default:
      return false;
  }
}

// That of ml_dtypes, which NumPy and CuPy know by its name.
bool is_bfloat16(const nb::object& dtype, DType* t) {
  *t = DType::kBF16;
  return std::string_view(nb::str(dtype).c_str()) == "bfloat16";
}

Found view_of_cupy(PyObject* array, TensorView* view) {
  const nb::object flags = nb::steal(PyObject_GetAttr(array, cupy->flags));
  const nb::object dense = nb::steal(flags ? PyObject_GetAttr(flags.ptr(), cupy->c_contiguous) : nullptr);
  const nb::object dtype = nb::steal(PyObject_GetAttr(array, cupy->dtype));
  const nb::object number = nb::steal(dtype ? PyObject_GetAttr(dtype.ptr(), cupy->num) : nullptr);
  if (!dense || !number) return Found::kError;
  if (!dtype_of_number(PyLong_AsLong(number.ptr()), &view->dtype) && !is_bfloat16(dtype, &view->dtype)) {
    return refuse(
        "cuda: dtype: expected float32, float64, float16, bfloat16, int32, int64, uint8, uint64 or bool, got " +
        std::string(nb::str(dtype).c_str()));
  }
  if (dense.ptr() != Py_True) return Found::kStrided;
  const nb::object data = nb::steal(PyObject_GetAttr(array, cupy->data));
  const nb::object ptr = nb::steal(data ? PyObject_GetAttr(data.ptr(), cupy->ptr) : nullptr);
  const nb::object shape = nb::steal(PyObject_GetAttr(array, cupy->shape));
  if (!ptr || !shape) return Found::kError;
  const Py_ssize_t rank = PyTuple_GET_SIZE(shape.ptr());
  if (rank > Shape::kMaxRank) return refuse("cuda: array: expected at most 8 dimensions, got " + std::to_string(rank));
  view->data = PyLong_AsVoidPtr(ptr.ptr());
  view->shape = Shape();
  for (Py_ssize_t i = 0; i < rank; ++i) view->shape.push_back(PyLong_AsLongLong(PyTuple_GET_ITEM(shape.ptr(), i)));
  // An empty array may have no memory; null would say that there is no array.
  static char nothing[1];
  if (view->data == nullptr) view->data = nothing;
  return PyErr_Occurred() == nullptr ? Found::kDense : Found::kError;
}

// Other libraries' arrays, through DLPack.
Found view_of_foreign(PyObject* object, TensorView* view) {
  nb::ndarray<nb::ro> a;
  if (!nb::try_cast(nb::handle(object), a) || a.device_type() != nb::device::cuda::value) return Found::kNone;
  const nb::dlpack::dtype t = a.dtype();
  const auto is = [&](nb::dlpack::dtype_code code, int bits) {
    return t.code == static_cast<uint8_t>(code) && t.bits == bits && t.lanes == 1;
  };
  using Code = nb::dlpack::dtype_code;
  if (is(Code::Float, 32)) {
    view->dtype = DType::kF32;
  } else if (is(Code::Float, 64)) {
    view->dtype = DType::kF64;
  } else if (is(Code::Float, 16)) {
    view->dtype = DType::kF16;
  } else if (is(Code::Bfloat, 16)) {
    view->dtype = DType::kBF16;
  } else if (is(Code::Int, 32)) {
    view->dtype = DType::kI32;
  } else if (is(Code::Int, 64)) {
    view->dtype = DType::kI64;
  } else if (is(Code::UInt, 8) || is(Code::Bool, 8)) {
    view->dtype = DType::kU8;
  } else if (is(Code::UInt, 64)) {
    view->dtype = DType::kU64;
  } else {
    return refuse(
        "cuda: dtype: expected float32, float64, float16, bfloat16, int32, int64, uint8, uint64 or bool, got another");
  }
  if (a.ndim() > Shape::kMaxRank) {
    return refuse("cuda: array: expected at most 8 dimensions, got " + std::to_string(a.ndim()));
  }
  view->shape = Shape();
  int64_t stride = 1;
  bool dense = true;
  for (size_t i = a.ndim(); i-- > 0;) {
    dense = dense && (a.shape(i) == 1 || a.stride(i) == stride);
    stride *= static_cast<int64_t>(a.shape(i));
  }
  for (size_t i = 0; i < a.ndim(); ++i) view->shape.push_back(static_cast<int64_t>(a.shape(i)));
  view->data = const_cast<void*>(a.data());
  return dense || stride == 0 ? Found::kDense : Found::kStrided;
}

// `object` stays alive as long as the view is used: the caller keeps it.
Found view(PyObject* object, TensorView* view) {
  if (cupy == nullptr) return Found::kNone;
  const int ours = PyObject_IsInstance(object, cupy->ndarray);
  if (ours != 0) return ours < 0 ? Found::kError : view_of_cupy(object, view);
  if (PyObject_HasAttrString(object, "__cuda_array_interface__") == 0) return Found::kNone;
  return view_of_foreign(object, view);
}

PyObject* dense(PyObject* array) { return PyObject_CallOneArg(cupy->dense, array); }

// CuPy's bfloat16 is that of ml_dtypes.
bool find_bfloat16() {
  if (cupy->dtypes[kBFloat16] != nullptr) return true;
  const nb::object types = nb::steal(PyImport_ImportModule("ml_dtypes"));
  const nb::object type = nb::steal(types ? PyObject_GetAttrString(types.ptr(), "bfloat16") : nullptr);
  const nb::object numpy = nb::steal(type ? PyImport_ImportModule("numpy") : nullptr);
  cupy->dtypes[kBFloat16] = numpy ? PyObject_CallMethod(numpy.ptr(), "dtype", "O", type.ptr()) : nullptr;
  if (cupy->dtypes[kBFloat16] != nullptr) return true;
  PyErr_SetString(PyExc_ImportError, "bfloat16 arrays need the package ml_dtypes (pip install ml_dtypes)");
  return false;
}

PyObject* empty(const TensorSpec& spec) {
  if (spec.dtype == DType::kBF16 && !find_bfloat16()) return nullptr;
  const nb::object shape = nb::steal(PyTuple_New(spec.shape.rank()));
  if (!shape) return nullptr;
  for (int i = 0; i < spec.shape.rank(); ++i) PyTuple_SET_ITEM(shape.ptr(), i, PyLong_FromLongLong(spec.shape[i]));
  PyObject* args[] = {shape.ptr(), cupy->dtypes[static_cast<int>(spec.dtype)]};
  return PyObject_Vectorcall(cupy->empty, args, 2, nullptr);
}

bool current_stream(void** stream) {
  const nb::object now = nb::steal(PyObject_CallNoArgs(cupy->stream));
  const nb::object ptr = nb::steal(now ? PyObject_GetAttr(now.ptr(), cupy->ptr) : nullptr);
  if (!ptr) return false;
  *stream = PyLong_AsVoidPtr(ptr.ptr());
  return PyErr_Occurred() == nullptr;
}

// Memory of plans and workspaces comes from CuPy's pool too, so that its limits hold: a block starts with the pool's
// own object. Called with or without the GIL.
struct Block {
  void* memory;
  PyObject* owner;
};
std::vector<Block>& blocks() {
  static auto* all = new std::vector<Block>;  // under the GIL
  return *all;
}

void* allocate(size_t bytes, void*) {
  if (bytes > PTRDIFF_MAX) return nullptr;
  const nb::gil_scoped_acquire gil;
  const nb::object owner =
      nb::steal(PyObject_CallFunction(cupy->alloc, "n", static_cast<Py_ssize_t>(bytes + (bytes == 0))));
  const nb::object ptr = nb::steal(owner ? PyObject_GetAttr(owner.ptr(), cupy->ptr) : nullptr);
  if (!ptr) {
    PyErr_Clear();  // out of memory: the engine says for what
    return nullptr;
  }
  void* memory = PyLong_AsVoidPtr(ptr.ptr());
  blocks().push_back({memory, nb::object(owner).release().ptr()});
  return memory;
}

void release(void* memory, void*) {
  if (Py_IsInitialized() == 0) return;
  const nb::gil_scoped_acquire gil;
  auto& all = blocks();
  for (size_t i = all.size(); i-- > 0;) {
    if (all[i].memory != memory) continue;
    PyObject* owner = all[i].owner;
    all[i] = all.back();
    all.pop_back();
    Py_DECREF(owner);
    return;
  }
}

const DeviceArrays* arrays() {
  static const Backend backend = [] {
    Backend b = *lamella_backend();
    b.allocate = allocate;
    b.release = release;
    return b;
  }();
  static const DeviceArrays made = {backend_abi(), &backend, view, dense, empty, current_stream};
  return &made;
}

}  // namespace

NB_MODULE(_cuda, m) {
  m.attr("__version__") = LAMELLA_VERSION;
  m.def(
      "open",
      [](int device) {
        const char* error = lamella_backend()->open(device);
        if (error != nullptr) throw std::runtime_error(error);
        find_cupy();
        return nb::capsule(arrays(), kDeviceArraysCapsule);
      },
      nb::arg("device") = 0, "Make a GPU the current one; gives what lamella._cpu.attach_device takes.");
  m.def("device_count", [] { return lamella_backend()->device_count(); });
  m.def(
      "describe", [](int device) { return lamella_backend()->describe(device); }, nb::arg("device") = 0);
}

}  // namespace lamella::python
