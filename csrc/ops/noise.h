// What the random ops share.
#pragma once

#include <cstdint>

#include "ops/exec.h"
#include "ops/op.h"

namespace lamella {

// Where an op draws from: by default each forward takes the next stream of the Exec's generator. The attribute `key` =
// [seed, stream] names another; `seed` alone takes the place of the generator's, whose count of streams goes on.
struct KeyAttr {
  bool given = false;
  PhiloxKey key;
  bool seeded = false;
  uint64_t seed = 0;

  void read(AttrReader& a, const char* op);
  void write(Json& a) const;
  PhiloxKey take(Exec& exec) const {
    if (given) return key;
    return seeded ? exec.next_key(seed) : exec.next_key();
  }
};

// A key among the saved tensors, on the host: its specification, writing it, reading it.
inline TensorSpec saved_key_spec() { return {DType::kU64, Shape{3}}; }
inline void save_key(const PhiloxKey& key, const TensorView& saved) {
  uint64_t* to = saved.as<uint64_t>();
  to[0] = key.seed;
  to[1] = key.stream;
  to[2] = reinterpret_cast<uintptr_t>(key.step);
}
inline PhiloxKey saved_key(const TensorView& saved) {
  const uint64_t* from = saved.as<const uint64_t>();
  return {from[0], from[1], reinterpret_cast<const uint64_t*>(static_cast<uintptr_t>(from[2]))};
}

// The threshold below which a random word falls with probability p; true where that is 2^32: all of them do.
bool probability_threshold(double p, uint32_t& threshold);

void register_noise(OpRegistry& r);

}  // namespace lamella
