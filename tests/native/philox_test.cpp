// The known-answer vectors that Random123 publishes for philox4x32-10.
#include "base/philox.h"

#include <doctest/doctest.h>

namespace lamella {
namespace {

struct Known {
  uint32_t counter[4];
  uint32_t key[2];
  uint32_t out[4];
};

constexpr Known kKnown[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

constexpr uint64_t join(uint32_t lo, uint32_t hi) { return (static_cast<uint64_t>(hi) << 32) | lo; }

TEST_CASE("philox gives the published answers") {
  for (const Known& k : kKnown) {
    uint32_t out[4];
    philox4x32({join(k.key[0], k.key[1]), join(k.counter[2], k.counter[3])}, join(k.counter[0], k.counter[1]), out);
    for (int i = 0; i < 4; ++i) CHECK(out[i] == k.out[i]);
  }
}

}  // namespace
}  // namespace lamella
