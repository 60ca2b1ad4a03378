// From an enumerator at run time to a template argument.
#pragma once

namespace lamella::cuda {

template <auto kValue>
struct Chosen {
  static constexpr auto value = kValue;
};

// body(Chosen<e>()), for an enumeration whose last enumerator is kCount.
template <class E, int kAt = 0, class Body>
void choose(E e, const Body& body) {
  if constexpr (kAt < static_cast<int>(E::kCount)) {
    if (static_cast<int>(e) == kAt) return body(Chosen<static_cast<E>(kAt)>());
    choose<E, kAt + 1>(e, body);
  }
}

}  // namespace lamella::cuda
