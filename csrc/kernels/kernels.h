// The table of kernels: a backend is one filled KernelTable. One family per header; families fill their part in
// kernels/cpu/<family>.cpp (compiled once per ISA) and, later, kernels/cuda/<family>.cu.
#pragma once

#include "kernels/attention.h"
#include "kernels/augment.h"
#include "kernels/context.h"
#include "kernels/conv.h"
#include "kernels/counts.h"
#include "kernels/ctc.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/fingerprint.h"
#include "kernels/gather.h"
#include "kernels/gemm.h"
#include "kernels/loss.h"
#include "kernels/norm.h"
#include "kernels/optimizer.h"
#include "kernels/pool.h"
#include "kernels/random.h"
#include "kernels/reduce.h"
#include "kernels/resample.h"
#include "kernels/rnn.h"
#include "kernels/shape.h"
#include "kernels/softmax.h"

namespace lamella {

template <class T>
struct KernelTable {
  GemmKernels<T> gemm;
  ConvKernels<T> conv;
  PoolKernels<T> pool;
  ElementwiseKernels<T> elementwise;
  ReduceKernels<T> reduce;
  SoftmaxKernels<T> softmax;
  LossKernels<T> loss;
  NormKernels<T> norm;
  RnnKernels<T> rnn;
  OptimizerKernels<T> optimizer;
  ShapeKernels<T> shape;
  RandomKernels<T> random;
  EmbeddingKernels<T> embedding;
  ResampleKernels<T> resample;
  GatherKernels<T> gather;
  FingerprintKernels<T> fingerprint;
  CountKernels<T> counts;
  CtcKernels<T> ctc;
  AugmentKernels<T> augment;
  AttentionKernels<T> attention;
};

// The CPU's tables for the active ISA level (float64 is always the portable level). See kernels/cpu_dispatch.cpp.
template <class T>
const KernelTable<T>& cpu_kernels();

}  // namespace lamella
