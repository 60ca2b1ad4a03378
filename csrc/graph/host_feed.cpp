#include "graph/host_feed.h"

#include <algorithm>
#include <utility>

#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace lamella {

namespace {

// What is copied at a time: far longer on its way than a copy takes to begin, and gathered in a few milliseconds.
constexpr int64_t kGroupBytes = 16 << 20;
constexpr int64_t kAlign = 256;

}  // namespace

HostFeed::HostFeed(Exec& exec) : exec_(exec), device_(*exec.backend()) {
  check(device_.make_stream(&stream_));
  for (Slot& s : slots_) {
    check(device_.make_event(&s.copied));
    check(device_.make_event(&s.free));
  }
}

HostFeed::~HostFeed() {
  drop_room();
  for (Slot& s : slots_) {
    device_.release_event(s.copied);
    device_.release_event(s.free);
  }
  device_.release_stream(stream_);
}

void HostFeed::check(const char* error) const {
  if (error != nullptr) throw Error(ErrorKind::kInternal, device_.name, error);
}

void HostFeed::drop_room() {
  device_.synchronize(stream_);  // copies may be under way where a run has ended with an error
  for (Slot& s : slots_) {
    device_.release_pinned(std::exchange(s.pinned, nullptr));
    exec_.release(std::exchange(s.on_device, nullptr));
  }
  slot_bytes_ = 0;
}

void HostFeed::make_room(int64_t bytes) {
  if (bytes <= slot_bytes_) return;
  drop_room();
  for (Slot& s : slots_) {
    s.pinned = static_cast<char*>(device_.allocate_pinned(static_cast<size_t>(bytes)));
    if (s.pinned == nullptr) {
      throw Error(ErrorKind::kMemory, "plan", "cannot allocate " + std::to_string(bytes) + " bytes of pinned memory");
    }
    s.on_device = static_cast<char*>(exec_.allocate(bytes, "plan"));
  }
  slot_bytes_ = bytes;
}

void HostFeed::start(std::span<const Array> arrays, const int64_t* order, int64_t first, int64_t batch, int64_t steps) {
  arrays_.assign(arrays.begin(), arrays.end());
  order_ = order;
  first_ = first;
  batch_ = batch;
  steps_ = steps;
  int64_t step_bytes = 1;
  for (const Array& a : arrays_) step_bytes += batch * a.row_bytes;
  most_ = std::max<int64_t>(kGroupBytes / step_bytes, 1);
  offsets_.clear();
  int64_t bytes = 0;
  for (const Array& a : arrays_) {
    offsets_.push_back(bytes);
    bytes += (most_ * batch * a.row_bytes + kAlign - 1) / kAlign * kAlign;
  }
  make_room(bytes);
  for (Slot& s : slots_) {
    s.begin = s.end = 0;
    // Launches before may still use the memory: that of a run that ended with an error, or as somebody else's.
    check(device_.record_event(s.free, exec_.stream()));
  }
  if (steps > 0) send(slots_[0], 0);
}

// Groups double from one step to the most, so that the first one is there at once.
void HostFeed::send(Slot& s, int64_t begin) {
  const Slot& other = &s == &slots_[0] ? slots_[1] : slots_[0];
  const int64_t count = std::min({std::max<int64_t>(2 * (other.end - other.begin), 1), most_, steps_ - begin});
  s.begin = begin;
  s.end = begin + count;
  check(device_.synchronize_event(s.copied));  // pinned memory is read until then
  for (size_t i = 0; i < arrays_.size(); ++i) {
    GatherRowsParams p;
    p.src = arrays_[i].data;
    p.dst = s.pinned + offsets_[i];
    p.indices = order_ == nullptr ? nullptr : order_ + begin * batch_;
    p.first = first_ + begin * batch_;
    p.rows = count * batch_;
    p.row_bytes = arrays_[i].row_bytes;
    cpu_kernels<float>().gather.gather_rows(make_context(), p);
  }
  check(device_.wait_for_event(s.free, stream_));
  for (size_t i = 0; i < arrays_.size(); ++i) {
    const int64_t bytes = count * batch_ * arrays_[i].row_bytes;
    if (bytes == 0) continue;
    check(device_.copy(s.on_device + offsets_[i], s.pinned + offsets_[i], static_cast<size_t>(bytes),
                       CopyKind::kToDevice, stream_));
  }
  check(device_.record_event(s.copied, stream_));
}

const void* HostFeed::rows(int64_t step, size_t array) {
  const Slot& s = step < slots_[0].end && step >= slots_[0].begin ? slots_[0] : slots_[1];
  if (step == s.begin && array == 0) check(device_.wait_for_event(s.copied, exec_.stream()));
  return s.on_device + offsets_[array] + (step - s.begin) * batch_ * arrays_[array].row_bytes;
}

void HostFeed::taken(int64_t step) {
  for (const Slot& s : slots_) {
    if (step + 1 == s.end) check(device_.record_event(s.free, exec_.stream()));
  }
}

// The next group is gathered when the device has the first step of this one to do.
void HostFeed::launched(int64_t step) {
  for (size_t i = 0; i < 2; ++i) {
    const Slot& s = slots_[i];
    if (step == s.begin && step < s.end && s.end < steps_) return send(slots_[1 - i], s.end);
  }
}

}  // namespace lamella
