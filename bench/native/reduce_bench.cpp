// Reductions over axes, their gradients, variance, places of extrema, sums of squares of many arrays.
#include "bench.h"
#include "ops/broadcast.h"

namespace lamella::bench {
namespace {

struct Case {
  Shape shape;
  std::vector<int64_t> axes;

  ReduceDims dims() const { return collapse(shape, reduced_axes("bench", shape, axes)); }
  int64_t kept() const { return reduced_shape(shape, reduced_axes("bench", shape, axes), false).size(); }
  std::string name() const {
    std::string text;
    for (const int64_t n : shape) text += (text.empty() ? "_" : "x") + std::to_string(n);
    text += "_over";
    for (const int64_t axis : axes) text += "_" + std::to_string(axis);
    return text;
  }
  Work work(double arrays, Stream stream) const {
    Work w;
    w.bytes = 4.0 * (arrays * static_cast<double>(shape.size()) + static_cast<double>(kept()));
    w.stream = stream;
    return w;
  }
};

void reduce(benchmark::State& state, const Case& c, Reduce fn) {
  const Array<float> x = numbers<float>(c.shape.size(), 0, 0.5, 1.5);
  Array<float> y(c.kept());
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().reduce;
  const ReduceParams<float> p{c.dims(), x.data(), y.data(), fn};
  const Context ctx = exec.context(k.reduce_workspace(p, exec.context().threads));
  measure(state, c.work(1, Stream::kRead), [&] { k.reduce(ctx, p); });
}

void reduce_backward(benchmark::State& state, const Case& c, Reduce fn) {
  const Array<float> x = numbers<float>(c.shape.size(), 0), dy = numbers<float>(c.kept(), 1);
  Array<float> y(c.kept()), dx(c.shape.size());
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().reduce;
  const ReduceParams<float> f{c.dims(), x.data(), y.data(), fn};
  k.reduce(exec.context(k.reduce_workspace(f, exec.context().threads)), f);
  const ReduceBackwardParams<float> p{c.dims(), x.data(), y.data(), dy.data(), dx.data(), fn};
  const Context ctx = exec.context(k.reduce_backward_workspace(p, exec.context().threads));
  const bool reads = fn != Reduce::kSum && fn != Reduce::kMean;
  measure(state, c.work(reads ? 2 : 1, reads ? Stream::kCopy : Stream::kWrite), [&] { k.reduce_backward(ctx, p); });
}

void variance(benchmark::State& state, const Case& c) {
  const Array<float> x = numbers<float>(c.shape.size(), 0);
  Array<float> mean(c.kept()), var(c.kept());
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().reduce;
  VarParams<float> p;
  p.dims = c.dims();
  p.x = x.data();
  p.mean = mean.data();
  p.var = var.data();
  const Context ctx = exec.context(k.var_workspace(p, exec.context().threads));
  measure(state, c.work(1, Stream::kRead), [&] { k.var(ctx, p); });
}

void argmax(benchmark::State& state, int64_t outer, int64_t length, int64_t inner) {
  const Array<float> x = numbers<float>(outer * length * inner, 0);
  Array<int64_t> y(outer * inner);
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().reduce;
  const ArgParams<float> p{outer, length, inner, x.data(), y.data(), true};
  const Context ctx = exec.context(k.arg_workspace(p, exec.context().threads));
  Work work;
  work.bytes = 4.0 * static_cast<double>(outer * length * inner) + 8.0 * static_cast<double>(outer * inner);
  work.stream = Stream::kRead;
  measure(state, work, [&] { k.arg(ctx, p); });
}

// What clipping by norm does.
void sum_squares(benchmark::State& state, int64_t count, int64_t n) {
  const Array<float> x = numbers<float>(count * n, 0);
  std::vector<SumSquaresArray> arrays(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) arrays[static_cast<size_t>(i)] = {x.data() + i * n, n, 0};
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().reduce;
  const SumSquaresParams p{arrays.data(), count};
  const Context ctx = exec.context(k.sum_squares_workspace(p, exec.context().threads));
  Work work;
  work.bytes = 4.0 * static_cast<double>(count * n);
  work.stream = Stream::kRead;
  measure(state, work, [&] { k.sum_squares(ctx, p); });
}

void add_reduce(const std::string& name, const Case& c, Reduce fn, bool backward = false) {
  add(name + c.name(), [=](benchmark::State& state) { reduce(state, c, fn); });
  if (backward) add(name + c.name() + ".bwd", [=](benchmark::State& state) { reduce_backward(state, c, fn); });
}

}  // namespace

void add_cases() {
  const Case all{{1 << 24}, {0}}, rows{{4096, 4096}, {1}}, columns{{4096, 4096}, {0}}, image{{32, 56, 56, 64}, {1, 2}};
  for (const Case& c : {all, rows, columns}) add_reduce("sum", c, Reduce::kSum, true);
  add_reduce("sum", {{128, 784}, {0}}, Reduce::kSum);
  add_reduce("sum", {{64, 256, 256}, {0, 2}}, Reduce::kSum);
  add_reduce("mean", image, Reduce::kMean, true);
  for (const Case& c : {all, rows, columns}) add_reduce("max", c, Reduce::kMax);
  add_reduce("max", {{128, 1000}, {1}}, Reduce::kMax, true);
  add_reduce("prod", rows, Reduce::kProd);
  add_reduce("norm", rows, Reduce::kNorm);
  for (const Case& c : {rows, columns, image, Case{{128, 784}, {1}}})
    add("var" + c.name(), [=](benchmark::State& state) { variance(state, c); });
  add("argmax_4096x1000_over_1", [](benchmark::State& state) { argmax(state, 4096, 1000, 1); });
  add("argmax_128x10_over_1", [](benchmark::State& state) { argmax(state, 128, 10, 1); });
  add("argmax_8x21x16384_over_1", [](benchmark::State& state) { argmax(state, 8, 21, 16384); });
  add("sum_squares_10M", [](benchmark::State& state) { sum_squares(state, 1, 10'000'000); });
  add("sum_squares_100x1000", [](benchmark::State& state) { sum_squares(state, 100, 1000); });
}

}  // namespace lamella::bench
