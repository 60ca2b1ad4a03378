// Ops on arrays of 16-bit floats: those that have no kernels of their own for them run in float32, on copies.
#include "ops/half.h"

#include <algorithm>
#include <vector>

namespace lamella {
namespace {

bool any_half(std::span<const TensorView> views) {
  return std::any_of(views.begin(), views.end(), [](const TensorView& v) { return is_half(v.dtype); });
}
template <class... Views>
bool any_half(std::span<const TensorView> first, Views... more) {
  return any_half(first) || any_half(more...);
}

// Devices' kernels know arrays of one 16-bit type: all of the data, and the rest, where it may be wider, in float32.
class OfOneType {
 public:
  explicit OfOneType(const Op& op) : rest_is_wide_(op.follows_first()) {}

  void data(std::span<const TensorView> views) {
    for (const TensorView& v : views) see(v, false);
  }
  void data_and_rest(std::span<const TensorView> views) {
    for (size_t i = 0; i < views.size(); ++i) see(views[i], i > 0 && rest_is_wide_);
  }
  explicit operator bool() const { return one_; }

 private:
  void see(const TensorView& v, bool wide) {
    if (v.data == nullptr || !is_floating(v.dtype)) return;
    if (wide) {
      one_ = one_ && v.dtype == DType::kF32;
    } else {
      one_ = one_ && is_half(v.dtype) && (type_ == DType::kU8 || type_ == v.dtype);
      type_ = v.dtype;
    }
  }

  bool rest_is_wide_, one_ = true;
  DType type_ = DType::kU8;
};

bool takes_halves(const Op& op, const Exec& exec, uint32_t call, const OfOneType& of_one_type,
                  std::span<const TensorView> in) {
  const uint32_t halves = op.halves();
  if ((halves & call) == 0) return false;
  if ((halves & Op::kOnDevice) == 0) return true;
  return exec.backend() != nullptr && exec.backend()->brain != nullptr && of_one_type && op.halves_fit(in);
}

void convert(Exec& exec, const TensorView& from, const TensorView& to) {
  const auto element = [](DType t) {
    return t == DType::kF16 ? Element::kF16 : t == DType::kBF16 ? Element::kBF16 : Element::kF32;
  };
  exec.kernels<float>().shape.cast(exec.context(),
                                   {from.data, to.data, element(from.dtype), element(to.dtype), from.size()});
}

// The views of a call, with float32 copies in place of 16-bit arrays.
class Widened {
 public:
  enum class Role { kRead, kWritten, kBoth };

  // Roles of single views of a list may differ: `role(i)`.
  template <class RoleOf>
  std::span<const TensorView> add(std::span<const TensorView> views, const RoleOf& role) {
    auto& list = lists_.emplace_back(views.begin(), views.end());
    for (size_t i = 0; i < list.size(); ++i) {
      TensorView& v = list[i];
      if (!is_half(v.dtype)) continue;
      const TensorView narrow = v;
      v.dtype = DType::kF32;
      if (narrow.data == nullptr) continue;
      copies_.push_back({narrow, &v, role(i), bytes_});
      bytes_ += (static_cast<size_t>(v.spec().bytes()) + kAlign - 1) / kAlign * kAlign;
    }
    return list;
  }
  std::span<const TensorView> add(std::span<const TensorView> views, Role role) {
    return add(views, [role](size_t) { return role; });
  }

  void begin(Exec& exec) {
    char* const memory = static_cast<char*>(exec.scratch(bytes_));
    for (const Copy& c : copies_) {
      c.wide->data = memory + c.offset;
      if (c.role != Role::kWritten) convert(exec, c.narrow, *c.wide);
    }
  }
  void end(Exec& exec) {
    for (const Copy& c : copies_)
      if (c.role != Role::kRead) convert(exec, *c.wide, c.narrow);
  }

  Widened() {
    lists_.reserve(kLists);
    copies_.reserve(8);
  }

 private:
  static constexpr size_t kAlign = 256, kLists = 5;
  struct Copy {
    TensorView narrow;
    TensorView* wide;
    Role role;
    size_t offset;
  };
  std::vector<std::vector<TensorView>> lists_;  // never grows: spans of it are handed out
  std::vector<Copy> copies_;
  size_t bytes_ = 0;
};

DType result_type(const Op& op, std::span<const TensorSpec> in) {
  if (op.follows_first() && is_floating(in[0].dtype)) return in[0].dtype;
  DType common = DType::kU8;
  for (const TensorSpec& s : in) {
    if (!is_floating(s.dtype)) continue;
    if (common != DType::kU8 && common != s.dtype) return DType::kF32;
    common = s.dtype;
  }
  return common;
}

}  // namespace

Signature infer_halves(const Op& op, std::span<const TensorSpec> in, bool training) {
  const bool any = std::any_of(in.begin(), in.end(), [](const TensorSpec& s) { return is_half(s.dtype); });
  if (!any || ((op.halves() & Op::kInForward) != 0 && (op.halves() & Op::kOnDevice) == 0)) {
    return op.infer(in, training);
  }
  std::vector<TensorSpec> wide(in.begin(), in.end());
  for (TensorSpec& s : wide)
    if (is_half(s.dtype)) s.dtype = DType::kF32;
  Signature sig = op.infer(wide, training);
  const DType result = result_type(op, in);
  const auto narrow = [&](std::vector<TensorSpec>& specs) {
    for (TensorSpec& s : specs)
      if (s.dtype == DType::kF32) s.dtype = result;
  };
  narrow(sig.outputs);
  if (op.saves_halves()) narrow(sig.saved);
  return sig;
}

void run_forward(const Op& op, Exec& exec, const ForwardArgs& args) {
  if (!any_half(args.in, args.out, args.saved)) return op.forward(exec, args);
  OfOneType types(op);
  types.data_and_rest(args.in);
  types.data(args.out);
  if (takes_halves(op, exec, Op::kInForward, types, args.in)) return op.forward(exec, args);
  using Role = Widened::Role;
  const uint32_t mutated = exec.training ? op.mutates() : 0;
  Widened w;
  ForwardArgs wide;
  wide.in = w.add(args.in,
                  [&](size_t i) { return (mutated >> std::min<size_t>(i, 31) & 1) != 0 ? Role::kBoth : Role::kRead; });
  wide.out = w.add(args.out, Role::kWritten);
  wide.saved = w.add(args.saved, Role::kWritten);
  wide.prepared = args.prepared;
  w.begin(exec);
  op.forward(exec, wide);
  w.end(exec);
}

void run_backward(const Op& op, Exec& exec, const BackwardArgs& args) {
  if (!any_half(args.in, args.out, args.saved, args.grad_out, args.grad_in)) return op.backward(exec, args);
  OfOneType types(op);
  types.data_and_rest(args.in);
  types.data(args.out);
  types.data(args.grad_out);
  types.data_and_rest(args.grad_in);
  if (takes_halves(op, exec, Op::kInBackward, types, args.in)) return op.backward(exec, args);
  using Role = Widened::Role;
  Widened w;
  BackwardArgs wide;
  wide.in = w.add(args.in, Role::kRead);
  wide.out = w.add(args.out, Role::kRead);
  wide.saved = w.add(args.saved, Role::kRead);
  wide.grad_out = w.add(args.grad_out, Role::kRead);
  wide.grad_in = w.add(args.grad_in, Role::kWritten);
  w.begin(exec);
  op.backward(exec, wide);
  w.end(exec);
}

}  // namespace lamella
