// The storage types of tensor elements. Conversions belong to each instruction set (vec_*.h).
#pragma once

#include <cstdint>

#include "decode_attention.h"

namespace ifa::cpu {

/// IEEE binary16.
struct Half {
  uint16_t bits;
};

/// The upper half of an IEEE binary32.
struct BFloat16 {
  uint16_t bits;
};

/// Bytes of one element.
int64_t ElementSize(DataType dtype);
const char *DataTypeName(DataType dtype);

}  // namespace ifa::cpu
