// The end of a row: divide by the sum of the weights, round to the output's type, store.
#pragma once

#include "decode_arguments.h"
#include "decode_tiling_data.h"
#include "kernel_operator.h"
#include "memory_plan.h"
#include "pipe_order.h"
#include "row_operations.h"

namespace ifa::ascendc {

/// Stores rows of the output, (B * N, D) of T, or of int8 with post-quantisation.
template <typename T>
class OutputRows {
 public:
  /// @param max_elements of a copy to global memory; at least the head size rounded up to 16
  __aicore__ inline void Init(AscendC::TPipe *pipe, const DecodeTiling &tiling,
                              const DecodeArguments &arguments, uint32_t max_elements) {
    tiling_ = &tiling;
    pitch_ = PaddedHeadSize(tiling.headSize);
    rows_at_once_ = max_elements / pitch_;
    output_.SetGlobalBuffer(reinterpret_cast<__gm__ T *>(arguments.output));
    quantised_.SetGlobalBuffer(reinterpret_cast<__gm__ int8_t *>(arguments.output));
    pipe->InitBuffer(queue_, 2, max_elements * sizeof(T));
    if (tiling.quant == kParameterNone) return;
    scale_.SetGlobalBuffer(reinterpret_cast<__gm__ float *>(arguments.quant_scale));
    offset_.SetGlobalBuffer(reinterpret_cast<__gm__ float *>(arguments.quant_offset));
    pipe->InitBuffer(integers_memory_, pitch_ * sizeof(half));
    if (tiling.quant == kParameterPerChannel)
      pipe->InitBuffer(parameters_memory_, 2 * pitch_ * sizeof(float));
  }

  /// What Init() takes of the unified buffer if the output is quantised per channel.
  static constexpr uint32_t Bytes(uint32_t headSize, uint32_t max_elements) {
    return max_elements * 2 * sizeof(T) + PaddedHeadSize(headSize) * (sizeof(half) + 2 * sizeof(float));
  }

  /// Stores weighted[r] / sum[r] as row first_row + r; 0 where the sum is 0, as that of a sequence without
  /// positions is. Both operands are destroyed, and may be written at once.
  /// @param weighted [rows][head size rounded up to 16]
  /// @param sums [rows][8]: each row's sum eight times
  /// @param first_row b * N + n
  __aicore__ inline void Store(const AscendC::LocalTensor<float> &weighted,
                               const AscendC::LocalTensor<float> &sums, uint32_t rows, uint64_t first_row) {
    // A sum of weights, of which the largest is exp(0), is at least 1.
    AscendC::Maxs(sums, sums, 1.0F, static_cast<int32_t>(rows * kBlockFloats));
    OrderVector();
    CombineRows<RowOperation::kDivide>(weighted, weighted, sums, rows, pitch_);
    if (tiling_->quant != kParameterNone) {
      for (uint32_t r = 0; r < rows; ++r) StoreQuantised(weighted[r * pitch_], first_row + r);
      return;
    }
    for (uint32_t r = 0; r < rows; r += rows_at_once_) {
      StoreRounded(weighted[r * pitch_], Min(rows_at_once_, rows - r), first_row + r);
    }
  }

 private:
  __aicore__ inline void StoreRounded(const AscendC::LocalTensor<float> &values, uint32_t rows,
                                      uint64_t row) {
    auto rounded = queue_.AllocTensor<T>();
    AscendC::Cast(rounded, values, AscendC::RoundMode::CAST_RINT, rows * pitch_);
    queue_.EnQue(rounded);
    rounded = queue_.DeQue<T>();
    AscendC::DataCopyPad(
        output_[row * tiling_->headSize], rounded,
        AscendC::DataCopyExtParams(static_cast<uint16_t>(rows), tiling_->headSize * sizeof(T), 0, 0, 0));
    queue_.FreeTensor(rounded);
    OrderVector();
  }

  // One row at a time: rows of int8 need not begin at a block of the unified buffer.
  __aicore__ inline void StoreQuantised(const AscendC::LocalTensor<float> &values, uint64_t row) {
    const auto count = static_cast<int32_t>(tiling_->headSize);
    ScaleAndShift(values, row, count);
    AscendC::Mins(values, values, 127.0F, count);
    OrderVector();
    AscendC::Maxs(values, values, -128.0F, count);
    OrderVector();
    // Whole numbers before they become halves, so that nothing is rounded twice.
    const auto whole = values.ReinterpretCast<int32_t>();
    AscendC::Cast(whole, values, AscendC::RoundMode::CAST_RINT, tiling_->headSize);
    OrderVector();
    AscendC::Cast(values, whole, AscendC::RoundMode::CAST_NONE, tiling_->headSize);
    OrderVector();
    const auto integers = integers_memory_.Get<half>();
    AscendC::Cast(integers, values, AscendC::RoundMode::CAST_RINT, tiling_->headSize);
    OrderVector();
    auto quantised = queue_.AllocTensor<int8_t>();
    AscendC::Cast(quantised, integers, AscendC::RoundMode::CAST_RINT, tiling_->headSize);
    queue_.EnQue(quantised);
    quantised = queue_.DeQue<int8_t>();
    AscendC::DataCopyPad(quantised_[row * tiling_->headSize], quantised,
                         AscendC::DataCopyExtParams(1, tiling_->headSize, 0, 0, 0));
    queue_.FreeTensor(quantised);
    OrderVector();
  }

  __aicore__ inline void ScaleAndShift(const AscendC::LocalTensor<float> &values, uint64_t row,
                                       int32_t count) {
    if (tiling_->quant == kParameterPerTensor) {
      AscendC::Muls(values, values, scale_.GetValue(0), count);
      OrderVector();
      if (tiling_->hasQuantOffset == 0) return;
      AscendC::Adds(values, values, offset_.GetValue(0), count);
      OrderVector();
      return;
    }
    const auto scale = parameters_memory_.Get<float>()[0];
    const auto offset = scale[pitch_];
    LoadParameters(scale, offset, row % tiling_->heads * tiling_->headSize);
    AscendC::Mul(values, values, scale, count);
    OrderVector();
    if (tiling_->hasQuantOffset == 0) return;
    AscendC::Add(values, values, offset, count);
    OrderVector();
  }

  __aicore__ inline void LoadParameters(const AscendC::LocalTensor<float> &scale,
                                        const AscendC::LocalTensor<float> &offset, uint64_t channel) {
    const AscendC::DataCopyExtParams shape(1, tiling_->headSize * sizeof(float), 0, 0, 0);
    const AscendC::DataCopyPadExtParams<float> no_padding;
    Order<AscendC::HardEvent::V_MTE2>();
    AscendC::DataCopyPad(scale, scale_[channel], shape, no_padding);
    if (tiling_->hasQuantOffset != 0) AscendC::DataCopyPad(offset, offset_[channel], shape, no_padding);
    Order<AscendC::HardEvent::MTE2_V>();
  }

  const DecodeTiling *tiling_ = nullptr;
  uint32_t pitch_ = 0;
  uint32_t rows_at_once_ = 0;
  AscendC::GlobalTensor<T> output_;
  AscendC::GlobalTensor<int8_t> quantised_;
  AscendC::GlobalTensor<float> scale_;
  AscendC::GlobalTensor<float> offset_;
  AscendC::TQue<AscendC::TPosition::VECOUT, 1> queue_;            // T or int8 [max_elements]
  AscendC::TBuf<AscendC::TPosition::VECCALC> integers_memory_;    // half [pitch]
  AscendC::TBuf<AscendC::TPosition::VECCALC> parameters_memory_;  // fp32 [2][pitch]
};

}  // namespace ifa::ascendc
