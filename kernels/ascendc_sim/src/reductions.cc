#include "ascendc/reductions.h"

namespace AscendC::lanes {
namespace {

bool IsActive(const LaneBits &lanes, uint32_t lane) { return (lanes[lane / 64] >> (lane % 64) & 1) != 0; }

}  // namespace

Reduced Sum(const float *values, const LaneBits &lanes, uint32_t count) {
  float sums[kMostLanes];
  for (uint32_t lane = 0; lane < count; ++lane) {
    sums[lane] = IsActive(lanes, lane) ? values[lane] : 0;
  }
  for (uint32_t width = count / 2; width > 0; width /= 2) {
    for (uint32_t lane = 0; lane < width; ++lane) {
      sums[lane] = sums[2 * lane] + sums[2 * lane + 1];
    }
  }
  return {sums[0], 0};
}

Reduced Maximum(const float *values, const LaneBits &lanes, uint32_t count) {
  Reduced found{0, kMostLanes};
  for (uint32_t lane = 0; lane < count; ++lane) {
    if (IsActive(lanes, lane) && (found.index == kMostLanes || values[lane] > found.value)) {
      found = {values[lane], lane};
    }
  }
  return found;
}

}  // namespace AscendC::lanes
