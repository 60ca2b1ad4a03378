// class Op: any registered op on NumPy arrays.
#include "bindings/cpu_op.h"

#include <optional>

#include "bindings/gil.h"

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

// NumPy arrays and the views that the op sees; keeps the arrays alive during the call.
struct Arrays {
  std::vector<py::object> keep;
  std::vector<TensorView> views;
  int64_t bytes = 0;

  void reserve(size_t n) {
    keep.reserve(n);
    views.reserve(n);
  }
  void add_absent() {
    keep.emplace_back(py::none());
    views.push_back({nullptr, absent_spec().dtype, absent_spec().shape});
  }
  void add_input(const char* op, py::handle h, const char* argument) {
    if (h.is_none()) return add_absent();
    py::array a = dense(h, op, argument);
    const TensorView view = view_of(a, op, argument);  // before `a` is moved from
    add(view, std::move(a));
  }
  void add_new(const TensorSpec& spec) {
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

Arrays inputs_of(const char* op, const py::sequence& inputs, const char* what) {
  Arrays a;
  const size_t n = inputs.size();
  a.reserve(n);
  char argument[48];
  for (size_t i = 0; i < n; ++i) {
    std::snprintf(argument, sizeof argument, "%s %d", what, static_cast<int>(i));
    a.add_input(op, inputs[i], argument);
  }
  return a;
}

Arrays outputs_for(const char* op, const std::vector<TensorSpec>& specs, const py::object& out) {
  Arrays a;
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
    const TensorView v = writable_view(array, op, "out");
    if (!(v.spec() == specs[i])) fail_value(op, "out", specs[i].str(), v.spec().str());
    a.add(v, array);
  }
  return a;
}

void check_specs(const char* op, const char* what, const Arrays& given, const std::vector<TensorSpec>& specs,
                 bool may_be_absent) {
  if (given.views.size() != specs.size()) {
    fail_value(op, what, std::to_string(specs.size()) + " arrays", std::to_string(given.views.size()));
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    if (may_be_absent && given.keep[i].is_none()) continue;
    if (!(given.views[i].spec() == specs[i])) {
      fail_value(op, std::string(what) + " " + std::to_string(i), specs[i].str(), given.views[i].spec().str());
    }
  }
}

// One recorded forward call: what its backward reads, and nothing more. The rest of the arrays survive as specs.
class Record {
 public:
  Record(OpPtr op, const Arrays& in, const Arrays& out, Arrays saved) : op_(std::move(op)), saved_(std::move(saved)) {
    const BackwardUses uses = op_->backward_uses();
    keep(in, uses.inputs, in_);
    keep(out, uses.outputs, out_);
  }

  py::list backward(const py::sequence& grad_outputs, const py::sequence& wanted) const {
    const std::string name(op_->name());
    const char* op = name.c_str();
    const Arrays grad_out = inputs_of(op, grad_outputs, "output gradient");
    if (grad_out.views.size() != out_.size()) {
      fail_value(op, "output gradients", std::to_string(out_.size()), std::to_string(grad_out.views.size()));
    }
    if (wanted.size() != in_.size()) {
      fail_value(op, "wanted", std::to_string(in_.size()) + " flags", std::to_string(wanted.size()));
    }
    for (size_t i = 0; i < out_.size(); ++i) {
      if (!grad_out.keep[i].is_none() && !(grad_out.views[i].spec() == out_[i].spec())) {
        fail_value(op, "output gradient " + std::to_string(i), out_[i].spec().str(), grad_out.views[i].spec().str());
      }
    }
    Arrays grad_in;
    grad_in.reserve(in_.size());
    int64_t bytes = grad_out.bytes;
    for (size_t i = 0; i < in_.size(); ++i) {
      bytes += in_[i].spec().bytes();
      if (wanted[i].cast<bool>() && !absent(in_[i].spec()) && op_->differentiable(static_cast<int>(i))) {
        grad_in.add_new(in_[i].spec());
      } else {
        grad_in.add_absent();
      }
    }
    Exec& exec = thread_exec();
    exec.training = true;
    {
      MaybeReleaseGil release(bytes);
      op_->backward(exec, {in_, out_, saved_.views, grad_out.views, grad_in.views});
    }
    return grad_in.list();
  }

 private:
  void keep(const Arrays& from, uint32_t mask, std::vector<TensorView>& views) {
    views = from.views;
    for (size_t i = 0; i < views.size(); ++i) {
      if ((mask >> i & 1) != 0) {
        keep_.push_back(from.keep[i]);
      } else {
        views[i].data = nullptr;
      }
    }
  }

  OpPtr op_;
  std::vector<TensorView> in_, out_;
  Arrays saved_;
  std::vector<py::object> keep_;
};

class PyOp {
 public:
  PyOp(const std::string& name, py::handle attrs)
      : op_(OpRegistry::instance().make(name, to_json(attrs))), name_(op_->name()) {}

  const OpPtr& op() const { return op_; }
  const std::string& name() const { return name_; }

  py::tuple forward(const py::sequence& inputs, bool training, const py::object& out) const {
    const Call call = run(inputs, training, out);
    return py::make_tuple(call.out.list(), call.saved.list());
  }

  py::tuple record(const py::sequence& inputs) const {
    Call call = run(inputs, true, py::none());
    py::list outputs = call.out.list();
    return py::make_tuple(std::move(outputs), Record(op_, call.in, call.out, std::move(call.saved)));
  }

  py::list backward(const py::sequence& inputs, const py::sequence& outputs, const py::sequence& saved,
                    const py::sequence& grad_outputs, const py::sequence& wanted) const {
    const char* op = name_.c_str();
    const Arrays in = inputs_of(op, inputs, "input"), out = inputs_of(op, outputs, "output");
    const Arrays kept = inputs_of(op, saved, "saved array"), grad_out = inputs_of(op, grad_outputs, "output gradient");
    if (wanted.size() != in.views.size()) {
      fail_value(op, "wanted", std::to_string(in.views.size()) + " flags", std::to_string(wanted.size()));
    }
    const Signature sig = infer_checked(*op_, in.specs(), true);
    check_specs(op, "output", out, sig.outputs, true);
    check_specs(op, "output gradient", grad_out, sig.outputs, true);
    check_specs(op, "saved array", kept, sig.saved, false);
    Arrays grad_in;
    grad_in.reserve(in.views.size());
    for (size_t i = 0; i < in.views.size(); ++i) {
      if (wanted[i].cast<bool>() && !in.keep[i].is_none() && op_->differentiable(static_cast<int>(i))) {
        grad_in.add_new(in.views[i].spec());
      } else {
        grad_in.add_absent();
      }
    }
    Exec& exec = thread_exec();
    exec.training = true;
    {
      MaybeReleaseGil release(in.bytes + grad_out.bytes);
      op_->backward(exec, {in.views, out.views, kept.views, grad_out.views, grad_in.views});
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
      const char* ob = static_cast<const char*>(o.data);
      const char* oe = ob + o.spec().bytes();
      for (size_t i = 0; i < in.views.size(); ++i) {
        const TensorView& v = in.views[i];
        const char* ib = static_cast<const char*>(v.data);
        if (!ib || ib >= oe || ib + v.spec().bytes() <= ob) continue;
        if (op_->can_run_in_place() && i == 0 && ib == ob && v.spec() == o.spec()) continue;
        fail_value(name_, "out", "memory apart from the inputs'", "an array that overlaps input " + std::to_string(i));
      }
    }
  }

  // Running statistics are written to: a hidden copy of a strided or read-only array would lose the update.
  void check_mutated(const py::sequence& inputs, bool training) const {
    const uint32_t mutated = training ? op_->mutates() : 0;
    for (size_t i = 0; mutated != 0 && i < inputs.size(); ++i) {
      if ((mutated >> i & 1) != 0 && !py::object(inputs[i]).is_none()) {
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
    call.out = outputs_for(op, sig.outputs, out);
    call.saved.reserve(sig.saved.size());
    for (const TensorSpec& s : sig.saved) call.saved.add_new(s);
    if (!out.is_none()) check_no_overlap(call.in, call.out);
    check_mutated(inputs, training);
    Exec& exec = thread_exec();
    exec.training = training;
    {
      MaybeReleaseGil release(call.in.bytes + call.out.bytes);
      op_->forward(exec, {call.in.views, call.out.views, call.saved.views, {}});
    }
    return call;
  }

  OpPtr op_;
  std::string name_;
};

}  // namespace

Exec& thread_exec() {
  thread_local Exec exec(&global_generator());
  return exec;
}

OpPtr op_of(py::handle h) { return h.cast<PyOp&>().op(); }

void bind_op(py::module_& m) {
  py::class_<Record>(m, "Record", "One recorded forward call: what its backward reads, and nothing more.")
      .def("backward", &Record::backward, py::arg("grad_outputs"), py::arg("wanted"));
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
      .def("backward", &PyOp::backward, py::arg("inputs"), py::arg("outputs"), py::arg("saved"),
           py::arg("grad_outputs"), py::arg("wanted"))
      .def("record", &PyOp::record, py::arg("inputs"),
           "Runs forward in training mode; gives the outputs and the Record whose backward() can follow.")
      .def("infer", &PyOp::infer, py::arg("specs"), py::arg("training") = false);
  m.def("op_names", [] { return OpRegistry::instance().names(); });
}

}  // namespace lamella::python
