// Activations and functions of one array, forward and backward: on arrays beyond the caches, where memory is the limit,
// and on arrays within L2, where for most of them arithmetic is.
#include "bench.h"

namespace lamella::bench {
namespace {

Work work_of(int64_t n, int arrays) {
  Work w;
  w.bytes = 4.0 * arrays * static_cast<double>(n);
  return w;
}

void activation(benchmark::State& state, Act act, int64_t n, bool backward) {
  const Array<float> x = numbers<float>(n, 0, -4, 4), dy = numbers<float>(n, 1);
  Array<float> y(n), dx(n);
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().elementwise;
  const Activation a{act, 0.1};
  const ActivationParams<float> p{n, x.data(), y.data(), a};
  if (!backward) return measure(state, work_of(n, 2), [&] { k.activation(ctx, p); });
  k.activation(ctx, p);
  const bool from_output = act_grad_from_output(act);
  const ActivationBackwardParams<float> b{n, from_output ? y.data() : x.data(), from_output, dy.data(), dx.data(), a};
  measure(state, work_of(n, 3), [&] { k.activation_backward(ctx, b); });
}

void unary(benchmark::State& state, Unary fn, int64_t n, bool backward) {
  const Array<float> x = numbers<float>(n, 0, 0.1, 4), dy = numbers<float>(n, 1);
  Array<float> y(n), dx(n);
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().elementwise;
  const UnaryParams<float> p{n, x.data(), y.data(), fn};
  if (!backward) return measure(state, work_of(n, 2), [&] { k.unary(ctx, p); });
  k.unary(ctx, p);
  const float* const value = unary_grad_from_output(fn) ? y.data() : unary_grad_from_input(fn) ? x.data() : nullptr;
  const UnaryBackwardParams<float> b{n, value, dy.data(), dx.data(), fn};
  measure(state, work_of(n, value ? 3 : 2), [&] { k.unary_backward(ctx, b); });
}

constexpr int64_t kLarge = 1 << 24, kSmall = 1 << 15;

constexpr std::pair<const char*, Act> kActivations[] = {
    {"relu", Act::kRelu},
    {"tanh", Act::kTanh},
    {"sigmoid", Act::kSigmoid},
    {"gelu", Act::kGelu},
    {"gelu_tanh", Act::kGeluTanh},
    {"silu", Act::kSilu},
    {"mish", Act::kMish},
    {"softplus", Act::kSoftplus},
    {"elu", Act::kElu},
    {"selu", Act::kSelu},
    {"leaky_relu", Act::kLeakyRelu},
    {"relu6", Act::kRelu6},
    {"softsign", Act::kSoftsign},
    {"hard_sigmoid", Act::kHardSigmoid},
    {"hard_swish", Act::kHardSwish},
};
constexpr std::pair<const char*, Unary> kUnaries[] = {
    {"exp", Unary::kExp},     {"expm1", Unary::kExpm1},
    {"log", Unary::kLog},     {"log1p", Unary::kLog1p},
    {"sin", Unary::kSin},     {"cos", Unary::kCos},
    {"erf", Unary::kErf},     {"sqrt", Unary::kSqrt},
    {"rsqrt", Unary::kRsqrt}, {"reciprocal", Unary::kReciprocal},
    {"abs", Unary::kAbs},     {"neg", Unary::kNeg},
    {"sign", Unary::kSign},   {"square", Unary::kSquare},
    {"floor", Unary::kFloor}, {"ceil", Unary::kCeil},
    {"round", Unary::kRound},
};

}  // namespace

void add_cases() {
  for (const int64_t n : {kLarge, kSmall})
    for (const bool backward : {false, true}) {
      const std::string suffix = std::string(n == kLarge ? "_16M" : "_32K") + (backward ? ".bwd" : ".fwd");
      for (const auto& [name, act] : kActivations)
        add(name + suffix, [=, act = act](benchmark::State& state) { activation(state, act, n, backward); });
      for (const auto& [name, fn] : kUnaries)
        add(name + suffix, [=, fn = fn](benchmark::State& state) { unary(state, fn, n, backward); });
    }
}

}  // namespace lamella::bench
