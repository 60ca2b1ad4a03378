#include "base/cpu_features.h"

#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <fstream>

#include "base/error.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#define LAMELLA_X86 1
#endif

namespace lamella {

namespace {

constexpr Isa kLevels[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvx512};

#if defined(LAMELLA_X86)

constexpr bool bits(unsigned word, unsigned mask) { return (word & mask) == mask; }

// The state components that the OS saves on a context switch. Only legal where CPUID reports OSXSAVE.
uint64_t xcr0() {
  uint32_t lo = 0;
  uint32_t hi = 0;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (static_cast<uint64_t>(hi) << 32) | lo;
}

struct X86Levels {
  bool avx2 = false;
  bool avx512 = false;
};

X86Levels detect() {
  X86Levels levels;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kFma = 1u << 12;
  constexpr unsigned kOsxsave = 1u << 27;
  constexpr unsigned kAvx = 1u << 28;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !bits(c, kFma | kOsxsave | kAvx)) return levels;
  const uint64_t state = xcr0();
  constexpr uint64_t kYmm = 0x06;  // SSE and AVX registers
  constexpr uint64_t kZmm = 0xe0;  // opmask, upper halves of ZMM0-15, ZMM16-31
  if ((state & kYmm) != kYmm || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return levels;
  constexpr unsigned kAvx2 = 1u << 5;
  constexpr unsigned kBmi2 = 1u << 8;
  constexpr unsigned kAvx512F = 1u << 16;
  constexpr unsigned kAvx512Dq = 1u << 17;
  constexpr unsigned kAvx512Bw = 1u << 30;
  constexpr unsigned kAvx512Vl = 1u << 31;
  levels.avx2 = bits(b, kAvx2 | kBmi2);
  levels.avx512 = levels.avx2 && (state & kZmm) == kZmm && bits(b, kAvx512F | kAvx512Dq | kAvx512Bw | kAvx512Vl);
  return levels;
}

const X86Levels& x86_levels() {
  static const X86Levels levels = detect();
  return levels;
}

#endif

std::string join(const std::vector<Isa>& levels) {
  std::string s;
  for (Isa isa : levels) s += (s.empty() ? "" : ", ") + std::string(isa_name(isa));
  return s;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "32K" or "1024K" or "32M" as /sys writes them; 0 if it is something else.
int64_t parse_size(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value <= 0 || value > (int64_t{1} << 32)) return 0;
  const char unit = end == text.data() + text.size() ? '\0' : *end;
  return unit == 'K' ? value << 10 : unit == 'M' ? value << 20 : unit == '\0' ? value : 0;
}

int64_t cache_from_sys(int level) {
  for (int index = 0; index < 8; ++index) {
    const std::string dir = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const std::string found = first_line(dir + "level");
    if (found.empty()) break;
    if (found == std::to_string(level) && first_line(dir + "type") != "Instruction")
      return parse_size(first_line(dir + "size"));
  }
  return 0;
}

int64_t cache_from_sysconf([[maybe_unused]] int level) {
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  const int name = level == 1 ? _SC_LEVEL1_DCACHE_SIZE : level == 2 ? _SC_LEVEL2_CACHE_SIZE : _SC_LEVEL3_CACHE_SIZE;
  return sysconf(name);
#else
  return 0;
#endif
}

int64_t detect_cache(int level) {
  constexpr int64_t kDefaults[] = {int64_t{32} << 10, int64_t{512} << 10, int64_t{8} << 20};
  int64_t bytes = cache_from_sys(level);
  if (bytes <= 0) bytes = cache_from_sysconf(level);
  return bytes > 0 ? bytes : kDefaults[level - 1];
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    default:
      return "portable";
  }
}

bool cpu_supports(Isa isa) {
#if defined(LAMELLA_X86)
  if (isa == Isa::kAvx2) return x86_levels().avx2;
  if (isa == Isa::kAvx512) return x86_levels().avx512;
#endif
  return isa == Isa::kPortable;
}

std::vector<Isa> isa_built() {
  return {
    Isa::kPortable,
#if defined(LAMELLA_BUILT_AVX2)
        Isa::kAvx2,
#endif
#if defined(LAMELLA_BUILT_AVX512)
        Isa::kAvx512,
#endif
  };
}

Isa isa_choose(std::string_view requested) {
  const std::vector<Isa> built = isa_built();
  if (requested.empty()) {
    Isa best = Isa::kPortable;
    for (Isa isa : built)
      if (cpu_supports(isa)) best = isa;
    return best;
  }
  std::vector<Isa> usable;
  for (Isa isa : built)
    if (cpu_supports(isa)) usable.push_back(isa);
  const std::string quoted = "'" + std::string(requested) + "'";
  for (Isa isa : kLevels) {
    if (requested != isa_name(isa)) continue;
    for (Isa u : usable)
      if (u == isa) return isa;
    bool is_built = false;
    for (Isa b : built) is_built = is_built || b == isa;
    fail_value("cpu", "LAMELLA_ISA", "a level that is built and that this machine supports (" + join(usable) + ")",
               quoted + (is_built ? ", which this machine does not support" : ", which is not built"));
  }
  fail_value("cpu", "LAMELLA_ISA", "one of portable, avx2, avx512", quoted);
}

Isa isa_choose() {
  static const Isa chosen = [] {
    const char* requested = std::getenv("LAMELLA_ISA");
    return isa_choose(requested == nullptr ? "" : requested);
  }();
  return chosen;
}

int64_t cache_bytes(int level) {
  static const std::array<int64_t, 3> sizes = {detect_cache(1), detect_cache(2), detect_cache(3)};
  if (level < 1 || level > 3) fail_value("cache_bytes", "level", "1, 2 or 3", std::to_string(level));
  return sizes[static_cast<size_t>(level - 1)];
}

std::string cpu_model() {
#if defined(LAMELLA_X86)
  std::array<unsigned, 12> words{};
  if (__get_cpuid_max(0x80000000u, nullptr) >= 0x80000004u) {
    for (unsigned i = 0; i < 3; ++i)
      __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    std::string model;
    for (unsigned word : words)
      for (int byte = 0; byte < 4; ++byte) model += static_cast<char>(word >> (8 * byte));
    model.resize(std::char_traits<char>::length(model.c_str()));  // the brand string ends at its first NUL
    const size_t begin = model.find_first_not_of(' ');
    if (begin != std::string::npos) return model.substr(begin, model.find_last_not_of(' ') - begin + 1);
  }
#endif
  // ARM kernels write no "model name"; "CPU part" and friends say little to a reader, so the architecture it is.
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
#if defined(__aarch64__)
  return "aarch64";
#elif defined(LAMELLA_X86)
  return "x86";
#else
  return "unknown";
#endif
}

}  // namespace lamella
