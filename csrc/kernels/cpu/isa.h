// Every file in kernels/cpu/*.cpp is compiled once per ISA level; the build sets LAMELLA_NS to portable, avx2 or avx512
// and exactly one of LAMELLA_ISA_PORTABLE / LAMELLA_ISA_AVX2 / LAMELLA_ISA_AVX512.
//
// Rules for these files (a test checks the objects' symbols):
//  * everything lives in namespace lamella::LAMELLA_NS; helpers and templates inside an anonymous namespace there;
//  * no std algorithms, containers or other inline library code that could be emitted as a weak symbol: the linker
//  keeps
//    one copy of those, and an AVX-512 copy would crash an older CPU. <cmath> builtins, <cstring>, <cstdint> are fine;
//  * no allocation, no exceptions, no RTTI, no static initialisers.
#pragma once

#if !defined(LAMELLA_NS)
#error "kernels/cpu sources are compiled per ISA: LAMELLA_NS is set by the build"
#endif

#define LAMELLA_INLINE inline __attribute__((always_inline))
#define LAMELLA_NOINLINE __attribute__((noinline))
#define LAMELLA_RESTRICT __restrict__
