// The ordered candidates of each pass, and the choice among them.
#include "kernels/conv.h"

#include "kernels/cpu/conv_geometry.h"
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

constexpr int kCandidates = 8;
template <class T>
ConvCandidate<T> candidate(ConvPass pass, int algorithm) {
  switch (algorithm) {
    case 0:
      return conv_depthwise<T>();
    case 1:
      return conv_grouped<T>();
    case 2:
      return pass == ConvPass::kForward ? conv_small_channels<T>() : conv_small_channels_data<T>();
    case 3:
      return conv_winograd4<T>();
    case 4:
      return conv_winograd2<T>();
    case 5:
      return conv_winograd_stride2<T>();
    case 6:
      return conv_igemm<T>();
    default:
      return conv_reference<T>();
  }
}

constexpr int kWeightCandidates = 7;
template <class T>
ConvWeightCandidate<T> weight_candidate(int algorithm) {
  switch (algorithm) {
    case 0:
      return conv_weight_depthwise<T>();
    case 1:
      return conv_weight_grouped<T>();
    case 2:
      return conv_weight_small_channels<T>();
    case 3:
      return conv_weight_winograd4<T>();
    case 4:
      return conv_weight_winograd_stride2<T>();
    case 5:
      return conv_weight_direct<T>();
    default:
      return conv_weight_reference<T>();
  }
}

int candidates(ConvPass pass) { return pass == ConvPass::kBackwardWeight ? kWeightCandidates : kCandidates; }

template <class T>
const char* name(ConvPass pass, int algorithm) {
  return pass == ConvPass::kBackwardWeight ? weight_candidate<T>(algorithm).name : candidate<T>(pass, algorithm).name;
}

template <class T>
bool can_run(const ConvShape& s, ConvPass pass, int algorithm) {
  return pass == ConvPass::kBackwardWeight ? weight_candidate<T>(algorithm).can_run(s)
                                           : candidate<T>(pass, algorithm).can_run(s, pass);
}

template <class T>
int choose(const ConvShape& s, ConvPass pass, bool strict) {
  const bool weight = pass == ConvPass::kBackwardWeight;
  int best = candidates(pass) - 1;  // the reference
  double best_cost = 0;
  bool found = false;
  for (int i = 0; i < candidates(pass) - 1; ++i) {
    const bool plain = weight ? weight_candidate<T>(i).strict : candidate<T>(pass, i).strict;
    if (!can_run<T>(s, pass, i) || (strict && !plain)) continue;
    const double cost = weight ? weight_candidate<T>(i).cost(s) : candidate<T>(pass, i).cost(s, pass);
    if (found && cost >= best_cost) continue;
    best = i;
    best_cost = cost;
    found = true;
  }
  return best;
}

template <class T>
size_t workspace(const ConvShape& s, ConvPass pass, int algorithm, bool prepared, int threads) {
  return pass == ConvPass::kBackwardWeight ? weight_candidate<T>(algorithm).workspace(s, threads)
                                           : candidate<T>(pass, algorithm).workspace(s, pass, prepared, threads);
}

template <class T>
void forward(const Context& ctx, const ConvParams<T>& p) {
  candidate<T>(ConvPass::kForward, p.algorithm).run(ctx, ConvPass::kForward, p);
}
template <class T>
void backward_data(const Context& ctx, const ConvParams<T>& p) {
  candidate<T>(ConvPass::kBackwardData, p.algorithm).run(ctx, ConvPass::kBackwardData, p);
}
template <class T>
void backward_weight(const Context& ctx, const ConvWeightParams<T>& p) {
  weight_candidate<T>(p.algorithm).run(ctx, p);
}

template <class T>
bool fuses_activation(int algorithm) {
  return weight_candidate<T>(algorithm).fuses_activation;
}

template <class T>
bool fuses_pool(int algorithm) {
  return candidate<T>(ConvPass::kForward, algorithm).fuses_pool;
}

template <class T>
size_t prepared_bytes(const ConvShape& s, ConvPass pass, int algorithm) {
  return pass == ConvPass::kBackwardWeight ? 0 : candidate<T>(pass, algorithm).prepared_bytes(s, pass);
}
template <class T>
void prepare(const Context& ctx, const ConvShape& s, ConvPass pass, int algorithm, const T* weight, void* prepared) {
  candidate<T>(pass, algorithm).prepare(ctx, s, pass, weight, prepared);
}

template <class T>
void fill_table(ConvKernels<T>& k) {
  k.candidates = candidates;
  k.name = name<T>;
  k.can_run = can_run<T>;
  k.choose = choose<T>;
  k.workspace = workspace<T>;
  k.forward = forward<T>;
  k.backward_data = backward_data<T>;
  k.backward_weight = backward_weight<T>;
  k.fuses_activation = fuses_activation<T>;
  k.fuses_pool = fuses_pool<T>;
  k.activation_backward_workspace = conv_activation_backward_workspace<T>;
  k.activation_backward = conv_activation_backward<T>;
  k.prepared_bytes = prepared_bytes<T>;
  k.prepare = prepare<T>;
}

}  // namespace

void fill(ConvKernels<float>& k) { fill_table(k); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill(ConvKernels<double>& k) { fill_table(k); }
#endif

}  // namespace lamella::LAMELLA_NS
