// Moves: transposes, concatenation, padding, slices, reversal, repetition; casts and fills.
#include "bench.h"

namespace lamella::bench {
namespace {

struct Axis {
  int64_t dim, src_stride, dst_stride;
};

// One strided copy of floats; `fill`: the destination, of `dst_size` elements, is set to 0 before, as padding does.
struct Move {
  std::vector<Axis> axes;
  int64_t src_size, dst_size;
  int64_t src_offset = 0, dst_offset = 0;
  bool fill = false;
};

void move(benchmark::State& state, const Move& m) {
  const Array<float> src = numbers<float>(m.src_size, 0);
  Array<float> dst(m.dst_size);
  StridedCopyParams p;
  double read = 4, written = 4;  // bytes
  for (const Axis& axis : m.axes) {
    p.dims[p.rank] = axis.dim;
    p.src_strides[p.rank] = axis.src_stride;
    p.dst_strides[p.rank++] = axis.dst_stride;
    written *= static_cast<double>(axis.dim);
    if (axis.src_stride != 0) read *= static_cast<double>(axis.dim);
  }
  p.src = src.data() + m.src_offset;
  p.dst = dst.data() + m.dst_offset;
  FillBytesParams fill;
  fill.dst = dst.data();
  fill.n = m.dst_size;
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().shape;
  Work work;
  if (m.fill) written = 4.0 * static_cast<double>(m.dst_size);
  work.bytes = read + written;
  if (read < 0.1 * written) work.stream = Stream::kWrite;
  measure(state, work, [&] {
    if (m.fill) k.fill_bytes(ctx, fill);
    k.copy(ctx, p);
  });
}

// (n, rows, columns) to (n, columns, rows): also NHWC to NCHW and back.
Move transpose(int64_t n, int64_t rows, int64_t columns) {
  const int64_t size = n * rows * columns;
  return {{{n, rows * columns, rows * columns}, {columns, 1, rows}, {rows, columns, 1}}, size, size};
}

template <class From, class To>
void cast(benchmark::State& state, Element from, Element to, int64_t n) {
  const Array<From> x(n, From(1));
  Array<To> y(n);
  const CastParams p{x.data(), y.data(), from, to, n};
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().shape;
  Work work;
  work.bytes = static_cast<double>(sizeof(From) + sizeof(To)) * static_cast<double>(n);
  measure(state, work, [&] { k.cast(ctx, p); });
}

void fill(benchmark::State& state, int64_t n) {
  Array<float> y(n);
  const FillBytesParams p{y.data(), n, 4, 0x3f800000};
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().shape;
  Work work;
  work.bytes = 4.0 * static_cast<double>(n);
  work.stream = Stream::kWrite;
  measure(state, work, [&] { k.fill_bytes(ctx, p); });
}

}  // namespace

void add_cases() {
  const auto add_move = [](const std::string& name, const Move& m) {
    add(name, [m](benchmark::State& state) { move(state, m); });
  };
  add_move("copy_16M", {{{1 << 24, 1, 1}}, 1 << 24, 1 << 24});
  add_move("transpose_4096x4096", transpose(1, 4096, 4096));
  add_move("transpose_512x512", transpose(1, 512, 512));
  add_move("transpose_1000x1001", transpose(1, 1000, 1001));
  add_move("nhwc_to_nchw_8x112x112x64", transpose(8, 112 * 112, 64));
  add_move("nchw_to_nhwc_8x112x112x64", transpose(8, 64, 112 * 112));
  add_move("nhwc_to_nchw_8x224x224x3", transpose(8, 224 * 224, 3));
  add_move("nchw_to_nhwc_8x224x224x3", transpose(8, 3, 224 * 224));
  // Heads of attention: (n, t, heads, d) to (n, heads, t, d).
  add_move("transpose_heads_8x128x12x64",
           {{{8, 128 * 768, 128 * 768}, {12, 64, 128 * 64}, {128, 768, 64}, {64, 1, 1}}, 8 * 128 * 768, 8 * 128 * 768});
  // One of two parts of 64 channels.
  add_move("concat_channels_8x56x56x64",
           {{{8 * 56 * 56, 64, 128}, {64, 1, 1}}, 8 * 56 * 56 * 64, 8 * 56 * 56 * 128, 0, 64});
  add_move("concat_rows_4096x1000", {{{4096, 1000, 1000}, {1000, 1, 1}}, 4'096'000, 8'192'000, 0, 4'096'000});
  add_move("pad1_32x56x56x64", {{{32, 56 * 56 * 64, 58 * 58 * 64}, {56, 56 * 64, 58 * 64}, {56 * 64, 1, 1}},
                                32 * 56 * 56 * 64,
                                32 * 58 * 58 * 64,
                                0,
                                59 * 64,
                                true});
  add_move("slice_columns_4096x1024_of_256", {{{4096, 1024, 256}, {256, 1, 1}}, 4096 * 1024, 4096 * 256, 128});
  add_move("every_second_16M", {{{1 << 23, 2, 1}}, 1 << 24, 1 << 23});
  add_move("reverse_16M", {{{1 << 24, -1, 1}}, 1 << 24, 1 << 24, (1 << 24) - 1});
  add_move("flip_images_8x224x224x3",
           {{{8 * 224, 672, 672}, {224, -3, 3}, {3, 1, 1}}, 8 * 224 * 672, 8 * 224 * 672, 669});
  add_move("repeat_rows_4096x1024", {{{4096, 0, 1024}, {1024, 1, 1}}, 1024, 4096 * 1024});
  add("cast_f32_f64_4M",
      [](benchmark::State& state) { cast<float, double>(state, Element::kF32, Element::kF64, 1 << 22); });
  add("cast_f64_f32_4M",
      [](benchmark::State& state) { cast<double, float>(state, Element::kF64, Element::kF32, 1 << 22); });
  add("cast_u8_f32_16M",
      [](benchmark::State& state) { cast<uint8_t, float>(state, Element::kU8, Element::kF32, 1 << 24); });
  add("cast_i64_f32_4M",
      [](benchmark::State& state) { cast<int64_t, float>(state, Element::kI64, Element::kF32, 1 << 22); });
  add("fill_16M", [](benchmark::State& state) { fill(state, 1 << 24); });
}

}  // namespace lamella::bench
