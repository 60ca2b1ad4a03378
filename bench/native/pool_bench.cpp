// Max and average pooling: forward, forward in training (with the place of the maximum), backward.
#include "bench.h"

namespace lamella::bench {
namespace {

enum class Pass { kForward, kTraining, kBackward };

PoolShape shape(int64_t n, int64_t h, int64_t c, int64_t k, int64_t stride, int64_t pad) {
  PoolShape s;
  s.n = n;
  s.c = c;
  s.h.in = h;
  s.h.out = (h + 2 * pad - k) / stride + 1;
  s.h.window = k;
  s.h.stride = stride;
  s.h.pad_lo = s.h.pad_hi = pad;
  s.w = s.h;
  return s;
}

int64_t x_size(const PoolShape& s) { return s.n * s.h.in * s.w.in * s.c; }
int64_t y_size(const PoolShape& s) { return s.n * s.h.out * s.w.out * s.c; }

void max_pool(benchmark::State& state, const PoolShape& s, Pass pass) {
  Array<float> x = numbers<float>(x_size(s), 0), y = numbers<float>(y_size(s), 1);
  Array<int32_t> argmax(y_size(s));  // or bytes
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().pool;
  const int threads = exec.context().threads;
  MaxPoolParams<float> p;
  p.shape = s;
  p.x = x.data();
  p.y = y.data();
  if (pass != Pass::kForward) p.argmax = argmax.data();
  Work work;
  work.bytes = 4.0 * static_cast<double>(x_size(s) + y_size(s));
  if (pass != Pass::kForward) work.bytes += (s.wide_argmax() ? 4.0 : 1.0) * static_cast<double>(y_size(s));
  const Context ctx = exec.context(k.max_forward_workspace(p, threads));
  if (pass != Pass::kBackward) return measure(state, work, [&] { k.max_forward(ctx, p); });
  k.max_forward(ctx, p);
  MaxPoolBackwardParams<float> b;
  b.shape = s;
  b.grad_out = y.data();
  b.argmax = argmax.data();
  b.grad_in = x.data();
  const Context back = exec.context(k.max_backward_workspace(b, threads));
  measure(state, work, [&] { k.max_backward(back, b); });
}

void avg_pool(benchmark::State& state, const PoolShape& s, Pass pass) {
  const bool forward = pass == Pass::kForward;
  Array<float> x = numbers<float>(x_size(s), 0), y = numbers<float>(y_size(s), 1);
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().pool;
  const int threads = exec.context().threads;
  AvgPoolParams<float> p;
  p.shape = s;
  p.x = forward ? x.data() : y.data();
  p.y = forward ? y.data() : x.data();
  const size_t scratch = (forward ? k.avg_forward_workspace : k.avg_backward_workspace)(p, threads);
  const Context ctx = exec.context(scratch);
  Work work;
  work.bytes = 4.0 * static_cast<double>(x_size(s) + y_size(s));
  measure(state, work, [&] { (forward ? k.avg_forward : k.avg_backward)(ctx, p); });
}

void add_pool(bool max, const PoolShape& s) {
  const auto text = [](int64_t n) { return std::to_string(n); };
  const std::string name = std::string(max ? "max" : "avg") + "pool" + text(s.h.window) + "x" + text(s.w.window) + "s" +
                           text(s.h.stride) + "_N" + text(s.n) + "_" + text(s.h.in) + "x" + text(s.w.in) + "_" +
                           text(s.c);
  const auto pass = [=](Pass which) {
    return [=](benchmark::State& state) { (max ? max_pool : avg_pool)(state, s, which); };
  };
  add(name + ".fwd", pass(Pass::kForward));
  if (max) add(name + ".fwd_training", pass(Pass::kTraining));
  add(name + ".bwd", pass(Pass::kBackward));
}

}  // namespace

void add_cases() {
  for (const bool max : {true, false}) {
    add_pool(max, shape(32, 112, 64, 2, 2, 0));
    add_pool(max, shape(8, 112, 64, 3, 2, 1));
    add_pool(max, shape(128, 26, 32, 2, 2, 0));  // the MNIST network's
    add_pool(max, shape(8, 28, 192, 3, 1, 1));   // between the branches of an inception block
    add_pool(max, shape(32, 28, 1, 2, 2, 0));    // less than a vector of channels
    add_pool(max, shape(32, 7, 2048, 7, 7, 0));  // global
  }
}

}  // namespace lamella::bench
