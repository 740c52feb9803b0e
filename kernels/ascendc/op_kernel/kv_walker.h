// Where keys and values lie: the one place that knows the layouts of the cache.
#pragma once

#include "decode_tiling_data.h"
#include "kernel_operator.h"
#include "memory_plan.h"

namespace ifa::ascendc {

/// Positions that lie at a constant pitch.
struct KvPiece {
  uint64_t offset;  ///< of the first position's head, in elements
  uint32_t rows;
};

/// Finds positions of a sequence in key and value, which lie alike.
class KvWalker {
 public:
  /// @param block_table int32 (B, maxBlocks), read if the cache is one of blocks, entries of used blocks only
  __aicore__ inline void Init(const DecodeTiling &tiling, GM_ADDR block_table) {
    tiling_ = &tiling;
    blocks_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t *>(block_table));
    const bool heads_inside = tiling.kvLayout == kLayoutBsh || tiling.kvLayout == kLayoutBlocksBsh;
    row_pitch_ = heads_inside ? tiling.kvHeads * tiling.headSize : tiling.headSize;
    head_pitch_ = heads_inside ? tiling.headSize : static_cast<uint64_t>(RunRows()) * tiling.headSize;
  }

  /// Elements between two positions of a piece.
  __aicore__ inline uint32_t row_pitch() const { return row_pitch_; }

  /// The first of `rows` positions from `position` on that lie at a constant pitch; the caller goes on behind
  /// them.
  __aicore__ inline KvPiece Piece(uint32_t batch, uint32_t head, uint32_t position, uint32_t rows) {
    uint64_t run = batch;
    if (tiling_->blockSize != 0) {
      run = static_cast<uint64_t>(blocks_.GetValue(static_cast<uint64_t>(batch) * tiling_->maxBlocks +
                                                   position / tiling_->blockSize));
      position %= tiling_->blockSize;
      rows = Min(rows, tiling_->blockSize - position);
    }
    const uint64_t first = run * RunRows() * tiling_->kvHeads * tiling_->headSize;
    return {first + static_cast<uint64_t>(head) * head_pitch_ + static_cast<uint64_t>(position) * row_pitch_,
            rows};
  }

 private:
  // Positions that lie together: a block's, or a whole sequence's.
  __aicore__ inline uint32_t RunRows() const {
    return tiling_->blockSize != 0 ? tiling_->blockSize : tiling_->length;
  }

  const DecodeTiling *tiling_ = nullptr;
  AscendC::GlobalTensor<int32_t> blocks_;
  uint32_t row_pitch_ = 0;
  uint64_t head_pitch_ = 0;
};

}  // namespace ifa::ascendc
