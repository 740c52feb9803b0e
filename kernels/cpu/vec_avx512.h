// One vector of fp32 for AVX-512 (F, BW, VL, DQ) with F16C. The members that the algorithms need are the same
// in every vec_*.h. Internal linkage on purpose: code built for this instruction set must not be picked for
// another.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "element_types.h"

namespace ifa::cpu {
namespace {

struct Vec {
  static constexpr int kLanes = 16;
  static constexpr int kScoreAccumulators =
      16;  // of 32 registers; besides them K rows, a query and shuffle indices
  static constexpr int kValueAccumulators = 24;

  __m512 v;

  static Vec Zero() { return {_mm512_setzero_ps()}; }
  static Vec Set(float x) { return {_mm512_set1_ps(x)}; }

  static Vec Load(const float *p) { return {_mm512_loadu_ps(p)}; }
  static Vec Load(const Half *p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)))};
  }
  static Vec Load(const BFloat16 *p) {
    return {Widen(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)))};
  }
  static Vec Load(const int8_t *p) { return {Widen8(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)))}; }

  // The first n lanes, n in [1, kLanes); the others are zero and their memory is not touched.
  static Vec LoadPartial(const float *p, int n) { return {_mm512_maskz_loadu_ps(First(n), p)}; }
  static Vec LoadPartial(const Half *p, int n) {
    return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(First(n), p))};
  }
  static Vec LoadPartial(const BFloat16 *p, int n) { return {Widen(_mm256_maskz_loadu_epi16(First(n), p))}; }
  static Vec LoadPartial(const int8_t *p, int n) { return {Widen8(_mm_maskz_loadu_epi8(First(n), p))}; }

  // The first n lanes, n in [1, kLanes], rounded half to even.
  static void StorePartial(float *p, Vec x, int n) { _mm512_mask_storeu_ps(p, First(n), x.v); }
  static void StorePartial(Half *p, Vec x, int n) {
    _mm256_mask_storeu_epi16(p, First(n),
                             _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static void StorePartial(BFloat16 *p, Vec x, int n) { _mm256_mask_storeu_epi16(p, First(n), Narrow(x.v)); }
  static void Store(float *p, Vec x) { _mm512_storeu_ps(p, x.v); }

  static Vec Add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
  static Vec Sub(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
  static Vec Mul(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
  static Vec Div(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
  static Vec Fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  static Vec Round(Vec a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  // b where either is NaN.
  static Vec Max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
  static bool AnyGreater(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ) != 0; }
  // 0 where a equals b, else a.
  static Vec ZeroWhereEqual(Vec a, Vec b) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ), a.v)};
  }
  // a * 2^n for whole n <= 0; 0 where 2^n is not a normal number, as arithmetic on subnormal numbers is slow.
  static Vec ScaleByPowerOfTwo(Vec a, Vec n) {
    const __mmask16 normal = _mm512_cmp_ps_mask(n.v, _mm512_set1_ps(-126.0F), _CMP_NLT_UQ);
    return {_mm512_maskz_scalef_ps(normal, a.v, n.v)};
  }

  // Lane i of the result is lane i ^ distance of a.
  template <int distance>
  static Vec SwapLanes(Vec a) {
    static_assert(distance == 1 || distance == 2 || distance == 4 || distance == 8);
    if constexpr (distance == 1) {
      return {_mm512_permute_ps(a.v, _MM_SHUFFLE(2, 3, 0, 1))};
    } else if constexpr (distance == 2) {
      return {_mm512_permute_ps(a.v, _MM_SHUFFLE(1, 0, 3, 2))};
    } else if constexpr (distance == 4) {
      return {_mm512_shuffle_f32x4(a.v, a.v, _MM_SHUFFLE(2, 3, 0, 1))};
    } else {
      return {_mm512_shuffle_f32x4(a.v, a.v, _MM_SHUFFLE(1, 0, 3, 2))};
    }
  }

  // Lane i of the result is the sum of the lanes of a[i].
  static Vec SumLanes(const Vec *a) {
    __m512 pairs[8];
    __m512 quads[4];
    __m512 octets[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      pairs[i] = AddNeighbours1(a[2 * i].v, a[2 * i + 1].v);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      quads[i] = AddNeighbours2(pairs[2 * i], pairs[2 * i + 1]);
    }
    octets[0] = AddNeighbours4(quads[0], quads[1]);
    octets[1] = AddNeighbours4(quads[2], quads[3]);
    return {AddNeighbours8(octets[0], octets[1])};
  }

 private:
  static __mmask16 First(int n) { return static_cast<__mmask16>((1U << n) - 1); }
  static __m512 Widen(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static __m512 Widen8(__m128i bytes) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)); }
  static __m256i Narrow(__m512 x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16));
  }

  // AddNeighboursN(a, b): lane i is a[i] + a[i ^ N] where bit N of i is clear, b[i] + b[i ^ N] where it is
  // set. A blend and one shuffle of two sources each, as shuffles have a single port and blends two.
  static __m512 AddNeighbours1(__m512 a, __m512 b) {
    const __m512i other = _mm512_setr_epi32(1, 16, 3, 18, 5, 20, 7, 22, 9, 24, 11, 26, 13, 28, 15, 30);
    return _mm512_add_ps(_mm512_mask_blend_ps(0xAAAA, a, b), _mm512_permutex2var_ps(a, other, b));
  }
  static __m512 AddNeighbours2(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_mask_blend_ps(0xCCCC, a, b),
                         _mm512_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 3, 2)));
  }
  static __m512 AddNeighbours4(__m512 a, __m512 b) {
    const __m512i other = _mm512_setr_epi32(4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 24, 25, 26, 27);
    return _mm512_add_ps(_mm512_mask_blend_ps(0xF0F0, a, b), _mm512_permutex2var_ps(a, other, b));
  }
  static __m512 AddNeighbours8(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_mask_blend_ps(0xFF00, a, b),
                         _mm512_shuffle_f32x4(a, b, _MM_SHUFFLE(1, 0, 3, 2)));
  }
};

}  // namespace
}  // namespace ifa::cpu
