// What a cube core and its two vector cores pass each other: rings of tiles in the core's private part of the
// workspace, which stay in L2, and the flags that say which slots are filled.
#pragma once

#include "cube_plan.h"
#include "decode_tiling_data.h"
#include "kernel_operator.h"

namespace ifa::ascendc {

/// Flags between a cube core and its vector cores (mode 2), counting tiles in order.
constexpr uint8_t kCubeAndVectors = 2;
constexpr uint16_t kScoresReady = 0;   ///< cube to vectors
constexpr uint16_t kWeightsReady = 1;  ///< vectors to cube
constexpr uint16_t kOutputsReady = 2;  ///< cube to vectors
constexpr uint16_t kKeysReady = 3;  ///< vectors to cube, of an int8 cache, and with a row's first its queries
constexpr uint16_t kValuesReady = 4;  ///< vectors to cube, of an int8 cache

/// What the matrix products multiply: queries and a cache of the same type, or an int8 cache that half holds.
template <typename Query, bool int8_cache>
struct MatrixType {
  using Type = Query;
};
template <typename Query>
struct MatrixType<Query, true> {
  using Type = half;
};

/// @tparam T half or bfloat16_t, of the matrix products.
template <typename T>
class CubeExchange {
 public:
  /// @param workspace the user's part of it
  __aicore__ inline void Init(const DecodeTiling &tiling, uint32_t core, GM_ADDR workspace, bool int8_cache) {
    const CubeRings rings = PlanCubeRings(tiling.group, tiling.headSize, int8_cache);
    const uint32_t width = RoundUp(tiling.headSize, kFractal);
    GM_ADDR base = workspace + tiling.privateOffset + core * tiling.privateBytes;
    score_elements_ = tiling.group * tiling.tileRows;
    output_elements_ = tiling.group * width;
    tile_elements_ = tiling.tileRows * width;
    scores_.SetGlobalBuffer(reinterpret_cast<__gm__ float *>(base), kRingSlots * score_elements_);
    weights_.SetGlobalBuffer(reinterpret_cast<__gm__ T *>(base + rings.weights),
                             kRingSlots * score_elements_);
    outputs_.SetGlobalBuffer(reinterpret_cast<__gm__ float *>(base + rings.outputs),
                             kRingSlots * output_elements_);
    queries_.SetGlobalBuffer(reinterpret_cast<__gm__ T *>(base + rings.queries),
                             kWidenedSlots * output_elements_);
    keys_.SetGlobalBuffer(reinterpret_cast<__gm__ T *>(base + rings.keys), kWidenedSlots * tile_elements_);
    values_.SetGlobalBuffer(reinterpret_cast<__gm__ T *>(base + rings.values),
                            kWidenedSlots * tile_elements_);
  }

  /// [group][tileRows] of a tile, counted over the core's range.
  __aicore__ inline AscendC::GlobalTensor<float> Scores(uint32_t tile) {
    return scores_[tile % kRingSlots * score_elements_];
  }
  /// [group][tileRows] of a tile: exponentials, not divided by their sum yet.
  __aicore__ inline AscendC::GlobalTensor<T> Weights(uint32_t tile) {
    return weights_[tile % kRingSlots * score_elements_];
  }
  /// [group][headSize rounded up to 16] of a tile.
  __aicore__ inline AscendC::GlobalTensor<float> Outputs(uint32_t tile) {
    return outputs_[tile % kRingSlots * output_elements_];
  }
  /// [group][headSize rounded up to 16] of a row, counted over the core's range, in an int8 cache's units.
  __aicore__ inline AscendC::GlobalTensor<T> Queries(uint32_t row) {
    return queries_[row % kWidenedSlots * output_elements_];
  }
  /// [tileRows][headSize rounded up to 16] of a tile of an int8 cache.
  __aicore__ inline AscendC::GlobalTensor<T> Keys(uint32_t tile) {
    return keys_[tile % kWidenedSlots * tile_elements_];
  }
  __aicore__ inline AscendC::GlobalTensor<T> Values(uint32_t tile) {
    return values_[tile % kWidenedSlots * tile_elements_];
  }

 private:
  uint32_t score_elements_ = 0;
  uint32_t output_elements_ = 0;
  uint32_t tile_elements_ = 0;
  AscendC::GlobalTensor<float> scores_;
  AscendC::GlobalTensor<T> weights_;
  AscendC::GlobalTensor<float> outputs_;
  AscendC::GlobalTensor<T> queries_;
  AscendC::GlobalTensor<T> keys_;
  AscendC::GlobalTensor<T> values_;
};

}  // namespace ifa::ascendc
