// How many CPUs this process may use: its affinity mask and the CPU quota of the control groups it sits in.
#pragma once

#include <string>

namespace lamella {

// CPUs' worth of time per second that the cgroups (v2 cpu.max, v1 cpu.cfs_quota_us) allow, the tightest level on the
// way up to the root; 0 if there is no limit. The arguments are those of the running process, and others in tests.
double cgroup_cpu_quota(const std::string& proc_cgroup = "/proc/self/cgroup",
                        const std::string& root = "/sys/fs/cgroup");
int affinity_cpus();   // CPUs in the affinity mask
int available_cpus();  // min(affinity_cpus(), quota rounded down), at least 1; read once

}  // namespace lamella
