// Recurrent layers: steps/batch/input/hidden, forward and forward + backward, at LAMELLA_ISA and LAMELLA_NUM_THREADS.
//   bench_rnn --benchmark_filter='lstm.*/200/32/'
// GFLOP/s count 2 * t * n * (in + h) * gates * h, three times that with backward.
#include <benchmark/benchmark.h>

#include <vector>

#include "base/philox.h"
#include "ops/exec.h"

namespace lamella {
namespace {

using Numbers = std::vector<float>;

Numbers numbers(int64_t count, uint64_t stream, float scale) {
  Numbers v(static_cast<size_t>(count));
  uint32_t words[4];
  for (size_t i = 0; i < v.size(); ++i) {
    if (i % 4 == 0) philox4x32({1, stream}, i / 4, words);
    v[i] = (static_cast<float>(words[i % 4]) / 4294967296.0f - 0.5f) * scale;
  }
  return v;
}

// A layer with everything that forward and backward touch.
struct Layer {
  RnnBackwardParams<float> b;
  std::vector<Numbers> keep;

  float* take(int64_t count, float scale = 1.0f) {
    keep.push_back(numbers(count, keep.size(), scale));
    return keep.back().data();
  }
  Layer(RnnCell cell, const benchmark::State& state, bool training) {
    RnnParams<float>& p = b.f;
    p.cell = cell;
    p.act.act = Act::kTanh;
    p.gate_act.act = Act::kSigmoid;
    p.t = state.range(0);
    p.n = state.range(1);
    p.in = state.range(2);
    p.h = state.range(3);
    const int64_t gates = rnn_gates(cell) * p.h, rows = p.n * p.t;
    RnnDirection<float>& d = p.dir[0];
    p.x = take(rows * p.in);
    d.w_ih = take(p.in * gates, 0.1f);
    d.w_hh = take(p.h * gates, 0.1f);
    d.b_ih = take(gates);
    d.b_hh = take(gates);
    d.y = take(rows * p.h);
    d.ldy = p.h;
    d.hn = take(p.n * p.h);
    if (cell == RnnCell::kLstm) d.cn = take(p.n * p.h);
    if (!training) return;
    d.states = d.y;
    d.ld_states = p.h;
    if (cell != RnnCell::kSimple) d.gates = take(rows * rnn_saved_gates(p) * p.h);
    if (cell == RnnCell::kLstm) d.cells = take(rows * p.h);
    RnnGradients<float>& g = b.grad[0];
    g.dy = take(rows * p.h);
    g.ldy = p.h;
    g.dw_ih = take(p.in * gates);
    g.dw_hh = take(p.h * gates);
    g.db_ih = take(gates);
    g.db_hh = take(gates);
    b.dx = take(rows * p.in);
  }
};

template <RnnCell Cell, bool Training>
void run(benchmark::State& state) {
  Layer layer(Cell, state, Training);
  const RnnParams<float>& p = layer.b.f;
  Exec exec(&global_generator());
  const auto& rnn = exec.kernels<float>().rnn;
  const int threads = exec.context().threads;
  for (auto _ : state) {
    rnn.rnn_forward(exec.context(rnn.rnn_forward_workspace(p, threads)), p);
    if (Training) rnn.rnn_backward(exec.context(rnn.rnn_backward_workspace(layer.b, threads)), layer.b);
    benchmark::ClobberMemory();
  }
  const double flops = (Training ? 6.0 : 2.0) * static_cast<double>(p.t * p.n) * static_cast<double>(p.in + p.h) *
                       static_cast<double>(rnn_gates(Cell) * p.h);
  state.counters["GFLOP/s"] =
      benchmark::Counter(1e-9 * flops, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"t", "n", "in", "h"});
  b->Args({200, 32, 128, 128});
  b->Args({50, 1, 256, 256});
  b->Args({1, 1, 256, 256});  // a step
  b->Args({1, 32, 256, 256});
  b->Args({100, 64, 39, 100});
  b->Args({50, 16, 512, 512});
  b->UseRealTime();
}

BENCHMARK(run<RnnCell::kLstm, false>)->Name("lstm_forward")->Apply(shapes);
BENCHMARK(run<RnnCell::kLstm, true>)->Name("lstm_forward_backward")->Apply(shapes);
BENCHMARK(run<RnnCell::kGru, false>)->Name("gru_forward")->Apply(shapes);
BENCHMARK(run<RnnCell::kGru, true>)->Name("gru_forward_backward")->Apply(shapes);
BENCHMARK(run<RnnCell::kSimple, false>)->Name("simple_rnn_forward")->Apply(shapes);
BENCHMARK(run<RnnCell::kSimple, true>)->Name("simple_rnn_forward_backward")->Apply(shapes);

}  // namespace
}  // namespace lamella

BENCHMARK_MAIN();
