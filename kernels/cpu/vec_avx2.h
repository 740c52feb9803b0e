// One vector of fp32 for AVX2 with FMA and F16C; see vec_avx512.h.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "element_types.h"

namespace ifa::cpu {
namespace {

struct Vec {
  static constexpr int kLanes = 8;
  static constexpr int kScoreAccumulators = 8;  // of 16 registers
  static constexpr int kValueAccumulators = 12;

  __m256 v;

  static Vec Zero() { return {_mm256_setzero_ps()}; }
  static Vec Set(float x) { return {_mm256_set1_ps(x)}; }

  static Vec Load(const float *p) { return {_mm256_loadu_ps(p)}; }
  static Vec Load(const Half *p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)))};
  }
  static Vec Load(const BFloat16 *p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16))};
  }
  static Vec Load(const int8_t *p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i *>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))};
  }

  // The first n lanes, n in [1, kLanes); the others are zero and their memory is not touched.
  template <typename T>
  static Vec LoadPartial(const T *p, int n) {
    T lanes[kLanes] = {};
    std::memcpy(lanes, p, static_cast<size_t>(n) * sizeof(T));
    return Load(lanes);
  }

  // The first n lanes, n in [1, kLanes], rounded half to even.
  template <typename T>
  static void StorePartial(T *p, Vec x, int n) {
    T lanes[kLanes];
    Store(lanes, x);
    std::memcpy(p, lanes, static_cast<size_t>(n) * sizeof(T));
  }
  static void Store(float *p, Vec x) { _mm256_storeu_ps(p, x.v); }
  static void Store(Half *p, Vec x) {
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p),
                     _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static void Store(BFloat16 *p, Vec x) {
    const __m256i bits = _mm256_castps_si256(x.v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256 nan = _mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q);
    const __m256i chosen =
        _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), nan));
    const __m256i upper = _mm256_srli_epi32(chosen, 16);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p),
                     _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1)));
  }

  static Vec Add(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
  static Vec Sub(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
  static Vec Mul(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
  static Vec Div(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
  static Vec Fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
  static Vec Round(Vec a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
  // b where either is NaN.
  static Vec Max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
  static bool AnyGreater(Vec a, Vec b) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)) != 0;
  }
  // 0 where a equals b, else a.
  static Vec ZeroWhereEqual(Vec a, Vec b) {
    return {_mm256_and_ps(_mm256_cmp_ps(a.v, b.v, _CMP_NEQ_UQ), a.v)};
  }
  // a * 2^n for whole n in [-200, 0]; 0 where 2^n is not a normal number.
  static Vec ScaleByPowerOfTwo(Vec a, Vec n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
    const __m256i bits = _mm256_slli_epi32(_mm256_max_epi32(exponent, _mm256_setzero_si256()), 23);
    return {_mm256_mul_ps(a.v, _mm256_castsi256_ps(bits))};
  }

  // Lane i of the result is lane i ^ distance of a.
  template <int distance>
  static Vec SwapLanes(Vec a) {
    static_assert(distance == 1 || distance == 2 || distance == 4);
    if constexpr (distance == 1) {
      return {_mm256_permute_ps(a.v, _MM_SHUFFLE(2, 3, 0, 1))};
    } else if constexpr (distance == 2) {
      return {_mm256_permute_ps(a.v, _MM_SHUFFLE(1, 0, 3, 2))};
    } else {
      return {_mm256_permute2f128_ps(a.v, a.v, 1)};
    }
  }

  // Lane i of the result is the sum of the lanes of a[i].
  static Vec SumLanes(const Vec *a) {
    const __m256 pairs[4] = {AddNeighbours1(a[0].v, a[1].v), AddNeighbours1(a[2].v, a[3].v),
                             AddNeighbours1(a[4].v, a[5].v), AddNeighbours1(a[6].v, a[7].v)};
    return {AddNeighbours4(AddNeighbours2(pairs[0], pairs[1]), AddNeighbours2(pairs[2], pairs[3]))};
  }

 private:
  // As in vec_avx512.h.
  static __m256 AddNeighbours1(__m256 a, __m256 b) {
    const __m256 other = _mm256_permute_ps(_mm256_blend_ps(b, a, 0xAA), _MM_SHUFFLE(2, 3, 0, 1));
    return _mm256_add_ps(_mm256_blend_ps(a, b, 0xAA), other);
  }
  static __m256 AddNeighbours2(__m256 a, __m256 b) {
    return _mm256_add_ps(_mm256_blend_ps(a, b, 0xCC), _mm256_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 3, 2)));
  }
  static __m256 AddNeighbours4(__m256 a, __m256 b) {
    return _mm256_add_ps(_mm256_blend_ps(a, b, 0xF0), _mm256_permute2f128_ps(a, b, 0x21));
  }
};

}  // namespace
}  // namespace ifa::cpu
