// The functions of a cell's gates, for float in half the operations of vmath.h: they run several times per unit and
// step, beside products that are not exact to the last bit either. Sigmoid is within 1e-7 of the truth and tanh within
// 3e-7 of its own size; both keep to [0, 1] and [-1, 1], and NaN gives NaN. double has vmath's.
//
// The coefficients are minimax fits printed by bench/fit_vmath.py.
#pragma once

#include "kernels/cpu/vmath.h"

namespace lamella::LAMELLA_NS {
namespace {

// 1 / (1 + 2^y), y = -x / ln 2. Where 2^y would overflow the result is 2^-126.
LAMELLA_INLINE Vec<float> gate_sigmoid(Vec<float> x) {
  using V = Vec<float>;
  using C = MathConst<float>;
  const V y = max(V(-126.0f), min(V(126.0f), x * V(-C::kLog2e)));
  const V magic(C::kRoundMagic);
  const V t = y + magic;  // the low bits of t are the nearest integer
  const V n = t - magic, r = y - n;
  constexpr float c[] = {1.0f, 0.69314724f, 0.24022652f, 0.055503104f, 0.009617693f, 0.0013406673f, 0.00015594637f};
  const V p = polynomial(r, c);
#if defined(LAMELLA_ISA_AVX512)
  const V e = _mm512_scalef_ps(p.v, n.v);
#else
  const V e = p * pow2n<float>(as_int(t) - as_int(magic));
#endif
  return V(1.0f) / (V(1.0f) + e);
}

// x P(x^2) / Q(x^2), which rounding takes beyond 1 near the end.
LAMELLA_INLINE Vec<float> gate_tanh(Vec<float> x) {
  using V = Vec<float>;
  constexpr float p[] = {1.0f, 0.13379909f, 0.0034942597f, 0.00002058712f, 0.000000013323962f};
  constexpr float q[] = {1.0f, 0.46713224f, 0.025871934f, 0.00032834584f, 0.00000077640544f};
  const V end(9.02f), one(1.0f);
  const V y = max(neg(end), min(end, x)), z = y * y;
  return max(neg(one), min(one, y * polynomial(z, p) / polynomial(z, q)));
}

#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_INLINE Vec<double> gate_sigmoid(Vec<double> x) { return vsigmoid(x); }
LAMELLA_INLINE Vec<double> gate_tanh(Vec<double> x) { return vtanh(x); }
#endif

}  // namespace
}  // namespace lamella::LAMELLA_NS
