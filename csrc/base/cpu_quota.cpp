#include "base/cpu_quota.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string_view>
#include <thread>

namespace lamella {

namespace {

// Reads up to two whitespace-separated words of a control file; false if there is no such file or it is empty.
bool read_words(const std::string& path, std::string& first, std::string& second) {
  std::ifstream file(path);
  first.clear();
  second.clear();
  if (!(file >> first)) return false;
  file >> second;
  return true;
}

// quota / period, or 0 for no limit: v2 writes "max", v1 writes -1.
double limit(const std::string& quota, const std::string& period) {
  int64_t q = 0;
  int64_t p = 0;
  if (std::from_chars(quota.data(), quota.data() + quota.size(), q).ec != std::errc() || q <= 0) return 0.0;
  if (std::from_chars(period.data(), period.data() + period.size(), p).ec != std::errc() || p <= 0) return 0.0;
  return static_cast<double>(q) / static_cast<double>(p);
}

double limit_v2(const std::string& dir) {
  std::string quota;
  std::string period;
  return read_words(dir + "/cpu.max", quota, period) ? limit(quota, period) : 0.0;
}

double limit_v1(const std::string& dir) {
  std::string quota;
  std::string period;
  std::string rest;
  if (!read_words(dir + "/cpu.cfs_quota_us", quota, rest) || !read_words(dir + "/cpu.cfs_period_us", period, rest))
    return 0.0;
  return limit(quota, period);
}

void tighten(double& tightest, double found) {
  if (found > 0.0 && (tightest == 0.0 || found < tightest)) tightest = found;
}

// Every level from `path` up to the mount point may hold a limit. Inside a container the path may be the host's and not
// exist under the mount; then only the mount point itself answers.
template <class Limit>
double walk(const std::string& mount, std::string path, Limit limit_of) {
  double tightest = 0.0;
  while (path.size() > 1) {
    tighten(tightest, limit_of(mount + path));
    path.resize(path.find_last_of('/'));
  }
  tighten(tightest, limit_of(mount));
  return tightest;
}

bool lists_cpu(std::string_view controllers) {
  while (!controllers.empty()) {
    const size_t comma = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, comma) == "cpu") return true;
    controllers.remove_prefix(std::min(comma + 1, controllers.size()));
  }
  return false;
}

}  // namespace

double cgroup_cpu_quota(const std::string& proc_cgroup, const std::string& root) {
  double tightest = 0.0;
  std::ifstream file(proc_cgroup);
  for (std::string line; std::getline(file, line);) {  // hierarchy-ID:controller-list:path
    const size_t one = line.find(':');
    const size_t two = one == std::string::npos ? one : line.find(':', one + 1);
    if (two == std::string::npos || two + 1 >= line.size() || line[two + 1] != '/') continue;
    const std::string controllers = line.substr(one + 1, two - one - 1);
    const std::string path = line.substr(two + 1);
    if (controllers.empty()) {
      tighten(tightest, walk(root, path, limit_v2));
      tighten(tightest, walk(root + "/unified", path, limit_v2));
    } else if (lists_cpu(controllers)) {
      tighten(tightest, walk(root + "/" + controllers, path, limit_v1));
      tighten(tightest, walk(root + "/cpu", path, limit_v1));
    }
  }
  return tightest;
}

int affinity_cpus() {
#if defined(__linux__)
  // The mask of a machine with more CPUs than cpu_set_t holds needs a longer set; the kernel says EINVAL until it fits.
  for (int cpus = 1024; cpus <= 1 << 16; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(cpus));
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(cpus));
    const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int available_cpus() {
  static const int cpus = [] {
    const int affinity = affinity_cpus();
    const double quota = cgroup_cpu_quota();
    return quota > 0.0 && quota < affinity ? std::max(1, static_cast<int>(quota)) : affinity;
  }();
  return cpus;
}

}  // namespace lamella
