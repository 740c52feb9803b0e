// The running state of a softmax that sees its scores tile by tile: update by a tile, merge of two states,
// the end. Every rule about maxima, infinities and rescaling is here. Included after one vec_*.h.
#pragma once

#include <cstdint>

#include "attend_range.h"
#include "head_block.h"

namespace ifa::cpu {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();

// exp(x) for x <= 0; NaN for NaN. Relative error 1.1e-7: a polynomial of degree 5 for 2^f, |f| <= 0.5,
// interpolated at the Chebyshev nodes.
inline __attribute__((always_inline)) Vec Exp(Vec x) {
  const Vec log2e = Vec::Set(1.44269504F);
  const Vec bounded =
      Vec::Max(Vec::Set(-128.0F), x);  // exp(-128) is 0 already; keeps -inf out of what follows
  const Vec whole = Vec::Round(Vec::Mul(bounded, log2e));
  const Vec f = Vec::Fma(bounded, log2e, Vec::Sub(Vec::Zero(), whole));
  Vec power = Vec::Fma(f, Vec::Set(1.3390863e-3F), Vec::Set(9.676032e-3F));
  power = Vec::Fma(f, power, Vec::Set(5.550357e-2F));
  power = Vec::Fma(f, power, Vec::Set(2.4022107e-1F));
  power = Vec::Fma(f, power, Vec::Set(6.931472e-1F));
  power = Vec::Fma(f, power, Vec::Set(1.0F));
  return Vec::ScaleByPowerOfTwo(power, whole);
}

// What to subtract from scores whose maximum is `max`. While every score is -inf the weights are to be 0, not
// the NaN of -inf - -inf.
inline __attribute__((always_inline)) Vec Reference(Vec max) {
  return Vec::ZeroWhereEqual(max, Vec::Set(kMinusInfinity));
}

// The largest of all lanes that belong to the same head, in each of them.
template <int pitch, int distance = Vec::kLanes / 2>
inline __attribute__((always_inline)) Vec MaxOverPositions(Vec x) {
  if constexpr (distance >= pitch) {
    return MaxOverPositions<pitch, distance / 2>(Vec::Max(x, Vec::SwapLanes<distance>(x)));
  } else {
    return x;
  }
}

template <int pitch, int distance = Vec::kLanes / 2>
inline __attribute__((always_inline)) Vec SumOverPositions(Vec x) {
  if constexpr (distance >= pitch) {
    return SumOverPositions<pitch, distance / 2>(Vec::Add(x, Vec::SwapLanes<distance>(x)));
  } else {
    return x;
  }
}

/// Maximum and sum of one block of heads, by lane. The weighted values belong to value_tile.h, which is told
/// when to rescale them.
template <int heads>
class OnlineSoftmax {
 public:
  static constexpr int kVectors = HeadBlock<heads>::kVectors;
  static constexpr int kPitch = HeadBlock<heads>::kPitch;

  /// `memory`: 2 * kScratchAlignment floats that hold the state between two calls.
  explicit OnlineSoftmax(float *memory) : max_(memory), sum_(memory + kScratchAlignment) {}

  void Reset() {
    for (int i = 0; i < kVectors; ++i) {
      Vec::Store(max_ + i * Vec::kLanes, Vec::Set(kMinusInfinity));
      Vec::Store(sum_ + i * Vec::kLanes, Vec::Zero());
    }
  }

  /// Replaces `vectors` vectors of scores by exp(score - maximum so far). True when a maximum grew: what was
  /// summed under the old one is then to be multiplied by rescale[head].
  bool Update(float *scores, int vectors, float *rescale) {
    Vec top[kVectors];
    for (int i = 0; i < kVectors; ++i) {
      top[i] = Vec::Load(scores + i * Vec::kLanes);
    }
    for (int v = kVectors; v < vectors; v += kVectors) {
      for (int i = 0; i < kVectors; ++i) {
        top[i] = Vec::Max(top[i], Vec::Load(scores + (v + i) * Vec::kLanes));
      }
    }
    bool grew = false;
    for (int i = 0; i < kVectors; ++i) {
      top[i] = MaxOverPositions<kPitch>(top[i]);
      grew |= Vec::AnyGreater(top[i], Vec::Load(max_ + i * Vec::kLanes));
    }
    if (grew) {
      Raise(top, rescale);
    }
    for (int i = 0; i < kVectors; ++i) {
      const Vec reference = Reference(Vec::Load(max_ + i * Vec::kLanes));
      Vec sum = Vec::Load(sum_ + i * Vec::kLanes);
      for (int v = i; v < vectors; v += kVectors) {
        const Vec weight = Exp(Vec::Sub(Vec::Load(scores + v * Vec::kLanes), reference));
        sum = Vec::Add(sum, weight);
        Vec::Store(scores + v * Vec::kLanes, weight);
      }
      Vec::Store(sum_ + i * Vec::kLanes, sum);
    }
    return grew;
  }

  /// Writes `heads` maxima and sums.
  void Finish(float *max, float *sum) const {
    float lanes_max[kVectors * Vec::kLanes];
    float lanes_sum[kVectors * Vec::kLanes];
    for (int i = 0; i < kVectors; ++i) {
      Vec::Store(lanes_max + i * Vec::kLanes, Vec::Load(max_ + i * Vec::kLanes));
      Vec::Store(lanes_sum + i * Vec::kLanes, SumOverPositions<kPitch>(Vec::Load(sum_ + i * Vec::kLanes)));
    }
    for (int h = 0; h < heads; ++h) {
      max[h] = lanes_max[h];
      sum[h] = lanes_sum[h];
    }
  }

 private:
  void Raise(const Vec *top, float *rescale) {
    for (int i = 0; i < kVectors; ++i) {
      const Vec old = Vec::Load(max_ + i * Vec::kLanes);
      const Vec max = Vec::Max(old, top[i]);
      const Vec factor = Exp(Vec::Sub(old, Reference(max)));
      Vec::Store(max_ + i * Vec::kLanes, max);
      Vec::Store(sum_ + i * Vec::kLanes, Vec::Mul(Vec::Load(sum_ + i * Vec::kLanes), factor));
      Vec::Store(rescale + i * Vec::kLanes, factor);
    }
  }

  float *max_;
  float *sum_;
};

/// The state of a range without positions.
inline void ResetPartial(const HeadGroup &group, const PartialSoftmax &state) {
  const int64_t floats = group.heads * PaddedHeadSize(group.head_size);
  for (int64_t i = 0; i < floats; i += Vec::kLanes) {
    Vec::Store(state.weighted_values + i, Vec::Zero());
  }
  for (int64_t h = 0; h < group.heads; ++h) {
    state.max[h] = kMinusInfinity;
    state.sum[h] = 0.0F;
  }
}

inline void MergePartial(const HeadGroup &group, const PartialSoftmax &part, const PartialSoftmax &total) {
  const int64_t pitch = PaddedHeadSize(group.head_size);
  for (int64_t h = 0; h < group.heads; ++h) {
    const Vec max = Vec::Max(Vec::Set(part.max[h]), Vec::Set(total.max[h]));
    const Vec part_factor = Exp(Vec::Sub(Vec::Set(part.max[h]), Reference(max)));
    const Vec total_factor = Exp(Vec::Sub(Vec::Set(total.max[h]), Reference(max)));
    const Vec sum =
        Vec::Fma(Vec::Set(part.sum[h]), part_factor, Vec::Mul(Vec::Set(total.sum[h]), total_factor));
    Vec::StorePartial(total.max + h, max, 1);
    Vec::StorePartial(total.sum + h, sum, 1);
    const float *from = part.weighted_values + h * pitch;
    float *to = total.weighted_values + h * pitch;
    for (int64_t d = 0; d < pitch; d += Vec::kLanes) {
      Vec::Store(to + d,
                 Vec::Fma(Vec::Load(from + d), part_factor, Vec::Mul(Vec::Load(to + d), total_factor)));
    }
  }
}

}  // namespace
}  // namespace ifa::cpu
