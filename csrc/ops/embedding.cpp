#include "kernels/row_sums.h"
#include "ops/index_list.h"
#include "ops/memory.h"
#include "ops/op.h"
#include "ops/registry.h"

namespace lamella {
namespace {

constexpr const char* kOp = "embedding";

// Inputs: indices (...) int32 or int64, table (rows, dim); output (..., dim).
class EmbeddingOp final : public Op {
 public:
  enum : size_t { kIndices, kTable };

  EmbeddingOp(bool has_padding, int64_t padding) : has_padding_(has_padding), padding_(padding) {}

  static OpPtr make(const Json& attrs) {
    AttrReader a(kOp, attrs);
    const bool has_padding = a.has("padding_idx");
    const int64_t padding = has_padding ? a.get_int("padding_idx", 0) : 0;
    a.done();
    return std::make_shared<EmbeddingOp>(has_padding, padding);
  }

  std::string_view name() const override { return kOp; }
  Json attrs() const override {
    Json a = Json::Object{};
    if (has_padding_) a.set("padding_idx", padding_);
    return a;
  }

  Signature infer(std::span<const TensorSpec> in, bool) const override {
    check_count(kOp, in, 2, 2);
    const TensorSpec& table = in[kTable];
    if (!is_index(in[kIndices].dtype)) fail_type(kOp, "indices", "int32 or int64", dtype_name(in[kIndices].dtype));
    check_float(kOp, "table", table);
    check_rank(kOp, "table", table, 2);
    const int64_t rows = table.shape[0];
    if (has_padding_ && (padding_ < -rows || padding_ >= rows)) {
      fail_value(kOp, "padding_idx", "a row of the table, which has " + std::to_string(rows), std::to_string(padding_));
    }
    TensorSpec y{table.dtype, in[kIndices].shape};
    y.shape.push_back(table.shape[1]);
    return {{y}, {}};
  }

  void forward(Exec& exec, const ForwardArgs& args) const override {
    const TensorView& table = args.in[kTable];
    check_range(exec, args.in[kIndices], table.shape[0]);
    dispatch_float(table.dtype, kOp, "table", [&]<class T>() {
      EmbeddingParams<T> p;
      p.index = index_list(args.in[kIndices]);
      p.rows = table.shape[0];
      p.dim = table.shape[1];
      p.table = table.as<const T>();
      p.y = args.out[0].as<T>();
      exec.kernels<T>().embedding.embedding(exec.context(), p);
    });
  }

  void backward(Exec& exec, const BackwardArgs& args) const override {
    const TensorView& grad_table = args.grad_in[kTable];
    if (!grad_table) return;
    if (!args.grad_out[0]) return zero_tensor(exec, grad_table);
    check_range(exec, args.in[kIndices], grad_table.shape[0]);
    dispatch_float(grad_table.dtype, kOp, "table", [&]<class T>() {
      EmbeddingGradParams<T> p;
      p.index = index_list(args.in[kIndices]);
      p.rows = grad_table.shape[0];
      p.dim = grad_table.shape[1];
      p.has_padding = has_padding_;
      p.padding = padding_ < 0 ? padding_ + p.rows : padding_;
      p.grad_out = args.grad_out[0].as<const T>();
      p.grad_table = grad_table.as<T>();
      const size_t bytes = exec.backend() == nullptr ? 0 : RowSumsWorkspace(p.index.n, p.rows).bytes;
      exec.kernels<T>().embedding.embedding_grad(exec.context(bytes), p);
    });
  }

  bool differentiable(int input) const override { return input == static_cast<int>(kTable); }
  BackwardUses backward_uses() const override { return {1u << kIndices, 0}; }

 private:
  static void check_range(Exec& exec, const TensorView& indices, int64_t rows) {
    IndexCheckParams p;
    p.index = index_list(indices);
    p.limit = rows;
    p.op = kOp;
    p.argument = "indices";
    const int64_t bad = first_bad_index(exec, p, exec.kernels<float>().embedding.check_indices);
    if (bad < 0) return;
    fail_value(kOp, "indices", "row numbers in [0, " + std::to_string(rows) + ")",
               "index " + std::to_string(index_at(p.index, bad)) + " at position " + std::to_string(bad) +
                   " (the table has " + std::to_string(rows) + " rows)");
  }

  bool has_padding_;
  int64_t padding_;
};

}  // namespace

void register_embedding(OpRegistry& r) { r.add(kOp, EmbeddingOp::make); }

}  // namespace lamella
