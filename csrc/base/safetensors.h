// The safetensors format, read from memory-mapped files and written atomically (temporary name in the same folder,
// fsync, rename). Reading trusts nothing: header size, JSON, dtypes, shapes, offsets, overlaps and holes are all
// checked.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/tensor.h"

namespace lamella {

struct NamedTensor {
  std::string name;
  TensorView view;
};

// metadata: the "__metadata__" map, string to string. Throws Error(kOs) on I/O errors; then no temporary file is left
// and the previous file is untouched.
void safetensors_write(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::vector<std::pair<std::string, std::string>>& metadata);

class SafetensorsFile {
 public:
  // Throws Error(kOs), Error(kValue) (malformed: says what and where) or Error(kType) (a dtype we have no array for).
  // The views are read-only and live as long as this object. They point into the mapping, so the file must not be
  // truncated meanwhile (a rewrite by rename is fine); a tensor that the file leaves misaligned is copied.
  explicit SafetensorsFile(const std::string& path);
  // Borrows memory: embedded apps.
  SafetensorsFile(const void* data, size_t bytes);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::vector<NamedTensor>& tensors() const { return tensors_; }  // in file order
  const TensorView* find(std::string_view name) const;
  const std::string* metadata(std::string_view key) const;
  const std::vector<std::pair<std::string, std::string>>& all_metadata() const { return metadata_; }

 private:
  void parse(const unsigned char* data, size_t bytes, const std::string& where);
  void* aligned(const unsigned char* data, size_t bytes, size_t alignment);
  void* map_ = nullptr;
  size_t map_bytes_ = 0;
  std::vector<std::unique_ptr<uint64_t[]>> copies_;
  std::vector<NamedTensor> tensors_;
  std::vector<size_t> by_name_;  // indices into tensors_, sorted by name
  std::vector<std::pair<std::string, std::string>> metadata_;
};

}  // namespace lamella
