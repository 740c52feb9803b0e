// The end of a head group: the sums are normalised, dequantised if the cache was int8, quantised if the
// output is, rounded and written. Included after one vec_*.h.
#pragma once

#include <cstdint>

#include "attend_range.h"
#include "element_rows.h"

namespace ifa::cpu {
namespace {

/// Writes (G, D), of which `value(head, channel, lanes)` gives a vector.
template <typename Value>
void WriteRows(const HeadGroup &group, Value value) {
  const Quantisation &quantisation = group.output_quantisation;
  for (int64_t h = 0; h < group.heads; ++h) {
    for (int64_t d = 0; d < group.head_size; d += Vec::kLanes) {
      const int lanes = LanesAt(d, group.head_size);
      Vec x = value(h, d, lanes);
      if (quantisation.scale != nullptr) {
        const int64_t channel = h * group.head_size + d;
        const Vec offset = quantisation.offset == nullptr
                               ? Vec::Zero()
                               : LoadParameter(quantisation, quantisation.offset, channel, lanes);
        x = Vec::Fma(x, LoadParameter(quantisation, quantisation.scale, channel, lanes), offset);
      }
      StoreElements(group.output_dtype, group.output, h * group.output_stride + d, x, lanes);
    }
  }
}

/// sum(p * (v + offset) * scale) / sum(p), from sum(p * v) and sum(p).
inline void WriteNormalised(const HeadGroup &group, const PartialSoftmax &total) {
  const Quantisation &quantisation = group.value_quantisation;
  const int64_t pitch = PaddedHeadSize(group.head_size);
  WriteRows(group, [&](int64_t head, int64_t channel, int lanes) {
    const float *values = total.weighted_values + head * pitch;
    Vec x = Vec::Div(Vec::Load(values + channel), Vec::Set(total.sum[head]));
    if (quantisation.offset != nullptr) {
      x = Vec::Add(x, LoadParameter(quantisation, quantisation.offset, channel, lanes));
    }
    if (quantisation.scale != nullptr) {
      x = Vec::Mul(x, LoadParameter(quantisation, quantisation.scale, channel, lanes));
    }
    return x;
  });
}

inline void WriteZeros(const HeadGroup &group) {
  WriteRows(group, [](int64_t, int64_t, int) { return Vec::Zero(); });
}

}  // namespace
}  // namespace ifa::cpu
