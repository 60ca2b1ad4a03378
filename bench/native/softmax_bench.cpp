// Softmax and log-softmax over the last axis and over one in the middle, forward and backward.
#include "bench.h"

namespace lamella::bench {
namespace {

struct Case {
  const char* name;
  int64_t outer, axis, inner;
};

void softmax(benchmark::State& state, const Case& c, bool log, bool backward) {
  const int64_t size = c.outer * c.axis * c.inner;
  const Array<float> x = numbers<float>(size, 0, -4, 4), dy = numbers<float>(size, 1);
  Array<float> y(size), dx(size);
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().softmax;
  Work work;
  work.bytes = (backward ? 12.0 : 8.0) * static_cast<double>(size);
  const SoftmaxParams<float> p{c.outer, c.axis, c.inner, x.data(), y.data()};
  const auto forward = [&] { (log ? k.log_softmax : k.softmax)(ctx, p); };
  if (!backward) return measure(state, work, forward);
  forward();
  const SoftmaxGradParams<float> b{c.outer, c.axis, c.inner, y.data(), dy.data(), dx.data()};
  measure(state, work, [&] { (log ? k.log_softmax_grad : k.softmax_grad)(ctx, b); });
}

}  // namespace

void add_cases() {
  for (const Case& c : {Case{"1024x1000", 1024, 1000, 1},                // as a classifier's
                        Case{"128x10", 128, 10, 1},                      // a small one's
                        Case{"12288x128", 12288, 128, 1},                // as in attention
                        Case{"8x21x128x128_over_1", 8, 21, 128 * 128}})  // classes before pixels
    for (const bool log : {false, true})
      for (const bool backward : {false, true})
        add(std::string(log ? "log_softmax_" : "softmax_") + c.name + (backward ? ".bwd" : ".fwd"),
            [=](benchmark::State& state) { softmax(state, c, log, backward); });
}

}  // namespace lamella::bench
