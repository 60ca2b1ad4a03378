// The format: 8 bytes of little-endian header length, a JSON object {name: {dtype, shape, data_offsets}} that may be
// padded with spaces, then the tensors' bytes, back to back without holes.
#include "base/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <random>

namespace lamella {

namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

constexpr size_t kPrefix = 8;
constexpr size_t kMaxHeader = 100'000'000;  // what the format's other readers accept, so no point in writing more
constexpr size_t kDataAlignment = 64;
constexpr char kMetadata[] = "__metadata__";

struct DTypeTag {
  DType dtype;
  const char* tag;
};
constexpr DTypeTag kTags[] = {{DType::kF32, "F32"}, {DType::kF64, "F64"}, {DType::kI32, "I32"},
                              {DType::kI64, "I64"}, {DType::kU8, "U8"},   {DType::kU64, "U64"}};

const char* tag_of(DType dtype) {
  for (const DTypeTag& t : kTags)
    if (t.dtype == dtype) return t.tag;
  throw Error(ErrorKind::kInternal, "safetensors", "a dtype without a tag");
}

[[noreturn]] void fail_os(const std::string& path, const std::string& doing, int error) {
  throw Error(ErrorKind::kOs, path, doing + ": " + std::strerror(error));
}

// A file descriptor that is closed on the way out.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  int close() {
    const int fd = std::exchange(fd_, -1);
    return ::close(fd);
  }

 private:
  int fd_;
};

// ---- reading --------------------------------------------------------------------------------------------------------

struct Entry {
  const std::string* name;
  DType dtype;
  Shape shape;
  uint64_t begin;
  uint64_t end;
};

// The integers of `v`, which must be an array of non-negative ones; what() names the place for errors.
template <class Use>
void each_int(const Json& v, const std::string& where, const std::string& what, const Use& use) {
  if (!v.is_array()) fail_value(where, what, "an array of integers", "something else");
  for (const Json& item : v.as_array()) {
    if (!item.is_int() || item.as_int() < 0)
      fail_value(where, what, "non-negative integers",
                 item.is_int() ? std::to_string(item.as_int()) : "something else");
    use(item.as_int());
  }
}

Entry read_entry(const std::string& name, const Json& v, const std::string& where) {
  const std::string what = "tensor '" + name + "'";
  if (name.find('\0') != std::string::npos) fail_value(where, "tensor name", "no NUL inside", "one");
  if (!v.is_object()) fail_value(where, what, "an object with dtype, shape and data_offsets", "something else");
  const Json* dtype = nullptr;
  const Json* shape = nullptr;
  const Json* offsets = nullptr;
  for (const auto& [key, value] : v.as_object()) {
    if (key == "dtype")
      dtype = &value;
    else if (key == "shape")
      shape = &value;
    else if (key == "data_offsets")
      offsets = &value;
    else
      fail_value(where, what, "only dtype, shape and data_offsets", "'" + key + "'");
  }
  if (dtype == nullptr || shape == nullptr || offsets == nullptr || !dtype->is_string())
    fail_value(where, what, "dtype (a string), shape and data_offsets", "one of them missing or of another type");

  Entry entry{&name, DType::kF32, {}, 0, 0};
  const DTypeTag* tag =
      std::find_if(std::begin(kTags), std::end(kTags), [&](const DTypeTag& t) { return dtype->as_string() == t.tag; });
  if (tag == std::end(kTags))
    fail_type(where, what + " dtype", "one of F32, F64, I32, I64, U8, U64", "'" + dtype->as_string() + "'");
  entry.dtype = tag->dtype;

  // Dimensions that multiply beyond int64 are refused even beside a zero, which would hide them: others multiply in
  // another order.
  const int64_t itemsize = dtype_size(entry.dtype);
  int64_t most = INT64_MAX / itemsize;
  bool empty = false;
  each_int(*shape, where, what + " shape", [&](int64_t dim) {
    if (entry.shape.rank() == Shape::kMaxRank)
      fail_value(where, what + " shape", "at most " + std::to_string(Shape::kMaxRank) + " dimensions", "more");
    entry.shape.push_back(dim);
    empty = empty || dim == 0;
    if (dim > most) fail_value(where, what + " shape", "fewer than 2^63 bytes", "more");
    if (dim > 0) most /= dim;
  });
  const auto bytes = static_cast<uint64_t>(empty ? 0 : entry.shape.size() * itemsize);

  uint64_t pair[2] = {};
  size_t count = 0;
  each_int(*offsets, where, what + " data_offsets", [&](int64_t offset) {
    if (count < 2) pair[count] = static_cast<uint64_t>(offset);
    ++count;
  });
  if (count != 2) fail_value(where, what + " data_offsets", "2 integers", std::to_string(count));
  entry.begin = pair[0];
  entry.end = pair[1];
  if (entry.begin > entry.end || entry.end - entry.begin != bytes)
    fail_value(where, what + " data_offsets",
               std::to_string(bytes) + " bytes for " + tag->tag + " of shape " + entry.shape.str(),
               "[" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "]");
  return entry;
}

// ---- writing --------------------------------------------------------------------------------------------------------

std::string make_header(const std::vector<const NamedTensor*>& order,
                        const std::vector<std::pair<std::string, std::string>>& metadata) {
  Json::Object header;
  if (!metadata.empty()) {
    Json::Object map;
    for (const auto& [key, value] : metadata) map.emplace_back(key, value);
    header.emplace_back(kMetadata, std::move(map));
  }
  int64_t offset = 0;
  for (const NamedTensor* t : order) {
    Json::Array shape(t->view.shape.begin(), t->view.shape.end());
    const int64_t end = offset + t->view.spec().bytes();
    header.emplace_back(t->name, Json::Object{{"dtype", tag_of(t->view.dtype)},
                                              {"shape", std::move(shape)},
                                              {"data_offsets", Json::Array{offset, end}}});
    offset = end;
  }
  std::string text = Json(std::move(header)).dump();
  text.append(kDataAlignment - 1 - (kPrefix + text.size() - 1) % kDataAlignment, ' ');
  if (text.size() > kMaxHeader)
    fail_value("safetensors", "header", "at most " + std::to_string(kMaxHeader) + " bytes",
               std::to_string(text.size()));
  return text;
}

void refuse_duplicates(std::vector<std::string_view> names, const char* argument) {
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end()) fail_value("safetensors", argument, "every name once", "'" + std::string(*twin) + "' twice");
}

void check_writable(const std::vector<NamedTensor>& tensors,
                    const std::vector<std::pair<std::string, std::string>>& metadata) {
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const NamedTensor& t : tensors) {
    if (t.name == kMetadata || t.name.find('\0') != std::string::npos)
      fail_value("safetensors", "tensor name", "no NUL inside and not the reserved '__metadata__'", "'" + t.name + "'");
    if (t.view.data == nullptr && t.view.size() != 0) fail_value("safetensors", t.name, "an array", "none");
    names.push_back(t.name);
  }
  refuse_duplicates(std::move(names), "tensors");
  std::vector<std::string_view> keys;
  keys.reserve(metadata.size());
  for (const auto& entry : metadata) keys.push_back(entry.first);
  refuse_duplicates(std::move(keys), "metadata");
}

// Collects small pieces, so that a model of many small tensors is not one system call each.
class Writer {
 public:
  Writer(int fd, const std::string& path) : fd_(fd), path_(path) { buffer_.reserve(kBuffer); }

  void write(const void* data, size_t bytes) {
    if (buffer_.size() + bytes > kBuffer) flush();
    if (bytes >= kBuffer)
      write_out(static_cast<const char*>(data), bytes);
    else if (bytes > 0)
      buffer_.append(static_cast<const char*>(data), bytes);
  }
  void flush() {
    write_out(buffer_.data(), buffer_.size());
    buffer_.clear();
  }

 private:
  static constexpr size_t kBuffer = size_t{256} << 10;

  void write_out(const char* data, size_t bytes) {
    while (bytes > 0) {
      const ssize_t n = ::write(fd_, data, std::min(bytes, size_t{1} << 30));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail_os(path_, "cannot write", errno);
      data += n;
      bytes -= static_cast<size_t>(n);
    }
  }

  int fd_;
  const std::string& path_;
  std::string buffer_;
};

// A file that did not exist before, and that is gone again unless it was renamed into place.
class TemporaryFile {
 public:
  TemporaryFile(const std::string& target, mode_t mode) : fd_(create(target, mode)) {}
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int fd() const { return fd_.get(); }
  void rename_to(const std::string& target) {
    if (fd_.close() != 0) fail_os(target, "cannot write", errno);
    if (::rename(path_.c_str(), target.c_str()) != 0) fail_os(target, "cannot replace the file", errno);
    path_.clear();
  }

 private:
  int create(const std::string& target, mode_t mode) {
    std::random_device random;
    for (int tries = 0; tries < 100; ++tries) {
      const std::string path = target + ".tmp" + std::to_string(random());
      const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
      if (fd >= 0) {
        path_ = path;
        return fd;
      }
      if (errno != EEXIST) fail_os(target, "cannot create a file beside it", errno);
    }
    fail_os(target, "cannot create a file beside it", EEXIST);
  }

  std::string path_;
  Fd fd_;
};

// Where the file really is: replacing a symbolic link by a file would be a surprise.
std::string resolve(const std::string& path) {
  char* real = ::realpath(path.c_str(), nullptr);
  if (real == nullptr) return path;
  std::string resolved = real;
  std::free(real);
  return resolved;
}

}  // namespace

void safetensors_write(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::vector<std::pair<std::string, std::string>>& metadata) {
  check_writable(tensors, metadata);
  // Wide dtypes first: without holes that is what keeps every tensor aligned.
  std::vector<const NamedTensor*> order;
  order.reserve(tensors.size());
  for (const NamedTensor& t : tensors) order.push_back(&t);
  std::stable_sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    return dtype_size(a->view.dtype) > dtype_size(b->view.dtype);
  });
  const std::string header = make_header(order, metadata);

  const std::string target = resolve(path);
  struct stat old {};
  const bool exists = ::stat(target.c_str(), &old) == 0;
  if (exists && !S_ISREG(old.st_mode)) throw Error(ErrorKind::kOs, path, "not a regular file");

  TemporaryFile file(target, 0666);
  if (exists && ::fchmod(file.fd(), old.st_mode & 07777) != 0) fail_os(path, "cannot set the mode", errno);
  Writer writer(file.fd(), path);
  const uint64_t length = header.size();
  writer.write(&length, sizeof(length));
  writer.write(header.data(), header.size());
  for (const NamedTensor* t : order) writer.write(t->view.data, static_cast<size_t>(t->view.spec().bytes()));
  writer.flush();
  if (::fsync(file.fd()) != 0) fail_os(path, "cannot write to disk", errno);
  file.rename_to(target);

  // The file is whole from here on, the old or the new one. That the new name itself survives a power cut takes an
  // fsync of the folder, which some file systems refuse; that is no failure to save.
  const size_t slash = target.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : target.substr(0, slash + 1);
  const Fd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0) ::fsync(directory.get());
}

SafetensorsFile::SafetensorsFile(const std::string& path) {
  // O_NONBLOCK: opening a named pipe must not wait for somebody to write to it.
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) fail_os(path, "cannot open", errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) fail_os(path, "cannot read", errno);
  if (!S_ISREG(info.st_mode)) throw Error(ErrorKind::kOs, path, "not a regular file");
  const auto bytes = static_cast<size_t>(info.st_size);
  if (bytes < kPrefix) fail_value(path, "file", "at least 8 bytes", std::to_string(bytes));
  void* map = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (map == MAP_FAILED) fail_os(path, "cannot map", errno);
  map_ = map;
  map_bytes_ = bytes;
  try {
    parse(static_cast<const unsigned char*>(map), bytes, path);
  } catch (...) {
    ::munmap(map_, map_bytes_);  // the destructor does not run for a constructor that throws
    throw;
  }
}

SafetensorsFile::SafetensorsFile(const void* data, size_t bytes) {
  parse(static_cast<const unsigned char*>(data), bytes, "safetensors");
}

SafetensorsFile::~SafetensorsFile() {
  if (map_ != nullptr) ::munmap(map_, map_bytes_);
}

void SafetensorsFile::parse(const unsigned char* data, size_t bytes, const std::string& where) {
  if (bytes < kPrefix) fail_value(where, "file", "at least 8 bytes", std::to_string(bytes));
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, data, kPrefix);
  const size_t most = std::min(bytes - kPrefix, kMaxHeader);
  if (header_bytes > most)
    fail_value(where, "header", "at most " + std::to_string(most) + " bytes", std::to_string(header_bytes));
  const auto* text = reinterpret_cast<const char*>(data + kPrefix);
  if (header_bytes == 0 || text[0] != '{') fail_value(where, "header", "a JSON object", "something else");
  constexpr int kDepth = 3;  // the header, a tensor, its shape
  Json header;
  try {
    header = Json::parse({text, static_cast<size_t>(header_bytes)}, kDepth);
  } catch (const Error& e) {
    throw Error(ErrorKind::kValue, where, std::string("header: ") + e.what());
  }

  std::vector<Entry> entries;
  for (const auto& [name, value] : header.as_object()) {
    if (name != kMetadata) {
      entries.push_back(read_entry(name, value, where));
      continue;
    }
    if (!value.is_object()) fail_value(where, kMetadata, "an object of strings", "something else");
    for (const auto& [key, text_value] : value.as_object()) {
      if (!text_value.is_string()) fail_value(where, kMetadata, "strings", "something else under '" + key + "'");
      metadata_.emplace_back(key, text_value.as_string());
    }
  }

  // Every byte of data belongs to exactly one tensor: no overlap, no hole, nothing after the last one.
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  const unsigned char* buffer = data + kPrefix + header_bytes;
  const uint64_t buffer_bytes = bytes - kPrefix - header_bytes;
  uint64_t offset = 0;
  for (const Entry& e : entries) {
    if (e.begin != offset || e.end > buffer_bytes)
      fail_value(where, "tensor '" + *e.name + "' data_offsets",
                 "to begin at " + std::to_string(offset) + " and end within " + std::to_string(buffer_bytes) + " bytes",
                 "[" + std::to_string(e.begin) + ", " + std::to_string(e.end) + "]");
    offset = e.end;
    void* view =
        aligned(buffer + e.begin, static_cast<size_t>(e.end - e.begin), static_cast<size_t>(dtype_size(e.dtype)));
    tensors_.push_back({*e.name, {view, e.dtype, e.shape}});
  }
  if (offset != buffer_bytes)
    fail_value(where, "file", std::to_string(offset) + " bytes of data", std::to_string(buffer_bytes));

  by_name_.resize(tensors_.size());
  for (size_t i = 0; i < by_name_.size(); ++i) by_name_[i] = i;
  std::sort(by_name_.begin(), by_name_.end(), [&](size_t a, size_t b) { return tensors_[a].name < tensors_[b].name; });
}

void* SafetensorsFile::aligned(const unsigned char* data, size_t bytes, size_t alignment) {
  if (reinterpret_cast<uintptr_t>(data) % alignment == 0) return const_cast<unsigned char*>(data);
  copies_.push_back(std::make_unique_for_overwrite<uint64_t[]>(bytes / 8 + 1));
  std::memcpy(copies_.back().get(), data, bytes);
  return copies_.back().get();
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                   [&](size_t i, std::string_view n) { return tensors_[i].name < n; });
  return at != by_name_.end() && tensors_[*at].name == name ? &tensors_[*at].view : nullptr;
}

const std::string* SafetensorsFile::metadata(std::string_view key) const {
  for (const auto& entry : metadata_)
    if (entry.first == key) return &entry.second;
  return nullptr;
}

}  // namespace lamella
