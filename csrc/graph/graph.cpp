#include "graph/graph.h"

#include <algorithm>

namespace lamella {

const Value& Graph::value(int id) const {
  if (id < 0 || id >= static_cast<int>(values_.size())) {
    fail_value("graph", "value", "an id in [0, " + std::to_string(values_.size()) + ")", std::to_string(id));
  }
  return values_[id];
}

int Graph::add_named(ValueKind kind, const std::string& name, const TensorSpec& spec) {
  for (const Value& v : values_) {
    if (v.kind != ValueKind::kComputed && v.name == name) {
      fail_value("graph", "name", "unique names of inputs and parameters", "'" + name + "' twice");
    }
  }
  Value v;
  v.kind = kind;
  v.name = name;
  v.spec = spec;
  values_.push_back(std::move(v));
  return static_cast<int>(values_.size()) - 1;
}

int Graph::add_input(const std::string& name, const TensorSpec& spec) {
  const int id = add_named(ValueKind::kInput, name, spec);
  inputs_.push_back(id);
  return id;
}

int Graph::add_param(const std::string& name, const TensorView& data, std::shared_ptr<const void> holder,
                     bool trainable) {
  const int id = add_named(ValueKind::kParam, name, data.spec());
  values_[id].data = data;
  values_[id].holder = std::move(holder);
  values_[id].trainable = trainable;
  return id;
}

int Graph::add_const(const std::string& name, const TensorView& data, std::shared_ptr<const void> holder) {
  const int id = add_named(ValueKind::kConst, name, data.spec());
  values_[id].data = data;
  values_[id].holder = std::move(holder);
  return id;
}

std::vector<int> Graph::apply(OpPtr op, const std::vector<int>& in, const std::string& name) {
  std::vector<TensorSpec> specs;
  for (int id : in) specs.push_back(id < 0 ? absent_spec() : value(id).spec);
  const Signature sig = infer_checked(*op, specs, false);
  Node node{std::move(op), name, in, {}};
  for (const TensorSpec& s : sig.outputs) {
    Value v;
    v.spec = s;
    values_.push_back(std::move(v));
    node.out.push_back(static_cast<int>(values_.size()) - 1);
  }
  nodes_.push_back(std::move(node));
  return nodes_.back().out;
}

void Graph::set_outputs(const std::vector<int>& ids) {
  for (int id : ids) value(id);
  outputs_ = ids;
}

std::vector<TensorSpec> Graph::infer(std::span<const TensorSpec> inputs, bool training) const {
  if (inputs.size() != inputs_.size()) {
    fail_value("graph", "inputs", std::to_string(inputs_.size()) + " arrays", std::to_string(inputs.size()));
  }
  std::vector<TensorSpec> specs(values_.size());
  for (size_t i = 0; i < values_.size(); ++i) specs[i] = values_[i].spec;
  for (size_t i = 0; i < inputs.size(); ++i) specs[inputs_[i]] = inputs[i];
  std::vector<TensorSpec> in;
  for (const Node& node : nodes_) {
    in.clear();
    for (int id : node.in) in.push_back(id < 0 ? absent_spec() : specs[id]);
    const Signature sig = infer_checked(*node.op, in, training);
    for (size_t i = 0; i < node.out.size(); ++i) specs[node.out[i]] = sig.outputs[i];
  }
  return specs;
}

namespace {

Json spec_to_json(const TensorSpec& s) {
  Json::Array dims;
  for (int64_t d : s.shape) dims.push_back(d);
  return Json::Object{{"dtype", dtype_name(s.dtype)}, {"shape", dims}};
}

TensorSpec spec_from_json(const Json& j) {
  TensorSpec s;
  s.dtype = dtype_from_name(j.at("dtype").as_string());
  for (const Json& d : j.at("shape").as_array()) s.shape.push_back(d.as_int());
  if (!s.shape.representable()) {
    fail_value("saved graph", "shape", "dimensions >= 0 of a representable size", s.shape.str());
  }
  return s;
}

Json ids_to_json(const std::vector<int>& ids) {
  Json::Array a;
  for (int id : ids) a.push_back(id);
  return a;
}

// Ids in a file may name anything: they must be earlier values, or -1 where allowed.
std::vector<int> ids_from_json(const Json& j, size_t count, bool allow_absent) {
  std::vector<int> ids;
  for (const Json& e : j.as_array()) {
    const int64_t id = e.as_int();
    if (id >= static_cast<int64_t>(count) || id < (allow_absent ? -1 : 0)) {
      fail_value("saved graph", "value id", "an id in [0, " + std::to_string(count) + ")", std::to_string(id));
    }
    ids.push_back(static_cast<int>(id));
  }
  return ids;
}

const char* kind_name(ValueKind k) {
  return k == ValueKind::kInput ? "input" : k == ValueKind::kParam ? "param" : "const";
}

}  // namespace

Json Graph::to_json() const {
  // Values get ids in the order leaves first, then computed ones node by node, so that reading can rebuild by
  // appending.
  std::vector<int> id_of(values_.size(), -1);
  Json::Array leaves, nodes;
  int next = 0;
  for (size_t i = 0; i < values_.size(); ++i) {
    const Value& v = values_[i];
    if (v.kind == ValueKind::kComputed) continue;
    id_of[i] = next++;
    Json::Object o{{"kind", kind_name(v.kind)}, {"name", v.name}};
    const Json spec = spec_to_json(v.spec);
    o.emplace_back("dtype", spec.at("dtype"));
    o.emplace_back("shape", spec.at("shape"));
    if (v.kind == ValueKind::kParam) o.emplace_back("trainable", v.trainable);
    leaves.push_back(std::move(o));
  }
  const auto mapped = [&](const std::vector<int>& ids) {
    std::vector<int> m;
    for (int id : ids) m.push_back(id < 0 ? -1 : id_of[id]);
    return m;
  };
  for (const Node& n : nodes_) {
    for (int id : n.out) id_of[id] = next++;
    nodes.push_back(Json::Object{{"op", std::string(n.op->name())},
                                 {"name", n.name},
                                 {"attrs", n.op->attrs()},
                                 {"in", ids_to_json(mapped(n.in))}});
  }
  return Json::Object{{"values", leaves}, {"nodes", nodes}, {"outputs", ids_to_json(mapped(outputs_))}};
}

Graph Graph::from_json(const Json& json, FindTensor find, void* context, const std::shared_ptr<const void>& holder) {
  Graph g;
  for (const Json& j : json.at("values").as_array()) {
    const std::string& kind = j.at("kind").as_string();
    const std::string& name = j.at("name").as_string();
    const TensorSpec spec = spec_from_json(j);
    if (kind == "input") {
      g.add_input(name, spec);
      continue;
    }
    if (kind != "param" && kind != "const") {
      fail_value("saved graph", "kind", "input, param or const", "'" + kind + "'");
    }
    const TensorView* t = find(context, name);
    if (t == nullptr) fail_value("saved graph", "weights", "a tensor named '" + name + "'", "none in the file");
    if (!(t->spec() == spec)) fail_value("saved graph", "tensor '" + name + "'", spec.str(), t->spec().str());
    if (kind == "param") {
      const Json* trainable = j.find("trainable");
      g.add_param(name, *t, holder, trainable == nullptr || trainable->as_bool());
    } else {
      g.add_const(name, *t, holder);
    }
  }
  for (const Json& j : json.at("nodes").as_array()) {
    const std::vector<int> in = ids_from_json(j.at("in"), g.values_.size(), true);
    g.apply(OpRegistry::instance().make(j.at("op").as_string(), j.at("attrs")), in, j.at("name").as_string());
  }
  g.set_outputs(ids_from_json(json.at("outputs"), g.values_.size(), false));
  return g;
}

}  // namespace lamella
