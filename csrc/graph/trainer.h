// Whole runs of training, evaluation and prediction steps over arrays of samples: gather a batch, run the plan, update.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "graph/optimizer.h"
#include "graph/plan.h"

namespace lamella {

// The samples: one array per plan input, all with the same number of rows, and the order in which to visit them, on the
// host.
struct Samples {
  std::vector<TensorView> arrays;
  // Of a plan on a device: which of the arrays lie on the host, from where they come batch by batch. Empty: none.
  std::vector<bool> on_host;
  const int64_t* order = nullptr;  // nullptr: as they lie
  int64_t rows = 0;                // length of `order`, or of the arrays
};

struct StepTotals {
  // The elements of the plan's results, one result after another, summed over the steps. The first result is the scalar
  // loss; it is weighted by the batch size.
  std::vector<double> results;
  int64_t samples = 0;
  int64_t first_nan_step = -1;  // first step of this call whose loss was NaN or infinite
};

// What a weight becomes after each update: the only result of a plan, of the weight's shape, whose only input is the
// weight (a norm cut down, negative values set to 0).
struct Constraint {
  Plan* plan = nullptr;
  TensorView value;
};

// An optimizer with the parameters that it updates (one slot per plan.gradients(), in that order), and what they become
// then.
struct Update {
  Optimizer* optimizer = nullptr;
  std::vector<ParamSlot> slots;
  std::vector<Constraint> constraints;
  uint64_t id = Plan::new_tail_id();  // of these arrays
};

// Throws Error(kValue) unless the arrays' rows fit the plan's inputs (uint8 may feed a float input) and the rows for
// `steps` steps from `begin` exist.
void check_samples(const Plan& plan, const Samples& samples, int64_t begin, int64_t steps);

// Runs `steps` steps from row `begin`; each takes as many rows as the plan's inputs have. learning_rates: one per step,
// or one for all.
// `first_step` counts optimizer steps from 1.
void train_steps(Plan& plan, const Samples& samples, int64_t begin, int64_t steps, const Update& update,
                 int64_t first_step, std::span<const double> learning_rates, StepTotals& totals);

// Sums the plan's results, as in training without the update.
void evaluate_steps(Plan& plan, const Samples& samples, int64_t begin, int64_t steps, StepTotals& totals);

// Writes the plan's results for the rows into `outputs` (whole arrays; rows from `begin`), on the plan's device or on
// the host.
void predict_steps(Plan& plan, const Samples& samples, int64_t begin, int64_t steps,
                   std::span<const TensorView> outputs, bool to_host = false);

}  // namespace lamella
