#include "bindings/convert.h"

#include "bindings/cpu_memory.h"

namespace lamella::python {

Json to_json(py::handle v, const std::string& owner, const std::string& argument) {
  if (v.is_none()) return {};
  if (py::isinstance<py::bool_>(v)) return v.cast<bool>();
  if (PyFloat_Check(v.ptr())) return v.cast<double>();
  if (py::isinstance<py::str>(v)) return v.cast<std::string>();
  if (py::isinstance<py::dict>(v)) {
    Json::Object o;
    for (auto [key, value] : py::reinterpret_borrow<py::dict>(v)) {
      if (!py::isinstance<py::str>(key)) fail_type(owner, "attributes", "strings as names", std::string(py::repr(key)));
      std::string name = key.cast<std::string>();
      Json json = to_json(value, owner, name);
      o.emplace_back(std::move(name), std::move(json));
    }
    return o;
  }
  if (py::isinstance<py::list>(v) || py::isinstance<py::tuple>(v)) {
    Json::Array a;
    for (py::handle item : py::reinterpret_borrow<py::sequence>(v)) a.push_back(to_json(item, owner, argument));
    return a;
  }
  if (py::hasattr(v, "dtype") && py::hasattr(v, "item")) return to_json(v.attr("item")(), owner, argument);
  if (PyIndex_Check(v.ptr())) {
    const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(v.ptr()));
    if (!index) throw py::error_already_set();
    int overflow = 0;
    const int64_t n = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
    if (overflow != 0) {
      fail_value(owner, argument, "an integer of 64 bits",
                 "one of " + std::to_string(index.attr("bit_length")().cast<int64_t>() + 1));
    }
    return n;
  }
  fail_type(owner, argument, "None, bool, int, float, str, list or dict", std::string(py::repr(py::type::of(v))));
}

py::object from_json(const Json& v) {
  if (v.is_null()) return py::none();
  if (v.is_bool()) return py::bool_(v.as_bool());
  if (v.is_int()) return py::int_(v.as_int());
  if (v.is_number()) return py::float_(v.as_double());
  if (v.is_string()) return py::str(v.as_string());
  if (v.is_array()) {
    py::list l;
    for (const Json& item : v.as_array()) l.append(from_json(item));
    return l;
  }
  py::dict d;
  for (const auto& [key, value] : v.as_object()) d[py::str(key)] = from_json(value);
  return d;
}

namespace {

constexpr int kHalfNumber = 23;     // NumPy's type number of float16
constexpr int kFirstForeign = 256;  // from here on types are other packages'

// NumPy has no bfloat16 of its own: JAX, TensorFlow and CuPy take that of ml_dtypes.
py::dtype bfloat16() {
  static PyObject* known = nullptr;  // under the GIL
  if (known == nullptr) {
    py::object type;
    try {
      type = py::module_::import("ml_dtypes").attr("bfloat16");
    } catch (py::error_already_set& e) {
      if (!e.matches(PyExc_ImportError)) throw;
      throw py::import_error("bfloat16 arrays need the package ml_dtypes (pip install ml_dtypes)");
    }
    known = py::dtype::from_args(type).release().ptr();
  }
  return py::reinterpret_borrow<py::dtype>(known);
}

// Whether a foreign type is bfloat16, by its name: whoever has such an array has ml_dtypes.
bool is_bfloat16(const py::dtype& d) {
  static int known = -1;
  const int number = d.num();
  if (number < kFirstForeign || number == known) return number == known;
  if (std::string(py::str(d)) != "bfloat16") return false;
  known = number;
  return true;
}

}  // namespace

py::dtype to_numpy(DType t) {
  switch (t) {
    case DType::kF16:
      return py::dtype(kHalfNumber);
    case DType::kBF16:
      return bfloat16();
    case DType::kF32:
      return py::dtype::of<float>();
    case DType::kF64:
      return py::dtype::of<double>();
    case DType::kI32:
      return py::dtype::of<int32_t>();
    case DType::kI64:
      return py::dtype::of<int64_t>();
    case DType::kU8:
      return py::dtype::of<uint8_t>();
    default:
      return py::dtype::of<uint64_t>();
  }
}

namespace {

bool find_dtype(const py::array& a, DType& found) {
  const auto* d = py::detail::array_descriptor_proxy(py::detail::array_proxy(a.ptr())->descr);
  const auto size = a.itemsize();
  switch (d->kind) {
    case 'f':
      found = size == 4 ? DType::kF32 : size == 8 ? DType::kF64 : DType::kF16;
      return size == 4 || size == 8 || size == 2;
    case 'i':
      found = size == 4 ? DType::kI32 : DType::kI64;
      return size == 4 || size == 8;
    case 'u':
      found = size == 8 ? DType::kU64 : DType::kU8;
      return size == 8 || size == 1;
    case 'V':
      found = DType::kBF16;
      return size == 2 && is_bfloat16(a.dtype());
    case 'b':
      found = DType::kU8;
      return size == 1;
    default:
      return false;
  }
}

}  // namespace

DType dtype_of(const py::array& a, const char* op, const char* argument) {
  DType found;
  if (find_dtype(a, found)) return found;
  fail_type(op, argument, "an array of float32, float64, float16, bfloat16, int32, int64, uint8, uint64 or bool",
            std::string(py::str(a.dtype())));
}

namespace {

bool native_endian(const py::array& a) {
  return py::detail::array_descriptor_proxy(py::detail::array_proxy(a.ptr())->descr)->byteorder != '>';
}

py::array as_array(py::handle value, const char* op, const char* argument) {
  if (!py::isinstance<py::array>(value)) {
    fail_type(op, argument, "a numpy.ndarray", std::string(py::str(py::type::of(value).attr("__name__"))));
  }
  py::array a = py::reinterpret_borrow<py::array>(value);
  if (a.ndim() > Shape::kMaxRank) fail_value(op, argument, "at most 8 dimensions", std::to_string(a.ndim()));
  return a;
}

}  // namespace

py::array dense(py::handle value, const char* op, const char* argument) {
  py::array a = as_array(value, op, argument);
  if (!native_endian(a)) a = a.attr("astype")(a.dtype().attr("newbyteorder")("=")).cast<py::array>();
  if ((a.flags() & py::array::c_style) == 0) a = py::array::ensure(a, py::array::c_style | py::array::forcecast);
  return a;
}

TensorView view_of(const py::array& a, const char* op, const char* argument) {
  TensorView v;
  v.data = const_cast<void*>(a.data());
  v.dtype = dtype_of(a, op, argument);
  for (py::ssize_t i = 0; i < a.ndim(); ++i) v.shape.push_back(a.shape(i));
  return v;
}

bool quick_view(py::handle value, TensorView& view) {
  if (!py::isinstance<py::array>(value)) return false;
  const auto a = py::reinterpret_borrow<py::array>(value);
  if (a.ndim() > Shape::kMaxRank || (a.flags() & py::array::c_style) == 0) return false;
  if (!native_endian(a) || !find_dtype(a, view.dtype)) return false;
  view.data = const_cast<void*>(a.data());
  view.shape = Shape();
  for (py::ssize_t i = 0; i < a.ndim(); ++i) view.shape.push_back(a.shape(i));
  return true;
}

namespace {
const DeviceArrays* attached = nullptr;  // under the GIL
}  // namespace

void attach_device(const DeviceArrays* device) { attached = device; }
const DeviceArrays* attached_device() { return attached; }

bool device_view(py::object& value, TensorView& view) {
  if (attached == nullptr) return false;
  switch (attached->view(value.ptr(), &view)) {
    case DeviceArrays::Found::kNone:
      return false;
    case DeviceArrays::Found::kDense:
      return true;
    case DeviceArrays::Found::kStrided: {
      PyObject* copy = attached->dense(value.ptr());
      if (copy == nullptr) throw py::error_already_set();
      value = py::reinterpret_steal<py::object>(copy);
      if (attached->view(value.ptr(), &view) == DeviceArrays::Found::kDense) return true;
      break;
    }
    case DeviceArrays::Found::kError:
      break;
  }
  throw py::error_already_set();
}

py::object empty_on_device(const TensorSpec& spec) {
  PyObject* array = attached->empty(spec);
  if (array == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(array);
}

void* device_stream() {
  void* stream = nullptr;
  if (!attached->stream(&stream)) throw py::error_already_set();
  return stream;
}

TensorView writable_view(py::handle value, const char* op, const char* argument) {
  if (TensorView view; attached != nullptr) {
    switch (attached->view(value.ptr(), &view)) {
      case DeviceArrays::Found::kDense:
        return view;
      case DeviceArrays::Found::kStrided:
        fail_value(op, argument, "a C-contiguous array", "a strided one");
      case DeviceArrays::Found::kError:
        throw py::error_already_set();
      case DeviceArrays::Found::kNone:
        break;
    }
  }
  const py::array a = as_array(value, op, argument);
  if (!a.writeable()) fail_value(op, argument, "a writable array", "a read-only one");
  if ((a.flags() & py::array::c_style) == 0) fail_value(op, argument, "a C-contiguous array", "a strided one");
  if (!native_endian(a)) fail_type(op, argument, "a native-endian array", std::string(py::str(a.dtype())));
  return view_of(a, op, argument);
}

py::array empty_array(const TensorSpec& spec) {
  constexpr int64_t kPooled = 1 << 16;  // below this NumPy's own allocation is as cheap
  std::vector<py::ssize_t> shape(spec.shape.begin(), spec.shape.end());
  if (spec.bytes() < kPooled) return py::array(to_numpy(spec.dtype), std::move(shape));
  void* const data = take_memory(static_cast<size_t>(spec.bytes()));
  return py::array(to_numpy(spec.dtype), std::move(shape), data, py::capsule(data, give_memory));
}

py::tuple shape_tuple(const Shape& s) {
  py::tuple t(s.rank());
  for (int i = 0; i < s.rank(); ++i) t[i] = py::int_(s[i]);
  return t;
}

Shape to_shape(py::handle sequence, const char* op, const char* argument) {
  Shape s;
  for (py::handle d : sequence) {
    const Json json = to_json(d, op, argument);
    if (!json.is_int()) fail_type(op, argument, "integers as dimensions", std::string(py::repr(d)));
    const int64_t dim = json.as_int();
    if (dim < 0) fail_value(op, argument, "dimensions >= 0", std::to_string(dim));
    s.push_back(dim);
  }
  return s;
}

TensorSpec to_spec(py::handle pair, const char* op) {
  if (pair.is_none()) return absent_spec();
  const auto items = py::reinterpret_borrow<py::sequence>(pair);
  return {dtype_from_name(py::str(items[0])), to_shape(items[1], op, "shape")};
}

py::list from_specs(const std::vector<TensorSpec>& specs) {
  py::list l;
  for (const TensorSpec& s : specs) l.append(py::make_tuple(dtype_name(s.dtype), shape_tuple(s.shape)));
  return l;
}

}  // namespace lamella::python
