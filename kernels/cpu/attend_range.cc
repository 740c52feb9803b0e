#include "attend_range.h"

namespace ifa::cpu {
namespace {

int64_t RoundUp(int64_t floats) {
  return (floats + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}

}  // namespace

int64_t PaddedHeadSize(int64_t head_size) { return RoundUp(head_size); }

int64_t PartialSoftmaxFloats(int64_t heads, int64_t head_size) {
  return heads * PaddedHeadSize(head_size) + 2 * RoundUp(heads);
}

PartialSoftmax PartialSoftmaxIn(float *memory, int64_t heads, int64_t head_size) {
  float *max = memory + heads * PaddedHeadSize(head_size);
  return {memory, max, max + RoundUp(heads)};
}

}  // namespace ifa::cpu
