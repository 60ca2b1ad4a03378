// One step of each optimizer over one large tensor, and over the many small ones of a small network. Bytes: weights,
// gradient and states read, weights and states written (Adam: 28 per parameter).
#include "bench.h"
#include "graph/optimizer.h"

namespace lamella::bench {
namespace {

void step(benchmark::State& state, const std::string& kind, const Json& hyper, int64_t tensors, int64_t n) {
  const std::unique_ptr<Optimizer> optimizer = Optimizer::make(kind, hyper);
  const int64_t states = static_cast<int64_t>(optimizer->slots().size());
  std::vector<Array<float>> arrays;
  const auto view = [&](Array<float> array) {
    arrays.push_back(std::move(array));
    return TensorView{arrays.back().data(), DType::kF32, Shape{n}};
  };
  std::vector<ParamSlot> params(static_cast<size_t>(tensors));
  for (size_t i = 0; i < params.size(); ++i) {
    params[i].value = view(numbers<float>(n, 2 * i));
    params[i].grad = view(numbers<float>(n, 2 * i + 1));
    for (int64_t s = 0; s < states; ++s) params[i].state[s] = view(Array<float>(n, 0.01f));
  }
  Exec exec(&global_generator());
  Work work;
  work.bytes = 4.0 * static_cast<double>(3 + 2 * states) * static_cast<double>(tensors * n);
  work.stream = Stream::kUpdate;
  work.footprint = 4.0 * static_cast<double>(2 + states) * static_cast<double>(tensors * n);
  int64_t count = 0;
  measure(state, work, [&] { optimizer->step(exec, params, ++count); });
}

}  // namespace

void add_cases() {
  const std::pair<const char*, Json> variants[] = {
      {"sgd_momentum", Json::parse(R"({"momentum": 0.9})")},
      {"adam_amsgrad", Json::parse(R"({"amsgrad": true})")},
      {"adam_clipvalue", Json::parse(R"({"clipvalue": 1.0})")},
      {"adam_global_clipnorm", Json::parse(R"({"global_clipnorm": 1.0})")}};
  const auto add_sizes = [](const std::string& name, const std::string& kind, const Json& hyper) {
    add(name + "_10M", [=](benchmark::State& state) { step(state, kind, hyper, 1, 10'000'000); });
    add(name + "_20x1000", [=](benchmark::State& state) { step(state, kind, hyper, 20, 1000); });
  };
  for (const std::string& kind : Optimizer::kinds()) add_sizes(kind, kind, Json::parse("{}"));
  for (const auto& [name, hyper] : variants) {
    const std::string text = name;
    add_sizes(text, text.substr(0, text.find('_')), hyper);
  }
}

}  // namespace lamella::bench
