// Fills one KernelTable for the ISA level this file is compiled for.
#include "kernels/cpu/tables.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
void fill_all(KernelTable<T>& t) {
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
}

}  // namespace

void fill_table(KernelTable<float>& t) { fill_all(t); }
#if defined(LAMELLA_ISA_PORTABLE)
void fill_table(KernelTable<double>& t) { fill_all(t); }
#endif

}  // namespace lamella::LAMELLA_NS
