// One vector of fp32 in plain C++ for any machine, on the compiler's vector types; see vec_avx512.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "element_types.h"

namespace ifa::cpu {
namespace {

struct Vec {
  using Floats = float __attribute__((vector_size(16)));
  using Ints = int32_t __attribute__((vector_size(16)));
  using Words = uint32_t __attribute__((vector_size(16)));

  static constexpr int kLanes = 4;
  static constexpr int kScoreAccumulators = 8;  // of 16 registers
  static constexpr int kValueAccumulators = 12;

  Floats v;

  static Vec Zero() { return {Floats{}}; }
  static Vec Set(float x) { return {Floats{x, x, x, x}}; }

  static Vec Load(const float *p) {
    Vec x;
    std::memcpy(&x.v, p, sizeof(x.v));
    return x;
  }
  static Vec Load(const Half *p) {
    // Exponent and fraction move to their place in fp32; the product corrects the bias, subnormal numbers
    // included.
    const Words h = {p[0].bits, p[1].bits, p[2].bits, p[3].bits};
    const Words magnitude = h & 0x7FFFU;
    const Floats finite = Bits<Floats>(magnitude << 13) * 0x1p112F;
    const Words special = (magnitude << 13) | 0x7F800000U;
    const Words is_special = Bits<Words>(magnitude >= 0x7C00U);
    return {Bits<Floats>(((h & 0x8000U) << 16) | Choose(is_special, special, Bits<Words>(finite)))};
  }
  static Vec Load(const BFloat16 *p) {
    return {Bits<Floats>(Words{p[0].bits, p[1].bits, p[2].bits, p[3].bits} << 16)};
  }
  static Vec Load(const int8_t *p) {
    return {Floats{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]),
                   static_cast<float>(p[3])}};
  }

  // The first n lanes, n in [1, kLanes); the others are zero and their memory is not touched.
  template <typename T>
  static Vec LoadPartial(const T *p, int n) {
    T lanes[kLanes] = {};
    std::memcpy(lanes, p, static_cast<size_t>(n) * sizeof(T));
    return Load(lanes);
  }

  // The first n lanes, n in [1, kLanes], rounded half to even.
  static void StorePartial(float *p, Vec x, int n) {
    std::memcpy(p, &x.v, static_cast<size_t>(n) * sizeof(float));
  }
  static void StorePartial(Half *p, Vec x, int n) {
    for (int i = 0; i < n; ++i) {
      p[i].bits = ToHalf(x.v[i]);
    }
  }
  static void StorePartial(BFloat16 *p, Vec x, int n) {
    for (int i = 0; i < n; ++i) {
      p[i].bits = ToBFloat16(x.v[i]);
    }
  }
  static void Store(float *p, Vec x) { std::memcpy(p, &x.v, sizeof(x.v)); }

  static Vec Add(Vec a, Vec b) { return {a.v + b.v}; }
  static Vec Sub(Vec a, Vec b) { return {a.v - b.v}; }
  static Vec Mul(Vec a, Vec b) { return {a.v * b.v}; }
  static Vec Div(Vec a, Vec b) { return {a.v / b.v}; }
  static Vec Fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
  // For |a| below 2^22: the addition leaves no bits for a fraction.
  static Vec Round(Vec a) {
    const Floats shift = {0x1.8p23F, 0x1.8p23F, 0x1.8p23F, 0x1.8p23F};
    Floats shifted = a.v + shift;
    return {shifted - shift};
  }
  // b where either is NaN.
  static Vec Max(Vec a, Vec b) {
    return {Bits<Floats>(Choose(Bits<Words>(a.v > b.v), Bits<Words>(a.v), Bits<Words>(b.v)))};
  }
  static bool AnyGreater(Vec a, Vec b) {
    const Ints greater = a.v > b.v;
    return (greater[0] | greater[1] | greater[2] | greater[3]) != 0;
  }
  // 0 where a equals b, else a.
  static Vec ZeroWhereEqual(Vec a, Vec b) {
    return {Bits<Floats>(Bits<Words>(a.v) & ~Bits<Words>(a.v == b.v))};
  }
  // a * 2^n for whole n in [-200, 0]; 0 where 2^n is not a normal number. A NaN in n stands beside one in a.
  static Vec ScaleByPowerOfTwo(Vec a, Vec n) {
    // The whole number n is in the low bits of the sum, as in Round.
    const Ints exponent = Bits<Ints>(n.v + 0x1.8p23F) - Bits<Ints>(Set(0x1.8p23F).v) + 127;
    const Ints clamped = exponent & (exponent > 0);
    return {a.v * Bits<Floats>((clamped & 0xFF) << 23)};
  }

  // Lane i of the result is lane i ^ distance of a.
  template <int distance>
  static Vec SwapLanes(Vec a) {
    return {Floats{a.v[distance], a.v[1 ^ distance], a.v[2 ^ distance], a.v[3 ^ distance]}};
  }

  // Lane i of the result is the sum of the lanes of a[i].
  static Vec SumLanes(const Vec *a) {
    const Floats first = {a[0].v[0], a[1].v[0], a[2].v[0], a[3].v[0]};
    const Floats second = {a[0].v[1], a[1].v[1], a[2].v[1], a[3].v[1]};
    const Floats third = {a[0].v[2], a[1].v[2], a[2].v[2], a[3].v[2]};
    const Floats fourth = {a[0].v[3], a[1].v[3], a[2].v[3], a[3].v[3]};
    return {(first + second) + (third + fourth)};
  }

 private:
  template <typename To, typename From>
  static To Bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
  }
  static Words Choose(Words where, Words a, Words b) { return (where & a) | (~where & b); }

  static uint16_t ToHalf(float x) {
    const auto bits = Bits<uint32_t>(x);
    const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000U);
    const uint32_t magnitude = bits & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U) {
      return sign | 0x7E00U | static_cast<uint16_t>((magnitude >> 13) & 0x3FFU);
    }
    if (magnitude >=
        0x477FF000U) {  // 65520, half way between the largest number and the next: rounds to infinity
      return sign | 0x7C00U;
    }
    if (magnitude < 0x38800000U) {  // subnormal: adding 0.5 leaves a unit in the last place of 2^-24
      return sign | static_cast<uint16_t>(Bits<uint32_t>(Bits<float>(magnitude) + 0.5F) - 0x3F000000U);
    }
    const uint32_t odd = (magnitude >> 13) & 1U;
    return sign | static_cast<uint16_t>((magnitude - 0x38000000U + 0xFFFU + odd) >> 13);
  }
  static uint16_t ToBFloat16(float x) {
    const auto bits = Bits<uint32_t>(x);
    if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
      return static_cast<uint16_t>((bits >> 16) | 0x40U);
    }
    return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
  }
};

}  // namespace
}  // namespace ifa::cpu
