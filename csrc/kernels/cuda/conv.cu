// The ordered candidates of each pass, and the choice among them.
#include "kernels/conv.h"
#include "kernels/cuda/conv_geometry.h"
#include "kernels/cuda/half.h"
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

enum Algorithm { kDepthwise, kIgemm, kReference, kCandidates };

// 16-bit floats have one, for what it can run: callers have float32 copies made of the rest.
template <class T>
ConvCandidate<T> candidate(int algorithm) {
  if constexpr (!kIsHalf<T>) {
    if (algorithm == kDepthwise) return conv_depthwise<T>();
    if (algorithm == kReference) return conv_reference<T>();
  }
  return conv_igemm<T>();
}
template <class T>
ConvWeightCandidate<T> weight_candidate(int algorithm) {
  if constexpr (!kIsHalf<T>) {
    if (algorithm == kDepthwise) return conv_weight_depthwise<T>();
    if (algorithm == kReference) return conv_weight_reference<T>();
  }
  return conv_weight_igemm<T>();
}

template <class T>
int candidates(ConvPass) {
  return kIsHalf<T> ? 1 : kCandidates;
}

template <class T>
const char* name(ConvPass pass, int algorithm) {
  return pass == ConvPass::kBackwardWeight ? weight_candidate<T>(algorithm).name : candidate<T>(algorithm).name;
}

template <class T>
bool can_run(const ConvShape& s, ConvPass pass, int algorithm) {
  return pass == ConvPass::kBackwardWeight ? weight_candidate<T>(algorithm).can_run(s)
                                           : candidate<T>(algorithm).can_run(s, pass);
}

// All of them keep plain sums of products. The list is in the order of what is faster where it can run.
template <class T>
int choose(const ConvShape& s, ConvPass pass, bool) {
  if constexpr (kIsHalf<T>) {
    return 0;
  } else {
    for (int i = 0; i < kReference; ++i)
      if (can_run<T>(s, pass, i)) return i;
    return kReference;
  }
}

template <class T>
size_t workspace(const ConvShape& s, ConvPass pass, int algorithm, bool, int) {
  return pass == ConvPass::kBackwardWeight ? weight_candidate<T>(algorithm).workspace(s)
                                           : candidate<T>(algorithm).workspace(s, pass);
}

template <class T>
void forward(const Context& ctx, const ConvParams<T>& p) {
  candidate<T>(p.algorithm).run(ctx, ConvPass::kForward, p);
}
template <class T>
void backward_data(const Context& ctx, const ConvParams<T>& p) {
  candidate<T>(p.algorithm).run(ctx, ConvPass::kBackwardData, p);
}
template <class T>
void backward_weight(const Context& ctx, const ConvWeightParams<T>& p) {
  weight_candidate<T>(p.algorithm).run(ctx, p);
}

bool fuses_activation(int) { return false; }
template <class T>
bool fuses_pool(int algorithm) {
  return candidate<T>(algorithm).fuses_pool;
}

// Weights are read as they are.
size_t prepared_bytes(const ConvShape&, ConvPass, int) { return 0; }
template <class T>
void prepare(const Context&, const ConvShape&, ConvPass, int, const T*, void*) {}

template <class T>
void fill_table(ConvKernels<T>& k) {
  k.candidates = candidates<T>;
  k.name = name<T>;
  k.can_run = can_run<T>;
  k.choose = choose<T>;
  k.workspace = workspace<T>;
  k.forward = forward<T>;
  k.backward_data = backward_data<T>;
  k.backward_weight = backward_weight<T>;
  k.fuses_activation = fuses_activation;
  k.fuses_pool = fuses_pool<T>;
  k.activation_backward_workspace = conv_activation_backward_workspace<T>;
  k.activation_backward = conv_activation_backward<T>;
  k.prepared_bytes = prepared_bytes;
  k.prepare = prepare<T>;
}

}  // namespace

void fill(ConvKernels<float>& k) { fill_table(k); }
void fill(ConvKernels<double>& k) { fill_table(k); }
void fill(ConvKernels<f16>& k) { fill_table(k); }
void fill(ConvKernels<bf16>& k) { fill_table(k); }

}  // namespace lamella::cuda
