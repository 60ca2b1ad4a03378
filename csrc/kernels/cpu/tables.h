// What every family file defines for its ISA level; table.cpp calls them in turn.
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/kernels.h"

namespace lamella::LAMELLA_NS {

void fill(GemmKernels<float>&);
void fill(ConvKernels<float>&);
void fill(PoolKernels<float>&);
void fill(ElementwiseKernels<float>&);
void fill(ReduceKernels<float>&);
void fill(SoftmaxKernels<float>&);
void fill(LossKernels<float>&);
void fill(NormKernels<float>&);
void fill(RnnKernels<float>&);
void fill(OptimizerKernels<float>&);
void fill(ShapeKernels<float>&);
void fill(RandomKernels<float>&);
void fill(EmbeddingKernels<float>&);
void fill(ResampleKernels<float>&);
void fill(GatherKernels<float>&);
void fill(FingerprintKernels<float>&);
void fill(CountKernels<float>&);
void fill(CtcKernels<float>&);
void fill(AugmentKernels<float>&);
void fill(AttentionKernels<float>&);

#if defined(LAMELLA_ISA_PORTABLE)
void fill(GemmKernels<double>&);
void fill(ConvKernels<double>&);
void fill(PoolKernels<double>&);
void fill(ElementwiseKernels<double>&);
void fill(ReduceKernels<double>&);
void fill(SoftmaxKernels<double>&);
void fill(LossKernels<double>&);
void fill(NormKernels<double>&);
void fill(RnnKernels<double>&);
void fill(OptimizerKernels<double>&);
void fill(ShapeKernels<double>&);
void fill(RandomKernels<double>&);
void fill(EmbeddingKernels<double>&);
void fill(ResampleKernels<double>&);
void fill(GatherKernels<double>&);
void fill(FingerprintKernels<double>&);
void fill(CountKernels<double>&);
void fill(CtcKernels<double>&);
void fill(AugmentKernels<double>&);
void fill(AttentionKernels<double>&);
#endif

}  // namespace lamella::LAMELLA_NS
