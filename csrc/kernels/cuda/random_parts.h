// The part of the random kernels that stands in random_permutation.cu.
#pragma once

#include "kernels/random.h"

namespace lamella::cuda {

void permutation(const Context& ctx, const PermutationParams& p);

}  // namespace lamella::cuda
