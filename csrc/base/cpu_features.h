// Which ISA levels this machine can run (CPUID and the OS's XCR0), which one is active.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lamella {

enum class Isa { kPortable = 0, kAvx2 = 1, kAvx512 = 2 };

const char* isa_name(Isa isa);  // "portable", "avx2", "avx512"
bool cpu_supports(Isa isa);     // avx2 means AVX2+FMA+BMI2; avx512 means that and F+BW+DQ+VL; both with OS support
std::vector<Isa> isa_built();   // levels compiled into this library, ascending (from LAMELLA_BUILT_* definitions)
// The best level that is built and supported; LAMELLA_ISA overrides. Throws Error(kValue) when the variable names a
// level that is unknown, not built or not supported by this machine. The choice is made once and kept.
Isa isa_choose();
Isa isa_choose(std::string_view requested);  // the rule itself; "" means no wish
// Size of the data cache of level 1, 2 or 3 that a core sees, as the OS reports it (level 3 is usually shared); a sane
// default if unknown.
int64_t cache_bytes(int level);
std::string cpu_model();

}  // namespace lamella
