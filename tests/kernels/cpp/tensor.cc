#include "tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "element_types.h"

namespace ifa::cpu::test {
namespace {

// Binary formats by exponent and fraction bits, one element at a time.
struct Format {
  int exponent_bits;
  int fraction_bits;
};
Format FormatOf(DataType dtype) { return dtype == DataType::kFloat16 ? Format{5, 10} : Format{8, 7}; }

double ToDouble(DataType dtype, const std::byte *element) {
  if (dtype == DataType::kFloat32) {
    float x;
    std::memcpy(&x, element, sizeof(x));
    return x;
  }
  if (dtype == DataType::kInt8) {
    int8_t x;
    std::memcpy(&x, element, sizeof(x));
    return x;
  }
  const Format format = FormatOf(dtype);
  uint16_t bits;
  std::memcpy(&bits, element, sizeof(bits));
  const int exponent = (bits >> format.fraction_bits) & ((1 << format.exponent_bits) - 1);
  const int fraction = bits & ((1 << format.fraction_bits) - 1);
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  double x;
  if (exponent == (1 << format.exponent_bits) - 1) {
    x = fraction == 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    x = std::ldexp(fraction, 1 - bias - format.fraction_bits);
  } else {
    x = std::ldexp(fraction + (1 << format.fraction_bits), exponent - bias - format.fraction_bits);
  }
  return (bits & 0x8000U) != 0 ? -x : x;
}

void FromDouble(DataType dtype, double x, std::byte *element) {
  if (dtype == DataType::kFloat32) {
    const auto narrow = static_cast<float>(x);
    std::memcpy(element, &narrow, sizeof(narrow));
    return;
  }
  if (dtype == DataType::kInt8) {
    const auto narrow = static_cast<int8_t>(static_cast<int>(x));
    std::memcpy(element, &narrow, sizeof(narrow));
    return;
  }
  const Format format = FormatOf(dtype);
  const int special = ((1 << format.exponent_bits) - 1) << format.fraction_bits;
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  int bits;
  if (std::isnan(x)) {
    bits = special | (1 << (format.fraction_bits - 1));
  } else if (std::isinf(x)) {
    bits = special;
  } else {
    const double unit = UnitInTheLastPlace(dtype, x);
    const double units = std::nearbyint(std::abs(x) / unit);
    // A carry out of the fraction raises the exponent by itself.
    const int exponent = x == 0 ? 0 : std::max(0, std::ilogb(x) + bias - 1);
    bits = std::min(special, static_cast<int>(units) + (exponent << format.fraction_bits));
    if (x != 0 && std::ilogb(x) + bias <= 0) {
      bits = static_cast<int>(units);
    }
  }
  const auto stored = static_cast<uint16_t>(bits | (std::signbit(x) ? 0x8000 : 0));
  std::memcpy(element, &stored, sizeof(stored));
}

}  // namespace

double UnitInTheLastPlace(DataType dtype, double x) {
  const Format format = FormatOf(dtype);
  const int smallest = 2 - (1 << (format.exponent_bits - 1));
  const int exponent = x == 0 ? smallest : std::max(smallest, std::ilogb(x));
  return std::ldexp(1.0, exponent - format.fraction_bits);
}

Tensor::Tensor(DataType dtype, int64_t elements, GuardedBuffer::Guard guard)
    : dtype_(dtype), memory_(static_cast<size_t>(elements * ElementSize(dtype)), guard) {}

double Tensor::Get(int64_t index) const {
  return ToDouble(dtype_, memory_.data() + index * ElementSize(dtype_));
}

void Tensor::Set(int64_t index, double x) {
  memory_.SetWritable(true);
  FromDouble(dtype_, x, memory_.data() + index * ElementSize(dtype_));
}

}  // namespace ifa::cpu::test
