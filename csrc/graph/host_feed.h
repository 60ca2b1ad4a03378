// Rows of arrays that lie on the host, on their way to a device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/exec.h"

namespace lamella {

// Groups of steps are gathered into pinned memory and copied by a stream of their own, while the device works on the
// steps before them. There are two of everything, so that one group can come while the other is read.
//
// For each step, in order: rows(), launches that read them, taken(), further launches, launched().
class HostFeed {
 public:
  explicit HostFeed(Exec& exec);  // of a device whose backend has streams
  ~HostFeed();
  HostFeed(const HostFeed&) = delete;
  HostFeed& operator=(const HostFeed&) = delete;

  struct Array {
    const void* data;
    int64_t row_bytes;
  };
  // Begins a run of steps of `batch` rows each: those that `order` lists, or from `first` on.
  void start(std::span<const Array> arrays, const int64_t* order, int64_t first, int64_t batch, int64_t steps);
  // Where the device finds a step's rows of an array, in the order of the Exec's stream.
  const void* rows(int64_t step, size_t array);
  void taken(int64_t step);
  void launched(int64_t step);

 private:
  struct Slot {
    char *pinned = nullptr, *on_device = nullptr;
    DeviceEvent *copied = nullptr, *free = nullptr;
    int64_t begin = 0, end = 0;  // steps
  };
  void send(Slot& s, int64_t begin);
  void make_room(int64_t bytes);
  void drop_room();
  void check(const char* error) const;

  Exec& exec_;
  const Backend& device_;
  void* stream_ = nullptr;
  Slot slots_[2];
  int64_t slot_bytes_ = 0;

  // The run.
  std::vector<Array> arrays_;
  std::vector<int64_t> offsets_;  // of the arrays in a slot
  const int64_t* order_ = nullptr;
  int64_t first_ = 0, batch_ = 0, steps_ = 0, most_ = 1;  // steps of a group
};

}  // namespace lamella
