// What every family file defines; table.cu calls them in turn.
#pragma once

#include "kernels/kernels.h"

namespace lamella::cuda {

#define LAMELLA_CUDA_FAMILY(Kernels) \
  void fill(Kernels<float>&);        \
  void fill(Kernels<double>&);

LAMELLA_CUDA_FAMILY(GemmKernels)
LAMELLA_CUDA_FAMILY(ConvKernels)
LAMELLA_CUDA_FAMILY(PoolKernels)
LAMELLA_CUDA_FAMILY(ElementwiseKernels)
LAMELLA_CUDA_FAMILY(ReduceKernels)
LAMELLA_CUDA_FAMILY(SoftmaxKernels)
LAMELLA_CUDA_FAMILY(LossKernels)
LAMELLA_CUDA_FAMILY(NormKernels)
LAMELLA_CUDA_FAMILY(RnnKernels)
LAMELLA_CUDA_FAMILY(OptimizerKernels)
LAMELLA_CUDA_FAMILY(ShapeKernels)
LAMELLA_CUDA_FAMILY(RandomKernels)
LAMELLA_CUDA_FAMILY(EmbeddingKernels)
LAMELLA_CUDA_FAMILY(ResampleKernels)
LAMELLA_CUDA_FAMILY(GatherKernels)
LAMELLA_CUDA_FAMILY(FingerprintKernels)
LAMELLA_CUDA_FAMILY(CountKernels)
LAMELLA_CUDA_FAMILY(CtcKernels)
LAMELLA_CUDA_FAMILY(AugmentKernels)
LAMELLA_CUDA_FAMILY(AttentionKernels)

#undef LAMELLA_CUDA_FAMILY

// Those that know 16-bit floats.
#define LAMELLA_CUDA_HALF_FAMILY(Kernels) \
  void fill(Kernels<f16>&);               \
  void fill(Kernels<bf16>&);

LAMELLA_CUDA_HALF_FAMILY(PoolKernels)
LAMELLA_CUDA_HALF_FAMILY(ElementwiseKernels)
LAMELLA_CUDA_HALF_FAMILY(GemmKernels)
LAMELLA_CUDA_HALF_FAMILY(ConvKernels)

#undef LAMELLA_CUDA_HALF_FAMILY

const KernelTable<float>& table_f32();
const KernelTable<double>& table_f64();
const KernelTable<f16>& table_f16();
const KernelTable<bf16>& table_bf16();

}  // namespace lamella::cuda
