// One vector of fp32 for 64-bit Arm; see vec_avx512.h. Its fp16 conversions are in the base instruction set.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "element_types.h"

namespace ifa::cpu {
namespace {

struct Vec {
  static constexpr int kLanes = 4;
  static constexpr int kScoreAccumulators = 16;  // of 32 registers
  static constexpr int kValueAccumulators = 24;

  float32x4_t v;

  static Vec Zero() { return {vdupq_n_f32(0.0F)}; }
  static Vec Set(float x) { return {vdupq_n_f32(x)}; }

  static Vec Load(const float *p) { return {vld1q_f32(p)}; }
  static Vec Load(const Half *p) {
    return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t *>(p))))};
  }
  static Vec Load(const BFloat16 *p) {
    return {vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t *>(p)), 16))};
  }
  static Vec Load(const int8_t *p) {
    uint32_t bytes;
    std::memcpy(&bytes, p, sizeof(bytes));
    const int16x8_t words = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytes)));
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)))};
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
  static void Store(float *p, Vec x) { vst1q_f32(p, x.v); }
  static void Store(Half *p, Vec x) {
    vst1_u16(reinterpret_cast<uint16_t *>(p), vreinterpret_u16_f16(vcvt_f16_f32(x.v)));
  }
  static void Store(BFloat16 *p, Vec x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x.v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    const uint32x4_t number = vceqq_f32(x.v, x.v);
    vst1_u16(reinterpret_cast<uint16_t *>(p), vshrn_n_u32(vbslq_u32(number, rounded, quiet), 16));
  }

  static Vec Add(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
  static Vec Sub(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
  static Vec Mul(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
  static Vec Div(Vec a, Vec b) { return {vdivq_f32(a.v, b.v)}; }
  static Vec Fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
  static Vec Round(Vec a) { return {vrndnq_f32(a.v)}; }
  // NaN where either is NaN.
  static Vec Max(Vec a, Vec b) { return {vmaxq_f32(a.v, b.v)}; }
  static bool AnyGreater(Vec a, Vec b) { return vmaxvq_u32(vcgtq_f32(a.v, b.v)) != 0; }
  // 0 where a equals b, else a.
  static Vec ZeroWhereEqual(Vec a, Vec b) {
    return {vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(a.v), vceqq_f32(a.v, b.v)))};
  }
  // a * 2^n for whole n in [-200, 0]; 0 where 2^n is not a normal number.
  static Vec ScaleByPowerOfTwo(Vec a, Vec n) {
    const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n.v), vdupq_n_s32(127));
    const int32x4_t bits = vshlq_n_s32(vmaxq_s32(exponent, vdupq_n_s32(0)), 23);
    return {vmulq_f32(a.v, vreinterpretq_f32_s32(bits))};
  }

  // Lane i of the result is lane i ^ distance of a.
  template <int distance>
  static Vec SwapLanes(Vec a) {
    static_assert(distance == 1 || distance == 2);
    if constexpr (distance == 1) {
      return {vrev64q_f32(a.v)};
    } else {
      return {vextq_f32(a.v, a.v, 2)};
    }
  }

  // Lane i of the result is the sum of the lanes of a[i].
  static Vec SumLanes(const Vec *a) {
    return {vpaddq_f32(vpaddq_f32(a[0].v, a[1].v), vpaddq_f32(a[2].v, a[3].v))};
  }
};

}  // namespace
}  // namespace ifa::cpu
