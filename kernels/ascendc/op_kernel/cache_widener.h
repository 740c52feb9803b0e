// Widens an int8 cache to half, which holds all of its numbers exactly, for the cube core: from global memory
// through the vector core into the exchange, half of a tile's rows by each vector core.
#pragma once

#include "cube_plan.h"
#include "decode_arguments.h"
#include "decode_tiling_data.h"
#include "kernel_operator.h"
#include "kv_walker.h"
#include "tile_cursor.h"
#include "vector_staging.h"

namespace ifa::ascendc {

class CacheWidener {
 public:
  __aicore__ inline void Init(const DecodeTiling &tiling, const DecodeArguments &arguments,
                              VectorStaging *staging) {
    staging_ = staging;
    head_size_ = tiling.headSize;
    width_ = PaddedHeadSize(tiling.headSize);
    pitch_ = RoundUp(tiling.headSize, kBlockBytes);
    walker_.Init(tiling, arguments.block_table);
  }

  /// @param to half [tileRows][headSize rounded up to 16], of which this core's share is written
  __aicore__ inline void Widen(const AscendC::GlobalTensor<int8_t> &cache, const TileStep &step,
                               const AscendC::GlobalTensor<half> &to) {
    const uint32_t half_rows = CeilDiv(step.columns, 2);
    const bool upper = AscendC::GetSubBlockIdx() == 0;
    const uint32_t end = upper ? half_rows : step.columns;
    const uint32_t most = staging_->plan.arrival_bytes / pitch_;
    for (uint32_t first = upper ? 0 : half_rows; first < end; first += most) {
      const uint32_t rows = Min(most, end - first);
      Load(cache, step, first, rows);
      Convert(rows, to[first * width_]);
    }
  }

 private:
  __aicore__ inline void Load(const AscendC::GlobalTensor<int8_t> &cache, const TileStep &step,
                              uint32_t first, uint32_t rows) {
    auto narrow = staging_->arrivals.AllocTensor<int8_t>();
    for (uint32_t done = 0; done < rows;) {
      const KvPiece piece = walker_.Piece(step.batch, step.head, step.position + first + done, rows - done);
      AscendC::DataCopyPad(narrow[done * pitch_], cache[piece.offset],
                           AscendC::DataCopyExtParams(static_cast<uint16_t>(piece.rows), head_size_,
                                                      walker_.row_pitch() - head_size_, 0, 0),
                           AscendC::DataCopyPadExtParams<int8_t>());
      done += piece.rows;
    }
    staging_->arrivals.EnQue(narrow);
  }

  __aicore__ inline void Convert(uint32_t rows, const AscendC::GlobalTensor<half> &to) {
    auto narrow = staging_->arrivals.DeQue<int8_t>();
    const uint32_t most = staging_->plan.departure_bytes / sizeof(half) / pitch_;
    for (uint32_t first = 0; first < rows; first += most) {
      const uint32_t count = Min(most, rows - first);
      auto wide = staging_->departures.AllocTensor<half>();
      AscendC::Cast(wide, narrow[first * pitch_], AscendC::RoundMode::CAST_NONE, count * pitch_);
      staging_->departures.EnQue(wide);
      Store(to[first * width_], count);
    }
    staging_->arrivals.FreeTensor(narrow);
  }

  __aicore__ inline void Store(const AscendC::GlobalTensor<half> &to, uint32_t rows) {
    auto wide = staging_->departures.DeQue<half>();
    constexpr uint32_t kBlock = kBlockBytes / sizeof(half);
    AscendC::DataCopy(
        to, wide,
        AscendC::DataCopyParams(static_cast<uint16_t>(rows), static_cast<uint16_t>(width_ / kBlock),
                                static_cast<uint16_t>((pitch_ - width_) / kBlock), 0));
    staging_->departures.FreeTensor(wide);
  }

  VectorStaging *staging_ = nullptr;
  uint32_t head_size_ = 0;
  uint32_t width_ = 0;  // head_size_ rounded up to 16
  uint32_t pitch_ = 0;  // elements between two rows in the unified buffer
  KvWalker walker_;
};

}  // namespace ifa::ascendc
