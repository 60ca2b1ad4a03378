// Convolution: forward (on raw and on prepared weights), gradients to data and to weights; transposed convolution,
// which is the gradient to data with a bias; the way back through a fused activation. The label names the algorithm.
// Operations are those of the definition, whatever the algorithm does: Winograd's may pass 100 %.
#include "bench.h"

namespace lamella::bench {
namespace {

constexpr ConvPass kForward = ConvPass::kForward, kData = ConvPass::kBackwardData, kWeight = ConvPass::kBackwardWeight;

ConvShape shape(int64_t n, int64_t h, int64_t c, int64_t oc, int64_t k, int64_t stride = 1, int64_t pad = 0,
                int64_t groups = 1, int64_t dilation = 1) {
  ConvShape s;
  s.n = n;
  s.h = s.w = h;
  s.c = c;
  s.kh = s.kw = k;
  s.oc = oc;
  s.stride_h = s.stride_w = stride;
  s.dilation_h = s.dilation_w = dilation;
  s.pad_top = s.pad_left = pad;
  s.oh = s.ow = (h + 2 * pad - dilation * (k - 1) - 1) / stride + 1;
  s.groups = groups;
  return s;
}

int64_t x_size(const ConvShape& s) { return s.n * s.h * s.w * s.c; }
int64_t y_size(const ConvShape& s) { return s.n * s.oh * s.ow * s.oc; }
int64_t w_size(const ConvShape& s) { return s.kh * s.kw * s.c / s.groups * s.oc; }

Work work_of(const ConvShape& s) {
  Work w;
  w.flops = 2.0 * static_cast<double>(s.n * s.oh * s.ow) * static_cast<double>(w_size(s));
  w.bytes = 4.0 * static_cast<double>(x_size(s) + y_size(s) + w_size(s));
  return w;
}

// Forward or gradient to data.
void gather_pass(benchmark::State& state, const ConvShape& s, ConvPass pass, bool prepared, Act act) {
  const bool forward = pass == kForward;
  const Array<float> src = numbers<float>(forward ? x_size(s) : y_size(s), 0);
  const Array<float> weight = numbers<float>(w_size(s), 1), bias = numbers<float>(forward ? s.oc : s.c, 2);
  Array<float> dst(forward ? y_size(s) : x_size(s));
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().conv;
  ConvParams<float> p;
  p.shape = s;
  p.algorithm = k.choose(s, pass, strict_precision());
  p.src = src.data();
  p.weight = weight.data();
  p.bias = bias.data();
  p.act.act = act;
  p.dst = dst.data();
  Array<char> ready(static_cast<int64_t>(prepared ? k.prepared_bytes(s, pass, p.algorithm) : 0));
  if (prepared) {
    k.prepare(exec.context(), s, pass, p.algorithm, p.weight, ready.data());
    p.prepared = ready.data();
  }
  const Context ctx = exec.context(k.workspace(s, pass, p.algorithm, prepared, exec.context().threads));
  measure(
      state, work_of(s), [&] { (forward ? k.forward : k.backward_data)(ctx, p); }, k.name(pass, p.algorithm));
}

void weight_pass(benchmark::State& state, const ConvShape& s) {
  const Array<float> x = numbers<float>(x_size(s), 0), dy = numbers<float>(y_size(s), 1);
  Array<float> dw(w_size(s));
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().conv;
  ConvWeightParams<float> p;
  p.shape = s;
  p.algorithm = k.choose(s, kWeight, strict_precision());
  p.x = x.data();
  p.dy = dy.data();
  p.dweight = dw.data();
  const Context ctx = exec.context(k.workspace(s, kWeight, p.algorithm, false, exec.context().threads));
  Work work = work_of(s);
  work.stream = Stream::kRead;
  measure(
      state, work, [&] { k.backward_weight(ctx, p); }, k.name(kWeight, p.algorithm));
}

void activation_backward(benchmark::State& state, int64_t rows, int64_t cols) {
  const Array<float> y = numbers<float>(rows * cols, 0), dy = numbers<float>(rows * cols, 1);
  Array<float> dz(rows * cols), dbias(cols);
  Exec exec(&global_generator());
  const auto& k = exec.kernels<float>().conv;
  ConvActivationParams<float> p;
  p.rows = rows;
  p.cols = cols;
  p.act.act = Act::kRelu;
  p.value = y.data();
  p.dy = dy.data();
  p.dz = dz.data();
  p.dbias = dbias.data();
  const Context ctx = exec.context(k.activation_backward_workspace(p));
  Work work;
  work.bytes = 12.0 * static_cast<double>(rows * cols);
  measure(state, work, [&] { k.activation_backward(ctx, p); });
}

std::string name_of(const ConvShape& s) {
  const auto text = [](int64_t n) { return std::to_string(n); };
  std::string name = "conv" + text(s.kh) + "x" + text(s.kw) + "s" + text(s.stride_h);
  if (s.dilation_h > 1) name += "d" + text(s.dilation_h);
  if (s.groups > 1) name += "g" + text(s.groups);
  return name + "_N" + text(s.n) + "_" + text(s.h) + "x" + text(s.w) + "_" + text(s.c) + "to" + text(s.oc);
}

void add_conv(const ConvShape& s) {
  const std::string name = name_of(s);
  const auto pass = [s](ConvPass which, bool prepared) {
    return [=](benchmark::State& state) { gather_pass(state, s, which, prepared, Act::kIdentity); };
  };
  const auto& k = cpu_kernels<float>().conv;
  add(name + ".fwd", pass(kForward, false));
  if (k.prepared_bytes(s, kForward, k.choose(s, kForward, strict_precision())) > 0)
    add(name + ".fwd_prepared", pass(kForward, true));
  add(name + ".bwd_data", pass(kData, false));
  add(name + ".bwd_weight", [s](benchmark::State& state) { weight_pass(state, s); });
}

}  // namespace

void add_cases() {
  add_conv(shape(32, 32, 64, 64, 3, 1, 1));
  add_conv(shape(8, 56, 128, 128, 3, 1, 1));
  add_conv(shape(1, 56, 64, 64, 3, 1, 1));
  add_conv(shape(1, 28, 256, 256, 3, 1, 1));
  add_conv(shape(1, 14, 512, 512, 3, 1, 1));
  for (const int64_t h : {7, 14, 28, 56, 112}) add_conv(shape(8, h, 64, 64, 3, 1, 1));  // the sweeps of bench/peers
  for (const int64_t c : {8, 16, 32, 128, 256}) add_conv(shape(8, 28, c, c, 3, 1, 1));
  add_conv(shape(32, 28, 1, 32, 3, 1, 1));  // first layers
  add_conv(shape(128, 28, 1, 32, 3));
  add_conv(shape(128, 32, 3, 32, 3));
  add_conv(shape(8, 224, 3, 64, 3, 1, 1));
  add_conv(shape(8, 224, 3, 64, 7, 2, 3));
  add_conv(shape(128, 15, 32, 64, 3));  // the CIFAR network's other layers
  add_conv(shape(128, 6, 64, 128, 3));
  add_conv(shape(8, 56, 256, 64, 1));
  add_conv(shape(8, 56, 128, 128, 1));
  add_conv(shape(8, 14, 256, 1024, 1));
  add_conv(shape(8, 56, 256, 512, 1, 2));  // strided
  add_conv(shape(8, 56, 128, 128, 3, 2, 1));
  add_conv(shape(8, 27, 64, 192, 5, 1, 2));
  add_conv(shape(8, 28, 128, 128, 3, 1, 2, 1, 2));  // dilated
  add_conv(shape(8, 56, 128, 128, 3, 1, 1, 32));    // grouped
  add_conv(shape(8, 56, 128, 128, 3, 1, 1, 128));   // depthwise
  add_conv(shape(8, 56, 128, 128, 3, 2, 1, 128));
  add_conv(shape(8, 28, 192, 192, 5, 1, 2, 192));
  // Transposed: y of the convolution is the layer's input, x its output.
  for (const ConvShape& s :
       {shape(8, 56, 64, 128, 2, 2), shape(8, 56, 64, 128, 4, 2, 1), shape(8, 56, 64, 128, 3, 2, 1)})
    add("transposed_" + name_of(s) + ".fwd",
        [s](benchmark::State& state) { gather_pass(state, s, kData, false, Act::kRelu); });
  add("activation_bwd_relu_100352x64", [](benchmark::State& state) { activation_backward(state, 32 * 56 * 56, 64); });
  add("activation_bwd_relu_128x128", [](benchmark::State& state) { activation_backward(state, 128, 128); });
}

}  // namespace lamella::bench
