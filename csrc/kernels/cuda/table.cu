// The device's kernel tables.
#include "kernels/cuda/tables.h"

namespace lamella::cuda {
namespace {

template <class T>
KernelTable<T> filled() {
  KernelTable<T> t;
  fill(t.gemm);
  fill(t.conv);
  fill(t.pool);
  fill(t.elementwise);
  fill(t.reduce);
  fill(t.softmax);
  fill(t.loss);
  fill(t.norm);
  fill(t.rnn);
  fill(t.optimizer);
  fill(t.shape);
  fill(t.random);
  fill(t.embedding);
  fill(t.resample);
  fill(t.gather);
  fill(t.fingerprint);
  fill(t.counts);
  fill(t.ctc);
  fill(t.augment);
  fill(t.attention);
  return t;
}

template <class T>
KernelTable<T> filled_half() {
  KernelTable<T> t;
  fill(t.pool);
  fill(t.elementwise);
  fill(t.gemm);
  fill(t.conv);
  return t;
}

}  // namespace

const KernelTable<float>& table_f32() {
  static const KernelTable<float> table = filled<float>();
  return table;
}
const KernelTable<double>& table_f64() {
  static const KernelTable<double> table = filled<double>();
  return table;
}
const KernelTable<f16>& table_f16() {
  static const KernelTable<f16> table = filled_half<f16>();
  return table;
}
const KernelTable<bf16>& table_bf16() {
  static const KernelTable<bf16> table = filled_half<bf16>();
  return table;
}

}  // namespace lamella::cuda
