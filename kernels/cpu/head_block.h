// How the scores of a block of query heads lie in vectors: [position][head], heads padded to a power of two,
// so that lanes keep their head from one vector to the next and the softmax of all heads needs no sums across
// lanes until its end. Included after one vec_*.h.
#pragma once

namespace ifa::cpu {
namespace {

// Query heads that share one pass over a tile. More would not fit the registers.
constexpr int kMaxBlockHeads = 8;

constexpr int PowerOfTwoAtLeast(int n) {
  int power = 1;
  while (power < n) {
    power *= 2;
  }
  return power;
}

template <int heads>
struct HeadBlock {
  static_assert(heads >= 1 && heads <= kMaxBlockHeads);
  /// Lanes from a position to the next.
  static constexpr int kPitch = PowerOfTwoAtLeast(heads);
  /// Vectors after which lanes mean the same heads again.
  static constexpr int kVectors = kPitch > Vec::kLanes ? kPitch / Vec::kLanes : 1;
  /// Positions whose scores are computed at once: one accumulator for each position and lane of it.
  static constexpr int kScorePositions =
      kPitch > Vec::kScoreAccumulators ? 1 : Vec::kScoreAccumulators / kPitch;
};

}  // namespace
}  // namespace ifa::cpu
