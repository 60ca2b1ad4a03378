// Normalisation: batch, group and instance norm over channels, layer and RMS norm over rows, forward and backward.
// Bytes: forward x and y, backward x, the gradients of y and of x. Where statistics are taken first, x (and dy) has to
// come from memory twice if it is larger than the caches: then 2/3 (3/5) of the limit is all there is.
#include "bench.h"

namespace lamella::bench {
namespace {

struct Channels {
  int64_t n, rows, c, groups;
};

enum class Pass { kTraining, kInference, kBackward };

void channel_norm(benchmark::State& state, const Channels& s, Pass pass) {
  const int64_t size = s.n * s.rows * s.c;
  const Array<float> x = numbers<float>(size, 0), dy = numbers<float>(size, 1), gamma = numbers<float>(s.c, 2);
  Array<float> y(size), mean(s.n * s.groups), inv_std(s.n * s.groups, 1.0f), dgamma(s.c), dbeta(s.c);
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().norm;
  const int threads = exec.context().threads;
  Work work;
  work.bytes = (pass == Pass::kBackward ? 12.0 : 8.0) * static_cast<double>(size);
  ChannelNormParams<float> p;
  p.n = s.n;
  p.rows = s.rows;
  p.c = s.c;
  p.groups = s.groups;
  p.x = x.data();
  p.gamma = gamma.data();
  p.beta = gamma.data();
  p.y = y.data();
  p.eps = 1e-5;
  if (pass == Pass::kInference) {
    p.given_mean = mean.data();
    p.given_var = inv_std.data();
  } else {
    p.mean = mean.data();
    p.inv_std = inv_std.data();
  }
  const Context ctx = exec.context(k.channel_norm_workspace(p, threads));
  if (pass != Pass::kBackward) return measure(state, work, [&] { k.channel_norm(ctx, p); });
  k.channel_norm(ctx, p);
  ChannelNormBackwardParams<float> b;
  b.n = s.n;
  b.rows = s.rows;
  b.c = s.c;
  b.groups = s.groups;
  b.grad_out = dy.data();
  b.x = x.data();
  b.gamma = gamma.data();
  b.mean = mean.data();
  b.inv_std = inv_std.data();
  b.grad_in = y.data();
  b.grad_gamma = dgamma.data();
  b.grad_beta = dbeta.data();
  const Context back = exec.context(k.channel_norm_backward_workspace(b, threads));
  measure(state, work, [&] { k.channel_norm_backward(back, b); });
}

void row_norm(benchmark::State& state, bool layer, int64_t rows, int64_t d, bool backward) {
  const int64_t size = rows * d;
  const Array<float> x = numbers<float>(size, 0), dy = numbers<float>(size, 1), gamma = numbers<float>(d, 2);
  Array<float> y(size), mean(rows), inv_std(rows), dgamma(d), dbeta(d);
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().norm;
  Work work;
  work.bytes = (backward ? 12.0 : 8.0) * static_cast<double>(size);
  RowNormParams<float> p;
  p.rows = rows;
  p.d = d;
  p.x = x.data();
  p.gamma = gamma.data();
  p.y = y.data();
  p.eps = 1e-5;
  p.inv_std = inv_std.data();
  if (layer) {
    p.beta = gamma.data();
    p.mean = mean.data();
  }
  const Context ctx = exec.context();
  const auto forward = [&] { (layer ? k.layer_norm : k.rms_norm)(ctx, p); };
  if (!backward) return measure(state, work, forward);
  forward();
  RowNormBackwardParams<float> b;
  b.rows = rows;
  b.d = d;
  b.grad_out = dy.data();
  b.x = x.data();
  b.gamma = gamma.data();
  b.inv_std = inv_std.data();
  b.grad_in = y.data();
  b.grad_gamma = dgamma.data();
  if (layer) {
    b.mean = mean.data();
    b.grad_beta = dbeta.data();
  }
  const Context back = exec.context(k.row_norm_backward_workspace(b, exec.context().threads));
  measure(state, work, [&] { (layer ? k.layer_norm_backward : k.rms_norm_backward)(back, b); });
}

void add_channels(const std::string& name, const Channels& s, bool inference = false) {
  const auto pass = [s](Pass which) { return [=](benchmark::State& state) { channel_norm(state, s, which); }; };
  add(name + ".fwd", pass(Pass::kTraining));
  if (inference) add(name + ".fwd_inference", pass(Pass::kInference));
  add(name + ".bwd", pass(Pass::kBackward));
}

}  // namespace

void add_cases() {
  add_channels("batch_norm_32x56x56x64", {1, 32 * 56 * 56, 64, 64}, true);
  add_channels("batch_norm_8x14x14x256", {1, 8 * 14 * 14, 256, 256}, true);
  add_channels("batch_norm_32x28x28x3", {1, 32 * 28 * 28, 3, 3}, true);
  add_channels("group_norm_8x56x56x64_of_32", {8, 56 * 56, 64, 32});
  add_channels("instance_norm_8x56x56x64", {8, 56 * 56, 64, 64});
  for (const auto& [rows, d] : {std::pair<int64_t, int64_t>{4096, 768}, {128, 768}, {4096, 64}})
    for (const bool layer : {true, false})
      for (const bool backward : {false, true}) {
        const std::string name = (layer ? "layer_norm_" : "rms_norm_") + std::to_string(rows) + "x" + std::to_string(d);
        add(name + (backward ? ".bwd" : ".fwd"),
            [=, rows = rows, d = d](benchmark::State& state) { row_norm(state, layer, rows, d, backward); });
      }
}

}  // namespace lamella::bench
