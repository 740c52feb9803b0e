#include "ascendc/casts.h"

namespace AscendC::lanes {

double RoundToWhole(double value, RoundMode mode) {
  switch (mode) {
    case RoundMode::CAST_FLOOR:
      return std::floor(value);
    case RoundMode::CAST_CEIL:
      return std::ceil(value);
    case RoundMode::CAST_ROUND:
      return std::round(value);
    case RoundMode::CAST_TRUNC:
      return std::trunc(value);
    case RoundMode::CAST_ODD: {
      const double below = std::floor(value);
      return below == value || std::fmod(below, 2) != 0 ? below : below + 1;
    }
    default:
      return std::nearbyint(value);  // the mode of the process is to nearest, ties to even
  }
}

float RoundToDigits(float value, int digits, int lowest, RoundMode mode) {
  if (!std::isfinite(value) || value == 0) {
    return value;
  }
  int exponent;
  std::frexp(value, &exponent);
  const int last = std::max(exponent - digits, lowest);
  return static_cast<float>(std::ldexp(RoundToWhole(std::ldexp(double{value}, -last), mode), last));
}

}  // namespace AscendC::lanes
