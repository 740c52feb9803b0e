// Conversions between the types of the device.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "ascendc/vector_lanes.h"

namespace AscendC {
namespace lanes {

/// `value` to a number of `digits` binary digits (the leading one included) whose smallest exponent is
/// `lowest`, in a rounding mode. Beyond what a float holds nothing is lost: the result is exact.
float RoundToDigits(float value, int digits, int lowest, RoundMode mode);
/// To a whole number in a rounding mode.
double RoundToWhole(double value, RoundMode mode);

constexpr unsigned Bit(RoundMode mode) { return 1u << static_cast<unsigned>(mode); }

/// The rounding modes that the device has for a conversion, a bit each; 0 for none.
template <typename To, typename From>
constexpr unsigned ModesOf() {
  constexpr unsigned kExact = Bit(RoundMode::CAST_NONE);
  constexpr unsigned kWhole = Bit(RoundMode::CAST_RINT) | Bit(RoundMode::CAST_FLOOR) |
                              Bit(RoundMode::CAST_CEIL) | Bit(RoundMode::CAST_ROUND) |
                              Bit(RoundMode::CAST_TRUNC);
  constexpr bool kFromHalf = std::is_same_v<From, half>;
  constexpr bool kFromFloat = std::is_same_v<From, float>;
  if constexpr (std::is_same_v<To, float>) {
    const bool is_int = std::is_same_v<From, int32_t>;
    return kFromHalf || std::is_same_v<From, bfloat16_t> ? kExact
           : is_int                                      ? kExact | kWhole
           : kFromFloat                                  ? kWhole
                                                         : 0;
  } else if constexpr (std::is_same_v<To, half>) {
    const bool is_byte = std::is_same_v<From, int8_t> || std::is_same_v<From, uint8_t>;
    return kFromFloat ? kExact | kWhole | Bit(RoundMode::CAST_ODD) : is_byte ? kExact : 0;
  } else if constexpr (std::is_same_v<To, bfloat16_t>) {
    return kFromFloat ? kWhole : 0;
  } else if constexpr (std::is_same_v<To, int8_t> || std::is_same_v<To, uint8_t>) {
    return kFromHalf ? kExact | kWhole : 0;
  } else if constexpr (std::is_same_v<To, int32_t>) {
    return kFromFloat || kFromHalf ? kWhole : 0;
  } else {
    return 0;
  }
}

template <typename To, typename From>
Wide<To> Convert(Wide<From> value, RoundMode mode) {
  if constexpr (std::is_integral_v<To>) {
    // Saturates; the device gives 0 for a NaN.
    const double whole = RoundToWhole(value, mode);
    constexpr double kLowest = std::numeric_limits<To>::lowest();
    constexpr double kHighest = std::numeric_limits<To>::max();
    return static_cast<Wide<To>>(std::isnan(whole)  ? 0
                                 : whole < kLowest  ? kLowest
                                 : whole > kHighest ? kHighest
                                                    : whole);
  } else {
    const auto number = static_cast<float>(value);
    if constexpr (std::is_same_v<To, float> && std::is_same_v<From, float>) {
      return static_cast<float>(RoundToWhole(number, mode));
    }
    // To nearest is how a result is stored in any case.
    if (mode == RoundMode::CAST_NONE || mode == RoundMode::CAST_RINT || std::is_same_v<To, float>) {
      return number;
    }
    return std::is_same_v<To, half> ? RoundToDigits(number, 11, -24, mode)
                                    : RoundToDigits(number, 8, -133, mode);
  }
}

template <typename T, typename U>
void CastLanes(ifa::sim::Instruction &instruction, const LocalTensor<T> &dst, const LocalTensor<U> &src,
               RoundMode mode, const Repeats &walked, const UnaryRepeatParams &strides) {
  static_assert(ModesOf<T, U>() != 0, "Cast does not convert between these types");
  instruction.Require((ModesOf<T, U>() & Bit(mode)) != 0, ifa::sim::Check::kCastMode,
                      "Cast does not have this rounding mode for these types");
  const Source out{dst.range(), strides.dstBlkStride, strides.dstRepStride};
  const std::array<Source, 1> in{Source{src.range(), strides.srcBlkStride, strides.srcRepStride}};
  if (mode == RoundMode::CAST_NONE) {
    Elementwise<T, U, Destination::kWritten, 1>(
        instruction, walked, out, in, 1,
        [](auto, Wide<U> value, auto) { return Convert<T, U>(value, RoundMode::CAST_NONE); });
  } else {
    Elementwise<T, U, Destination::kWritten, 1>(
        instruction, walked, out, in, 1,
        [mode](auto, Wide<U> value, auto) { return Convert<T, U>(value, mode); });
  }
}

}  // namespace lanes

/// By the scalar unit.
inline float ToFloat(bfloat16_t value) { return value; }

template <typename T, typename U>
void Cast(const LocalTensor<T> &dst, const LocalTensor<U> &src, RoundMode mode, Lanes mask, int64_t repeats,
          const UnaryRepeatParams &strides, Site site = Site::Here()) {
  ifa::sim::Instruction instruction(PIPE_V, "Cast", site);
  constexpr uint32_t kLanes = LanesOfRepeat(std::max(sizeof(T), sizeof(U)));
  lanes::CastLanes(instruction, dst, src, mode, RepeatsOf(instruction, mask, repeats, kLanes), strides);
}

template <typename T, typename U>
void Cast(const LocalTensor<T> &dst, const LocalTensor<U> &src, RoundMode mode, int64_t count,
          Site site = Site::Here()) {
  ifa::sim::Instruction instruction(PIPE_V, "Cast", site);
  constexpr uint32_t kLanes = LanesOfRepeat(std::max(sizeof(T), sizeof(U)));
  lanes::CastLanes(instruction, dst, src, mode, RepeatsOf(instruction, count, kLanes),
                   {1, 1, DenseStride(sizeof(T), kLanes), DenseStride(sizeof(U), kLanes)});
}

}  // namespace AscendC
