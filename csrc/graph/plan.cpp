#include "graph/plan.h"

#include <algorithm>
#include <utility>

#include "graph/passes.h"

namespace lamella {

// Memory that steps touch: a slice of the arena, or memory with an owner outside (inputs, parameters, gradients).
struct Plan::Buffer {
  BufferLife life;
  void* external = nullptr;
  int input = -1;        // >= 0: the memory of that input, known at run time
  bool trained = false;  // a parameter that changes at every step
  bool in_arena() const { return external == nullptr && input < 0; }
};

// A tensor in a buffer. buffer < 0: absent.
struct Plan::Ref {
  int buffer = -1;
  TensorSpec spec;
};

class Plan::Compiler {
 public:
  Compiler(Plan& plan, const Graph& graph, std::span<const TensorSpec> inputs, const PlanOptions& options)
      : plan_(plan), graph_(graph), training_(options.training), results_(options.results) {
    specs_ = graph.infer(inputs, training_);
  }

  void compile() {
    lay_out_values();
    forward();
    if (training_) {
      find_what_needs_gradients();
      backward();
    }
    find_lifetimes();
    run_in_place();
    resolve();
  }

 private:
  struct DraftStep {
    OpPtr op;
    bool backward = false;
    std::vector<Ref> in, out, saved, grad_out, grad_in;
    std::string label = {};
  };

  int new_buffer(int64_t bytes) {
    Buffer b;
    b.life.bytes = bytes;
    buffers_.push_back(b);
    return static_cast<int>(buffers_.size()) - 1;
  }
  int external_buffer(void* data) {
    const int id = new_buffer(0);
    buffers_[id].external = data;
    return id;
  }
  Ref new_ref(const TensorSpec& spec) { return {new_buffer(spec.bytes()), spec}; }

  void lay_out_values() {
    refs_.resize(graph_.values().size());
    constant_.assign(graph_.values().size(), false);
    for (size_t i = 0; i < graph_.inputs().size(); ++i) {
      const int id = graph_.inputs()[i];
      refs_[id] = {new_buffer(0), specs_[id]};
      buffers_[refs_[id].buffer].input = static_cast<int>(i);
    }
    for (size_t id = 0; id < graph_.values().size(); ++id) {
      const Value& v = graph_.values()[id];
      if (v.kind == ValueKind::kParam || v.kind == ValueKind::kConst) {
        refs_[id] = {external_buffer(v.kind == ValueKind::kConst ? plan_.on_device(v.data) : v.data.data), specs_[id]};
        buffers_[refs_[id].buffer].trained = training_ && v.kind == ValueKind::kParam && v.trainable;
        constant_[id] = true;
        plan_.holders_.push_back(v.holder);
      }
    }
  }

  std::vector<Ref> refs_of(const std::vector<int>& ids) const {
    std::vector<Ref> r;
    for (int id : ids) r.push_back(id < 0 ? Ref{-1, absent_spec()} : refs_[id]);
    return r;
  }

  Signature signature(const Node& n) const {
    std::vector<TensorSpec> in;
    for (int id : n.in) in.push_back(id < 0 ? absent_spec() : specs_[id]);
    return infer_checked(*n.op, in, training_);
  }

  void forward() {
    saved_.resize(graph_.nodes().size());
    for (size_t i = 0; i < graph_.nodes().size(); ++i) {
      const Node& n = graph_.nodes()[i];
      if (n.op->is_view()) {
        refs_[n.out[0]] = {refs_[n.in[0]].buffer, specs_[n.out[0]]};
        constant_[n.out[0]] = constant_[n.in[0]];
        continue;
      }
      if (is_constant(n)) {
        for (int id : n.out) {
          refs_[id] = {external_buffer(plan_.allocate(specs_[id].bytes())), specs_[id]};
          constant_[id] = true;
        }
        setup_.push_back({n.op, false, refs_of(n.in), refs_of(n.out), {}, {}, {}});
        continue;
      }
      for (int id : n.out) refs_[id] = new_ref(specs_[id]);
      const Signature sig = signature(n);
      for (size_t k = 0; k < sig.saved.size(); ++k) {
        const bool on_host = (sig.saved_on_host >> k & 1) != 0;
        saved_[i].push_back(on_host ? Ref{external_buffer(plan_.host_memory(sig.saved[k].bytes())), sig.saved[k]}
                                    : new_ref(sig.saved[k]));
      }
      drafts_.push_back({n.op, false, refs_of(n.in), refs_of(n.out), saved_[i], {}, {}});
      drafts_.back().label = label_of(n);
    }
  }

  // Whose parameters a node reads: "block1_conv1" for "block1_conv1.kernel".
  std::string label_of(const Node& n) const {
    for (int id : n.in) {
      if (id < 0 || graph_.value(id).kind != ValueKind::kParam) continue;
      const std::string& name = graph_.value(id).name;
      return name.substr(0, std::min(name.rfind('.'), name.size()));
    }
    return {};
  }

  // Whether a node gives the same at each run until parameters change. Without inputs, it draws random numbers.
  bool is_constant(const Node& n) const {
    bool constant = !training_ && !n.in.empty();
    for (int id : n.in) constant &= id < 0 || constant_[id];
    return constant;
  }

  void find_what_needs_gradients() {
    needs_grad_.assign(graph_.values().size(), false);
    for (size_t id = 0; id < graph_.values().size(); ++id) {
      const Value& v = graph_.values()[id];
      needs_grad_[id] = v.kind == ValueKind::kParam && v.trainable && is_floating(v.spec.dtype);
    }
    for (const Node& n : graph_.nodes()) {
      bool any = false;
      for (size_t i = 0; i < n.in.size(); ++i) {
        any |= n.in[i] >= 0 && needs_grad_[n.in[i]] && n.op->differentiable(static_cast<int>(i));
      }
      for (int id : n.out) needs_grad_[id] = any && is_floating(specs_[id].dtype);
    }
  }

  // Gradients of parameters lie in one flat buffer, so that an all-reduce or a global norm is one call.
  void lay_out_gradients(const std::vector<int>& params) {
    int64_t total = 0;
    DType dtype = DType::kF32;
    for (int id : params) {
      total += (specs_[id].bytes() + 63) / 64 * 64;
      dtype = specs_[id].dtype;
    }
    char* base = static_cast<char*>(plan_.allocate(total));
    plan_.exec_.zero(base, total);
    plan_.flat_gradients_ = {base, dtype, Shape{total / dtype_size(dtype)}};
    for (int id : params) {
      grads_[id] = {external_buffer(base), specs_[id]};
      plan_.gradients_.push_back({{graph_.value(id).data.data, specs_[id].dtype, specs_[id].shape},
                                  {base, specs_[id].dtype, specs_[id].shape},
                                  id});
      base += (specs_[id].bytes() + 63) / 64 * 64;
    }
  }

  void backward() {
    const int loss = results_[0];
    if (specs_[loss].shape.size() != 1 || !is_float(specs_[loss].dtype)) {
      fail_value("plan", "loss", "a floating-point scalar", specs_[loss].str());
    }
    const std::vector<int> params = params_below(loss);
    if (params.empty()) {
      fail_value("plan", "loss", "a loss that depends on at least one trainable parameter", "none");
    }
    grads_.resize(graph_.values().size());
    written_.assign(graph_.values().size(), false);
    lay_out_gradients(params);

    void* one = plan_.allocate(8);
    const float one_f32 = 1.0f;
    const double one_f64 = 1.0;
    const bool narrow = specs_[loss].dtype == DType::kF32;
    plan_.exec_.copy(one, narrow ? static_cast<const void*>(&one_f32) : &one_f64, specs_[loss].bytes(),
                     CopyKind::kToDevice);
    grads_[loss] = {external_buffer(one), specs_[loss]};
    written_[loss] = true;

    add_ = OpRegistry::instance().make("add", {});
    for (size_t i = graph_.nodes().size(); i-- > 0;) backward_of(i);
  }

  // Trainable parameters with a gradient path to the loss, in graph order.
  std::vector<int> params_below(int loss) const {
    std::vector<bool> reached(graph_.values().size(), false);
    reached[loss] = true;
    for (size_t i = graph_.nodes().size(); i-- > 0;) {
      const Node& n = graph_.nodes()[i];
      bool any = false;
      for (int id : n.out) any |= reached[id] && needs_grad_[id];
      if (!any) continue;
      for (size_t k = 0; k < n.in.size(); ++k) {
        if (n.in[k] >= 0 && n.op->differentiable(static_cast<int>(k))) reached[n.in[k]] = true;
      }
    }
    std::vector<int> params;
    for (size_t id = 0; id < reached.size(); ++id) {
      if (reached[id] && graph_.values()[id].kind == ValueKind::kParam && needs_grad_[id]) {
        params.push_back(static_cast<int>(id));
      }
    }
    return params;
  }

  void accumulate(int id, const Ref& part) {
    drafts_.push_back({add_, false, {grads_[id], part}, {grads_[id]}, {}, {}, {}});
  }

  void backward_of(size_t node) {
    const Node& n = graph_.nodes()[node];
    bool any = false;
    for (int id : n.out) any |= written_[id];
    bool wanted = false;
    for (size_t k = 0; k < n.in.size(); ++k) wanted |= wants_gradient(n, k);
    if (!any || !wanted) return;

    if (n.op->is_view()) {
      const int id = n.in[0];
      const Ref part{grads_[n.out[0]].buffer, specs_[id]};
      if (graph_.value(id).kind == ValueKind::kParam || written_[id]) {
        if (written_[id]) {
          accumulate(id, part);
        } else {  // a parameter's gradient has its own place
          drafts_.push_back({copy_op(), false, {part}, {grads_[id]}, {}, {}, {}});
        }
      } else {
        grads_[id] = part;
      }
      written_[id] = true;
      return;
    }

    DraftStep s;
    s.op = n.op;
    s.backward = true;
    s.label = label_of(n);
    const BackwardUses uses = n.op->backward_uses();
    for (size_t k = 0; k < n.in.size(); ++k) {
      const int id = n.in[k];
      Ref r = id < 0 ? Ref{-1, absent_spec()} : refs_[id];
      if ((uses.inputs >> k & 1) == 0) r.buffer = -1;
      s.in.push_back(r);
    }
    for (size_t k = 0; k < n.out.size(); ++k) {
      Ref r = refs_[n.out[k]];
      if ((uses.outputs >> k & 1) == 0) r.buffer = -1;
      s.out.push_back(r);
      s.grad_out.push_back(written_[n.out[k]] ? grads_[n.out[k]] : Ref{-1, specs_[n.out[k]]});
    }
    s.saved = saved_[node];
    std::vector<std::pair<int, Ref>> parts;
    for (size_t k = 0; k < n.in.size(); ++k) {
      const int id = n.in[k];
      if (!wants_gradient(n, k)) {
        s.grad_in.push_back({-1, id < 0 ? absent_spec() : specs_[id]});
        continue;
      }
      if (!written_[id]) {
        if (grads_[id].buffer < 0) grads_[id] = new_ref(specs_[id]);
        s.grad_in.push_back(grads_[id]);
        written_[id] = true;
      } else {  // another consumer has written already
        s.grad_in.push_back(new_ref(specs_[id]));
        parts.emplace_back(id, s.grad_in.back());
      }
    }
    drafts_.push_back(std::move(s));
    for (const auto& [id, part] : parts) accumulate(id, part);
  }

  bool wants_gradient(const Node& n, size_t k) const {
    return n.in[k] >= 0 && needs_grad_[n.in[k]] && n.op->differentiable(static_cast<int>(k));
  }

  static OpPtr copy_op() { return OpRegistry::instance().make("activation", Json::Object{{"activation", "identity"}}); }

  template <class F>
  static void for_each_ref(DraftStep& s, F&& f) {
    for (auto* refs : {&s.in, &s.out, &s.saved, &s.grad_out, &s.grad_in})
      for (Ref& r : *refs)
        if (r.buffer >= 0) f(r);
  }

  void find_lifetimes() {
    for (size_t i = 0; i < drafts_.size(); ++i) {
      for_each_ref(drafts_[i], [&](const Ref& r) {
        BufferLife& b = buffers_[r.buffer].life;
        if (b.last < b.first) b.first = static_cast<int>(i);
        b.last = static_cast<int>(i);
      });
    }
    for (int id : results_) {
      BufferLife& b = buffers_[refs_[id].buffer].life;
      if (b.last < b.first) b.first = 0;
      b.last = static_cast<int>(drafts_.size());
    }
  }

  // An elementwise op writes over its input where nobody reads that any more.
  void run_in_place() {
    for (size_t i = 0; i < drafts_.size(); ++i) {
      DraftStep& s = drafts_[i];
      if (s.backward || !s.op->can_run_in_place() || s.in[0].buffer < 0) continue;
      const int from = s.out[0].buffer, to = s.in[0].buffer;
      if (from == to || !buffers_[from].in_arena() || !buffers_[to].in_arena()) continue;
      bool read_twice = false;
      for (size_t k = 1; k < s.in.size(); ++k) read_twice |= s.in[k].buffer == to;
      const int step = static_cast<int>(i);
      if (read_twice || !(s.in[0].spec == s.out[0].spec) || buffers_[to].life.last != step ||
          buffers_[from].life.first != step) {
        continue;
      }
      buffers_[to].life.last = buffers_[from].life.last;
      buffers_[from].life.last = buffers_[from].life.first - 1;
      for (size_t j = i; j < drafts_.size(); ++j) {
        for_each_ref(drafts_[j], [&](Ref& r) {
          if (r.buffer == from) r.buffer = to;
        });
      }
      for (Ref& r : refs_)
        if (r.buffer == from) r.buffer = to;
    }
  }

  void resolve() {
    std::vector<BufferLife> lives;
    for (Buffer& b : buffers_) {
      lives.push_back(b.in_arena() ? b.life : BufferLife{});
    }
    plan_.arena_bytes_ = plan_memory(lives);
    char* arena = static_cast<char*>(plan_.allocate(plan_.arena_bytes_));

    const auto view = [&](const Ref& r) {
      TensorView v{nullptr, r.spec.dtype, r.spec.shape};
      if (r.buffer < 0) return v;
      const Buffer& b = buffers_[r.buffer];
      v.data = b.external != nullptr ? b.external : b.input >= 0 ? nullptr : arena + lives[r.buffer].offset;
      return v;
    };
    const auto views = [&](const std::vector<Ref>& refs) {
      std::vector<TensorView> v;
      for (const Ref& r : refs) v.push_back(view(r));
      return v;
    };
    for (const DraftStep& d : setup_) {
      Step s;
      s.op = d.op;
      s.in = views(d.in);
      s.out = views(d.out);
      for (const TensorView& v : s.in) {
        if (v && !made_by_setup(v.data)) plan_.setup_sources_.push_back(v);
      }
      plan_.setup_.push_back(std::move(s));
    }
    for (const DraftStep& d : drafts_) {
      Step s{d.op, d.backward, views(d.in), views(d.out), views(d.saved), views(d.grad_out), views(d.grad_in), {}};
      s.label = d.label;
      if (!d.backward) reserve_prepared(s, d);
      plan_.steps_.push_back(std::move(s));
    }
    for (int id : results_) plan_.results_.push_back(view(refs_[id]));

    // Views of inputs are filled in at every run.
    const auto patch = [&](const std::vector<Ref>& refs, std::vector<TensorView>& views_of_refs) {
      for (size_t k = 0; k < refs.size(); ++k) {
        if (refs[k].buffer >= 0 && buffers_[refs[k].buffer].input >= 0) {
          plan_.patches_.push_back({buffers_[refs[k].buffer].input, &views_of_refs[k]});
        }
      }
    };
    for (size_t i = 0; i < drafts_.size(); ++i) {
      patch(drafts_[i].in, plan_.steps_[i].in);
      patch(drafts_[i].out, plan_.steps_[i].out);
    }
    std::vector<Ref> result_refs;
    for (int id : results_) result_refs.push_back(refs_[id]);
    patch(result_refs, plan_.results_);
  }

  bool made_by_setup(const void* data) const {
    for (const Step& s : plan_.setup_) {
      for (const TensorView& v : s.out)
        if (v.data == data) return true;
    }
    return false;
  }

  // Only weights that are the same at every step can be prepared. In training they are frozen ones, and memory is
  // scarce: large ones are transformed at each step, which takes a few per cent of their use.
  static constexpr int64_t kMostPreparedInTraining = 4 << 20;
  void reserve_prepared(Step& s, const DraftStep& d) {
    std::vector<TensorSpec> in;
    for (size_t k = 0; k < d.in.size(); ++k) {
      in.push_back(d.in[k].buffer < 0 ? absent_spec() : d.in[k].spec);
      if ((d.op->prepared_inputs() >> k & 1) == 0 || d.in[k].buffer < 0) continue;
      if (buffers_[d.in[k].buffer].external == nullptr || buffers_[d.in[k].buffer].trained) return;
      s.prepared_from |= 1u << k;
    }
    if (std::any_of(in.begin(), in.end(), [](const TensorSpec& t) { return is_half(t.dtype); })) return;
    const TensorSpec spec = d.op->prepared_spec(plan_.exec_, in);
    if (training_ && spec.bytes() > kMostPreparedInTraining) return;
    if (spec.bytes() == 0) return;
    s.prepared = {plan_.allocate(spec.bytes()), spec.dtype, spec.shape};
    plan_.prepared_bytes_ += spec.bytes();
  }

  Plan& plan_;
  const Graph& graph_;
  bool training_;
  std::vector<int> results_;
  std::vector<TensorSpec> specs_;  // by value id
  std::vector<Ref> refs_;          // by value id
  std::vector<Ref> grads_;         // by value id
  std::vector<bool> needs_grad_, written_;
  std::vector<std::vector<Ref>> saved_;  // by node
  std::vector<Buffer> buffers_;
  std::vector<DraftStep> drafts_, setup_;
  std::vector<bool> constant_;  // by value id: parameters, constants, and what is derived from them alone
  OpPtr add_;
};

Plan::Plan(const Graph& graph, std::span<const TensorSpec> inputs, const PlanOptions& options)
    : input_specs_(inputs.begin(), inputs.end()), exec_(&global_generator(), options.backend, options.stream) {
  PlanOptions wanted = options;
  if (wanted.results.empty()) wanted.results = graph.outputs();
  if (wanted.results.empty()) fail_value("plan", "results", "at least one value", "none");
  for (int id : wanted.results) graph.value(id);
  const Graph optimized = optimize(graph, wanted.results, options.training);
  Compiler(*this, optimized, inputs, wanted).compile();
  exec_.training = options.training;
  if (exec_.backend() != nullptr && exec_.backend()->begin_recording != nullptr) {
    recordable_ = true;
    for (const Step& s : steps_) recordable_ = recordable_ && !s.op->synchronizes();
  }
  input_memory_.resize(inputs.size(), nullptr);
}

Plan::~Plan() {
  drop_recordings();
  if (last_launch_ != nullptr) exec_.backend()->release_event(last_launch_);
  host_feed_.reset();
  exec_.release(sent_);
  for (void* p : memory_) exec_.release(p);
  for (void* p : input_memory_) exec_.release(p);
  exec_.release(scratch_);
}

Plan::Turn::Turn(Plan& plan, void* stream) : plan_(plan), lock_(plan.mutex_) {
  Exec& exec = plan.exec_;
  if (exec.backend() == nullptr || stream == exec.stream()) return;
  if (plan.last_launch_ != nullptr) {
    const char* error = exec.backend()->wait_for_event(plan.last_launch_, stream);
    if (error != nullptr) throw Error(ErrorKind::kInternal, exec.backend()->name, error);
  }
  exec.use_stream(stream);
}

// The caller may have done away with the stream when the next one comes, so the mark is made now.
Plan::Turn::~Turn() {
  const Exec& exec = plan_.exec_;
  if (exec.backend() == nullptr) return;
  const Backend& device = *exec.backend();
  if (plan_.last_launch_ == nullptr && device.make_event(&plan_.last_launch_) != nullptr) return;
  device.record_event(plan_.last_launch_, exec.stream());
}

HostFeed& Plan::host_feed() {
  if (host_feed_ == nullptr) host_feed_ = std::make_unique<HostFeed>(exec_);
  return *host_feed_;
}

// Constants of a graph lie on the host.
void* Plan::on_device(const TensorView& constant) {
  if (exec_.backend() == nullptr || exec_.backend()->host_memory) return constant.data;
  void* p = allocate(constant.spec().bytes());
  exec_.copy(p, constant.data, constant.spec().bytes(), CopyKind::kToDevice);
  return p;
}

void* Plan::host_memory(int64_t bytes) {
  host_memory_.emplace_back(new char[static_cast<size_t>(bytes)]);
  return host_memory_.back().get();
}

void* Plan::allocate(int64_t bytes) {
  void* p = exec_.allocate(bytes, "plan");
  memory_.push_back(p);
  return p;
}

TensorView Plan::input_buffer(int i) {
  const TensorSpec& s = input_specs_[i];
  if (input_memory_[i] == nullptr) input_memory_[i] = exec_.allocate(s.bytes(), "plan");
  return {input_memory_[i], s.dtype, s.shape};
}

int64_t Plan::result_copy_bytes() const {
  int64_t bytes = 0;
  for (const TensorView& r : results_) bytes += (r.spec().bytes() + kResultAlign - 1) / kResultAlign * kResultAlign;
  return bytes;
}

char* Plan::result_copies() {
  if (result_copies_ == nullptr) result_copies_ = static_cast<char*>(allocate(result_copy_bytes()));
  return result_copies_;
}

void* Plan::scratch(int64_t bytes) {
  if (bytes > scratch_bytes_) {
    exec_.release(std::exchange(scratch_, nullptr));
    scratch_bytes_ = 0;
    scratch_ = exec_.allocate(bytes, "plan");
    scratch_bytes_ = bytes;
  }
  return scratch_;
}

std::vector<Plan::StepName> Plan::step_names() const {
  std::vector<StepName> names;
  for (const Step& s : steps_) names.push_back({std::string(s.op->name()), s.backward, s.label});
  return names;
}

}  // namespace lamella
