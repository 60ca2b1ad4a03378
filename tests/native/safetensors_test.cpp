#include "base/safetensors.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "testing.h"

namespace lamella {
namespace {

using testing::contains;
using testing::error_of;
using testing::read_text;
using testing::TempDir;
using testing::write_text;

std::string file_bytes(const std::string& header, const std::string& data = "") {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

// A file in memory that ends where its allocation ends, so that a sanitizer sees any read beyond.
class Memory {
 public:
  explicit Memory(const std::string& bytes) : bytes_(bytes.begin(), bytes.end()) {}
  const void* data() const { return bytes_.data(); }
  size_t size() const { return bytes_.size(); }

 private:
  std::vector<char> bytes_;
};

std::string malformed(const std::string& bytes, ErrorKind kind = ErrorKind::kValue) {
  CAPTURE(bytes);
  const Memory memory(bytes);
  return error_of(kind, [&] { SafetensorsFile(memory.data(), memory.size()); });
}

template <class T>
NamedTensor named(const std::string& name, std::vector<T>& values, Shape shape) {
  REQUIRE(static_cast<size_t>(shape.size()) == values.size());
  return {name, {values.data(), DTypeOf<T>::value, shape}};
}

TEST_CASE("safetensors come back as they were written") {
  const TempDir dir;
  std::vector<float> f32 = {1.5f, -0.0f, 3e38f, 4, 5, 6};
  std::vector<double> f64 = {0.1};
  std::vector<int32_t> i32 = {-1, 2};
  std::vector<int64_t> i64 = {INT64_MIN};
  std::vector<uint8_t> u8 = {7, 8, 9};
  std::vector<uint64_t> u64 = {UINT64_MAX};
  std::vector<float> none;
  const std::string path = dir / "model.safetensors";
  const std::vector<std::pair<std::string, std::string>> metadata = {{"lamella", "{\"a\": \"\xc3\xa9\\n\"}"},
                                                                     {"format", ""}};
  safetensors_write(
      path,
      {named("u8", u8, {3}), named("conv.weight", f32, {2, 3}), named("f64 \"quoted\"", f64, {}),
       named("i32", i32, {2, 1}), named("i64", i64, {1}), named("u64", u64, {1}), named("empty", none, {0, 5})},
      metadata);
  CHECK(dir.entries() == 1);

  const SafetensorsFile file(path);
  CHECK(file.tensors().size() == 7);
  CHECK(file.all_metadata() == metadata);
  REQUIRE(file.metadata("lamella") != nullptr);
  CHECK(*file.metadata("lamella") == metadata[0].second);
  CHECK(file.metadata("nothing") == nullptr);
  CHECK(file.find("nothing") == nullptr);
  const auto same = [&](const char* name, const auto& values, Shape shape) {
    CAPTURE(name);
    const TensorView* view = file.find(name);
    REQUIRE(view != nullptr);
    using T = typename std::decay_t<decltype(values)>::value_type;
    CHECK(view->dtype == DTypeOf<T>::value);
    CHECK(view->shape == shape);
    CHECK(reinterpret_cast<uintptr_t>(view->data) % sizeof(T) == 0);
    CHECK((values.empty() || std::memcmp(view->data, values.data(), values.size() * sizeof(T)) == 0));
  };
  same("u8", u8, {3});
  same("conv.weight", f32, {2, 3});
  same("f64 \"quoted\"", f64, {});
  same("i32", i32, {2, 1});
  same("i64", i64, {1});
  same("u64", u64, {1});
  same("empty", none, {0, 5});

  // The data begins on a cache line, and the header is the JSON that other readers expect.
  const std::string bytes = read_text(path);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  CHECK((8 + length) % 64 == 0);
  CHECK(Json::parse(bytes.substr(8, length)).at("i32").dump() ==
        "{\"dtype\":\"I32\",\"shape\":[2,1],\"data_offsets\":[48,56]}");
}

TEST_CASE("a file without tensors is a file") {
  const TempDir dir;
  const std::string path = dir / "x";
  safetensors_write(path, {}, {});
  CHECK(SafetensorsFile(path).tensors().empty());
  const Memory memory(file_bytes("{}"));
  CHECK(SafetensorsFile(memory.data(), memory.size()).tensors().empty());
}

TEST_CASE("misaligned tensors of other writers are copied") {
  const std::string header =
      "{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
      "\"f\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}";
  const float values[] = {1.25f, -2.0f};
  const Memory memory(file_bytes(header, "\x07" + std::string(reinterpret_cast<const char*>(values), 8)));
  const SafetensorsFile file(memory.data(), memory.size());
  const TensorView* f = file.find("f");
  REQUIRE(f != nullptr);
  CHECK(reinterpret_cast<uintptr_t>(f->data) % alignof(float) == 0);
  CHECK(f->as<float>()[0] == 1.25f);
  CHECK(f->as<float>()[1] == -2.0f);
}

TEST_CASE("a header that lies is refused with what and where") {
  const auto tensor = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return "{\"w\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}";
  };
  const std::string data(8, 'x');

  CHECK(contains(malformed(""), "at least 8 bytes, got 0"));
  CHECK(contains(malformed("1234567"), "at least 8 bytes, got 7"));
  CHECK(contains(malformed(std::string(8, '\0')), "a JSON object"));
  CHECK(contains(malformed(std::string(8, '\xff') + "{}"), "at most 2 bytes, got 18446744073709551615"));
  CHECK(contains(malformed(file_bytes("{}").substr(0, 9)), "at most 1 bytes, got 2"));
  CHECK(contains(malformed(file_bytes("[]")), "a JSON object"));
  CHECK(contains(malformed(file_bytes(" {}")), "a JSON object"));
  CHECK(contains(malformed(file_bytes("{\"w\":")), "json: byte 5"));
  CHECK(contains(malformed(file_bytes("{}x")), "json: byte 2"));
  CHECK(contains(malformed(file_bytes("{\"w\":[[[[]]]]}")), "levels"));
  CHECK(contains(malformed(file_bytes("{\"w\":1}")), "tensor 'w'"));
  CHECK(contains(malformed(file_bytes("{\"w\":{}}")), "tensor 'w'"));
  CHECK(contains(malformed(file_bytes("{\"w\":{\"dtype\":\"F32\",\"shape\":[0]}}")), "missing"));
  CHECK(contains(malformed(file_bytes("{\"w\":{\"dtype\":1,\"shape\":[0],\"data_offsets\":[0,0]}}")), "another type"));
  CHECK(contains(malformed(file_bytes("{\"w\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":1}}")),
                 "'x'"));
  CHECK(contains(malformed(file_bytes("{\"w\":{},\"w\":{}}")), "'w' twice"));
  CHECK(contains(malformed(file_bytes("{\"a\\u0000b\":{}}")), "NUL"));
  CHECK(contains(malformed(file_bytes("{\"__metadata__\":[]}")), "__metadata__"));
  CHECK(contains(malformed(file_bytes("{\"__metadata__\":{\"a\":1}}")), "'a'"));

  for (const char* dtype : {"F16", "BF16", "BOOL", "f32", "", "I8"})
    CHECK(contains(malformed(file_bytes(tensor(dtype, "[2]", "[0,8]"), data), ErrorKind::kType),
                   "tensor 'w' dtype: expected one of F32, F64, I32, I64, U8, U64, got '" + std::string(dtype) + "'"));

  for (const char* shape :
       {"2", "[-2]", "[2.0]", "[\"2\"]", "[null]", "[1,1,1,1,1,1,1,1,2]", "[3]", "[1]", "[]", "[2,2]",
        "[4611686018427387904,2]", "[4611686018427387904,4,0]", "[0,4611686018427387904,4]", "[4294967296,4294967296]",
        "[9223372036854775808]", "[9223372036854775807]"})
    CHECK(contains(malformed(file_bytes(tensor("F32", shape, "[0,8]"), data)), "tensor 'w'"));
  for (const char* offsets : {"[0]", "[0,8,8]", "[]", "8", "[8,0]", "[-8,0]", "[0,9]", "[1,9]", "[8,16]", "[0.0,8.0]",
                              "[18446744073709551608,0]", "[9223372036854775800,9223372036854775807]", "[\"0\",\"8\"]"})
    CHECK(contains(malformed(file_bytes(tensor("F32", "[2]", offsets), data)), "tensor 'w'"));
  CHECK(contains(malformed(file_bytes(tensor("F32", "[2]", "[0,8]"), data + "y")), "8 bytes of data, got 9"));
  CHECK(contains(malformed(file_bytes(tensor("F32", "[2]", "[0,8]"), "1234567")), "within 7 bytes"));
}

TEST_CASE("tensors that overlap or leave holes are refused") {
  const auto two = [](const char* a, const char* b) {
    return file_bytes(std::string("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":") + a +
                          "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + b + "}}",
                      "12345678");
  };
  for (const auto& [a, b] : {std::pair{"[0,4]", "[4,8]"}, std::pair{"[4,8]", "[0,4]"}}) {
    const Memory memory(two(a, b));
    const SafetensorsFile file(memory.data(), memory.size());
    CHECK(file.tensors()[0].view.data < file.tensors()[1].view.data);
  }
  CHECK(contains(malformed(two("[0,4]", "[0,4]")), "to begin at 4"));
  CHECK(contains(malformed(two("[0,4]", "[3,7]")), "to begin at 4"));
  CHECK(contains(malformed(two("[1,5]", "[5,9]")), "to begin at 0"));
  CHECK(contains(malformed(two("[0,4]", "[5,9]")), "to begin at 4"));
}

TEST_CASE("safetensors survive every cut and random damage") {
  const TempDir dir;
  std::vector<float> f = {1, 2, 3, 4};
  std::vector<uint8_t> u = {1, 2, 3};
  safetensors_write(dir / "x", {named("layer/kernel", f, {2, 2}), named("mask", u, {3})}, {{"lamella", "{}"}});
  const std::string good = read_text(dir / "x");
  for (size_t n = 0; n < good.size(); ++n) malformed(good.substr(0, n));

  std::mt19937 random(3);
  int opened = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = good;
    for (int edits = static_cast<int>(random() % 3); edits >= 0; --edits)
      bytes[random() % bytes.size()] = static_cast<char>(random() % 2 ? random() : '0' + random() % 10);
    const Memory memory(bytes);
    try {
      const SafetensorsFile file(memory.data(), memory.size());
      unsigned sum = 0;
      for (const NamedTensor& t : file.tensors())
        for (int64_t k = 0; k < t.view.spec().bytes(); ++k) sum += t.view.as<uint8_t>()[k];
      opened += sum != 0;
    } catch (const Error&) {
    }
  }
  CHECK(opened > 100);
}

TEST_CASE("what cannot be opened says why") {
  const TempDir dir;
  CHECK(contains(error_of(ErrorKind::kOs, [&] { SafetensorsFile{dir / "missing"}; }),
                 "missing: cannot open: No such file"));
  CHECK(contains(error_of(ErrorKind::kOs, [&] { SafetensorsFile{dir / ""}; }), "not a regular file"));
  REQUIRE(mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK(contains(error_of(ErrorKind::kOs, [&] { SafetensorsFile{dir / "pipe"}; }), "not a regular file"));
  CHECK(contains(error_of(ErrorKind::kOs, [&] { safetensors_write(dir / "pipe", {}, {}); }), "not a regular file"));
  CHECK(contains(error_of(ErrorKind::kOs, [&] { safetensors_write(dir / "no/such/folder", {}, {}); }), "No such file"));
  write_text(dir / "short", "{}");
  CHECK(contains(error_of(ErrorKind::kValue, [&] { SafetensorsFile{dir / "short"}; }),
                 "short: file: expected at least 8"));
}

TEST_CASE("a write that fails keeps the old file and leaves nothing behind") {
  const TempDir dir;
  const std::string path = dir / "model";
  std::vector<float> small = {1};
  safetensors_write(path, {named("w", small, {1})}, {});
  const std::string before = read_text(path);

  std::vector<float> large(1 << 20);
  rlimit limit{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
  const rlimit tight{64 << 10, limit.rlim_max};
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &tight) == 0);  // stands in for a full disk: the write stops half-way
  std::string message;
  try {
    safetensors_write(path, {named("w", large, {1 << 20})}, {});
  } catch (const Error& e) {
    message = e.what();
  }
  setrlimit(RLIMIT_FSIZE, &limit);
  signal(SIGXFSZ, handler);
  CHECK(contains(message, "cannot write"));
  CHECK(read_text(path) == before);
  CHECK(dir.entries() == 1);
}

TEST_CASE("what cannot be written is refused before the disk is touched") {
  const TempDir dir;
  std::vector<float> f = {1};
  const NamedTensor w = named("w", f, {1});
  const auto refused = [&](const std::vector<NamedTensor>& tensors,
                           const std::vector<std::pair<std::string, std::string>>& metadata) {
    return error_of(ErrorKind::kValue, [&] { safetensors_write(dir / "x", tensors, metadata); });
  };
  CHECK(contains(refused({w, w}, {}), "'w' twice"));
  CHECK(contains(refused({w}, {{"k", "1"}, {"k", "2"}}), "'k' twice"));
  CHECK(contains(refused({{"__metadata__", w.view}}, {}), "reserved"));
  CHECK(contains(refused({{"w", {nullptr, DType::kF32, {1}}}}, {}), "expected an array"));
  CHECK(contains(refused({{"\xff", w.view}}, {}), "UTF-8"));
  CHECK(contains(refused({w}, {{"k", "\xff"}}), "UTF-8"));
  CHECK(dir.entries() == 0);
}

TEST_CASE("replacing a file keeps its mode and its symbolic link, and readers keep the old one") {
  const TempDir dir;
  std::vector<float> f = {1};
  safetensors_write(dir / "real", {named("w", f, {1})}, {});
  REQUIRE(chmod((dir / "real").c_str(), 0640) == 0);
  REQUIRE(symlink("real", (dir / "link").c_str()) == 0);
  const SafetensorsFile reader(dir / "link");
  f[0] = 2;
  safetensors_write(dir / "link", {named("w", f, {1})}, {});
  struct stat info {};
  REQUIRE(lstat((dir / "link").c_str(), &info) == 0);
  CHECK(S_ISLNK(info.st_mode));
  REQUIRE(stat((dir / "real").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0640);
  CHECK(reader.find("w")->as<float>()[0] == 1.0f);
  CHECK(SafetensorsFile(dir / "real").find("w")->as<float>()[0] == 2.0f);
  CHECK(dir.entries() == 2);
}

}  // namespace
}  // namespace lamella
