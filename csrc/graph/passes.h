// Rewrites of a graph before it is planned. Value ids of inputs, params and the wanted results keep their meaning.
#pragma once

#include <vector>

#include "graph/graph.h"

namespace lamella {

// All passes in order: softmax or sigmoid joined with their cross-entropy, transposes that undo each other, batch norm
// into the weights before it (inference), activations into the dense or convolution before them, dead code. `results`
// is updated where a wanted value moved.
Graph optimize(const Graph& graph, std::vector<int>& results, bool training);

}  // namespace lamella
