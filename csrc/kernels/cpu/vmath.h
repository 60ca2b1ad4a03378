// Transcendental functions on Vec<T>. float: within 2 ULP over the whole range, subnormal arguments and results
// included; double: within a few ULP. Special values as in C's <math.h>: NaN gives NaN, infinities and overflow give
// what the limit gives, odd functions keep the sign of zero. Nothing here relies on fma being fused: whatever must be
// exact is exact in two roundings too.
//
// The coefficients are minimax fits printed by bench/fit_vmath.py.
#pragma once

#include "kernels/cpu/simd.h"

namespace lamella::LAMELLA_NS {
namespace {

template <class T>
struct MathConst;
template <>
struct MathConst<float> {
  static constexpr float kInf = __builtin_inff();
  static constexpr float kMinNormal = 0x1p-126f;
  static constexpr float kSubnormalScale = 0x1p24f;
  static constexpr int32_t kSubnormalShift = 24;
  static constexpr float kRoundMagic = 0x1.8p23f;
  // ln 2 in two parts; the first has so few bits that k * kLn2Hi is exact for every exponent k.
  static constexpr float kLog2e = 1.442695040888963407f;
  static constexpr float kLn2Hi = 0x1.62e4p-1f;
  static constexpr float kLn2Lo = 1.4286068203094172e-06f;
  // Where exp has overflowed and vanished, and expm1 and tanh have reached their limits.
  static constexpr float kExpMax = 89.0f;
  static constexpr float kExpMin = -104.0f;
  static constexpr float kExpm1Min = -20.0f;
  // Where x exp(x) has vanished.
  static constexpr float kXExpMin = -112.0f;
  // Below this, f(x) = x for expm1 to the last bit.
  static constexpr float kTiny = 0x1p-25f;
};
template <>
struct MathConst<double> {
  static constexpr double kInf = __builtin_inf();
  static constexpr double kMinNormal = 0x1p-1022;
  static constexpr double kSubnormalScale = 0x1p54;
  static constexpr int64_t kSubnormalShift = 54;
  static constexpr double kRoundMagic = 0x1.8p52;
  static constexpr double kLog2e = 1.4426950408889634074;
  static constexpr double kLn2Hi = 0x1.62e42fep-1;
  static constexpr double kLn2Lo = 1.8206359985041462e-09;
  static constexpr double kExpMax = 710.0;
  static constexpr double kExpMin = -746.0;
  static constexpr double kExpm1Min = -40.0;
  static constexpr double kXExpMin = -756.0;
  static constexpr double kTiny = 0x1p-54;
};

// c[0] + c[1] x + ... by Horner's rule: loops over arrays have enough independent work to hide the chain.
template <class T, int N>
LAMELLA_INLINE Vec<T> polynomial(Vec<T> x, const T (&c)[N]) {
  Vec<T> y(c[N - 1]);
#pragma GCC unroll 32
  for (int i = N - 2; i >= 0; --i) y = fma(y, x, Vec<T>(c[i]));
  return y;
}

// (exp(r) - 1 - r) / r^2 on |r| <= ln(2)/2; error 2^-28 relative to exp(r).
LAMELLA_INLINE Vec<float> exp_tail(Vec<float> r) {
  constexpr float c[] = {0.49999994f, 0.16666521f, 0.041668385f, 0.0083687175f, 0.001381466f};
  return polynomial(r, c);
}
// The same, error 2^-28 relative to expm1(r).
LAMELLA_INLINE Vec<float> expm1_tail(Vec<float> r) {
  constexpr float c[] = {0.5f, 0.16666667f, 0.041666325f, 0.00833322f, 0.0013943212f, 0.00019962325f};
  return polynomial(r, c);
}
#if defined(LAMELLA_ISA_PORTABLE) || defined(LAMELLA_DEVICE_VEC)
LAMELLA_INLINE Vec<double> expm1_tail(Vec<double> r) {
  constexpr double c[] = {0.5,
                          0.16666666666666666,
                          0.04166666666666669,
                          0.008333333333333345,
                          0.0013888888888870217,
                          0.0001984126984120757,
                          2.4801587353630876e-05,
                          2.755731936290852e-06,
                          2.7557248703676805e-07,
                          2.505196716335586e-08,
                          2.092262644759405e-09,
                          1.612027909766823e-10};
  return polynomial(r, c);
}
LAMELLA_INLINE Vec<double> exp_tail(Vec<double> r) { return expm1_tail(r); }
#endif

// log(1 + f) - f for sqrt(1/2) <= 1 + f <= sqrt(2).
LAMELLA_INLINE Vec<float> log1p_tail(Vec<float> f) {
  constexpr float c[] = {0.33333313f,  -0.2500001f, 0.20002122f,  -0.16667993f, 0.1421946f,
                         -0.12405579f, 0.11888898f, -0.11676096f, 0.06745471f};
  const Vec<float> f2 = f * f;
  return fnma(Vec<float>(0.5f), f2, f2 * f * polynomial(f, c));
}
#if defined(LAMELLA_ISA_PORTABLE) || defined(LAMELLA_DEVICE_VEC)
// log(1 + f) = 2 atanh(s) with s = f / (2 + f).
LAMELLA_INLINE Vec<double> log1p_tail(Vec<double> f) {
  constexpr double c[] = {0.6666666666666734,  0.39999999999414854, 0.28571428742389093, 0.22222198569058105,
                          0.18183564737301655, 0.1531403521909799,  0.14796149303854375};
  const Vec<double> s = f / (f + Vec<double>(2.0));
  const Vec<double> z = s * s;
  const Vec<double> half_f2 = Vec<double>(0.5) * f * f;
  return s * (half_f2 + z * polynomial(z, c)) - half_f2;
}
#endif

// x = n ln 2 + r with |r| <= ln(2)/2, n an integer (`n` as a float, `i` as an integer).
template <class T>
struct ExpSplit {
  Vec<T> r, n;
  IVec<T> i;
};
template <class T>
LAMELLA_INLINE ExpSplit<T> exp_split(Vec<T> x) {
  using C = MathConst<T>;
  const Vec<T> magic(C::kRoundMagic);
  const Vec<T> t = fma(x, Vec<T>(C::kLog2e), magic);  // the low bits of t are the integer
  const Vec<T> n = t - magic;
  const Vec<T> r = fnma(n, Vec<T>(C::kLn2Lo), fnma(n, Vec<T>(C::kLn2Hi), x));
  return {r, n, as_int(t) - as_int(magic)};
}
// x + low = n ln 2 + r, `low` less than an ULP of x.
template <class T>
LAMELLA_INLINE ExpSplit<T> exp_split(Vec<T> x, Vec<T> low) {
  using C = MathConst<T>;
  const Vec<T> magic(C::kRoundMagic);
  const Vec<T> t = fma(x, Vec<T>(C::kLog2e), magic);
  const Vec<T> n = t - magic;
  const Vec<T> r = fnma(n, Vec<T>(C::kLn2Hi), x) + fnma(n, Vec<T>(C::kLn2Lo), low);
  return {r, n, as_int(t) - as_int(magic)};
}

// p * 2^n, also where 2^n or the result is subnormal or overflows; |n| < 2 * kBias.
template <class T>
LAMELLA_INLINE Vec<T> scale_by_pow2(Vec<T> p, const ExpSplit<T>& e) {
#if defined(LAMELLA_ISA_AVX512)
  return _mm512_scalef_ps(p.v, e.n.v);
#else
  // In two steps: the first product is exact, so there is one rounding even if the result is subnormal.
  const IVec<T> half = shr_arith<1>(e.i);
  return p * pow2n<T>(half) * pow2n<T>(e.i - half);
#endif
}

// The same in the lanes of m; p in the others.
template <class T>
LAMELLA_INLINE Vec<T> scale_by_pow2_where(Mask<T> m, Vec<T> p, const ExpSplit<T>& e) {
#if defined(LAMELLA_ISA_AVX512)
  return _mm512_mask_scalef_ps(p.v, m.m, p.v, e.n.v);
#else
  return select(m, scale_by_pow2(p, e), p);
#endif
}

// exp(r), r as exp_split has left it.
template <class T>
LAMELLA_INLINE Vec<T> exp_of_rest(Vec<T> r) {
  return fma(r * r, exp_tail(r), r) + Vec<T>(T(1));
}

template <class T>
LAMELLA_INLINE Vec<T> vexp(Vec<T> x) {
  using C = MathConst<T>;
  x = max(Vec<T>(C::kExpMin), min(Vec<T>(C::kExpMax), x));
  const ExpSplit<T> e = exp_split(x);
  return scale_by_pow2(exp_of_rest(e.r), e);
}

template <class T>
LAMELLA_INLINE Vec<T> vexpm1(Vec<T> x) {
  using C = MathConst<T>;
  const Vec<T> y = max(Vec<T>(C::kExpm1Min), min(Vec<T>(C::kExpMax), x));
  const ExpSplit<T> e = exp_split(y);
  const Vec<T> p = fma(e.r * e.r, expm1_tail(e.r), e.r);
  // Half of everything, so that 2^n does not overflow before the sum does.
  const Vec<T> s = pow2n<T>(e.i - IVec<T>(1));
  const Vec<T> h = fma(s, p, s - Vec<T>(T(0.5)));
  return select(lt(abs(x), Vec<T>(C::kTiny)), x, h + h);
}

template <class T>
LAMELLA_INLINE Vec<T> vtanh(Vec<T> x) {
  using C = MathConst<T>;
  // With m = expm1(-2|x|): tanh|x| = -m / (2 + m).
  const Vec<T> y = max(Vec<T>(C::kExpm1Min), Vec<T>(T(-2)) * abs(x));
  const ExpSplit<T> e = exp_split(y);
  const Vec<T> s = pow2n<T>(e.i);
  const Vec<T> p = s * fma(e.r * e.r, expm1_tail(e.r), e.r);
  const Vec<T> one(T(1));
  return copysign((p + (s - one)) / (p + (s + one)), x);
}

// n / (1 + e) for 0 <= e <= 1.
template <class T>
LAMELLA_INLINE Vec<T> over_one_plus(Vec<T> n, Vec<T> e) {
  const Vec<T> one(T(1));
  const Vec<T> d = one + e;
  const Vec<T> q = n / d;
  // What d lost in rounding, times a rough 1/d: without it the worst case of a sigmoid is above 2 ULP.
  const Vec<T> lost = (e - (d - one)) * fnma(Vec<T>(T(0.5)), e, one);
  return fnma(q, lost, q);
}

template <class T>
LAMELLA_INLINE Vec<T> vsigmoid(Vec<T> x) {
  const Vec<T> e = vexp(neg(abs(x)));
  return over_one_plus(select(lt(x, Vec<T>::zero()), e, Vec<T>(T(1))), e);
}

// log of a number split as 2^k (1 + f).
template <class T>
LAMELLA_INLINE Vec<T> log_join(Vec<T> k, Vec<T> f) {
  using C = MathConst<T>;
  const Vec<T> low = fma(k, Vec<T>(C::kLn2Lo), log1p_tail(f));
  return fma(k, Vec<T>(C::kLn2Hi), f + low);
}

// x = 2^k m with sqrt(1/2) <= m < sqrt(2), for normal x > 0.
template <class T>
struct LogSplit {
  IVec<T> k;
  Vec<T> m;
};
template <class T>
LAMELLA_INLINE LogSplit<T> log_split(Vec<T> x) {
  const IVec<T> bits = as_int(x);
  const IVec<T> k = shr_arith<IntOf<T>::kMantissa>(bits - as_int(Vec<T>(T(0.70710678118654752440))));
  return {k, as_float(bits - shl<IntOf<T>::kMantissa>(k))};
}

template <class T>
LAMELLA_INLINE Vec<T> vlog(Vec<T> x) {
  using C = MathConst<T>;
  const Mask<T> subnormal = lt(x, Vec<T>(C::kMinNormal));
  const Vec<T> scaled = select(subnormal, x * Vec<T>(C::kSubnormalScale), x);
  const LogSplit<T> s = log_split(scaled);
  const Vec<T> k = to_float(s.k) - select(subnormal, Vec<T>(T(C::kSubnormalShift)), Vec<T>::zero());
  Vec<T> y = log_join(k, s.m - Vec<T>(T(1)));
  const Vec<T> zero = Vec<T>::zero();
  y = select(lt(x, Vec<T>(C::kInf)), y, x);  // inf and NaN
  y = select(lt(x, zero), Vec<T>(C::kInf - C::kInf), y);
  return select(eq(x, zero), Vec<T>(-C::kInf), y);
}

template <class T>
LAMELLA_INLINE Vec<T> vlog1p(Vec<T> x) {
  using C = MathConst<T>;
  const Vec<T> one(T(1));
  // 1 + x = u + c exactly.
  const Vec<T> u = one + x;
  const Vec<T> v = u - one;
  const Vec<T> c = (one - (u - v)) + (x - v);
  const LogSplit<T> s = log_split(u);
  // From 2^60 on c no longer matters, and 2^-k would leave the range of normal numbers.
  const Mask<T> small = lt(u, Vec<T>(T(0x1p60)));
  const Vec<T> f = (s.m - one) + select(small, c * pow2n<T>(IVec<T>(0) - s.k), Vec<T>::zero());
  Vec<T> y = log_join(to_float(s.k), f);
  y = select(lt(x, Vec<T>(C::kInf)), y, x);  // inf and NaN
  y = select(lt(u, Vec<T>::zero()), Vec<T>(C::kInf - C::kInf), y);
  y = select(eq(u, Vec<T>::zero()), Vec<T>(-C::kInf), y);
  return select(lt(abs(x), Vec<T>(C::kTiny)), x, y);
}

// log(1 + exp(x)).
template <class T>
LAMELLA_INLINE Vec<T> vsoftplus(Vec<T> x) {
  const Vec<T> one(T(1)), zero = Vec<T>::zero();
  const Vec<T> e = vexp(neg(abs(x)));
  // log1p of 0 <= e <= 1: 1 + e = u + c exactly, and at most one halving brings u below sqrt(2).
  const Vec<T> u = one + e;
  const Vec<T> c = e - (u - one);
  const Mask<T> halve = gt(u, Vec<T>(T(1.4142135623730950488)));
  const Vec<T> k = select(halve, one, zero);
  const Vec<T> scale = select(halve, Vec<T>(T(0.5)), one);
  const Vec<T> f = fma(u, scale, Vec<T>(T(-1))) + c * scale;
  return max(zero, x) + log_join(k, f);
}

LAMELLA_INLINE Vec<float> verf(Vec<float> x) {
  using V = Vec<float>;
  // |x| < 0.93: x + x p(x^2).
  constexpr float small[] = {0.12837917f,   -0.37612632f,   0.112836786f,   -0.02685846f,
                             0.0051987427f, -0.0008117121f, 0.000082635626f};
  // Up to 3.95, where erf has become 1: 1 - exp(-q(|x|)), q = -log(erfc).
  constexpr float large[] = {-0.00017733531f, 1.1295277f,   0.6333212f,      0.10830828f,
                             -0.025137624f,   0.004177963f, -0.00043588478f, 0.000021217922f};
  const V a = abs(x);
  const V near = fma(x, polynomial(x * x, small), x);
  const ExpSplit<float> e = exp_split(neg(polynomial(min(V(3.95f), a), large)));
  const V p = fma(e.r * e.r, exp_tail(e.r), e.r);
  const V s = pow2n<float>(e.i);
  const V far = V(1.0f) - fma(s, p, s);
  return select(lt(a, V(0.93f)), near, copysign(far, x));
}
#if defined(LAMELLA_ISA_PORTABLE) || defined(LAMELLA_DEVICE_VEC)
LAMELLA_INLINE Vec<double> verf(Vec<double> x) {
  Vec<double> y;
  for (int i = 0; i < Vec<double>::W; ++i) y.v[i] = __builtin_erf(x.v[i]);
  return y;
}
#endif

// ---- sine and cosine -------------------------------------------------------------------------------------------

// Beyond this the float reduction runs out of bits; the C library takes over, lane by lane.
constexpr float kTrigMax = 8192.0f;

template <class F>
LAMELLA_INLINE Vec<float> by_lane(Vec<float> x, const F& f) {
  float lanes[Vec<float>::W];
  x.store(lanes);
  for (int i = 0; i < Vec<float>::W; ++i) lanes[i] = f(lanes[i]);
  return Vec<float>::load(lanes);
}

// sin(x + quarters * pi/2).
LAMELLA_INLINE Vec<float> sin_quarters(Vec<float> x, int32_t quarters) {
  using V = Vec<float>;
  constexpr float sine[] = {-0.16666667f, 0.008333329f, -0.00019839293f, 0.0000027179299f};
  constexpr float cosine[] = {0.041666646f, -0.00138873f, 0.00002443126f};
  const V magic(MathConst<float>::kRoundMagic);
  const V t = fma(x, V(0.63661977236758134308f), magic);
  const V n = t - magic;
  // pi/2 in three parts of 11 bits, whose products with n < 2^13 are exact, and the rest.
  V r = fnma(n, V(0x1.92p0f), x);
  r = fnma(n, V(0x1.fb4p-12f), r);
  const V part = n * V(0x1.444p-24f);
  const V above = r;
  r = above - part;
  const V rl = fnma(n, V(0x1.68c234p-39f), (above - r) - part);  // what r lost, and the rest
  const V z = r * r;
  const V s = r + fma(r * z, polynomial(z, sine), rl);
  const V c = fma(z * z, polynomial(z, cosine), fnma(r, rl, fnma(V(0.5f), z, V(1.0f))));
  const IVec<float> q = as_int(t) + IVec<float>(quarters);
  const V y = select(eq(q & IVec<float>(1), IVec<float>(0)), s, c);
  return as_float(as_int(y) ^ shl<30>(q & IVec<float>(2)));
}

LAMELLA_INLINE Vec<float> vsin(Vec<float> x) {
  if (!lt(abs(x), Vec<float>(kTrigMax)).all()) return by_lane(x, [](float v) { return __builtin_sinf(v); });
  const Vec<float> y = sin_quarters(x, 0);
  return select(lt(abs(x), Vec<float>(0x1p-12f)), x, y);  // keeps -0
}
LAMELLA_INLINE Vec<float> vcos(Vec<float> x) {
  if (!lt(abs(x), Vec<float>(kTrigMax)).all()) return by_lane(x, [](float v) { return __builtin_cosf(v); });
  return sin_quarters(x, 1);
}
#if defined(LAMELLA_ISA_PORTABLE) || defined(LAMELLA_DEVICE_VEC)
LAMELLA_INLINE Vec<double> vsin(Vec<double> x) {
  for (int i = 0; i < Vec<double>::W; ++i) x.v[i] = __builtin_sin(x.v[i]);
  return x;
}
LAMELLA_INLINE Vec<double> vcos(Vec<double> x) {
  for (int i = 0; i < Vec<double>::W; ++i) x.v[i] = __builtin_cos(x.v[i]);
  return x;
}
#endif

// ---- power -----------------------------------------------------------------------------------------------------

#if defined(LAMELLA_ISA_PORTABLE)
LAMELLA_INLINE Vec<float> vpow(Vec<float> x, Vec<float> y) {
  for (int i = 0; i < Vec<float>::W; ++i) x.v[i] = __builtin_powf(x.v[i], y.v[i]);
  return x;
}
LAMELLA_INLINE Vec<double> vpow(Vec<double> x, Vec<double> y) {
  for (int i = 0; i < Vec<double>::W; ++i) x.v[i] = __builtin_pow(x.v[i], y.v[i]);
  return x;
}
#else
// exp(y log x), the logarithm and the product as sums of two floats; needs a fused fma.
LAMELLA_INLINE Vec<float> vpow(Vec<float> x, Vec<float> y) {
  using V = Vec<float>;
  using C = MathConst<float>;
  const V zero = V::zero(), one(1.0f), half(0.5f), inf(C::kInf);
  const V a = abs(x);
  const Mask<float> subnormal = lt(a, V(C::kMinNormal));
  const LogSplit<float> split = log_split(select(subnormal, a * V(C::kSubnormalScale), a));
  const V k = to_float(split.k) - select(subnormal, V(float(C::kSubnormalShift)), zero);
  // log m = 2 atanh(s), s = f / (2 + f) as s + sl, z = s^2 as z + zl.
  const V f = split.m - one;
  const V u = f + V(2.0f);
  const V ul = f - (u - V(2.0f));
  const V inv = one / u;
  const V s = f * inv;
  const V sl = fnma(s, ul, fnma(s, u, f)) * inv;
  const V z = s * s;
  const V zl = fma(s, s, neg(z)) + (s + s) * sl;
  // t + tl = z (2/3 + z r2(z)), log m = (2 + t) s.
  constexpr float r2[] = {0.4000009f, 0.2855301f, 0.23287843f};
  const V third2(0x1.555556p-1f);
  const V t = z * third2;
  const V tl = fma(z, third2, neg(t)) + fma(zl, third2, z * fma(z, polynomial(z, r2), V(-1.9868214e-08f)));
  const V st = s * t;
  const V stl = fma(s, t, neg(st)) + fma(s, tl, sl * t);
  const V s2 = s + s;
  const V m1 = s2 + st;
  const V m1l = (s2 - m1) + st + fma(V(2.0f), sl, stl);
  const V kh = k * V(C::kLn2Hi);  // exact
  const V sum = kh + m1;
  const V v = sum - kh;
  const V suml = ((kh - (sum - v)) + (m1 - v)) + fma(k, V(C::kLn2Lo), m1l);
  V lh = sum + suml;
  V ll = suml - (lh - sum);
  lh = select(eq(a, zero), neg(inf), select(lt(a, inf), lh, a));  // also NaN
  const V p = y * lh;
  V pl = fma(y, lh, neg(p)) + y * ll;
  pl = select(lt(abs(p), V(200.0f)), pl, zero);
  // exp(p + pl).
  const ExpSplit<float> e = exp_split(max(V(C::kExpMin), min(V(C::kExpMax), p)));
  const V r = e.r + pl;
  V result = scale_by_pow2(fma(r * r, exp_tail(r), r) + one, e);
  // The sign of a negative base, and the cases where C's pow() departs from exp(y log x).
  const V whole = round(y);
  const Mask<float> integer = eq(whole, y);
  const V half_y = half * y;
  const Mask<float> odd = integer & !eq(round(half_y), half_y);
  const IVec<float> sign = as_int(x) & as_int(V(-0.0f));
  result = as_float(as_int(result) ^ select(odd, sign, IVec<float>(0)));
  result = select(lt(x, zero) & lt(a, inf) & !integer & !is_nan(y) & lt(abs(y), inf), V(C::kInf - C::kInf), result);
  return select(eq(y, zero) | eq(x, one) | (eq(x, V(-1.0f)) & eq(abs(y), inf)), one, result);
}
#endif

// ---- rounding --------------------------------------------------------------------------------------------------

template <class T>
LAMELLA_INLINE Vec<T> vfloor(Vec<T> x) {
  const Vec<T> r = round(x);
  return copysign(r - select(gt(r, x), Vec<T>(T(1)), Vec<T>::zero()), x);
}
template <class T>
LAMELLA_INLINE Vec<T> vceil(Vec<T> x) {
  return neg(vfloor(neg(x)));
}

}  // namespace
}  // namespace lamella::LAMELLA_NS
