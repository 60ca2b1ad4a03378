// Vec<T> of kernels/cpu/simd.h with one lane, for devices: the functions of kernels/cpu/{vmath,gelu_inl,act_inl}.h are
// then device functions, of namespace math, with the same formulas and the same accuracy. Include this in front of
// them; kernels/cuda/math.h and activation.h do, and have scalar forms.
//
// Every operation is an intrinsic with a rounding of its own, so that the compiler fuses nothing but what says fma.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#define LAMELLA_DEVICE_VEC 1
#define LAMELLA_NS cuda::math

#include "kernels/cpu/isa.h"

#undef LAMELLA_INLINE
#define LAMELLA_INLINE __device__ __forceinline__

namespace lamella::cuda::math {
namespace {

// ---- numbers -------------------------------------------------------------------------------------------------------

LAMELLA_INLINE float add(float a, float b) { return __fadd_rn(a, b); }
LAMELLA_INLINE float sub(float a, float b) { return __fsub_rn(a, b); }
LAMELLA_INLINE float mul(float a, float b) { return __fmul_rn(a, b); }
LAMELLA_INLINE float div(float a, float b) { return __fdiv_rn(a, b); }
LAMELLA_INLINE float multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }
LAMELLA_INLINE float root(float a) { return __fsqrt_rn(a); }
LAMELLA_INLINE int32_t bits_of(float a) { return __float_as_int(a); }
LAMELLA_INLINE float from_bits(int32_t a) { return __int_as_float(a); }

LAMELLA_INLINE double add(double a, double b) { return __dadd_rn(a, b); }
LAMELLA_INLINE double sub(double a, double b) { return __dsub_rn(a, b); }
LAMELLA_INLINE double mul(double a, double b) { return __dmul_rn(a, b); }
LAMELLA_INLINE double div(double a, double b) { return __ddiv_rn(a, b); }
LAMELLA_INLINE double multiply_add(double a, double b, double c) { return __fma_rn(a, b, c); }
LAMELLA_INLINE double root(double a) { return __dsqrt_rn(a); }
LAMELLA_INLINE int64_t bits_of(double a) { return __double_as_longlong(a); }
LAMELLA_INLINE double from_bits(int64_t a) { return __longlong_as_double(a); }

// ---- Mask, IVec, Vec -----------------------------------------------------------------------------------------------

template <class T>
struct BitsOf;
template <>
struct BitsOf<float> {
  using I = int32_t;
  using U = uint32_t;
};
template <>
struct BitsOf<double> {
  using I = int64_t;
  using U = uint64_t;
};

template <class T>
struct Mask {
  bool m;
  LAMELLA_INLINE bool any() const { return m; }
  LAMELLA_INLINE bool all() const { return m; }
  friend LAMELLA_INLINE Mask operator&(Mask a, Mask b) { return {a.m && b.m}; }
  friend LAMELLA_INLINE Mask operator|(Mask a, Mask b) { return {a.m || b.m}; }
  friend LAMELLA_INLINE Mask operator!(Mask a) { return {!a.m}; }
};

template <class T>
struct IVec {
  using I = typename BitsOf<T>::I;
  using U = typename BitsOf<T>::U;
  static constexpr int W = 1;
  I v;
  IVec() = default;
  LAMELLA_INLINE explicit IVec(I x) : v(x) {}
  static LAMELLA_INLINE IVec load(const I* p) { return IVec(*p); }
  LAMELLA_INLINE void store(I* p) const { *p = v; }
  // Unsigned, so that they wrap.
  friend LAMELLA_INLINE IVec operator+(IVec a, IVec b) { return of(static_cast<U>(a.v) + static_cast<U>(b.v)); }
  friend LAMELLA_INLINE IVec operator-(IVec a, IVec b) { return of(static_cast<U>(a.v) - static_cast<U>(b.v)); }
  friend LAMELLA_INLINE IVec operator&(IVec a, IVec b) { return IVec(a.v & b.v); }
  friend LAMELLA_INLINE IVec operator|(IVec a, IVec b) { return IVec(a.v | b.v); }
  friend LAMELLA_INLINE IVec operator^(IVec a, IVec b) { return IVec(a.v ^ b.v); }
  friend LAMELLA_INLINE Mask<T> gt(IVec a, IVec b) { return {a.v > b.v}; }
  friend LAMELLA_INLINE Mask<T> eq(IVec a, IVec b) { return {a.v == b.v}; }
  friend LAMELLA_INLINE IVec select(Mask<T> m, IVec a, IVec b) { return m.m ? a : b; }
  static LAMELLA_INLINE IVec of(U x) { return IVec(static_cast<I>(x)); }
};
template <int K, class T>
LAMELLA_INLINE IVec<T> shl(IVec<T> a) {
  return IVec<T>::of(static_cast<typename IVec<T>::U>(a.v) << K);
}
template <int K, class T>
LAMELLA_INLINE IVec<T> shr_arith(IVec<T> a) {
  return IVec<T>(a.v >> K);
}
template <int K, class T>
LAMELLA_INLINE IVec<T> shr_logical(IVec<T> a) {
  return IVec<T>::of(static_cast<typename IVec<T>::U>(a.v) >> K);
}

template <class T_>
struct Vec {
  using T = T_;
  static constexpr int W = 1;
  T v[1];  // by lane, as the registers of the CPU
  Vec() = default;
  LAMELLA_INLINE explicit Vec(T x) : v{x} {}
  static LAMELLA_INLINE Vec zero() { return Vec(T(0)); }
  static LAMELLA_INLINE Vec load(const T* p) { return Vec(*p); }
  static LAMELLA_INLINE Vec load(const T* p, int64_t n) { return n > 0 ? Vec(*p) : zero(); }
  LAMELLA_INLINE void store(T* p) const { *p = v[0]; }
  LAMELLA_INLINE void store(T* p, int64_t n) const {
    if (n > 0) *p = v[0];
  }
  friend LAMELLA_INLINE Vec operator+(Vec a, Vec b) { return Vec(add(a.v[0], b.v[0])); }
  friend LAMELLA_INLINE Vec operator-(Vec a, Vec b) { return Vec(sub(a.v[0], b.v[0])); }
  friend LAMELLA_INLINE Vec operator*(Vec a, Vec b) { return Vec(mul(a.v[0], b.v[0])); }
  friend LAMELLA_INLINE Vec operator/(Vec a, Vec b) { return Vec(div(a.v[0], b.v[0])); }
  friend LAMELLA_INLINE Vec fma(Vec a, Vec b, Vec c) { return Vec(multiply_add(a.v[0], b.v[0], c.v[0])); }
  friend LAMELLA_INLINE Vec fnma(Vec a, Vec b, Vec c) { return Vec(multiply_add(-a.v[0], b.v[0], c.v[0])); }
  friend LAMELLA_INLINE Mask<T> lt(Vec a, Vec b) { return {a.v[0] < b.v[0]}; }
  friend LAMELLA_INLINE Mask<T> le(Vec a, Vec b) { return {a.v[0] <= b.v[0]}; }
  friend LAMELLA_INLINE Mask<T> gt(Vec a, Vec b) { return {a.v[0] > b.v[0]}; }
  friend LAMELLA_INLINE Mask<T> ge(Vec a, Vec b) { return {a.v[0] >= b.v[0]}; }
  friend LAMELLA_INLINE Mask<T> eq(Vec a, Vec b) { return {a.v[0] == b.v[0]}; }
  friend LAMELLA_INLINE Mask<T> is_nan(Vec a) { return {a.v[0] != a.v[0]}; }
  friend LAMELLA_INLINE Vec select(Mask<T> m, Vec a, Vec b) { return m.m ? a : b; }
  friend LAMELLA_INLINE Vec min(Vec a, Vec b) { return a.v[0] < b.v[0] ? a : b; }
  friend LAMELLA_INLINE Vec max(Vec a, Vec b) { return a.v[0] > b.v[0] ? a : b; }
  friend LAMELLA_INLINE Vec sqrt(Vec a) { return Vec(root(a.v[0])); }
  friend LAMELLA_INLINE Vec round(Vec a) { return Vec(rint(a.v[0])); }
  friend LAMELLA_INLINE IVec<T> as_int(Vec a) { return IVec<T>(bits_of(a.v[0])); }
  friend LAMELLA_INLINE IVec<T> to_int(Vec a) { return IVec<T>(static_cast<typename BitsOf<T>::I>(rint(a.v[0]))); }
  friend LAMELLA_INLINE T sum(Vec a) { return a.v[0]; }
};
template <class T>
LAMELLA_INLINE Vec<T> as_float(IVec<T> a) {
  return Vec<T>(from_bits(a.v));
}
template <class T>
LAMELLA_INLINE Vec<T> to_float(IVec<T> a) {
  return Vec<T>(static_cast<T>(a.v));
}

// The device's own is as accurate as kernels/cpu/vmath.h's of float.
LAMELLA_INLINE Vec<double> vpow(Vec<double> x, Vec<double> y) { return Vec<double>(pow(x.v[0], y.v[0])); }

}  // namespace
}  // namespace lamella::cuda::math
