// Shapes, dtypes and the non-owning view of a dense array that every op takes and returns.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "base/error.h"
#include "base/half.h"

namespace lamella {

enum class DType : uint8_t { kF32, kF64, kI32, kI64, kU8, kU64, kF16, kBF16 };

constexpr int64_t dtype_size(DType t) {
  switch (t) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kU8:
      return 1;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    default:
      return 8;
  }
}
const char* dtype_name(DType t);            // "float32", ... as NumPy spells it
DType dtype_from_name(const std::string&);  // throws Error(kType) on an unknown name
constexpr bool is_half(DType t) { return t == DType::kF16 || t == DType::kBF16; }
constexpr bool is_float(DType t) { return t == DType::kF32 || t == DType::kF64; }
// Whether there can be gradients.
constexpr bool is_floating(DType t) { return is_float(t) || is_half(t); }

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kF64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kI64;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::kU8;
};
template <>
struct DTypeOf<uint64_t> {
  static constexpr DType value = DType::kU64;
};

template <>
struct DTypeOf<f16> {
  static constexpr DType value = DType::kF16;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::kBF16;
};

// A small inline shape: no allocation, so that shapes can be rebuilt in a plan's hot loop.
struct Shape {
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);  // throws beyond kMaxRank
  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[i < 0 ? i + rank_ : i]; }
  int64_t& operator[](int i) { return dims_[i < 0 ? i + rank_ : i]; }
  const int64_t* data() const { return dims_; }
  const int64_t* begin() const { return dims_; }
  const int64_t* end() const { return dims_ + rank_; }
  void push_back(int64_t dim);  // throws beyond kMaxRank
  int64_t size() const {        // number of elements; 1 for rank 0
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[i];
    return n;
  }
  bool operator==(const Shape& o) const {
    if (rank_ != o.rank_) return false;
    for (int i = 0; i < rank_; ++i)
      if (dims_[i] != o.dims_[i]) return false;
    return true;
  }
  // Whether no dimension is negative and no array of this shape, even without its empty dimensions, is beyond memory.
  bool representable() const;
  std::string str() const;  // "(32, 28, 28, 1)"

 private:
  int rank_ = 0;
  int64_t dims_[kMaxRank] = {};
};

struct TensorSpec {
  DType dtype = DType::kF32;
  Shape shape;
  int64_t bytes() const { return shape.size() * dtype_size(dtype); }
  bool operator==(const TensorSpec& o) const { return dtype == o.dtype && shape == o.shape; }
  std::string str() const;  // "float32 (32, 10)"
};

// An optional input that is not given: uint8 of shape (0,), data == nullptr.
inline TensorSpec absent_spec() { return {DType::kU8, Shape{0}}; }
inline bool absent(const TensorSpec& s) { return s.dtype == DType::kU8 && s.shape.rank() == 1 && s.shape[0] == 0; }

// A dense, C-contiguous array somewhere (host or device memory, owned by somebody else). data == nullptr: absent.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  explicit operator bool() const { return data != nullptr; }
  int64_t size() const { return shape.size(); }
  TensorSpec spec() const { return {dtype, shape}; }
};

}  // namespace lamella
