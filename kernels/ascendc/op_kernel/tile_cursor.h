// Which tiles a core works on, in order: its range of the host's table, clipped to the lengths that the
// device reads. The stream goes on across rows, so that copies for a row may begin before the row before it
// ends.
#pragma once

#include "decode_tiling_data.h"
#include "kernel_operator.h"
#include "memory_plan.h"

namespace ifa::ascendc {

/// One tile of the range, or a row (or share of one) that holds no position.
struct TileStep {
  uint32_t batch;
  uint32_t head;      ///< KV head
  uint32_t position;  ///< of the tile's first row in the sequence's cache
  uint32_t columns;   ///< positions in the tile, at most tileRows; 0 only where the step opens and closes
  uint32_t slot;      ///< of the partials, where `shared`
  bool opens;         ///< the first step of the core's share of a row
  bool closes;        ///< the last one
  bool shared;        ///< other cores hold the rest of the row
};

/// Iterates over the steps of one core. Every unit of the core (cube, both vectors) sees the same ones.
class TileCursor {
 public:
  /// @param lengths int64 [lengthCount]
  /// @param padding int64 [1], read if the tiling has padding
  __aicore__ inline void Init(const DecodeTiling &tiling, uint32_t core, GM_ADDR lengths, GM_ADDR padding) {
    tiling_ = &tiling;
    lengths_.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t *>(lengths));
    if (tiling.hasPadding != 0) {
      AscendC::GlobalTensor<int64_t> positions;
      positions.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t *>(padding));
      const int64_t given = positions.GetValue(0);
      padding_ = given > 0 ? given : 0;
    }
    core_ = core;
    row_ = tiling.startRow[core];
    tile_ = tiling.startTile[core];
    end_row_ = tiling.startRow[core + 1];
    end_tile_ = tiling.startTile[core + 1];
  }

  /// False after the last step.
  __aicore__ inline bool Next(TileStep *step) {
    if (row_ > end_row_ || (row_ == end_row_ && end_tile_ == 0)) return false;
    step->opens = opens_;
    if (opens_) BeginRow();
    step->batch = batch_;
    step->head = row_ - batch_ * tiling_->kvHeads;
    const uint32_t done = tile_ * tiling_->tileRows;
    step->position = start_ + done;
    step->columns = tile_ < tiles_ ? Min(tiling_->tileRows, length_ - done) : 0;
    step->shared = begins_elsewhere_ || row_ == end_row_;
    step->slot = 2 * core_ + (row_ == tiling_->startRow[core_] ? 0 : 1);
    step->closes = ++tile_ >= tiles_;
    opens_ = step->closes;
    if (step->closes) {
      ++row_;
      tile_ = 0;
    }
    return true;
  }

 private:
  __aicore__ inline void BeginRow() {
    begins_elsewhere_ = tile_ > 0;
    batch_ = row_ / tiling_->kvHeads;
    ReadLength();
    tiles_ = CeilDiv(length_, tiling_->tileRows);
    if (row_ == end_row_) tiles_ = Min(tiles_, end_tile_);
  }

  // A left-padded sequence that begins before its cache does holds nothing. A length that the cache cannot
  // have, which a host that does not know the lengths could not refuse, is clipped: nothing is read outside
  // the cache.
  __aicore__ inline void ReadLength() {
    start_ = 0;
    length_ = tiling_->length;
    if (tiling_->lengthCount == 0) return;
    const int64_t given = lengths_.GetValue(tiling_->lengthCount == 1 ? 0 : batch_);
    if (given < length_) length_ = given < 0 ? 0 : static_cast<uint32_t>(given);
    if (tiling_->hasPadding == 0) return;
    const int64_t start = static_cast<int64_t>(tiling_->length) - padding_ - length_;
    start_ = start < 0 ? 0 : static_cast<uint32_t>(start);
    if (start < 0) length_ = 0;
  }

  const DecodeTiling *tiling_ = nullptr;
  AscendC::GlobalTensor<int64_t> lengths_;
  int64_t padding_ = 0;
  uint32_t core_ = 0;
  uint32_t row_ = 0;
  uint32_t tile_ = 0;
  uint32_t end_row_ = 0;
  uint32_t end_tile_ = 0;
  bool opens_ = true;

  // Of the row:
  bool begins_elsewhere_ = false;
  uint32_t batch_ = 0;
  uint32_t start_ = 0;
  uint32_t length_ = 0;
  uint32_t tiles_ = 0;  // up to where the core's share ends
};

}  // namespace ifa::ascendc
