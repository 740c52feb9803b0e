// Which tiles a core works on, in order: its range of the host's table, clipped to the lengths that the
// device reads, and cut into tiles. The stream goes on across rows, so that copies for a row may begin before
// the row before it ends.
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

/// A full tile by about the last one of a core's range.
constexpr uint32_t kLastTileDivisor = 4;

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
    done_ = tiling.startGrain[core] * tiling.grainRows;
    end_row_ = tiling.startRow[core + 1];
    end_grain_ = tiling.startGrain[core + 1];
  }

  /// False after the last step.
  __aicore__ inline bool Next(TileStep *step) {
    if (row_ > end_row_ || (row_ == end_row_ && end_grain_ == 0)) return false;
    step->opens = opens_;
    if (opens_) BeginRow();
    step->batch = batch_;
    step->head = row_ - batch_ * tiling_->kvHeads;
    step->position = start_ + done_;
    step->columns = done_ < end_ ? Columns(end_ - done_) : 0;
    step->shared = begins_elsewhere_ || row_ == end_row_;
    step->slot = 2 * core_ + (row_ == tiling_->startRow[core_] ? 0 : 1);
    done_ += step->columns;
    step->closes = done_ >= end_;
    opens_ = step->closes;
    if (step->closes) {
      ++row_;
      done_ = 0;
    }
    return true;
  }

 private:
  __aicore__ inline void BeginRow() {
    begins_elsewhere_ = done_ > 0;
    batch_ = row_ / tiling_->kvHeads;
    ReadLength();
    end_ = row_ == end_row_ ? Min(length_, end_grain_ * tiling_->grainRows) : length_;
  }

  // Of the next tile, if so many positions of the row remain. The first one ends at an even grain, as blocks
  // of paged caches do, which few copies straddle then. In the end of the range each tile takes half of what
  // remains: nothing hides the way of the last one through the pipes, and a small one goes it sooner.
  __aicore__ inline uint32_t Columns(uint32_t remaining) const {
    const uint32_t odd = opens_ ? done_ % Min(tiling_->tileRows, 2 * tiling_->grainRows) : 0;
    const uint32_t most = Min(remaining, tiling_->tileRows - odd);
    const bool is_last_row = row_ == end_row_ || (row_ + 1 == end_row_ && end_grain_ == 0);
    if (!is_last_row) return most;
    const uint32_t least = RoundUp(tiling_->tileRows / kLastTileDivisor, kChannelPad);
    return Min(most, RoundUp(CeilDiv(remaining, 2), least));
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
  uint32_t done_ = 0;  // positions of the row, with those of other cores before
  uint32_t end_row_ = 0;
  uint32_t end_grain_ = 0;
  bool opens_ = true;

  // Of the row:
  bool begins_elsewhere_ = false;
  uint32_t batch_ = 0;
  uint32_t start_ = 0;
  uint32_t length_ = 0;
  uint32_t end_ = 0;  // of the core's share: positions
};

}  // namespace ifa::ascendc
