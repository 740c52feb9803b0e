// Rows that several cores share: each core leaves its unnormalised output, maximum and sum in the workspace;
// when all have, the shares of each row are weighed by their maxima and added.
#pragma once

#include "decode_arguments.h"
#include "decode_tiling_data.h"
#include "kernel_operator.h"
#include "memory_plan.h"
#include "pipe_order.h"
#include "row_operations.h"

namespace ifa::ascendc {

/// Writes shares and combines them. A share is of one slot and holds the group's query heads.
class SplitCombine {
 public:
  __aicore__ inline void Init(const DecodeTiling &tiling, const DecodeArguments &arguments) {
    tiling_ = &tiling;
    pitch_ = PaddedHeadSize(tiling.headSize);
    partials_.SetGlobalBuffer(reinterpret_cast<__gm__ float *>(arguments.workspace + tiling.partialOffset));
    statistics_.SetGlobalBuffer(
        reinterpret_cast<__gm__ float *>(arguments.workspace + tiling.statisticsOffset));
  }

  /// Stores a core's share of `rows` heads from the group's head `first_head` on. Returns when the operands
  /// may be written again.
  /// @param weighted [rows][head size rounded up to 16]
  /// @param maxima, sums [rows][8]: each row's value eight times
  __aicore__ inline void Save(uint32_t slot, uint32_t first_head, uint32_t rows,
                              const AscendC::LocalTensor<float> &weighted,
                              const AscendC::LocalTensor<float> &maxima,
                              const AscendC::LocalTensor<float> &sums) {
    const uint64_t row = Row(slot, first_head);
    const AscendC::DataCopyParams every_other(static_cast<uint16_t>(rows), 1, 0, 1);
    Order<AscendC::HardEvent::V_MTE3>();
    AscendC::DataCopy(partials_[row * pitch_], weighted, rows * pitch_);
    AscendC::DataCopy(statistics_[row * kStatistics], maxima, every_other);
    AscendC::DataCopy(statistics_[row * kStatistics + kStatisticsFloats], sums, every_other);
    Order<AscendC::HardEvent::MTE3_V>();
  }

  /// Combines and stores the rows that fall to one of the `workers` vector cores, after all of them have met
  /// in SyncAll(): heads of split rows are dealt to them in turn.
  /// @param scratch kScratchFloats
  template <typename Output>
  __aicore__ inline void Combine(uint32_t worker, uint32_t workers,
                                 const AscendC::LocalTensor<float> &scratch, Output *output) {
    uint32_t unit = 0;
    for (uint32_t last = 1; last < tiling_->cores; ++last) {
      if (!EndsSplitRow(last)) continue;
      for (uint32_t head = 0; head < tiling_->group; ++head) {
        if (unit++ % workers == worker) CombineHead(last, head, scratch, output);
      }
    }
  }

 private:
  static constexpr uint32_t kStatistics = 2 * kStatisticsFloats;

  // The scratch, in floats.
  static constexpr uint32_t kStatisticsAt = 0;
  static constexpr uint32_t kMaximaAt = kStatisticsAt + kMaxCores * kStatistics;
  static constexpr uint32_t kWeightsAt = kMaximaAt + kMaxCores * kStatistics;
  static constexpr uint32_t kSumsAt = kWeightsAt + kMaxCores * kStatisticsFloats;
  static constexpr uint32_t kResultAt = kSumsAt + kMaxCores * kStatisticsFloats;
  static constexpr uint32_t kSharesAt = kResultAt + kMaxHeadSize;
  static constexpr uint32_t kSharesFloats = kScratchFloats - kSharesAt;
  static_assert(kSharesFloats / kMaxCores >= kLanes, "a piece of every core's share fits");

  // The shares of a row, in slots that lie 2 apart; the second one's may be next to the first one's.
  struct Shares {
    uint32_t first_slot;
    uint32_t alone;  // 1 where it is, so that the first share is copied alone; else 0
    uint32_t count;
    uint32_t head;  // of the group
  };

  __aicore__ inline uint64_t Row(uint32_t slot, uint32_t head) const {
    return static_cast<uint64_t>(slot) * tiling_->group + head;
  }

  __aicore__ inline bool EndsSplitRow(uint32_t core) const {
    return tiling_->startGrain[core] > 0 && tiling_->startRow[core + 1] != tiling_->startRow[core];
  }

  template <typename Output>
  __aicore__ inline void CombineHead(uint32_t last, uint32_t head, const AscendC::LocalTensor<float> &scratch,
                                     Output *output) {
    const uint32_t row = tiling_->startRow[last];
    uint32_t first = last;
    while (tiling_->startRow[first] == row && tiling_->startGrain[first] > 0) --first;
    const uint32_t begins_behind_another = tiling_->startRow[first] == row ? 0 : 1;
    const Shares shares = {2 * first + begins_behind_another, begins_behind_another, last - first + 1, head};

    const uint32_t most = kSharesFloats / shares.count / kLanes * kLanes;
    for (uint32_t column = 0; column < pitch_; column += most) {
      const uint32_t width = Min(most, pitch_ - column);
      // Together, as the latency of a copy is many times what either takes.
      Order<AscendC::HardEvent::V_MTE2>();
      Load(scratch[kStatisticsAt], statistics_, shares, kStatistics, 0, kStatistics);
      Load(scratch[kSharesAt], partials_, shares, pitch_, column, width);
      Order<AscendC::HardEvent::MTE2_V>();
      WeighShares(shares, scratch);
      AddShares(shares, column, width, scratch);
    }
    output->Store(scratch[kResultAt], scratch[kSumsAt], 1,
                  static_cast<uint64_t>(row) * tiling_->group + head);
  }

  // [count][width]: of each share the columns from `column` on, of `pitch`.
  __aicore__ inline void Load(const AscendC::LocalTensor<float> &to, const AscendC::GlobalTensor<float> &from,
                              const Shares &shares, uint32_t pitch, uint32_t column, uint32_t width) {
    const auto head = from[Row(shares.first_slot, shares.head) * pitch + column];
    const uint32_t gap = 2 * tiling_->group * pitch - width;
    if (shares.alone != 0) AscendC::DataCopy(to, head, width);
    AscendC::DataCopy(to[shares.alone * width], head[shares.alone * tiling_->group * pitch],
                      AscendC::DataCopyParams(static_cast<uint16_t>(shares.count - shares.alone),
                                              static_cast<uint16_t>(width / kBlockFloats),
                                              static_cast<uint16_t>(gap / kBlockFloats), 0));
  }

  // weight = exp(maximum - largest maximum), sum = the weighted sums' sum.
  __aicore__ inline void WeighShares(const Shares &shares, const AscendC::LocalTensor<float> &scratch) {
    const auto statistics = scratch[kStatisticsAt];
    const auto maxima = scratch[kMaximaAt];
    const auto weights = scratch[kWeightsAt];
    const auto sums = scratch[kSumsAt];
    const auto repeats = static_cast<uint8_t>(shares.count);
    AscendC::Adds(maxima, statistics, 0.0F, static_cast<int32_t>(shares.count * kStatistics));
    OrderVector();
    FoldRows<Reduction::kMax>(maxima, shares.count, kStatistics);
    AscendC::Sub(weights, statistics, maxima, kStatisticsFloats, repeats, {1, 1, 1, 1, 2, 0});
    OrderVector();
    AscendC::Exp(weights, weights, static_cast<int32_t>(shares.count * kStatisticsFloats));
    OrderVector();
    AscendC::Mul(sums, weights, statistics[kStatisticsFloats], kStatisticsFloats, repeats,
                 {1, 1, 1, 1, 1, 2});
    OrderVector();
    FoldRows<Reduction::kSum>(sums, shares.count, kStatisticsFloats);
  }

  // The result's columns from `column` on.
  __aicore__ inline void AddShares(const Shares &shares, uint32_t column, uint32_t width,
                                   const AscendC::LocalTensor<float> &scratch) {
    const auto parts = scratch[kSharesAt];
    CombineRows<RowOperation::kMultiply>(parts, parts, scratch[kWeightsAt], shares.count, width);
    FoldRows<Reduction::kSum>(parts, shares.count, width);
    AscendC::Adds(scratch[kResultAt + column], parts, 0.0F, static_cast<int32_t>(width));
    OrderVector();
  }

  const DecodeTiling *tiling_ = nullptr;
  uint32_t pitch_ = 0;
  AscendC::GlobalTensor<float> partials_;    // [2 * cores][group][pitch]
  AscendC::GlobalTensor<float> statistics_;  // [2 * cores][group][2][8]
};

}  // namespace ifa::ascendc
