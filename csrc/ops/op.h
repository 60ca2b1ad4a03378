// An op: attributes, shape rule, forward, backward; written once, run by the eager tape, by plans and by the C library.
// To add one: derive from Op in ops/<family>.cpp, and register it in that file's register_<family>().
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/tensor.h"
#include "ops/exec.h"

namespace lamella {

// What an op produces for given input specs. `saved` are tensors that forward fills in training for backward alone
// (pooling's argmax, normalisation's statistics, LSTM's gates, dropout's Philox key as two uint64).
struct Signature {
  std::vector<TensorSpec> outputs;
  std::vector<TensorSpec> saved;  // empty when !training
  uint32_t saved_on_host = 0;     // bit i: saved tensor i is written and read by the op itself, not by kernels
};

struct ForwardArgs {
  std::span<const TensorView> in;  // an optional input that is absent has data == nullptr
  std::span<const TensorView> out;
  std::span<const TensorView> saved;  // empty unless training
  TensorView prepared;                // see Op::prepare
};

struct BackwardArgs {
  std::span<const TensorView> in;   // data == nullptr where backward_uses() does not ask for it
  std::span<const TensorView> out;  // likewise
  std::span<const TensorView> saved;
  std::span<const TensorView> grad_out;  // data == nullptr: that gradient is zero
  std::span<const TensorView> grad_in;   // data == nullptr: not wanted; else to be overwritten, never accumulated into
};

// Bit i: backward reads input i / output i. The planner frees what nobody reads.
struct BackwardUses {
  uint32_t inputs = ~0u;
  uint32_t outputs = ~0u;
};

class Op {
 public:
  virtual ~Op() = default;

  virtual std::string_view name() const = 0;
  virtual Json attrs() const = 0;  // an object from which the registry rebuilds an equal op

  // Checks the inputs (throws Error with op, argument, expected, got) and gives the outputs. Called before every eager
  // forward and once per plan, so forward and backward need not check again. Optional inputs come last and are left
  // out, or stand as an absent spec (see `absent`) where a later one is given.
  virtual Signature infer(std::span<const TensorSpec> in, bool training) const = 0;

  virtual void forward(Exec& exec, const ForwardArgs& args) const = 0;
  virtual void backward(Exec& exec, const BackwardArgs& args) const;  // default: throws "not differentiable"

  virtual bool differentiable(int input) const { return input >= 0; }  // false for indices, targets, running statistics
  virtual BackwardUses backward_uses() const { return {}; }
  // Whether forward waits for the device, to look at data: it cannot be recorded then.
  virtual bool synchronizes() const { return false; }
  // Output 0 may share input 0's memory when nobody else reads it (elementwise ops).
  virtual bool can_run_in_place() const { return false; }
  // Output 0 is input 0's memory with another shape (reshape, flatten): plans alias it, eager returns a view.
  virtual bool is_view() const { return false; }
  // Inputs that forward updates in training (running statistics), bit mask.
  virtual uint32_t mutates() const { return 0; }

  // Inference plans call prepare once per change of the weights and hand the result to forward (packed or transformed
  // weights). bytes 0: nothing to prepare.
  virtual TensorSpec prepared_spec(Exec& exec, std::span<const TensorSpec> in) const {
    (void)exec, (void)in;
    return {DType::kU8, Shape{0}};
  }
  virtual void prepare(Exec& exec, std::span<const TensorView> in, const TensorView& prepared) const {
    (void)exec, (void)in, (void)prepared;
  }
  // The inputs that prepare reads, bit mask: plans call it where these are parameters, whatever the others are.
  virtual uint32_t prepared_inputs() const { return 0; }

  // Which of its calls take arrays of 16-bit floats as they are. The others get float32 ones (see ops/half.cpp).
  enum Halves : uint32_t { kNoHalves = 0, kInForward = 1, kInBackward = 2, kOnDevice = 4 };
  virtual uint32_t halves() const { return kNoHalves; }
  // Whether a device's kernels for 16-bit floats do arrays of these shapes, too.
  virtual bool halves_fit(std::span<const TensorView> in) const {
    (void)in;
    return true;
  }
  // Whether what it saves in float32 is of its results' type where that is a 16-bit one.
  virtual bool saves_halves() const { return false; }
  // Whether results are of the first input's type where the types of the inputs differ: statistics and scales may be
  // wider than the data.
  virtual bool follows_first() const { return false; }

  // For lamella.profile, LAMELLA_VERBOSE and docs: floating-point operations of one forward pass; 0 if not counted.
  virtual double flops(std::span<const TensorSpec> in) const {
    (void)in;
    return 0.0;
  }
};

using OpPtr = std::shared_ptr<const Op>;

// How ops are run and asked for their results, whatever the types of their arrays: see ops/half.cpp.
void run_forward(const Op& op, Exec& exec, const ForwardArgs& args);
void run_backward(const Op& op, Exec& exec, const BackwardArgs& args);
// op.infer(), whose outputs and saved tensors must be of a representable size: attributes may come from anywhere, and a
// size that wraps around would have memory allocated for less than the kernels write.
Signature infer_checked(const Op& op, std::span<const TensorSpec> in, bool training);

// Reads an op's attributes with defaults and refuses unknown ones, so that no argument is ever silently ignored.
// Usage: AttrReader a("conv2d", json); groups = a.get_int("groups", 1); ...; a.done();
class AttrReader {
 public:
  AttrReader(std::string op, const Json& attrs);  // attrs: object or null
  // A null attribute counts as absent.
  bool has(const char* key);
  int64_t get_int(const char* key, int64_t fallback);
  double get_double(const char* key, double fallback);
  bool get_bool(const char* key, bool fallback);
  std::string get_string(const char* key, const char* fallback);
  std::vector<int64_t> get_ints(const char* key, std::vector<int64_t> fallback);  // an int counts as a list of one
  // Likewise; counts, sizes and distances, of which none is beyond +-(2^31 - 1): their products do not overflow.
  std::vector<int64_t> get_sizes(const char* key, std::vector<int64_t> fallback);
  const Json* get(const char* key);
  void done() const;  // throws Error(kValue) naming the unknown attribute, the known ones and the closest

 private:
  std::string op_;
  const Json* attrs_;
  std::vector<std::string> known_;
};

// "relu" -> Act::kRelu, ... with the known names and the closest in the error. alpha NaN: the activation's default.
Activation activation_from_name(const std::string& op, const std::string& name, double alpha);
const char* activation_name(Act act);
double activation_default_alpha(Act act);
// The closest of `known` to `name`, for "did you mean" in errors; empty if none is close.
std::string closest_name(const std::string& name, std::span<const std::string> known);
// Helpers for infer(): number of inputs, rank, dtype, equal dtypes.
void check_count(const char* op, std::span<const TensorSpec> in, size_t least, size_t most);
void check_rank(const char* op, const char* argument, const TensorSpec& spec, int rank);
void check_float(const char* op, const char* argument, const TensorSpec& spec);
void check_same_dtype(const char* op, const char* argument, const TensorSpec& spec, DType dtype);

class OpRegistry {
 public:
  using Factory = OpPtr (*)(const Json& attrs);
  static const OpRegistry& instance();

  OpPtr make(const std::string& name, const Json& attrs) const;  // Error(kValue): unknown op (with the closest)
  std::vector<std::string> names() const;
  void add(const char* name, Factory factory);

 private:
  std::vector<std::pair<std::string, Factory>> factories_;
};

}  // namespace lamella
