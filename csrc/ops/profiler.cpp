#include "ops/profiler.h"

#include <algorithm>
#include <chrono>

namespace lamella {

namespace {

constexpr size_t kMostEvents = size_t{1} << 22;

int this_thread() {
  static std::atomic<int> next{0};
  thread_local const int id = next.fetch_add(1, std::memory_order_relaxed);
  return id;
}

int64_t bytes_of(std::span<const TensorView> views) {
  int64_t bytes = 0;
  for (const TensorView& v : views)
    if (v) bytes += v.spec().bytes();
  return bytes;
}

std::vector<TensorSpec> specs_of(std::span<const TensorView> views) {
  std::vector<TensorSpec> specs;
  specs.reserve(views.size());
  for (const TensorView& v : views) specs.push_back(v.spec());
  return specs;
}

std::string shapes_of(std::span<const TensorView> views) {
  std::string text;
  for (const TensorView& v : views) {
    if (absent(v.spec())) continue;
    if (!text.empty()) text += ' ';
    text += v.shape.str();
  }
  return text;
}

// A gradient costs as much as the product it comes from; those of vectors (biases) cost next to nothing.
double backward_share(const Op& op, std::span<const TensorView> in, std::span<const TensorView> grad_in) {
  int products = 0;
  for (size_t i = 0; i < grad_in.size(); ++i) {
    const bool wanted = grad_in[i] && op.differentiable(static_cast<int>(i));
    if (wanted && in[i].shape.rank() >= 2) ++products;
  }
  return products;
}

}  // namespace

Profiler& Profiler::instance() {
  static Profiler* const p = new Profiler;  // never destroyed: threads may outlive static destruction
  return *p;
}

int64_t Profiler::now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void Profiler::start() {
  const std::lock_guard<std::mutex> lock(mutex_);
  data_ = {};
  known_.clear();
  generation_.fetch_add(1, std::memory_order_relaxed);
  on_.store(true, std::memory_order_relaxed);
}

ProfileData Profiler::stop() {
  const std::lock_guard<std::mutex> lock(mutex_);
  on_.store(false, std::memory_order_relaxed);
  known_.clear();
  return std::exchange(data_, {});
}

int Profiler::add_plan(const ProfilePlan& plan) {
  const std::lock_guard<std::mutex> lock(mutex_);
  data_.plans.push_back(plan);
  return static_cast<int>(data_.plans.size()) - 1;
}

int Profiler::add_site(ProfileSite site) {
  const std::lock_guard<std::mutex> lock(mutex_);
  data_.sites.push_back(std::move(site));
  return static_cast<int>(data_.sites.size()) - 1;
}

void Profiler::add(int site, int64_t begin_ns, int64_t end_ns) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (static_cast<size_t>(site) >= data_.sites.size()) return;  // stopped in the meantime
  ProfileSite& s = data_.sites[static_cast<size_t>(site)];
  const int64_t took = end_ns - begin_ns;
  s.least_ns = s.calls == 0 ? took : std::min(s.least_ns, took);
  s.most_ns = std::max(s.most_ns, took);
  s.total_ns += took;
  ++s.calls;
  if (data_.events.size() < kMostEvents) data_.events.push_back({site, this_thread(), begin_ns, end_ns});
}

int Profiler::site_for(const std::string& key, ProfileSite site) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto [at, is_new] = known_.try_emplace(key, static_cast<int>(data_.sites.size()));
  if (is_new) data_.sites.push_back(std::move(site));
  return at->second;
}

void Profiler::add_call(const Op& op, bool backward, std::span<const TensorView> in, std::span<const TensorView> made,
                        int64_t begin_ns, int64_t end_ns) {
  ProfileSite site =
      backward ? profile_site(op, true, in, {}, {}, {}, made) : profile_site(op, false, in, made, {}, {}, {});
  const std::string key = site.op + '|' + site.phase + '|' + site.shapes + '|' + std::to_string(site.flops) + '|' +
                          std::to_string(site.bytes);
  add(site_for(key, std::move(site)), begin_ns, end_ns);
}

void Profiler::add_part(const char* name, const char* phase, int64_t bytes, int64_t begin_ns, int64_t end_ns) {
  ProfileSite site;
  site.op = name;
  site.phase = phase;
  site.bytes = bytes;
  add(site_for(site.op + '|' + site.phase + '|' + std::to_string(bytes), site), begin_ns, end_ns);
}

ProfileSite profile_site(const Op& op, bool backward, std::span<const TensorView> in, std::span<const TensorView> out,
                         std::span<const TensorView> saved, std::span<const TensorView> grad_out,
                         std::span<const TensorView> grad_in) {
  ProfileSite site;
  site.op = op.name();
  site.phase = backward ? "backward" : "forward";
  site.shapes = shapes_of(in);
  site.flops = op.flops(specs_of(in));
  if (backward) site.flops *= backward_share(op, in, grad_in);
  site.made = backward ? bytes_of(grad_in) : bytes_of(out) + bytes_of(saved);
  site.bytes = bytes_of(in) + bytes_of(out) + bytes_of(saved) + bytes_of(grad_out) + bytes_of(grad_in);
  return site;
}

}  // namespace lamella
