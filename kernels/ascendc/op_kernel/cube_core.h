// The cube core's part of the cube path: of each tile the scores, and kScoreLead tiles later, when the vector
// cores have made weights of them, the outputs.
#pragma once

#include "cube_exchange.h"
#include "cube_plan.h"
#include "decode_arguments.h"
#include "kernel_operator.h"
#include "kv_walker.h"
#include "matrix_products.h"
#include "tile_cursor.h"

namespace ifa::ascendc {

/// @tparam T half or bfloat16_t, of the matrix products.
/// @tparam int8_cache the vector cores widen keys and values to T, and pass them with the queries.
template <typename T, bool int8_cache>
class CubeCore {
 public:
  __aicore__ inline void Init(AscendC::TPipe *pipe, const DecodeTiling &tiling,
                              const DecodeArguments &arguments, uint32_t core,
                              const CubeExchange<T> &exchange) {
    tiling_ = &tiling;
    exchange_ = exchange;
    query_.SetGlobalBuffer(reinterpret_cast<__gm__ T *>(arguments.query));
    key_.SetGlobalBuffer(reinterpret_cast<__gm__ T *>(arguments.key));
    value_.SetGlobalBuffer(reinterpret_cast<__gm__ T *>(arguments.value));
    cursor_.Init(tiling, core, arguments.lengths, arguments.kv_padding);
    walker_.Init(tiling, arguments.block_table);
    products_.Init(pipe, tiling.group, tiling.headSize, tiling.tileRows);
  }

  __aicore__ inline void Run() {
    uint32_t tiles = 0;
    bool more = true;
    for (uint32_t tile = 0; more || tile < tiles + kScoreLead; ++tile) {
      if (more && (more = NextTile(&steps_[tile % kSteps]))) {
        ComputeScores(tile, steps_[tile % kSteps]);
        ++tiles;
      }
      if (tile >= kScoreLead && tile - kScoreLead < tiles) {
        ComputeOutputs(tile - kScoreLead, steps_[(tile - kScoreLead) % kSteps]);
      }
    }
  }

 private:
  static constexpr uint32_t kSteps = kScoreLead + 1;

  __aicore__ inline bool NextTile(TileStep *step) {
    while (cursor_.Next(step)) {
      if (step->columns > 0) return true;
    }
    return false;
  }

  __aicore__ inline void ComputeScores(uint32_t tile, const TileStep &step) {
    rows_ += step.opens ? 1 : 0;
    AscendC::LocalTensor<T> slot = products_.OpenSlot();
    if constexpr (int8_cache) {
      AscendC::CrossCoreWaitFlag<kCubeAndVectors>(kKeysReady);
      products_.LoadLeft(slot, exchange_.Queries(rows_), tiling_->headSize,
                         PaddedHeadSize(tiling_->headSize));
      products_.LoadRight(slot, exchange_.Keys(tile), 0, step.columns, PaddedHeadSize(tiling_->headSize));
    } else {
      const uint64_t head = step.batch * tiling_->heads + step.head * tiling_->group;
      products_.LoadLeft(slot, query_[head * tiling_->headSize], tiling_->headSize, tiling_->headSize);
      LoadTile(slot, key_, step);
    }
    products_.MultiplyByKeys(slot, step.columns, exchange_.Scores(tile));
    AscendC::CrossCoreSetFlag<kCubeAndVectors, PIPE_FIX>(kScoresReady);
  }

  __aicore__ inline void ComputeOutputs(uint32_t tile, const TileStep &step) {
    AscendC::LocalTensor<T> slot = products_.OpenSlot();
    // Before the weights, for which the scalar unit may have to wait.
    if constexpr (int8_cache) {
      AscendC::CrossCoreWaitFlag<kCubeAndVectors>(kValuesReady);
      products_.LoadRight(slot, exchange_.Values(tile), 0, step.columns, PaddedHeadSize(tiling_->headSize));
    } else {
      LoadTile(slot, value_, step);
    }
    AscendC::CrossCoreWaitFlag<kCubeAndVectors>(kWeightsReady);
    products_.LoadLeft(slot, exchange_.Weights(tile), step.columns, tiling_->tileRows);
    products_.MultiplyByValues(slot, step.columns, exchange_.Outputs(tile));
    AscendC::CrossCoreSetFlag<kCubeAndVectors, PIPE_FIX>(kOutputsReady);
  }

  __aicore__ inline void LoadTile(const AscendC::LocalTensor<T> &slot, const AscendC::GlobalTensor<T> &cache,
                                  const TileStep &step) {
    for (uint32_t done = 0; done < step.columns;) {
      const KvPiece piece = walker_.Piece(step.batch, step.head, step.position + done, step.columns - done);
      products_.LoadRight(slot, cache[piece.offset], done, piece.rows, walker_.row_pitch());
      done += piece.rows;
    }
  }

  const DecodeTiling *tiling_ = nullptr;
  CubeExchange<T> exchange_;
  AscendC::GlobalTensor<T> query_;
  AscendC::GlobalTensor<T> key_;
  AscendC::GlobalTensor<T> value_;
  TileCursor cursor_;
  KvWalker walker_;
  MatrixProducts<T> products_;
  TileStep steps_[kSteps];
  uint32_t rows_ = 0;  // begun
};

}  // namespace ifa::ascendc
