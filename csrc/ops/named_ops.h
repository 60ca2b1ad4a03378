// Registers one op class under every name of a table.
#pragma once

#include <iterator>
#include <memory>
#include <utility>

#include "ops/op.h"

namespace lamella {

template <class OpT, const auto& Table, size_t I>
OpPtr make_named(const Json& attrs) {
  return std::make_shared<OpT>(Table[I], attrs);
}
template <class OpT, const auto& Table, size_t... I>
void add_named(OpRegistry& r, std::index_sequence<I...>) {
  (r.add(Table[I].name, make_named<OpT, Table, I>), ...);
}
template <class OpT, const auto& Table>
void add_named(OpRegistry& r) {
  add_named<OpT, Table>(r, std::make_index_sequence<std::size(Table)>());
}

}  // namespace lamella
