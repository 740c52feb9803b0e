// What happens to a score between the two matrix products and before the softmax: scale, pse_shift, mask.
#pragma once

#include "decode_arguments.h"
#include "decode_tiling_data.h"
#include "kernel_operator.h"
#include "memory_plan.h"
#include "online_softmax.h"
#include "row_operations.h"

namespace ifa::ascendc {

/// Bits of -1e12F, which replaces a masked score. Finite, so that a row of nothing else is uniform.
constexpr int32_t kMaskedScoreBits = -748104539;

/// Scores of some heads in one tile: [rows][pitch] of fp32, of which `columns` are positions. `pitch` is a
/// multiple of 16, rows at most 255.
struct ScoreShape {
  uint32_t rows;
  uint32_t columns;
  uint32_t pitch;
};

/// Copies the terms of a tile in and applies them. T is the query's type.
template <typename T>
class ScoreTerms {
 public:
  /// @param max_scores the largest rows * pitch
  /// @param max_columns the largest pitch
  /// @param ahead calls of Load() that may wait for their Apply(): 1 or 2
  __aicore__ inline void Init(AscendC::TPipe *pipe, const DecodeTiling &tiling,
                              const DecodeArguments &arguments, uint32_t max_scores, uint32_t max_columns,
                              uint8_t ahead) {
    tiling_ = &tiling;
    if (tiling.pseStride != 0) {
      pse_.SetGlobalBuffer(reinterpret_cast<__gm__ T *>(arguments.pse_shift));
      pipe->InitBuffer(bias_memory_, max_scores * sizeof(float));
      mask_at_ = max_scores * sizeof(T);
    }
    if (tiling.maskStride != 0) {
      mask_.SetGlobalBuffer(arguments.attn_mask);
      pipe->InitBuffer(hidden_memory_, max_columns * sizeof(half));
      pipe->InitBuffer(words_memory_, 2 * max_columns * sizeof(int32_t));
    }
    if (HasTerms()) pipe->InitBuffer(queue_, ahead, mask_at_ + RoundUp(max_columns, kBlockBytes));
  }

  /// What Init() takes of the unified buffer if there are both terms.
  static constexpr uint32_t Bytes(uint32_t max_scores, uint32_t max_columns, uint8_t ahead) {
    return ahead * (max_scores * sizeof(T) + RoundUp(max_columns, kBlockBytes)) + max_scores * sizeof(float) +
           max_columns * (sizeof(half) + 2 * sizeof(int32_t));
  }

  /// Begins to copy what Apply() needs for the shape's columns, positions from `position` on, and its rows,
  /// query heads from `head` on. One call for each of Apply().
  __aicore__ inline void Load(uint32_t batch, uint32_t head, uint32_t position, const ScoreShape &shape) {
    if (!HasTerms()) return;
    auto terms = queue_.AllocTensor<uint8_t>();
    if (tiling_->pseStride != 0) LoadPse(terms.ReinterpretCast<T>(), batch, head, position, shape);
    if (tiling_->maskStride != 0) LoadMask(terms[mask_at_], batch, position, shape);
    queue_.EnQue(terms);
  }

  /// scores = kLowestScore in columns that are none, which may be unwritten; -1e12 where masked; otherwise
  /// scores * scale + pse.
  __aicore__ inline void Apply(const AscendC::LocalTensor<float> &scores, const ScoreShape &shape) {
    const AscendC::UnaryRepeatParams strides = RowStrides(shape);
    for (uint32_t column = 0; column < shape.columns; column += kLanes) {
      AscendC::Muls(scores[column], scores[column], tiling_->scale, Lanes(column, shape), shape.rows,
                    strides);
    }
    OrderVector();
    ApplyTerms(scores, shape);
  }

  /// The same with a scale per row.
  /// @param scales [rows][8]: each row's scale eight times
  __aicore__ inline void Apply(const AscendC::LocalTensor<float> &scores,
                               const AscendC::LocalTensor<float> &scales, const ScoreShape &shape) {
    const AscendC::BinaryRepeatParams strides = BinaryStrides(0, 1, shape);
    for (uint32_t column = 0; column < shape.columns; column += kLanes) {
      AscendC::Mul(scores[column], scores[column], scales, Lanes(column, shape), shape.rows, strides);
    }
    OrderVector();
    ApplyTerms(scores, shape);
  }

 private:
  static __aicore__ inline uint64_t Lanes(uint32_t column, const ScoreShape &shape) {
    return Min(kLanes, shape.columns - column);
  }

  static __aicore__ inline AscendC::UnaryRepeatParams RowStrides(const ScoreShape &shape) {
    const auto step = static_cast<uint8_t>(shape.pitch / kBlockFloats);
    return {1, 1, step, step};
  }

  // Scores with an operand whose blocks and repeats lie `block` and `repeat` blocks apart.
  static __aicore__ inline AscendC::BinaryRepeatParams BinaryStrides(uint8_t block, uint8_t repeat,
                                                                     const ScoreShape &shape) {
    const auto step = static_cast<uint8_t>(shape.pitch / kBlockFloats);
    return {1, 1, block, step, step, repeat};
  }

  __aicore__ inline bool HasTerms() const { return tiling_->pseStride != 0 || tiling_->maskStride != 0; }

  __aicore__ inline void LoadPse(const AscendC::LocalTensor<T> &to, uint32_t batch, uint32_t head,
                                 uint32_t position, const ScoreShape &shape) {
    const uint64_t row = static_cast<uint64_t>(tiling_->pseBatches == 1 ? 0 : batch) * tiling_->heads + head;
    const uint32_t bytes = shape.columns * sizeof(T);
    const uint32_t gap = shape.pitch * sizeof(T) / kBlockBytes - CeilDiv(bytes, kBlockBytes);
    const auto stride = static_cast<uint32_t>((tiling_->pseStride - shape.columns) * sizeof(T));
    AscendC::DataCopyPad(to, pse_[row * tiling_->pseStride + position],
                         AscendC::DataCopyExtParams(static_cast<uint16_t>(shape.rows), bytes, stride, gap, 0),
                         AscendC::DataCopyPadExtParams<T>());
  }

  __aicore__ inline void LoadMask(const AscendC::LocalTensor<uint8_t> &to, uint32_t batch, uint32_t position,
                                  const ScoreShape &shape) {
    AscendC::DataCopyPad(to, mask_[static_cast<uint64_t>(batch) * tiling_->maskStride + position],
                         AscendC::DataCopyExtParams(1, shape.columns, 0, 0, 0),
                         AscendC::DataCopyPadExtParams<uint8_t>());
  }

  __aicore__ inline void ApplyTerms(const AscendC::LocalTensor<float> &scores, const ScoreShape &shape) {
    if (HasTerms()) {
      auto terms = queue_.DeQue<uint8_t>();
      if (tiling_->pseStride != 0) AddPse(scores, terms.ReinterpretCast<T>(), shape);
      if (tiling_->maskStride != 0) ReplaceMasked(scores, terms[mask_at_], shape);
      queue_.FreeTensor(terms);
    }
    if (shape.columns < shape.pitch) FillPad(scores, shape);
  }

  __aicore__ inline void AddPse(const AscendC::LocalTensor<float> &scores, const AscendC::LocalTensor<T> &pse,
                                const ScoreShape &shape) {
    const auto bias = bias_memory_.Get<float>();
    const auto step = static_cast<uint8_t>(shape.pitch / kBlockFloats);
    const AscendC::UnaryRepeatParams widen(1, 1, step, step / 2);
    for (uint32_t column = 0; column < shape.columns; column += kLanes) {
      AscendC::Cast(bias[column], pse[column], AscendC::RoundMode::CAST_NONE, Lanes(column, shape),
                    shape.rows, widen);
    }
    OrderVector();
    const AscendC::BinaryRepeatParams strides = BinaryStrides(1, step, shape);
    for (uint32_t column = 0; column < shape.columns; column += kLanes) {
      AscendC::Add(scores[column], scores[column], bias[column], Lanes(column, shape), shape.rows, strides);
    }
    OrderVector();
  }

  // By the bits, (score & keep) | fill, with words that all rows share: exact whatever the score is, and
  // without the comparison and selection that each row would need of its own.
  __aicore__ inline void ReplaceMasked(const AscendC::LocalTensor<float> &scores,
                                       const AscendC::LocalTensor<uint8_t> &mask, const ScoreShape &shape) {
    const auto keep = words_memory_.Get<int32_t>()[0];
    const auto fill = keep[RoundUp(shape.columns, kBlockFloats)];
    MakeMaskWords(keep, fill, mask, shape.columns);
    const auto bits = scores.ReinterpretCast<int16_t>();
    const auto keep_bits = keep.ReinterpretCast<int16_t>();
    const auto fill_bits = fill.ReinterpretCast<int16_t>();
    const AscendC::BinaryRepeatParams strides = BinaryStrides(1, 0, shape);
    for (uint32_t column = 0; column < shape.columns; column += kLanes) {
      AscendC::And(bits[2 * column], bits[2 * column], keep_bits[2 * column], 2 * Lanes(column, shape),
                   shape.rows, strides);
    }
    OrderVector();
    for (uint32_t column = 0; column < shape.columns; column += kLanes) {
      AscendC::Or(bits[2 * column], bits[2 * column], fill_bits[2 * column], 2 * Lanes(column, shape),
                  shape.rows, strides);
    }
    OrderVector();
  }

  // keep = all bits where the mask is 0, fill = kMaskedScoreBits where it is not; else 0.
  __aicore__ inline void MakeMaskWords(const AscendC::LocalTensor<int32_t> &keep,
                                       const AscendC::LocalTensor<int32_t> &fill,
                                       const AscendC::LocalTensor<uint8_t> &mask, uint32_t columns) {
    const auto count = static_cast<int32_t>(columns);
    const auto hidden = hidden_memory_.Get<half>();
    AscendC::Cast(hidden, mask, AscendC::RoundMode::CAST_NONE, columns);
    OrderVector();
    AscendC::Mins(hidden, hidden, static_cast<half>(1.0F), count);
    OrderVector();
    AscendC::Cast(keep, hidden, AscendC::RoundMode::CAST_RINT, columns);
    OrderVector();
    AscendC::Muls(fill, keep, kMaskedScoreBits, count);
    OrderVector();
    AscendC::Adds(keep, keep, static_cast<int32_t>(-1), count);
    OrderVector();
  }

  __aicore__ inline void FillPad(const AscendC::LocalTensor<float> &scores, const ScoreShape &shape) {
    const auto step = static_cast<uint8_t>(shape.pitch / kBlockFloats);
    for (uint32_t column = shape.columns / kLanes * kLanes; column < shape.pitch; column += kLanes) {
      const uint32_t from = shape.columns > column ? shape.columns - column : 0;
      const uint32_t to = Min(kLanes, shape.pitch - column);
      const uint64_t below = to == kLanes ? ~0ULL : (1ULL << to) - 1;
      uint64_t lanes[2] = {below & ~((1ULL << from) - 1), 0};
      AscendC::Duplicate(scores[column], kLowestScore, lanes, static_cast<uint8_t>(shape.rows), 1, step);
    }
    OrderVector();
  }

  const DecodeTiling *tiling_ = nullptr;
  AscendC::GlobalTensor<T> pse_;
  AscendC::GlobalTensor<uint8_t> mask_;
  // One for both terms: each buffer of a queue holds one of the eight flags between two pipes.
  AscendC::TQue<AscendC::TPosition::VECIN, 2> queue_;         // T [rows][pitch], then uint8 [columns]
  uint32_t mask_at_ = 0;                                      // bytes before the mask
  AscendC::TBuf<AscendC::TPosition::VECCALC> bias_memory_;    // fp32 [rows][pitch]
  AscendC::TBuf<AscendC::TPosition::VECCALC> hidden_memory_;  // half [columns]
  AscendC::TBuf<AscendC::TPosition::VECCALC> words_memory_;   // int32 [2][columns]
};

}  // namespace ifa::ascendc
