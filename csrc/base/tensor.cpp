#include "base/tensor.h"

namespace lamella {

namespace {
constexpr struct {
  DType dtype;
  const char* name;
} kDTypes[] = {{DType::kF32, "float32"}, {DType::kF64, "float64"},  {DType::kI32, "int32"},
               {DType::kI64, "int64"},   {DType::kU8, "uint8"},     {DType::kU64, "uint64"},
               {DType::kF16, "float16"}, {DType::kBF16, "bfloat16"}};
}  // namespace

const char* dtype_name(DType t) {
  for (const auto& e : kDTypes)
    if (e.dtype == t) return e.name;
  return "?";
}

DType dtype_from_name(const std::string& name) {
  for (const auto& e : kDTypes)
    if (name == e.name) return e.dtype;
  fail_type("dtype", "name", "one of float32, float64, float16, bfloat16, int32, int64, uint8, uint64",
            "'" + name + "'");
}

Shape::Shape(std::initializer_list<int64_t> dims) {
  for (int64_t d : dims) push_back(d);
}

void Shape::push_back(int64_t dim) {
  if (rank_ == kMaxRank) fail_value("shape", "rank", "at most 8 dimensions", "more");
  dims_[rank_++] = dim;
}

bool Shape::representable() const {
  constexpr int64_t kMostElements = int64_t{1} << 48;
  int64_t n = 1;
  for (int64_t d : *this) {
    if (d < 0 || (d > 0 && n > kMostElements / d)) return false;
    if (d > 0) n *= d;
  }
  return true;
}

std::string Shape::str() const {
  std::string s = "(";
  for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string(dims_[i]);
  return s + (rank_ == 1 ? ",)" : ")");
}

std::string TensorSpec::str() const { return std::string(dtype_name(dtype)) + " " + shape.str(); }

}  // namespace lamella
