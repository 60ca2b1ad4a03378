// What the random ops share.
#pragma once

#include <cstdint>

#include "ops/exec.h"
#include "ops/op.h"

namespace lamella {

// The attribute `key` = [seed, stream]: the stream to draw from; without it each forward takes the next one.
struct KeyAttr {
  bool given = false;
  PhiloxKey key;

  void read(AttrReader& a, const char* op);
  void write(Json& a) const;
  PhiloxKey take(Exec& exec) const { return given ? key : exec.generator().next(); }
};

// The threshold below which a random word falls with probability p; true where that is 2^32: all of them do.
bool probability_threshold(double p, uint32_t& threshold);

void register_noise(OpRegistry& r);

}  // namespace lamella
