// A graph compiled for given input shapes: a flat list of steps over one arena. Running it allocates nothing (after the
// first run) and never goes back to Python.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/host_feed.h"
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

  // What follows the steps of each run on a device, and is recorded with them: the update of a training step.
  struct Tail {
    uint64_t id = 0, version = 0;  // a recording is of the tail that has both
    int phase = 0;                 // steps of different phases have different launches, and recordings of their own
    bool recordable = true;
    // What changes from run to run, and lies in the device's memory, at 64 bytes, when what has been launched reads it.
    std::vector<char> data;
    std::function<void(void* data)> launch;
  };
  static uint64_t new_tail_id();

  // One inference or, when training, one forward and backward pass. Inputs are read in place. results() hold until the
  // next run. Not for two threads at once: see Turn.
  void run(std::span<const TensorView> inputs, const Tail* tail = nullptr);
  // The same by another plan's Exec, on the same device and in the order of its launches.
  void run_in(Exec& exec, std::span<const TensorView> inputs);
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
  // Where a tail may copy the results to, one behind another, each at a multiple of kResultAlign bytes.
  char* result_copies();
  static constexpr int64_t kResultAlign = 256;
  int64_t result_copy_bytes() const;
  // On a device: what brings samples there that lie on the host.
  HostFeed& host_feed();
  // Memory of the device for runs of steps, which stays until more is asked for.
  void* scratch(int64_t bytes);

  // Makes what is derived from parameters alone (folded batch norms, Winograd transforms, packed panels), where they
  // have changed, which anybody may do to their memory at any time. To be called before any number of runs.
  void refresh_prepared() { refresh_prepared(exec_); }
  void refresh_prepared(Exec& exec);

  // One caller's runs: nobody else's come between, and launches go to the caller's stream, after all that the plan has
  // launched before.
  class Turn {
   public:
    Turn(Plan& plan, void* stream);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Plan& plan_;
    std::unique_lock<std::mutex> lock_;
  };
  Exec& exec() { return exec_; }
  const Exec& exec() const { return exec_; }
  int64_t arena_bytes() const { return arena_bytes_; }
  int64_t prepared_bytes() const { return prepared_bytes_; }
  size_t step_count() const { return steps_.size(); }
  bool recordable() const { return recordable_; }
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

  // A recording of the steps and one phase of a tail.
  struct Recording {
    int phase = 0;
    int runs = 0;  // the first ones make the workspace as large as it has to be
    RecordedGraph* graph = nullptr;
    uint64_t keys = 0;  // random streams that a run takes
  };

  void set_inputs(std::span<const TensorView> inputs);
  static void run_step(Exec& exec, const Step& s);
  void run_steps(Exec& exec);
  void run_profiled(Exec& exec);
  // Devices.
  void run_on_device(std::span<const TensorView> inputs, const Tail* tail);
  Recording& recording_for(std::span<const TensorView> inputs, const Tail* tail);
  bool record(Recording& r, const Tail* tail);  // false: the device cannot
  void drop_recordings();
  void make_room(const Tail* tail);
  void send(const Tail* tail, uint64_t keys);
  void* allocate(int64_t bytes);  // on the device, freed with the plan
  void* host_memory(int64_t bytes);
  void* on_device(const TensorView& constant);

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
  char* result_copies_ = nullptr;
  void* scratch_ = nullptr;
  int64_t scratch_bytes_ = 0;
  std::vector<std::unique_ptr<char[]>> host_memory_;
  std::vector<std::shared_ptr<const void>> holders_;
  int64_t arena_bytes_ = 0, prepared_bytes_ = 0;
  Exec exec_;
  std::mutex mutex_;
  std::unique_ptr<HostFeed> host_feed_;
  DeviceEvent* last_launch_ = nullptr;  // of the last turn

  std::vector<Recording> recordings_;
  // What they were made with: they hold the addresses.
  std::vector<void*> recorded_inputs_;
  const void* recorded_memory_[2] = {};  // workspace and scratch
  uint64_t recorded_tail_ = 0, recorded_version_ = 0;
  int recorded_precision_ = 0;
  bool recordable_ = false;
  // On the device: the numbers of random streams, see Exec::record_keys, and behind them the tail's data. What they are
  // sent from.
  char* sent_ = nullptr;
  std::vector<char> to_send_;
  uint64_t profile_generation_ = 0;  // that the steps' sites belong to
};

}  // namespace lamella
