// The safetensors format, read from memory-mapped files and written atomically (temporary name in the same folder,
// fsync, rename). Reading trusts nothing: header size, JSON, dtypes, shapes, offsets, overlaps and holes are all
// checked.
#pragma once

#include <string>
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
  explicit SafetensorsFile(
      const std::string& path);  // throws Error(kOs) or Error(kValue) (malformed: says what and where)
  SafetensorsFile(const void* data, size_t bytes);  // borrows memory: embedded apps
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::vector<NamedTensor>& tensors() const { return tensors_; }  // views into the mapping, in file order
  const TensorView* find(const std::string& name) const;
  const std::string* metadata(const std::string& key) const;
  const std::vector<std::pair<std::string, std::string>>& all_metadata() const { return metadata_; }

 private:
  void parse(const unsigned char* data, size_t bytes, const std::string& where);
  void* map_ = nullptr;
  size_t map_bytes_ = 0;
  std::vector<NamedTensor> tensors_;
  std::vector<std::pair<std::string, std::string>> metadata_;
};

}  // namespace lamella
