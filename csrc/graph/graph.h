// A traced model: values joined by ops. Tracing, functional models, saved files and the C library all speak this.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ops/op.h"

namespace lamella {

enum class ValueKind { kInput, kParam, kConst, kComputed };

struct Value {
  ValueKind kind = ValueKind::kComputed;
  std::string name;  // inputs, params and consts have unique names
  TensorSpec spec;   // as traced; plans infer again for their own input shapes
  bool trainable = false;
  TensorView data;                     // params and consts
  std::shared_ptr<const void> holder;  // keeps data alive
};

struct Node {
  OpPtr op;
  std::string name;
  std::vector<int> in;  // value ids; -1: absent optional input
  std::vector<int> out;
};

class Graph {
 public:
  int add_input(const std::string& name, const TensorSpec& spec);
  int add_param(const std::string& name, const TensorView& data, std::shared_ptr<const void> holder, bool trainable);
  int add_const(const std::string& name, const TensorView& data, std::shared_ptr<const void> holder);
  // Appends a node; infers its output specs. Throws Error(kValue) on unknown ids.
  std::vector<int> apply(OpPtr op, const std::vector<int>& in, const std::string& name);
  void set_outputs(const std::vector<int>& ids);

  const std::vector<Value>& values() const { return values_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<int>& inputs() const { return inputs_; }
  const std::vector<int>& outputs() const { return outputs_; }
  const Value& value(int id) const;

  // Specs of all values when the inputs have these specs. Throws where a shape rule refuses.
  std::vector<TensorSpec> infer(std::span<const TensorSpec> inputs, bool training) const;

  // Structure without the data of params and consts, which are found again by name.
  Json to_json() const;
  using FindTensor = const TensorView* (*)(void* context, const std::string& name);
  static Graph from_json(const Json& json, FindTensor find, void* context, const std::shared_ptr<const void>& holder);

 private:
  friend class GraphRewriter;
  int add_named(ValueKind kind, const std::string& name, const TensorSpec& spec);

  std::vector<Value> values_;
  std::vector<Node> nodes_;  // in topological order: apply only takes values that exist
  std::vector<int> inputs_;
  std::vector<int> outputs_;
};

}  // namespace lamella
