// What changes a score after the dot product: the constant of a quantised key, pse_shift, the mask. Included
// after one vec_*.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "element_rows.h"
#include "kv_walker.h"

namespace ifa::cpu {
namespace {

// The score of a masked position: finite, so that a row of nothing else is uniform.
constexpr float kMaskedScore = -1e12F;

/// Of a block of query heads.
struct ScoreTerms {
  const float *key_constant;  ///< (heads) to be added to all scores, or null
  DataType pse_dtype;
  const std::byte *pse_shift;  ///< (heads, S) or null
  int64_t pse_stride;

  /// scores: [position][pitch], the first `heads` of each belong to heads.
  template <int pitch>
  void Apply(int heads, const KvTile &tile, float *scores) const {
    if (key_constant != nullptr) {
      AddKeyConstant<pitch>(heads, tile, scores);
    }
    if (pse_shift != nullptr) {
      AddPseShift<pitch>(heads, tile, scores);
    }
    if (tile.mask != nullptr) {
      ReplaceMasked<pitch>(tile, scores);
    }
  }

 private:
  template <int pitch>
  void AddKeyConstant(int heads, const KvTile &tile, float *scores) const {
    for (int k = 0; k < tile.count; ++k) {
      for (int h = 0; h < heads; ++h) {
        scores[k * pitch + h] += key_constant[h];
      }
    }
  }

  template <int pitch>
  void AddPseShift(int heads, const KvTile &tile, float *scores) const {
    for (int h = 0; h < heads; ++h) {
      const int64_t row = h * pse_stride + tile.position;
      float shift[kTilePositions + Vec::kLanes];
      for (int k = 0; k < tile.count; k += Vec::kLanes) {
        Vec::Store(shift + k, LoadElements(pse_dtype, pse_shift, row + k, LanesAt(k, tile.count)));
      }
      for (int k = 0; k < tile.count; ++k) {
        scores[k * pitch + h] += shift[k];
      }
    }
  }

  template <int pitch>
  static void ReplaceMasked(const KvTile &tile, float *scores) {
    for (int k = 0; k < tile.count; ++k) {
      if (tile.mask[k] != 0) {
        for (int h = 0; h < pitch; ++h) {
          scores[k * pitch + h] = kMaskedScore;
        }
      }
    }
  }
};

}  // namespace
}  // namespace ifa::cpu
