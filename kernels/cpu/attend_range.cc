#include "attend_range.h"

namespace ifa::cpu {

int64_t AlignedFloats(int64_t floats) {
  return (floats + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}

int64_t PaddedHeadSize(int64_t head_size) { return AlignedFloats(head_size); }

int64_t PartialSoftmaxFloats(int64_t heads, int64_t head_size) {
  return heads * PaddedHeadSize(head_size) + 2 * AlignedFloats(heads);
}

PartialSoftmax PartialSoftmaxIn(float *memory, int64_t heads, int64_t head_size) {
  float *max = memory + heads * PaddedHeadSize(head_size);
  return {memory, max, max + AlignedFloats(heads)};
}

}  // namespace ifa::cpu
