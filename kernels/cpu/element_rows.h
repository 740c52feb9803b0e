// Rows whose element type only the run knows: query, pse_shift, scales and offsets, output. They are touched
// once for a range or a tile, so that a choice for every vector costs nothing; code of its own is worth only
// the type of the cache. Included after one vec_*.h.
#pragma once

#include <cstdint>

#include "attend_range.h"
#include "element_types.h"

namespace ifa::cpu {
namespace {

/// Elements of a row of `size` in the vector that starts at `index`.
inline int LanesAt(int64_t index, int64_t size) {
  const int64_t left = size - index;
  return left < Vec::kLanes ? static_cast<int>(left) : Vec::kLanes;
}

template <typename T>
inline Vec LoadLanes(const void *row, int64_t index, int lanes) {
  const T *first = static_cast<const T *>(row) + index;
  return lanes < Vec::kLanes ? Vec::LoadPartial(first, lanes) : Vec::Load(first);
}

/// The `lanes` elements from `index` on, 1 to Vec::kLanes; the other lanes are zero. Not for kInt8.
inline Vec LoadElements(DataType dtype, const void *row, int64_t index, int lanes) {
  switch (dtype) {
    case DataType::kFloat16:
      return LoadLanes<Half>(row, index, lanes);
    case DataType::kBFloat16:
      return LoadLanes<BFloat16>(row, index, lanes);
    default:
      return LoadLanes<float>(row, index, lanes);
  }
}

/// The scales or the offsets of `lanes` channels from `channel` on; the other lanes are zero.
inline Vec LoadParameter(const Quantisation &quantisation, const void *parameter, int64_t channel,
                         int lanes) {
  if (quantisation.per_channel) {
    return LoadElements(quantisation.dtype, parameter, channel, lanes);
  }
  float repeated[Vec::kLanes];
  Vec::Store(repeated, LoadElements(quantisation.dtype, parameter, 0, 1));
  for (int i = 1; i < lanes; ++i) {
    repeated[i] = repeated[0];
  }
  return Vec::Load(repeated);
}

/// Rounded half to even and saturated; NaN gives 0.
inline int8_t ToInt8(float x) {
  const float bounded = x < -128.0F ? -128.0F : x > 127.0F ? 127.0F : x;
  return __builtin_isnan(x) ? int8_t{0} : static_cast<int8_t>(__builtin_nearbyintf(bounded));
}

/// Writes the first `lanes` lanes, 1 to Vec::kLanes, rounded half to even, from element `index` on.
inline void StoreElements(DataType dtype, void *row, int64_t index, Vec x, int lanes) {
  switch (dtype) {
    case DataType::kFloat16:
      return Vec::StorePartial(static_cast<Half *>(row) + index, x, lanes);
    case DataType::kBFloat16:
      return Vec::StorePartial(static_cast<BFloat16 *>(row) + index, x, lanes);
    case DataType::kFloat32:
      return Vec::StorePartial(static_cast<float *>(row) + index, x, lanes);
    case DataType::kInt8:
      break;
  }
  float wide[Vec::kLanes];
  Vec::Store(wide, x);
  for (int i = 0; i < lanes; ++i) {
    static_cast<int8_t *>(row)[index + i] = ToInt8(wide[i]);
  }
}

}  // namespace
}  // namespace ifa::cpu
