// The running state of a softmax that sees its scores tile by tile: one maximum and one sum per row, kept in
// the unified buffer and never read by the scalar unit, which would have to wait for the vector unit.
#pragma once

#include "kernel_operator.h"
#include "memory_plan.h"
#include "row_operations.h"

namespace ifa::ascendc {

/// The lowest finite fp32: the maximum of no score, and the score of a column that is none.
constexpr float kLowestScore = -3.4028234663852886e38F;

/// State of up to 255 rows. Rows are addressed by their first one, a multiple of 8, and their number. Each
/// function wants its operands ordered before it and orders its results after it.
class OnlineSoftmax {
 public:
  __aicore__ inline void Init(AscendC::TPipe *pipe, uint32_t max_rows) {
    padded_rows_ = RoundUp(max_rows, kBlockFloats);
    pipe->InitBuffer(memory_, Bytes(max_rows));
    max_ = memory_.Get<float>()[0];
    sum_ = max_[padded_rows_];
    fresh_ = sum_[padded_rows_];
    factor_ = fresh_[padded_rows_];
    blocks_ = factor_[padded_rows_];
    Reset();
  }

  /// What Init() takes of the unified buffer.
  static constexpr uint32_t Bytes(uint32_t max_rows) {
    return RoundUp(max_rows, kBlockFloats) * (4 + kBlockFloats) * sizeof(float);
  }

  /// No score was seen: the maximum is kLowestScore, the sum 0.
  __aicore__ inline void Reset() {
    AscendC::Duplicate(max_, kLowestScore, static_cast<int32_t>(padded_rows_));
    // And the scratch, of which whole blocks are read even if fewer rows are used.
    AscendC::Duplicate(sum_, 0.0F, static_cast<int32_t>((3 + kBlockFloats) * padded_rows_));
    OrderVector();
  }

  /// Replaces each row of scores by exp(score - maximum so far), and adds them to its sum.
  /// @param scores [rows][pitch], pitch a multiple of 16 up to 512; columns that are none hold kLowestScore
  /// @param rescale receives [rows rounded up to 8][8]: what outputs summed so far are to be multiplied by,
  /// eight times per row.
  __aicore__ inline void Update(const AscendC::LocalTensor<float> &scores, uint32_t first_row, uint32_t rows,
                                uint32_t pitch, const AscendC::LocalTensor<float> &rescale) {
    const auto count = static_cast<int32_t>(rows);
    const auto max = max_[first_row];
    const auto sum = sum_[first_row];
    ReduceRows<Reduction::kMax>(blocks_, scores, rows, pitch);
    AscendC::Max(fresh_, blocks_, max, count);
    OrderVector();
    AscendC::Sub(factor_, max, fresh_, count);
    BroadcastRows(blocks_, fresh_, rows);
    AscendC::Max(max, max, fresh_, count);
    AscendC::Exp(factor_, factor_, count);
    CombineRows<RowOperation::kSubtract>(scores, scores, blocks_, rows, pitch);
    AscendC::Exp(scores, scores, static_cast<int32_t>(rows * pitch));
    AscendC::Mul(sum, sum, factor_, count);
    BroadcastRows(rescale, factor_, rows);
    ReduceRows<Reduction::kSum>(blocks_, scores, rows, pitch);
    AscendC::Add(sum, sum, blocks_, count);
    OrderVector();
  }

  /// blocks[r][0 .. 8) = the row's maximum; [rows rounded up to 8][8].
  __aicore__ inline void BroadcastMax(const AscendC::LocalTensor<float> &blocks, uint32_t first_row,
                                      uint32_t rows) {
    BroadcastRows(blocks, max_[first_row], rows);
  }

  /// blocks[r][0 .. 8) = the row's sum; [rows rounded up to 8][8].
  __aicore__ inline void BroadcastSum(const AscendC::LocalTensor<float> &blocks, uint32_t first_row,
                                      uint32_t rows) {
    BroadcastRows(blocks, sum_[first_row], rows);
  }

 private:
  AscendC::TBuf<AscendC::TPosition::VECCALC> memory_;
  uint32_t padded_rows_ = 0;
  AscendC::LocalTensor<float> max_;     // [rows]
  AscendC::LocalTensor<float> sum_;     // [rows]
  AscendC::LocalTensor<float> fresh_;   // [rows]: with the tile
  AscendC::LocalTensor<float> factor_;  // [rows]: exp(old maximum - new maximum)
  AscendC::LocalTensor<float>
      blocks_;  // [rows][8]: a number for each row eight times; of each 64 columns, for all rows
};

}  // namespace ifa::ascendc
