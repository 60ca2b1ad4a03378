// Resizing of images: nearest and bilinear, up and down, forward and backward.
#include "bench.h"

namespace lamella::bench {
namespace {

struct Case {
  int64_t n, h, oh, c;
};

void resize(benchmark::State& state, const Case& c, Resize mode, bool backward) {
  ResizeParams<float> p;
  p.n = c.n;
  p.h = p.w = c.h;
  p.oh = p.ow = c.oh;
  p.c = c.c;
  p.mode = mode;
  const int64_t small = c.n * c.h * c.h * c.c, large = c.n * c.oh * c.oh * c.c;
  Array<float> x = numbers<float>(small, 0), y = numbers<float>(large, 1);
  p.x = backward ? y.data() : x.data();
  p.y = backward ? x.data() : y.data();
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().resample;
  const int threads = exec.context().threads;
  const Context ctx = exec.context((backward ? k.resize_backward_workspace : k.resize_workspace)(p, threads));
  Work work;
  work.bytes = 4.0 * static_cast<double>(small + large);
  measure(state, work, [&] { (backward ? k.resize_backward : k.resize)(ctx, p); });
}

}  // namespace

void add_cases() {
  const std::pair<const char*, Resize> modes[] = {{"nearest", Resize::kNearest}, {"bilinear", Resize::kBilinear}};
  for (const Case& c : {Case{8, 56, 112, 64}, Case{8, 112, 224, 3}, Case{8, 224, 160, 3}, Case{32, 28, 56, 1}})
    for (const auto& [mode_name, mode] : modes)
      for (const bool backward : {false, true}) {
        const std::string name = std::string(mode_name) + "_N" + std::to_string(c.n) + "_" + std::to_string(c.h) +
                                 "to" + std::to_string(c.oh) + "_" + std::to_string(c.c);
        add(name + (backward ? ".bwd" : ".fwd"),
            [=, mode = mode](benchmark::State& state) { resize(state, c, mode, backward); });
      }
}

}  // namespace lamella::bench
