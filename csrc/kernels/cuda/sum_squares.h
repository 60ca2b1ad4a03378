// Sums of squares of several arrays that stay on the device.
#pragma once

#include "kernels/reduce.h"

namespace lamella::cuda {

// What they take of the workspace, and the sums, one double for each array, at its beginning. Nobody waits for them.
size_t sum_squares_bytes(const SumSquaresParams& p);
template <class T>
const double* sum_squares_on_device(const Context& ctx, const SumSquaresParams& p);

}  // namespace lamella::cuda
