// The query heads of a group in fp32, with the scale of a quantised key in them. Included after one vec_*.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend_range.h"
#include "element_rows.h"
#include "online_softmax.h"
#include "score_terms.h"

namespace ifa::cpu {
namespace {

class WideQuery {
 public:
  /// `memory`: Floats() of it.
  WideQuery(const HeadGroup &group, float *memory)
      : group_(group),
        pitch_(PaddedHeadSize(group.head_size)),
        rows_(memory),
        key_constant_(memory + group.heads * pitch_) {
    for (int64_t h = 0; h < group.heads; ++h) {
      Widen(h);
    }
  }

  static int64_t Floats(int64_t heads, int64_t head_size) {
    return heads * PaddedHeadSize(head_size) + AlignedFloats(heads);
  }

  /// D values, and zeros up to PaddedHeadSize(D), which is the distance to the next head.
  const float *Row(int64_t head) const { return rows_ + head * pitch_; }

  /// Of the heads from `head` on.
  ScoreTerms Terms(int64_t head) const {
    const auto *pse_shift = static_cast<const std::byte *>(group_.pse_shift);
    return {add_key_constant_ ? key_constant_ + head : nullptr, group_.dtype,
            pse_shift == nullptr ? nullptr : pse_shift + head * group_.pse_stride * ElementSize(group_.dtype),
            group_.pse_stride};
  }

 private:
  // q . (k + offset) * scale = (q * scale) . k + (q * scale) . offset: the scale goes into the query, and the
  // last term is the same for every position.
  void Widen(int64_t h) {
    const Quantisation &key = group_.key_quantisation;
    float *row = rows_ + h * pitch_;
    Vec constant = Vec::Zero();
    for (int64_t d = 0; d < pitch_; d += Vec::kLanes) {
      Vec::Store(row + d, Vec::Zero());
    }
    for (int64_t d = 0; d < group_.head_size; d += Vec::kLanes) {
      const int lanes = LanesAt(d, group_.head_size);
      Vec x = LoadElements(group_.dtype, group_.query, h * group_.query_stride + d, lanes);
      if (key.scale != nullptr) {
        x = Vec::Mul(x, LoadParameter(key, key.scale, d, lanes));
      }
      if (key.offset != nullptr) {
        constant = Vec::Fma(x, LoadParameter(key, key.offset, d, lanes), constant);
      }
      Vec::Store(row + d, x);
    }
    if (key.offset != nullptr) {
      KeepKeyConstant(h, Vec::Mul(SumOverPositions<1>(constant), Vec::Set(group_.scale)));
    }
  }

  // What is added to every score of a head changes no weight, and would only cost digits. But a masked score
  // is -1e12 whatever the others are, so a constant that comes near it counts, and so does one that is not
  // finite.
  void KeepKeyConstant(int64_t head, Vec constant) {
    Vec::StorePartial(key_constant_ + head, constant, 1);
    float &x = key_constant_[head];
    if (x > 0.1F * kMaskedScore && x < -kMinusInfinity) {
      x = 0.0F;
    } else {
      add_key_constant_ = true;
    }
  }

  const HeadGroup &group_;
  int64_t pitch_;
  float *rows_;
  float *key_constant_;  // by head, 0 where it changes nothing
  bool add_key_constant_ = false;
};

}  // namespace
}  // namespace ifa::cpu
