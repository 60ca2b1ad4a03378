// What the random ops share.
#pragma once

#include <cstdint>

namespace lamella {

class OpRegistry;

// The threshold below which a random word falls with probability p; true where that is 2^32: all of them do.
bool probability_threshold(double p, uint32_t& threshold);

void register_noise(OpRegistry& r);

}  // namespace lamella
