#include "base/cpu_features.h"

#include "base/cpu_quota.h"
#include "testing.h"

namespace lamella {
namespace {

using testing::contains;
using testing::error_of;
using testing::TempDir;
using testing::write_text;

TEST_CASE("the portable level is always there and the best usable one is chosen") {
  CHECK(cpu_supports(Isa::kPortable));
  const std::vector<Isa> built = isa_built();
  REQUIRE(!built.empty());
  CHECK(built.front() == Isa::kPortable);
  Isa best = Isa::kPortable;
  for (Isa isa : built)
    if (cpu_supports(isa)) best = isa;
  CHECK(isa_choose("") == best);
  if (cpu_supports(Isa::kAvx512)) CHECK(cpu_supports(Isa::kAvx2));
#if defined(__x86_64__)
  // The compiler's own detection, which also asks the OS.
  __builtin_cpu_init();
  CHECK(cpu_supports(Isa::kAvx2) ==
        (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")));
  CHECK(cpu_supports(Isa::kAvx512) ==
        (cpu_supports(Isa::kAvx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")));
#endif
}

TEST_CASE("a wish for a level is honoured or refused with the reason") {
  for (Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512}) {
    bool built = false;
    for (Isa b : isa_built()) built = built || b == isa;
    if (built && cpu_supports(isa)) {
      CHECK(isa_choose(isa_name(isa)) == isa);
      continue;
    }
    const std::string message = error_of(ErrorKind::kValue, [&] { isa_choose(isa_name(isa)); });
    CHECK(contains(message, "LAMELLA_ISA"));
    CHECK(contains(message, built ? "does not support" : "not built"));
    CHECK(contains(message, "portable"));
  }
  for (const char* unknown : {"avx", "AVX2", "avx2 ", "sse2", "best"}) {
    const std::string message = error_of(ErrorKind::kValue, [&] { isa_choose(unknown); });
    CHECK(contains(message, "one of portable, avx2, avx512, got '" + std::string(unknown) + "'"));
  }
}

TEST_CASE("cache sizes are plausible") {
  CHECK(cache_bytes(1) >= 4 << 10);
  CHECK(cache_bytes(1) <= 1 << 20);
  CHECK(cache_bytes(2) >= cache_bytes(1));
  CHECK(cache_bytes(3) > 0);
  CHECK_THROWS_AS(cache_bytes(0), const Error&);
  CHECK_THROWS_AS(cache_bytes(4), const Error&);
  CHECK(!cpu_model().empty());
}

TEST_CASE("cgroup v2: the tightest level counts") {
  const TempDir dir;
  const auto quota = [&] { return cgroup_cpu_quota(dir / "cgroup", dir / "fs"); };
  CHECK(quota() == 0.0);  // no such file
  write_text(dir / "cgroup", "0::/a/b\n");
  CHECK(quota() == 0.0);
  write_text(dir / "fs/a/b/cpu.max", "max 100000\n");
  CHECK(quota() == 0.0);
  write_text(dir / "fs/a/cpu.max", "350000 100000\n");
  CHECK(quota() == 3.5);
  write_text(dir / "fs/a/b/cpu.max", "150000 100000\n");
  CHECK(quota() == 1.5);
  write_text(dir / "fs/a/b/cpu.max", "500000 100000\n");
  CHECK(quota() == 3.5);
  write_text(dir / "fs/cpu.max", "20000 10000\n");
  CHECK(quota() == 2.0);
  for (const char* nonsense : {"", "x y\n", "-5 100000\n", "100000\n", "100000 0\n"}) {
    write_text(dir / "fs/cpu.max", nonsense);
    CHECK(quota() == 3.5);
  }
}

TEST_CASE("cgroup v1: inside a container only the mount answers") {
  const TempDir dir;
  const auto quota = [&] { return cgroup_cpu_quota(dir / "cgroup", dir / "fs"); };
  write_text(dir / "cgroup", "12:cpuset:/x\n4:cpu,cpuacct:/docker/abc\n0::/docker/abc\nbroken\n3:cpu:\n");
  write_text(dir / "fs/cpuset/cpu.cfs_quota_us", "1000\n");
  write_text(dir / "fs/cpuset/cpu.cfs_period_us", "100000\n");
  CHECK(quota() == 0.0);
  write_text(dir / "fs/cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
  CHECK(quota() == 0.0);  // no period
  write_text(dir / "fs/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  CHECK(quota() == 2.5);
  write_text(dir / "fs/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  CHECK(quota() == 0.0);
  write_text(dir / "fs/cpu/docker/cpu.cfs_quota_us", "400000\n");
  write_text(dir / "fs/cpu/docker/cpu.cfs_period_us", "100000\n");
  CHECK(quota() == 4.0);
}

TEST_CASE("this process may use at least one CPU") {
  CHECK(affinity_cpus() >= 1);
  CHECK(available_cpus() >= 1);
  CHECK(available_cpus() <= affinity_cpus());
}

}  // namespace
}  // namespace lamella
