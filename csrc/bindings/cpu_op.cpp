// class Op: any registered op on NumPy arrays.
#include "bindings/cpu_op.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "bindings/gil.h"
#include "ops/backends.h"
#include "ops/profiler.h"

namespace lamella::python {
namespace {

// Work on fewer bytes than this is over before another thread could use the released GIL.
constexpr int64_t kReleaseGilBytes = 1 << 16;

class MaybeReleaseGil {
 public:
  explicit MaybeReleaseGil(int64_t bytes) {
    if (bytes >= kReleaseGilBytes) release_.emplace();
  }

 private:
  std::optional<ReleaseGil> release_;
};

// Arrays and the views that the op sees; keeps the arrays alive during the call. They are NumPy's, or all of them lie
// on the attached device.
struct Arrays {
  std::vector<py::object> keep;
  std::vector<TensorView> views;
  int64_t bytes = 0;
  bool on_device = false;  // where new ones are made

  Arrays() = default;
  explicit Arrays(bool on_device_) : on_device(on_device_) {}

  void reserve(size_t n) {
    keep.reserve(n);
    views.reserve(n);
  }
  void add_absent() {
    keep.emplace_back(py::none());
    views.push_back({nullptr, absent_spec().dtype, absent_spec().shape});
  }
  void add_input(const char* op, py::object h, const char* what, size_t i) {
    if (h.is_none()) return add_absent();
    TensorView view;
    if (quick_view(h, view)) return add(view, std::move(h));
    if (device_view(h, view)) {
      on_device = true;
      return add(view, std::move(h));
    }
    const std::string argument = std::string(what) + " " + std::to_string(i);
    py::array a = dense(h, op, argument.c_str());
    view = view_of(a, op, argument.c_str());  // before `a` is moved from
    add(view, std::move(a));
  }
  void add_new(const TensorSpec& spec, bool on_host = false) {
    if (on_device && !on_host) {
      py::object a = empty_on_device(spec);
      TensorView view;
      device_view(a, view);
      return add(view, std::move(a));
    }
    py::array a = empty_array(spec);
    const TensorView view{a.mutable_data(), spec.dtype, spec.shape};
    add(view, std::move(a));
  }
  void add(const TensorView& v, py::object array) {
    views.push_back(v);
    bytes += v.spec().bytes();
    keep.push_back(std::move(array));
  }
  std::vector<TensorSpec> specs() const {
    std::vector<TensorSpec> s;
    s.reserve(views.size());
    for (const TensorView& v : views) s.push_back(v.spec());
    return s;
  }
  py::list list() const {
    py::list l(keep.size());
    for (size_t i = 0; i < keep.size(); ++i) l[i] = keep[i];
    return l;
  }
};

// Where arrays of the device are, single numbers of the host come along.
void bring_along(const char* op, Arrays& a, const char* what) {
  for (size_t i = 0; i < a.views.size(); ++i) {
    const TensorView on_host = a.views[i];
    if (!on_host || !py::isinstance<py::array>(a.keep[i])) continue;
    if (on_host.size() != 1) {
      fail_type(op, std::string(what) + " " + std::to_string(i), "an array on the device of the others (see Tensor.to)",
                "one on the CPU, " + on_host.spec().str());
    }
    py::object copy = empty_on_device(on_host.spec());
    device_view(copy, a.views[i]);
    device_exec().copy(a.views[i].data, on_host.data, on_host.spec().bytes(), CopyKind::kToDevice);
    a.keep[i] = std::move(copy);
  }
}

Arrays inputs_of(const char* op, const py::sequence& inputs, const char* what, bool on_device = false) {
  Arrays a(on_device);
  const size_t n = inputs.size();
  a.reserve(n);
  for (size_t i = 0; i < n; ++i) a.add_input(op, inputs[i], what, i);
  if (a.on_device) bring_along(op, a, what);
  return a;
}

Exec& exec_for(bool on_device) { return on_device ? device_exec() : thread_exec(); }

void check_place(const char* op, const char* argument, py::handle array, bool on_device) {
  if (py::isinstance<py::array>(array) != on_device) return;
  fail_type(op, argument, on_device ? "an array on the inputs' device" : "an array on the CPU, as the inputs are",
            on_device ? "one on the CPU" : "one on another device");
}

bool overlap(const TensorView& a, const TensorView& b) {
  const char *pa = static_cast<const char*>(a.data), *pb = static_cast<const char*>(b.data);
  return pa && pb && pa < pb + b.spec().bytes() && pb < pa + a.spec().bytes();
}

std::string numbered(const char* what, size_t i) { return std::string(what) + " " + std::to_string(i); }

[[noreturn]] void fail_overlap(const char* op, const std::string& argument, const std::string& other) {
  fail_value(op, argument, "memory apart from the other arrays'", "an array that overlaps " + other);
}

Arrays outputs_for(const char* op, const std::vector<TensorSpec>& specs, const py::object& out, bool on_device) {
  Arrays a(on_device);
  a.reserve(specs.size());
  if (out.is_none()) {
    for (const TensorSpec& s : specs) a.add_new(s);
    return a;
  }
  const py::sequence given = py::reinterpret_borrow<py::sequence>(out);
  if (given.size() != specs.size()) {
    fail_value(op, "out", std::to_string(specs.size()) + " arrays", std::to_string(given.size()));
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    const py::object array = given[i];
    if (array.is_none()) {
      a.add_new(specs[i]);
      continue;
    }
    const TensorView v = writable_view(array, op, "out");
    check_place(op, "out", array, on_device);
    if (!(v.spec() == specs[i])) fail_value(op, "out", specs[i].str(), v.spec().str());
    for (size_t k = 0; k < i; ++k)
      if (overlap(v, a.views[k])) fail_overlap(op, "out", numbered("output", k));
    a.add(v, array);
  }
  return a;
}

// Where backward puts its gradients: those of `wanted` inputs that have one. `out` is None, for new arrays, or holds an
// array or None (for a new one) per input.
Arrays gradients_for(const char* name, const Op& op, const std::vector<TensorView>& in, const py::sequence& wanted,
                     const py::object& out, bool on_device) {
  const size_t n = in.size();
  if (wanted.size() != n) {
    fail_value(name, "wanted", std::to_string(n) + " flags", std::to_string(wanted.size()));
  }
  const bool given = !out.is_none();
  if (given && py::len(out) != n) {
    fail_value(name, "out", std::to_string(n) + " arrays, one per input", std::to_string(py::len(out)));
  }
  Arrays grads(on_device);
  grads.reserve(n);
  for (size_t i = 0; i < n; ++i) {
    const TensorSpec spec = in[i].spec();
    const bool has_gradient = wanted[i].cast<bool>() && !absent(spec) && op.differentiable(static_cast<int>(i));
    const py::object array = given ? py::object(py::reinterpret_borrow<py::sequence>(out)[i]) : py::none();
    if (array.is_none()) {
      has_gradient ? grads.add_new(spec) : grads.add_absent();
      continue;
    }
    const std::string argument = numbered("out for input", i);
    if (!has_gradient) fail_value(name, argument, "None, as no gradient is wanted or there is none", "an array");
    const TensorView v = writable_view(array, name, argument.c_str());
    check_place(name, argument.c_str(), array, on_device);
    if (!(v.spec() == spec)) fail_value(name, argument, spec.str(), v.spec().str());
    grads.add(v, array);
  }
  return grads;
}

// Gradients are written while these are read.
void check_apart(const char* op, const Arrays& grads, const char* what, const std::vector<TensorView>& read) {
  for (size_t i = 0; i < grads.views.size(); ++i)
    for (size_t k = 0; k < read.size(); ++k)
      if (overlap(grads.views[i], read[k])) fail_overlap(op, numbered("out for input", i), numbered(what, k));
}

void check_apart(const char* op, const Arrays& grads, const BackwardArgs& read) {
  check_apart(op, grads, "input", {read.in.begin(), read.in.end()});
  check_apart(op, grads, "output", {read.out.begin(), read.out.end()});
  check_apart(op, grads, "saved array", {read.saved.begin(), read.saved.end()});
  check_apart(op, grads, "output gradient", {read.grad_out.begin(), read.grad_out.end()});
  for (size_t i = 0; i < grads.views.size(); ++i)
    for (size_t k = 0; k < i; ++k)
      if (overlap(grads.views[i], grads.views[k])) {
        fail_overlap(op, numbered("out for input", i), numbered("out for input", k));
      }
}

// Ops of more inputs than bits treat the rest as the last.
bool has_bit(uint32_t mask, size_t i) { return (mask >> std::min<size_t>(i, 31) & 1) != 0; }

// What backward does not read is taken away; the specs stay.
void drop_unread(std::vector<TensorView>& views, uint32_t read) {
  for (size_t i = 0; i < views.size(); ++i)
    if (!has_bit(read, i)) views[i].data = nullptr;
}

void check_specs(const char* op, const char* what, const Arrays& given, const std::vector<TensorSpec>& specs,
                 bool may_be_absent) {
  if (given.views.size() != specs.size()) {
    fail_value(op, what, std::to_string(specs.size()) + " arrays", std::to_string(given.views.size()));
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    if (may_be_absent && given.keep[i].is_none()) continue;
    if (!(given.views[i].spec() == specs[i])) {
      fail_value(op, numbered(what, i), specs[i].str(), given.views[i].spec().str());
    }
  }
}

// One recorded forward call: what its backward reads, and nothing more. The rest of the arrays survive as specs.
class Record {
 public:
  Record(OpPtr op, const Arrays& in, const Arrays& out, Arrays saved)
      : op_(std::move(op)), saved_(std::move(saved)), on_device_(in.on_device) {
    const BackwardUses uses = op_->backward_uses();
    keep(in, uses.inputs, in_);
    keep(out, uses.outputs, out_);
  }

  py::list backward(const py::sequence& grad_outputs, const py::sequence& wanted, const py::object& out) const {
    const std::string name(op_->name());
    const char* op = name.c_str();
    const Arrays grad_out = inputs_of(op, grad_outputs, "output gradient", on_device_);
    if (grad_out.views.size() != out_.size()) {
      fail_value(op, "output gradients", std::to_string(out_.size()), std::to_string(grad_out.views.size()));
    }
    for (size_t i = 0; i < out_.size(); ++i) {
      if (!grad_out.keep[i].is_none() && !(grad_out.views[i].spec() == out_[i].spec())) {
        fail_value(op, numbered("output gradient", i), out_[i].spec().str(), grad_out.views[i].spec().str());
      }
    }
    const Arrays grad_in = gradients_for(op, *op_, in_, wanted, out, on_device_);
    const BackwardArgs args{in_, out_, saved_.views, grad_out.views, grad_in.views};
    if (!out.is_none()) check_apart(op, grad_in, args);
    int64_t bytes = grad_out.bytes;
    for (const TensorView& v : in_) bytes += v.spec().bytes();
    Exec& exec = exec_for(on_device_);
    exec.training = true;
    {
      MaybeReleaseGil release(bytes);
      profiled_call(*op_, true, in_, grad_in.views, [&] {
        run_backward(*op_, exec, args);
        exec.check_device();
      });
    }
    return grad_in.list();
  }

 private:
  void keep(const Arrays& from, uint32_t mask, std::vector<TensorView>& views) {
    views = from.views;
    for (size_t i = 0; i < views.size(); ++i)
      if (has_bit(mask, i)) keep_.push_back(from.keep[i]);
    drop_unread(views, mask);
  }

  OpPtr op_;
  std::vector<TensorView> in_, out_;
  Arrays saved_;
  bool on_device_;
  std::vector<py::object> keep_;
};

void add_saved(Arrays& saved, const Signature& sig, bool on_device) {
  saved.on_device = on_device;
  for (size_t i = 0; i < sig.saved.size(); ++i) saved.add_new(sig.saved[i], (sig.saved_on_host >> i & 1) != 0);
}

// Saved tensors that the caller gives: those of the device, and those that stay on the host.
Arrays saved_of(const char* op, const py::sequence& saved, const Signature& sig, bool on_device) {
  Arrays a(on_device);
  for (size_t i = 0; i < saved.size(); ++i) {
    const py::object array = saved[i];
    a.add_input(op, array, "saved array", i);
    if (array.is_none()) continue;
    const bool on_host = !on_device || (sig.saved_on_host >> std::min<size_t>(i, 31) & 1) != 0;
    check_place(op, "saved array", array, !on_host);
  }
  return a;
}

class PyOp {
 public:
  PyOp(const std::string& name, py::handle attrs)
      : op_(OpRegistry::instance().make(name, to_json(attrs, name, "attributes"))), name_(op_->name()) {}

  const OpPtr& op() const { return op_; }
  const std::string& name() const { return name_; }

  py::tuple forward(const py::sequence& inputs, bool training, const py::object& out) const {
    const Call call = run(inputs, training, out);
    return py::make_tuple(call.out.list(), call.saved.list());
  }

  py::object direct(const py::tuple& inputs, const py::object& out) const {
    return run_direct(*op_, PySequence_Fast_ITEMS(inputs.ptr()), inputs.size(), out);
  }

  py::tuple record(const py::sequence& inputs) const {
    Call call = run(inputs, true, py::none());
    py::list outputs = call.out.list();
    return py::make_tuple(std::move(outputs), Record(op_, call.in, call.out, std::move(call.saved)));
  }

  py::list backward(const py::sequence& inputs, const py::object& outputs, const py::object& saved,
                    const py::sequence& grad_outputs, const py::sequence& wanted, const py::object& grads) const {
    const char* op = name_.c_str();
    Arrays in = inputs_of(op, inputs, "input");
    const bool on_device = in.on_device;
    const Arrays grad_out = inputs_of(op, grad_outputs, "output gradient", on_device);
    const Signature sig = infer_checked(*op_, in.specs(), true);
    check_specs(op, "output gradient", grad_out, sig.outputs, true);
    Arrays out, kept;
    if (!outputs.is_none()) {
      out = inputs_of(op, outputs, "output", on_device);
      check_specs(op, "output", out, sig.outputs, true);
    }
    if (!saved.is_none()) {
      kept = saved_of(op, saved, sig, on_device);
      check_specs(op, "saved array", kept, sig.saved, false);
    }
    const BackwardUses uses = op_->backward_uses();
    if ((outputs.is_none() && uses.outputs != 0) || (saved.is_none() && !sig.saved.empty())) {
      Call again = run_again(in, sig);
      if (outputs.is_none()) out = std::move(again.out);
      if (saved.is_none()) kept = std::move(again.saved);
    }
    if (out.views.empty())
      for (const TensorSpec& s : sig.outputs) out.views.push_back({nullptr, s.dtype, s.shape});
    drop_unread(in.views, uses.inputs);
    drop_unread(out.views, uses.outputs);
    const Arrays grad_in = gradients_for(op, *op_, in.views, wanted, grads, on_device);
    const BackwardArgs args{in.views, out.views, kept.views, grad_out.views, grad_in.views};
    if (!grads.is_none()) check_apart(op, grad_in, args);
    Exec& exec = exec_for(on_device);
    exec.training = true;
    {
      MaybeReleaseGil release(in.bytes + grad_out.bytes);
      profiled_call(*op_, true, in.views, grad_in.views, [&] {
        run_backward(*op_, exec, args);
        exec.check_device();
      });
    }
    return grad_in.list();
  }

  py::tuple infer(const py::sequence& specs, bool training) const {
    std::vector<TensorSpec> in;
    for (py::handle s : specs) in.push_back(to_spec(s, name_.c_str()));
    const Signature sig = infer_checked(*op_, in, training);
    return py::make_tuple(from_specs(sig.outputs), from_specs(sig.saved));
  }

 private:
  // Kernels may read inputs after writing outputs; only exact in-place use of an elementwise op is sound.
  void check_no_overlap(const Arrays& in, const Arrays& out) const {
    for (const TensorView& o : out.views) {
      for (size_t i = 0; i < in.views.size(); ++i) {
        const TensorView& v = in.views[i];
        if (!overlap(o, v)) continue;
        if (op_->can_run_in_place() && i == 0 && v.data == o.data && v.spec() == o.spec()) continue;
        fail_value(name_, "out", "memory apart from the inputs'", "an array that overlaps " + numbered("input", i));
      }
    }
  }

  // Running statistics are written to: a hidden copy of a strided or read-only array would lose the update.
  void check_mutated(const py::sequence& inputs, bool training) const {
    const uint32_t mutated = training ? op_->mutates() : 0;
    for (size_t i = 0; mutated != 0 && i < inputs.size(); ++i) {
      if (has_bit(mutated, i) && !py::object(inputs[i]).is_none()) {
        writable_view(inputs[i], name_.c_str(), ("input " + std::to_string(i)).c_str());
      }
    }
  }

  struct Call {
    Arrays in, out, saved;
  };

  Call run(const py::sequence& inputs, bool training, const py::object& out) const {
    const char* op = name_.c_str();
    Call call{inputs_of(op, inputs, "input"), {}, {}};
    const Signature sig = infer_checked(*op_, call.in.specs(), training);
    call.out = outputs_for(op, sig.outputs, out, call.in.on_device);
    add_saved(call.saved, sig, call.in.on_device);
    if (!out.is_none()) check_no_overlap(call.in, call.out);
    check_mutated(inputs, training);
    run_forward(call, training);
    return call;
  }

  // Forward in training mode once more, for what backward reads of it; running statistics stay as they are.
  Call run_again(const Arrays& in, const Signature& sig) const {
    Call call{in, {}, {}};
    for (size_t i = 0; i < in.views.size(); ++i) {
      if (!has_bit(op_->mutates(), i) || in.keep[i].is_none()) continue;
      py::object copy = in.keep[i].attr("copy")();
      call.in.views[i] = writable_view(copy, name_.c_str(), "input");
      call.in.keep[i] = std::move(copy);
    }
    call.out = outputs_for(name_.c_str(), sig.outputs, py::none(), in.on_device);
    add_saved(call.saved, sig, in.on_device);
    run_forward(call, true);
    return call;
  }

  void run_forward(const Call& call, bool training) const {
    Exec& exec = exec_for(call.in.on_device);
    exec.training = training;
    MaybeReleaseGil release(call.in.bytes + call.out.bytes);
    profiled_call(*op_, false, call.in.views, call.out.views, [&] {
      lamella::run_forward(*op_, exec, {call.in.views, call.out.views, call.saved.views, {}});
      exec.check_device();
    });
  }

  OpPtr op_;
  std::string name_;
};

}  // namespace

Exec& thread_exec() {
  thread_local Exec exec(&global_generator());
  exec.set_device(default_backend(), nullptr);
  return exec;
}

Exec& device_exec() {
  // A workspace for each stream: what two of them do may overlap. The latest come first; older ones are given up.
  constexpr size_t kMost = 8;
  thread_local std::vector<std::unique_ptr<Exec>> execs;
  const Backend* const backend = attached_device()->backend;
  void* const stream = device_stream();
  const auto fits = [&](const auto& e) { return e->stream() == stream && e->backend() == backend; };
  auto at = std::find_if(execs.begin(), execs.end(), fits);
  if (at == execs.end()) {
    if (execs.size() == kMost) execs.pop_back();
    at = execs.insert(execs.end(), std::make_unique<Exec>(&global_generator(), backend, stream));
  }
  std::rotate(execs.begin(), at, at + 1);
  return *execs.front();
}

py::object run_direct(const Op& op, PyObject* const* inputs, size_t n, py::handle out) {
  constexpr size_t kMost = 8;
  if (n > kMost) return py::none();
  TensorView in[kMost];
  TensorSpec specs[kMost];
  int64_t bytes = 0;
  for (size_t i = 0; i < n; ++i) {
    specs[i] = absent_spec();
    if (inputs[i] == Py_None) {
      in[i] = {nullptr, specs[i].dtype, specs[i].shape};
      continue;
    }
    if (!quick_view(inputs[i], in[i])) return py::none();
    specs[i] = in[i].spec();
    bytes += specs[i].bytes();
  }
  const Signature sig = infer_checked(op, {specs, n}, false);
  if (sig.outputs.size() != 1) return py::none();
  TensorView result;
  py::object array;
  if (out.is_none()) {
    array = empty_array(sig.outputs[0]);
    quick_view(array, result);
  } else {
    if (!quick_view(out, result) || !py::reinterpret_borrow<py::array>(out).writeable()) return py::none();
    if (!(result.spec() == sig.outputs[0])) return py::none();
    for (size_t i = 0; i < n; ++i)
      if (overlap(result, in[i])) return py::none();
    array = py::reinterpret_borrow<py::object>(out);
  }
  Exec& exec = thread_exec();
  exec.training = false;
  {
    MaybeReleaseGil release(bytes + sig.outputs[0].bytes());
    profiled_call(op, false, {in, n}, {&result, 1}, [&] {
      run_forward(op, exec, {{in, n}, {&result, 1}, {}, {}});
      exec.check_device();
    });
  }
  return array;
}

OpPtr op_of(py::handle h) { return h.cast<PyOp&>().op(); }

void bind_op(py::module_& m) {
  py::class_<Record>(m, "Record", "One recorded forward call: what its backward reads, and nothing more.")
      .def("backward", &Record::backward, py::arg("grad_outputs"), py::arg("wanted"), py::arg("out") = py::none());
  py::class_<PyOp>(m, "Op", "One op of the registry with its attributes: shape rule, forward, backward.")
      .def(py::init<const std::string&, py::handle>(), py::arg("name"), py::arg("attrs") = py::none())
      .def_property_readonly("name", &PyOp::name)
      .def_property_readonly("attrs", [](const PyOp& o) { return from_json(o.op()->attrs()); })
      .def_property_readonly("is_view", [](const PyOp& o) { return o.op()->is_view(); })
      .def_property_readonly(
          "uses",
          [](const PyOp& o) {
            const BackwardUses u = o.op()->backward_uses();
            return py::make_tuple(u.inputs, u.outputs);
          },
          "Bit masks of the inputs and outputs that backward reads.")
      .def("differentiable", [](const PyOp& o, int i) { return o.op()->differentiable(i); })
      .def("forward", &PyOp::forward, py::arg("inputs"), py::arg("training") = false, py::arg("out") = py::none())
      .def("direct", &PyOp::direct, py::arg("inputs"), py::arg("out"),
           "The one output for a tuple of ordinary arrays, or None where `forward` has to see to it.")
      .def("backward", &PyOp::backward, py::arg("inputs"), py::arg("outputs"), py::arg("saved"),
           py::arg("grad_outputs"), py::arg("wanted"), py::arg("out") = py::none(),
           "The gradients by the inputs that are wanted. outputs and saved may be None: forward runs again where they\n"
           "are needed. out: one array or None per input.")
      .def("record", &PyOp::record, py::arg("inputs"),
           "Runs forward in training mode; gives the outputs and the Record whose backward() can follow.")
      .def("infer", &PyOp::infer, py::arg("specs"), py::arg("training") = false);
  m.def("op_names", [] { return OpRegistry::instance().names(); });
}

}  // namespace lamella::python
