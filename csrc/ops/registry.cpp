// The list of op families. No static initialisers: a static library would drop them.
#include "ops/registry.h"

#include "ops/op.h"

namespace lamella {

const OpRegistry& OpRegistry::instance() {
  static const OpRegistry registry = [] {
    OpRegistry r;
    register_dense(r);
    register_matmul(r);
    register_conv(r);
    register_pool(r);
    register_elementwise(r);
    register_reduce(r);
    register_softmax(r);
    register_loss(r);
    register_norm(r);
    register_rnn(r);
    register_shape(r);
    register_repeat(r);
    register_resize(r);
    register_random(r);
    register_embedding(r);
    register_augment(r);
    register_attention(r);
    return r;
  }();
  return registry;
}

OpPtr OpRegistry::make(const std::string& name, const Json& attrs) const {
  std::vector<std::string> known;
  for (const auto& [n, factory] : factories_) {
    if (n == name) return factory(attrs);
    known.push_back(n);
  }
  const std::string close = closest_name(name, known);
  fail_value("op", "name", "a registered op" + (close.empty() ? "" : " (did you mean '" + close + "'?)"),
             "'" + name + "'");
}

std::vector<std::string> OpRegistry::names() const {
  std::vector<std::string> n;
  for (const auto& f : factories_) n.push_back(f.first);
  return n;
}

void OpRegistry::add(const char* name, Factory factory) { factories_.emplace_back(name, factory); }

}  // namespace lamella
