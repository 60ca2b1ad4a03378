// Recurrent layers, forward and forward + backward. Operations: 2 * t * n * (in + h) * gates * h, three times that with
// backward. Bytes: sequences once, the recurrent weights once a step.
#include "bench.h"

namespace lamella::bench {
namespace {

struct Case {
  int64_t t, n, in, h;
};

// A layer with everything that forward and backward touch.
struct Layer {
  RnnBackwardParams<float> b;
  std::vector<Array<float>> keep;

  float* take(int64_t count, double scale = 1) {
    keep.push_back(numbers<float>(count, keep.size(), -scale / 2, scale / 2));
    return keep.back().data();
  }
  Layer(RnnCell cell, const Case& c, bool training) {
    RnnParams<float>& p = b.f;
    p.cell = cell;
    p.act.act = Act::kTanh;
    p.gate_act.act = Act::kSigmoid;
    p.t = c.t;
    p.n = c.n;
    p.in = c.in;
    p.h = c.h;
    const int64_t gates = rnn_gates(cell) * p.h, rows = p.n * p.t;
    RnnDirection<float>& d = p.dir[0];
    p.x = take(rows * p.in);
    d.w_ih = take(p.in * gates, 0.1);
    d.w_hh = take(p.h * gates, 0.1);
    d.b_ih = take(gates);
    d.b_hh = take(gates);
    d.h0 = take(p.n * p.h);  // a step from zeros would save its product
    if (cell == RnnCell::kLstm) d.c0 = take(p.n * p.h);
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
    g.dh0 = take(p.n * p.h);
    if (cell == RnnCell::kLstm) g.dc0 = take(p.n * p.h);
    b.dx = take(rows * p.in);
  }
};

Work work_of(RnnCell cell, const Case& c, bool training) {
  const double gates = static_cast<double>(rnn_gates(cell) * c.h), steps = static_cast<double>(c.t);
  const double in = static_cast<double>(c.in), h = static_cast<double>(c.h), n = static_cast<double>(c.n);
  Work w;
  w.flops = (training ? 6 : 2) * steps * n * (in + h) * gates;
  w.bytes = 4 * (training ? 3 : 1) * (steps * n * (in + h) + in * gates + steps * h * gates);
  w.footprint = 4 * (in + h) * gates;  // what every step sees again
  w.stream = Stream::kRead;
  return w;
}

void run(benchmark::State& state, RnnCell cell, const Case& c, bool training) {
  Layer layer(cell, c, training);
  const RnnParams<float>& p = layer.b.f;
  Exec exec(&global_generator());
  const auto& rnn = exec.kernels<float>().rnn;
  const int threads = exec.context().threads;
  measure(state, work_of(cell, c, training), [&] {
    rnn.rnn_forward(exec.context(rnn.rnn_forward_workspace(p, threads)), p);
    if (training) rnn.rnn_backward(exec.context(rnn.rnn_backward_workspace(layer.b, threads)), layer.b);
  });
}

}  // namespace

void add_cases() {
  const std::pair<const char*, RnnCell> cells[] = {
      {"lstm", RnnCell::kLstm}, {"gru", RnnCell::kGru}, {"rnn", RnnCell::kSimple}};
  const Case cases[] = {{200, 32, 128, 128}, {50, 1, 256, 256}, {1, 1, 256, 256}, {1, 32, 256, 256}, {100, 64, 39, 100},
                        {50, 16, 512, 512},  {50, 32, 64, 16},  {50, 32, 64, 32}, {50, 32, 64, 64},  {50, 32, 64, 256}};
  for (const auto& [name, cell] : cells)
    for (const bool training : {false, true})
      for (const Case& c : cases)
        add(std::string(name) + (training ? "_fwdbwd" : "_fwd") + "_T" + std::to_string(c.t) + "_B" +
                std::to_string(c.n) + "_I" + std::to_string(c.in) + "_H" + std::to_string(c.h),
            [=, cell = cell](benchmark::State& state) { run(state, cell, c, training); });
}

}  // namespace lamella::bench
