// Functions of two arrays with broadcasting, forward and backward; comparison, selection, clipping, axpy.
#include "bench.h"
#include "ops/broadcast.h"

namespace lamella::bench {
namespace {

struct Case {
  const char* name;
  Shape a, b;  // a has the shape of the result

  BroadcastDims dims() const { return collapse(a, std::vector<Shape>{a, b}); }
  double bytes() const { return 4.0 * static_cast<double>(2 * a.size() + b.size()); }
};

Work work_of(double bytes, Stream stream = Stream::kCopy) {
  Work w;
  w.bytes = bytes;
  w.stream = stream;
  return w;
}

void binary(benchmark::State& state, const Case& c, Binary fn) {
  const Array<float> a = numbers<float>(c.a.size(), 0, 0.5, 1.5), b = numbers<float>(c.b.size(), 1, 0.5, 1.5);
  Array<float> y(c.a.size());
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().elementwise;
  const BinaryParams<float> p{c.dims(), a.data(), b.data(), y.data(), fn};
  measure(state, work_of(c.bytes()), [&] { k.binary(ctx, p); });
}

// The gradient to b alone: with a broadcast, sums.
void binary_backward(benchmark::State& state, const Case& c, Binary fn) {
  const Array<float> a = numbers<float>(c.a.size(), 0), b = numbers<float>(c.b.size(), 1);
  const Array<float> y = numbers<float>(c.a.size(), 2), dy = numbers<float>(c.a.size(), 3);
  Array<float> db(c.b.size());
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().elementwise;
  BinaryBackwardParams<float> p;
  p.dims = c.dims();
  p.a = a.data();
  p.b = b.data();
  p.y = y.data();
  p.dy = dy.data();
  p.db = db.data();
  p.fn = fn;
  const bool reads_a = fn != Binary::kAdd;
  const Context ctx = exec.context(k.binary_backward_workspace(p, exec.context().threads));
  const double bytes = 4.0 * static_cast<double>((reads_a ? 2 : 1) * c.a.size() + c.b.size());
  measure(state, work_of(bytes, c.b.size() < c.a.size() ? Stream::kRead : Stream::kCopy),
          [&] { k.binary_backward(ctx, p); });
}

void select(benchmark::State& state, int64_t n, bool where) {
  const Array<float> a = numbers<float>(n, 0), b = numbers<float>(n, 1);
  Array<float> y(n);
  Array<uint8_t> condition(n);
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().elementwise;
  const Shape shape{n};
  const Work work = work_of((where ? 13.0 : 9.0) * static_cast<double>(n), where ? Stream::kCopy : Stream::kRead);
  const CompareParams<float> compare{collapse(shape, std::vector<Shape>{shape, shape}), a.data(), b.data(),
                                     condition.data(), Compare::kLess};
  if (!where) return measure(state, work, [&] { k.compare(ctx, compare); });
  k.compare(ctx, compare);
  WhereParams<float> p;
  p.dims = collapse(shape, std::vector<Shape>{shape, shape, shape});
  p.condition = condition.data();
  p.a = a.data();
  p.b = b.data();
  p.y = y.data();
  measure(state, work, [&] { k.where(ctx, p); });
}

void clip(benchmark::State& state, int64_t n) {
  const Array<float> x = numbers<float>(n, 0);
  Array<float> y(n);
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const ClipParams<float> p{n, x.data(), y.data(), nullptr, -0.25f, 0.25f};
  const auto& k = exec.kernels<float>().elementwise;
  measure(state, work_of(8.0 * static_cast<double>(n)), [&] { k.clip(ctx, p); });
}

void axpy(benchmark::State& state, int64_t n) {
  const Array<float> x = numbers<float>(n, 0);
  Array<float> y(n);
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const AxpyParams<float> p{n, 0.5f, x.data(), y.data()};
  const auto& k = exec.kernels<float>().elementwise;
  Work work = work_of(12.0 * static_cast<double>(n), Stream::kUpdate);
  work.footprint = 8.0 * static_cast<double>(n);
  measure(state, work, [&] { k.axpy(ctx, p); });
}

}  // namespace

void add_cases() {
  const std::pair<const char*, Binary> functions[] = {{"add", Binary::kAdd}, {"sub", Binary::kSub},
                                                      {"mul", Binary::kMul}, {"div", Binary::kDiv},
                                                      {"pow", Binary::kPow}, {"maximum", Binary::kMaximum}};
  const Case cases[] = {{"16M", {1 << 24}, {1 << 24}},
                        {"32K", {1 << 15}, {1 << 15}},
                        {"4096x4096_row", {4096, 4096}, {4096}},
                        {"4096x4096_column", {4096, 4096}, {4096, 1}},
                        {"8x56x56x64_channel_of_image", {8, 56, 56, 64}, {8, 1, 1, 64}},
                        {"128x10_row", {128, 10}, {10}}};
  for (const Case& c : cases)
    for (const auto& [name, fn] : functions)
      add(std::string(name) + "_" + c.name + ".fwd", [=, fn = fn](benchmark::State& state) { binary(state, c, fn); });
  for (const Case& c : cases)
    for (const auto& [name, fn] : functions)
      if (fn == Binary::kAdd || fn == Binary::kMul)
        add(std::string(name) + "_" + c.name + ".bwd_b",
            [=, fn = fn](benchmark::State& state) { binary_backward(state, c, fn); });
  for (const auto& [n, size] : {std::pair<int64_t, std::string>{1 << 24, "_16M"}, {1 << 15, "_32K"}}) {
    add("less" + size, [n = n](benchmark::State& state) { select(state, n, false); });
    add("where" + size, [n = n](benchmark::State& state) { select(state, n, true); });
    add("clip" + size, [n = n](benchmark::State& state) { clip(state, n); });
    add("axpy" + size, [n = n](benchmark::State& state) { axpy(state, n); });
  }
}

}  // namespace lamella::bench
