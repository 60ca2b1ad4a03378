// Rows by index: embeddings and their dense gradient, slices along an axis, batches out of a data set.
#include "bench.h"

namespace lamella::bench {
namespace {

IndexList list(const std::vector<int64_t>& at) {
  IndexList l;
  l.i64 = at.data();
  l.n = static_cast<int64_t>(at.size());
  return l;
}

Work work_of(double bytes) {
  Work w;
  w.bytes = bytes;
  return w;
}

void embedding(benchmark::State& state, int64_t rows, int64_t dim, int64_t n, bool backward) {
  Array<float> table = numbers<float>(rows * dim, 0), y = numbers<float>(n * dim, 1);
  const std::vector<int64_t> at = indices(n, rows);
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().embedding;
  const double picked = 4.0 * static_cast<double>(n * dim), all = 4.0 * static_cast<double>(rows * dim);
  if (!backward) {
    const EmbeddingParams<float> p{list(at), rows, dim, table.data(), y.data()};
    return measure(state, work_of(2 * picked), [&] { k.embedding(ctx, p); });
  }
  EmbeddingGradParams<float> p;
  p.index = list(at);
  p.rows = rows;
  p.dim = dim;
  p.grad_out = y.data();
  p.grad_table = table.data();
  measure(state, work_of(picked + all), [&] { k.embedding_grad(ctx, p); });
}

// Slices `index` of the middle axis.
void gather(benchmark::State& state, int64_t outer, int64_t rows, int64_t inner, int64_t n, bool backward) {
  Array<float> x = numbers<float>(outer * rows * inner, 0), y = numbers<float>(outer * n * inner, 1);
  const std::vector<int64_t> at = indices(n, rows);
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().resample;
  const double picked = 4.0 * static_cast<double>(outer * n * inner),
               all = 4.0 * static_cast<double>(outer * rows * inner);
  if (!backward) {
    const GatherParams p{list(at), outer, rows, inner, x.data(), y.data(), 4};
    return measure(state, work_of(2 * picked), [&] { k.gather(ctx, p); });
  }
  const GatherGradParams<float> p{list(at), outer, rows, inner, y.data(), x.data()};
  measure(state, work_of(picked + all), [&] { k.gather_grad(ctx, p); });
}

// A shuffled batch of images.
template <class Pixel>
void gather_rows(benchmark::State& state, int64_t images, int64_t pixels, int64_t batch) {
  const Array<Pixel> x(images * pixels, Pixel(1));
  Array<float> y(batch * pixels);
  const std::vector<int64_t> at = indices(batch, images);
  Exec exec(&global_generator());
  const Context ctx = exec.context();
  const auto& k = exec.kernels<float>().gather;
  GatherRowsParams p;
  p.src = x.data();
  p.dst = y.data();
  p.indices = at.data();
  p.rows = batch;
  p.row_bytes = pixels * static_cast<int64_t>(sizeof(Pixel));
  p.u8_to_float = sizeof(Pixel) == 1;
  measure(state, work_of(static_cast<double>(batch * pixels) * (sizeof(Pixel) + 4.0)), [&] { k.gather_rows(ctx, p); });
}

}  // namespace

void add_cases() {
  for (const bool backward : {false, true}) {
    const std::string pass = backward ? ".bwd" : ".fwd";
    add("embedding_10000x128_of_6400" + pass,
        [=](benchmark::State& state) { embedding(state, 10'000, 128, 6400, backward); });
    add("embedding_100000x512_of_4096" + pass,
        [=](benchmark::State& state) { embedding(state, 100'000, 512, 4096, backward); });
    add("embedding_1000x8_of_6400" + pass, [=](benchmark::State& state) { embedding(state, 1000, 8, 6400, backward); });
    add("gather_64x256x128_of_64" + pass, [=](benchmark::State& state) { gather(state, 64, 256, 128, 64, backward); });
    add("gather_4096x1024_columns_of_256" + pass,
        [=](benchmark::State& state) { gather(state, 4096, 1024, 1, 256, backward); });
  }
  add("gather_rows_float_128_of_60000x784",
      [](benchmark::State& state) { gather_rows<float>(state, 60'000, 784, 128); });
  add("gather_rows_uint8_128_of_60000x784",
      [](benchmark::State& state) { gather_rows<uint8_t>(state, 60'000, 784, 128); });
}

}  // namespace lamella::bench
