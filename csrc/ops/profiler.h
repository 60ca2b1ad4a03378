// What runs, for how long and over how much memory: filled by eager ops and by plans while somebody asks for it. While
// nobody does, a call pays for one relaxed load, and a run of a plan for one in all.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "ops/op.h"

namespace lamella {

// Calls that are alike: the same op on the same shapes in eager code, the same step of a plan.
struct ProfileSite {
  std::string op;
  std::string phase;   // forward, backward; what else a step does: data, update, prepare
  std::string label;   // the layer, where it is known
  std::string shapes;  // of the inputs
  int plan = -1;       // in the list of plans; -1: eager
  double flops = 0;    // of one call; 0: not counted
  int64_t bytes = 0;   // read and written by one call
  int64_t made = 0;    // bytes of what one call makes: outputs, what is kept for backward, gradients
  int64_t calls = 0, total_ns = 0, least_ns = 0, most_ns = 0;
};

struct ProfileEvent {
  int32_t site, thread;
  int64_t begin_ns, end_ns;
};

struct ProfilePlan {
  bool training;
  int64_t arena_bytes, prepared_bytes, gradient_bytes;
};

struct ProfileData {
  std::vector<ProfileSite> sites;
  std::vector<ProfileEvent> events;  // of the first so many calls
  std::vector<ProfilePlan> plans;
};

// There is one; any thread may add to it.
class Profiler {
 public:
  static Profiler& instance();
  static bool on() { return on_.load(std::memory_order_relaxed); }
  static int64_t now_ns();

  void start();  // forgets what was gathered before
  ProfileData stop();

  // Names for sites are good for one start(): plans ask again when this number has changed.
  uint64_t generation() const { return generation_.load(std::memory_order_relaxed); }
  int add_plan(const ProfilePlan& plan);
  int add_site(ProfileSite site);
  void add(int site, int64_t begin_ns, int64_t end_ns);

  // An eager call, or another part of a step, which finds its site by what it is.
  void add_call(const Op& op, bool backward, std::span<const TensorView> in, std::span<const TensorView> made,
                int64_t begin_ns, int64_t end_ns);
  void add_part(const char* name, const char* phase, int64_t bytes, int64_t begin_ns, int64_t end_ns);

 private:
  int site_for(const std::string& key, ProfileSite site);

  static inline std::atomic<bool> on_ = false;
  std::atomic<uint64_t> generation_ = 0;
  std::mutex mutex_;
  ProfileData data_;
  std::unordered_map<std::string, int> known_;
};

// The site of an op: shapes, operations and bytes. `grad_in`: in backward, the gradients; those without data are not
// computed.
ProfileSite profile_site(const Op& op, bool backward, std::span<const TensorView> in, std::span<const TensorView> out,
                         std::span<const TensorView> saved, std::span<const TensorView> grad_out,
                         std::span<const TensorView> grad_in);

// Runs `f`, and notes how long it took.
template <class F>
void profiled_call(const Op& op, bool backward, std::span<const TensorView> in, std::span<const TensorView> made,
                   F&& f) {
  if (!Profiler::on()) [[likely]]
    return f();
  const int64_t begin = Profiler::now_ns();
  f();
  Profiler::instance().add_call(op, backward, in, made, begin, Profiler::now_ns());
}

template <class F>
void profiled_part(const char* name, const char* phase, int64_t bytes, F&& f) {
  if (!Profiler::on()) [[likely]]
    return f();
  const int64_t begin = Profiler::now_ns();
  f();
  Profiler::instance().add_part(name, phase, bytes, begin, Profiler::now_ns());
}

}  // namespace lamella
