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
    const PhiloxKey next = exec.generator().next();
    return seeded ? PhiloxKey{seed, next.stream} : next;
  }
};

// The threshold below which a random word falls with probability p; true where that is 2^32: all of them do.
bool probability_threshold(double p, uint32_t& threshold);

void register_noise(OpRegistry& r);

}  // namespace lamella
