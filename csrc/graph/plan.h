// A graph compiled for given input shapes: a flat list of steps over one arena. Running it allocates nothing (after the
// first run) and never goes back to Python.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/memory.h"

namespace lamella {

struct PlanOptions {
  bool training = false;
  // Value ids whose results are wanted; default: the graph's outputs. In training, results[0] is the scalar loss.
  std::vector<int> results;
  const Backend* backend = nullptr;  // where it runs, with all arrays that it is given; nullptr: the CPU
  void* stream = nullptr;
};

class Plan {
 public:
  // Throws where a shape rule refuses the input specs. The graph's parameter memory is borrowed, kept alive by its
  // holders.
  Plan(const Graph& graph, std::span<const TensorSpec> inputs, const PlanOptions& options);
  ~Plan();
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  // One inference or, when training, one forward and backward pass. Inputs are read in place. results() hold until the
  // next run. Not for two threads at once: see lock().
  void run(std::span<const TensorView> inputs);
  std::span<const TensorView> results() const { return results_; }

  // Trainable parameters that the loss depends on, with their gradients (in one flat buffer, in this order).
  struct ParamGrad {
    TensorView value, grad;
    int value_id;  // in the graph given to the constructor
  };
  const std::vector<ParamGrad>& gradients() const { return gradients_; }
  TensorView flat_gradients() const { return flat_gradients_; }

  const std::vector<TensorSpec>& input_specs() const { return input_specs_; }
  // A buffer of the plan's own for input i: where batches are gathered.
  TensorView input_buffer(int i);
  // Memory of the device for runs of steps, which stays until more is asked for.
  void* scratch(int64_t bytes);

  // Makes what is derived from parameters alone (folded batch norms, Winograd transforms, packed panels), where they
  // have changed, which anybody may do to their memory at any time. To be called before any number of runs.
  void refresh_prepared();

  std::unique_lock<std::mutex> lock() { return std::unique_lock<std::mutex>(mutex_); }
  Exec& exec() { return exec_; }
  const Exec& exec() const { return exec_; }
  int64_t arena_bytes() const { return arena_bytes_; }
  int64_t prepared_bytes() const { return prepared_bytes_; }
  size_t step_count() const { return steps_.size(); }
  // (op, whether backward, whose parameters it reads) of each step, in order.
  struct StepName {
    std::string op;
    bool backward;
    std::string label;
  };
  std::vector<StepName> step_names() const;

 private:
  struct Step {
    OpPtr op;
    bool backward = false;
    std::vector<TensorView> in, out, saved, grad_out, grad_in;
    TensorView prepared;
    uint32_t prepared_from = 0;  // inputs, bit mask
    bool is_prepared = false;
    uint64_t prepared_fingerprint = 0;  // of those inputs
    std::string label = {};             // whose parameters it reads: "block1_conv1"
    int profile_site = -1;
  };
  struct Buffer;
  struct Ref;
  class Compiler;

  void run_step(const Step& s);
  void run_steps();
  // Devices: runs the steps from a recording where they can be recorded; false: they have not been run.
  bool run_recorded(std::span<const TensorView> inputs);
  void* allocate(int64_t bytes);  // on the device, freed with the plan
  void* host_memory(int64_t bytes);
  void* on_device(const TensorView& constant);
  void run_profiled();

  std::vector<TensorSpec> input_specs_;
  std::vector<Step> steps_;
  std::vector<Step> setup_;                // of values that depend on parameters and constants alone
  std::vector<TensorView> setup_sources_;  // those parameters
  uint64_t setup_fingerprint_ = 0;
  bool is_set_up_ = false;
  std::vector<TensorView> results_;
  std::vector<ParamGrad> gradients_;
  TensorView flat_gradients_;
  // Places in steps_ (and results_) that point at an input's memory.
  struct Patch {
    int input;
    TensorView* view;
  };
  std::vector<Patch> patches_;
  std::vector<void*> memory_;  // aligned blocks on the device: arena, gradients, prepared weights
  std::vector<void*> input_memory_;
  void* scratch_ = nullptr;
  int64_t scratch_bytes_ = 0;
  std::vector<std::unique_ptr<char[]>> host_memory_;
  std::vector<std::shared_ptr<const void>> holders_;
  int64_t arena_bytes_ = 0, prepared_bytes_ = 0;
  Exec exec_;
  std::mutex mutex_;

  // Of the steps, with the inputs that it was made with: it holds their addresses.
  RecordedGraph* recording_ = nullptr;
  std::vector<void*> recorded_inputs_;
  int recorded_precision_ = 0;  // likewise
  int runs_ = 0;                // with those inputs; the first ones make the workspace as large as it has to be
  bool recordable_ = false;
  uint64_t* step_key_ = nullptr;  // on the device, see Exec::record_keys
  uint64_t keys_per_run_ = 0;
  uint64_t profile_generation_ = 0;  // that the steps' sites belong to
};

}  // namespace lamella
