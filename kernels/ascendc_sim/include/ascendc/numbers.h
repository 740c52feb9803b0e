// The 16-bit numbers of the device: stored as bits, computed with as float and rounded once.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace ifa::sim {

template <typename To, typename From>
inline To BitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

/// Exact. Without branches, so that loops over it become vector instructions.
inline float HalfToFloat(uint16_t bits) {
  const uint32_t magnitude = (bits & 0x7fffu) << 13;
  // Moves the exponent from a bias of 15 to one of 127, subnormal numbers included; infinities and NaNs keep
  // the top.
  const uint32_t finite = BitCast<uint32_t>(BitCast<float>(magnitude) * 0x1p112f);
  const uint32_t value = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : finite;
  return BitCast<float>(value | (bits & 0x8000u) << 16);
}

/// To nearest, ties to even; beyond the largest half to infinity.
inline uint16_t FloatToHalf(float value) {
  const uint32_t bits = BitCast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  // Adding 0.5 leaves the multiple of 2^-24, which is what subnormal halves count, in the low bits.
  const uint32_t subnormal = BitCast<uint32_t>(BitCast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t rounded =
      magnitude >= 0x47800000u ? special : (magnitude < 0x38800000u ? subnormal : normal);
  return static_cast<uint16_t>(sign | rounded);
}

inline float BfloatToFloat(uint16_t bits) { return BitCast<float>(static_cast<uint32_t>(bits) << 16); }

/// To nearest, ties to even.
inline uint16_t FloatToBfloat(float value) {
  const uint32_t bits = BitCast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded);
}

}  // namespace ifa::sim

struct half {
  uint16_t bits;

  half() = default;
  template <typename Number, typename = std::enable_if_t<std::is_arithmetic_v<Number>>>
  half(Number value) : bits(ifa::sim::FloatToHalf(static_cast<float>(value))) {}
  operator float() const { return ifa::sim::HalfToFloat(bits); }
};

struct bfloat16_t {
  uint16_t bits;

  bfloat16_t() = default;
  template <typename Number, typename = std::enable_if_t<std::is_arithmetic_v<Number>>>
  bfloat16_t(Number value) : bits(ifa::sim::FloatToBfloat(static_cast<float>(value))) {}
  operator float() const { return ifa::sim::BfloatToFloat(bits); }
};
