// Losses and their gradients, and accuracy. Bytes: scores, targets or labels once, and the gradient in backward.
#include "bench.h"

namespace lamella::bench {
namespace {

void cross_entropy(benchmark::State& state, int64_t rows, int64_t classes, bool dense, bool backward) {
  const int64_t size = rows * classes;
  const Array<float> x = numbers<float>(size, 0, -4, 4), targets = numbers<float>(dense ? size : 0, 1, 0, 1);
  const std::vector<int64_t> labels = indices(rows, classes);
  Array<float> stats(2 * rows), total(1), norm(1), grad(size);
  const Array<float> seed(1, 1.0f);
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().loss;
  CrossEntropyGradParams<float> b;
  CrossEntropyParams<float>& p = b.forward;
  p.rows = rows;
  p.classes = classes;
  p.x = x.data();
  if (dense) {
    p.targets = targets.data();
  } else {
    p.labels.i64 = labels.data();
    p.labels.n = rows;
  }
  p.stats = stats.data();
  p.result.total = total.data();
  p.result.norm = norm.data();
  b.seed.grad = seed.data();
  b.seed.norm = norm.data();
  b.grad = grad.data();
  Work work;
  work.bytes = 4.0 * static_cast<double>(size) * (1 + dense + backward);
  work.stream = backward ? Stream::kCopy : Stream::kRead;
  const Context ctx = exec.context(k.cross_entropy_workspace(p, exec.context().threads));
  if (!backward) return measure(state, work, [&] { k.cross_entropy(ctx, p); });
  k.cross_entropy(ctx, p);
  measure(state, work, [&] { k.cross_entropy_grad(ctx, b); });
}

void element_loss(benchmark::State& state, ElementLoss loss, int64_t n, bool backward) {
  const Array<float> x = numbers<float>(n, 0, 0.1, 0.9), target = numbers<float>(n, 1, 0.1, 0.9);
  Array<float> total(1), norm(1), grad(n);
  const Array<float> seed(1, 1.0f);
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().loss;
  ElementLossGradParams<float> b;
  ElementLossParams<float>& p = b.forward;
  p.loss = loss;
  p.n = n;
  p.x = x.data();
  p.target = target.data();
  p.epsilon = 1e-7;
  p.result.total = total.data();
  p.result.norm = norm.data();
  b.seed.grad = seed.data();
  b.seed.norm = norm.data();
  b.grad = grad.data();
  Work work;
  work.bytes = (backward ? 12.0 : 8.0) * static_cast<double>(n);
  work.stream = backward ? Stream::kCopy : Stream::kRead;
  const Context ctx = exec.context(k.element_loss_workspace(p, exec.context().threads));
  if (!backward) return measure(state, work, [&] { k.element_loss(ctx, p); });
  k.element_loss(ctx, p);
  measure(state, work, [&] { k.element_loss_grad(ctx, b); });
}

void accuracy(benchmark::State& state, int64_t rows, int64_t classes, int64_t top) {
  const Array<float> x = numbers<float>(rows * classes, 0);
  const std::vector<int64_t> labels = indices(rows, classes);
  float correct = 0, total = 0;
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().loss;
  AccuracyParams<float> p;
  p.rows = rows;
  p.classes = classes;
  p.x = x.data();
  p.labels.i64 = labels.data();
  p.labels.n = rows;
  p.k = top;
  p.correct = &correct;
  p.total = &total;
  Work work;
  work.bytes = 4.0 * static_cast<double>(rows * classes);
  work.stream = Stream::kRead;
  const Context ctx = exec.context(k.accuracy_workspace(p, exec.context().threads));
  measure(state, work, [&] { k.accuracy(ctx, p); });
}

constexpr std::pair<const char*, ElementLoss> kElementLosses[] = {{"squared", ElementLoss::kSquared},
                                                                  {"absolute", ElementLoss::kAbsolute},
                                                                  {"huber", ElementLoss::kHuber},
                                                                  {"smooth_l1", ElementLoss::kSmoothL1},
                                                                  {"log_cosh", ElementLoss::kLogCosh},
                                                                  {"bce_logits", ElementLoss::kBceLogits},
                                                                  {"bce", ElementLoss::kBce},
                                                                  {"poisson", ElementLoss::kPoisson},
                                                                  {"kl_div", ElementLoss::kKlDiv},
                                                                  {"kl_div_log_probs", ElementLoss::kKlDivLogProbs},
                                                                  {"hinge", ElementLoss::kHinge},
                                                                  {"squared_hinge", ElementLoss::kSquaredHinge},
                                                                  {"absolute_percent", ElementLoss::kAbsolutePercent},
                                                                  {"squared_log", ElementLoss::kSquaredLog}};

}  // namespace

void add_cases() {
  for (const auto& [rows, classes] : {std::pair<int64_t, int64_t>{1024, 1000}, {128, 10}, {8 * 128 * 128, 21}})
    for (const bool dense : {false, true})
      for (const bool backward : {false, true}) {
        const std::string name = std::string("cross_entropy_") + (dense ? "dense_" : "") + std::to_string(rows) + "x" +
                                 std::to_string(classes) + (backward ? ".bwd" : ".fwd");
        add(name, [=, rows = rows, classes = classes](benchmark::State& state) {
          cross_entropy(state, rows, classes, dense, backward);
        });
      }
  for (const auto& [name, loss] : kElementLosses)
    for (const bool backward : {false, true})
      add(std::string(name) + "_256x784" + (backward ? ".bwd" : ".fwd"),
          [=, loss = loss](benchmark::State& state) { element_loss(state, loss, 256 * 784, backward); });
  for (const int64_t top : {1, 5})
    add("accuracy_top" + std::to_string(top) + "_1024x1000",
        [=](benchmark::State& state) { accuracy(state, 1024, 1000, top); });
}

}  // namespace lamella::bench
