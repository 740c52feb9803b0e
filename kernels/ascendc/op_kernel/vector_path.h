// Attention on the vector cores alone, for one query head per KV head: the products of a row of keys with one
// query need no matrix unit to keep up with the memory. Every vector core works for itself.
//
// Per tile: keys and values are copied in while the tile before is computed (two tiles of each in the unified
// buffer); products of fp16 are exact in fp32 and summed there; weights are rounded to fp16 for the second
// product, their sum is not.
#pragma once

#include "decode_arguments.h"
#include "decode_tiling_data.h"
#include "kernel_operator.h"
#include "kv_walker.h"
#include "memory_plan.h"
#include "online_softmax.h"
#include "output_rows.h"
#include "row_operations.h"
#include "score_terms.h"
#include "split_combine.h"
#include "tile_cursor.h"

namespace ifa::ascendc {

/// fp16 query, key and value; one core's range of the call.
class VectorPath {
 public:
  __aicore__ inline void Init(AscendC::TPipe *pipe, const DecodeTiling &tiling,
                              const DecodeArguments &arguments) {
    tiling_ = &tiling;
    pitch_ = PaddedHeadSize(tiling.headSize);
    query_.SetGlobalBuffer(reinterpret_cast<__gm__ half *>(arguments.query));
    key_.SetGlobalBuffer(reinterpret_cast<__gm__ half *>(arguments.key));
    value_.SetGlobalBuffer(reinterpret_cast<__gm__ half *>(arguments.value));
    cursor_.Init(tiling, static_cast<uint32_t>(AscendC::GetBlockIdx()), arguments.lengths,
                 arguments.kv_padding);
    walker_.Init(tiling, arguments.block_table);
    terms_.Init(pipe, tiling, arguments, tiling.tileRows, tiling.tileRows, 2);
    softmax_.Init(pipe, 1);
    output_.Init(pipe, tiling, arguments, pitch_);
    split_.Init(tiling, arguments);
    InitBuffers(pipe);
  }

  /// What Init() takes of the unified buffer if the call has everything.
  static constexpr uint32_t Bytes(uint32_t headSize) {
    const uint32_t pitch = PaddedHeadSize(headSize);
    const uint32_t rows = VectorTileRows(headSize);
    return ScoreTerms<half>::Bytes(rows, rows, 2) + OnlineSoftmax::Bytes(1) +
           OutputRows<half>::Bytes(headSize, pitch) + 2 * 2 * rows * pitch * sizeof(half) +
           2 * pitch * sizeof(half) + (kScratchFloats + rows + pitch + 2 * kFactorFloats) * sizeof(float) +
           rows * (sizeof(half) + kBlockBytes);
  }

  __aicore__ inline void Run() {
    TileStep step;
    TileStep next;
    bool more = cursor_.Next(&next);
    if (more) Load(next);
    while (more) {
      step = next;
      more = cursor_.Next(&next);
      if (more) Load(next);
      Compute(step);
    }
    if (tiling_->hasSplitRows == 0) return;
    AscendC::SyncAll();
    split_.Combine(static_cast<uint32_t>(AscendC::GetBlockIdx()), tiling_->cores, scratch_.Get<float>(),
                   &output_);
  }

 private:
  // Of one row: a block of eight, in the groups of eight rows that are broadcast at once.
  static constexpr uint32_t kFactorFloats = kBlockFloats * kBlockFloats;

  __aicore__ inline void InitBuffers(AscendC::TPipe *pipe) {
    const uint32_t rows = tiling_->tileRows;
    pipe->InitBuffer(query_queue_, 2, pitch_ * sizeof(half));
    pipe->InitBuffer(tile_queue_, 2, 2 * rows * pitch_ * sizeof(half));
    pipe->InitBuffer(scratch_, kScratchFloats * sizeof(float));
    pipe->InitBuffer(scores_memory_, rows * sizeof(float));
    pipe->InitBuffer(weights_memory_, rows * sizeof(half));
    pipe->InitBuffer(weight_blocks_memory_, rows * kBlockBytes);
    pipe->InitBuffer(weighted_memory_, pitch_ * sizeof(float));
    pipe->InitBuffer(factors_memory_, 2 * kFactorFloats * sizeof(float));
    weighted_ = weighted_memory_.Get<float>();
    rescale_ = factors_memory_.Get<float>()[0];
    sums_ = rescale_[kFactorFloats];
  }

  // Elements before a tile's values.
  __aicore__ inline uint32_t ValuesAt() const { return tiling_->tileRows * pitch_; }

  // Begins to copy what Compute() needs.
  __aicore__ inline void Load(const TileStep &step) {
    if (step.columns == 0) return;
    if (step.opens) LoadQuery(step);
    auto tile = tile_queue_.AllocTensor<half>();
    const auto values = tile[ValuesAt()];
    for (uint32_t done = 0; done < step.columns;) {
      const KvPiece piece = walker_.Piece(step.batch, step.head, step.position + done, step.columns - done);
      CopyRows(tile[done * pitch_], key_[piece.offset], piece.rows);
      CopyRows(values[done * pitch_], value_[piece.offset], piece.rows);
      done += piece.rows;
    }
    tile_queue_.EnQue(tile);
    terms_.Load(step.batch, step.head, step.position, {1, step.columns, tiling_->tileRows});
  }

  __aicore__ inline void LoadQuery(const TileStep &step) {
    auto query = query_queue_.AllocTensor<half>();
    CopyRows(query, query_[OutputRow(step) * tiling_->headSize], 1);
    query_queue_.EnQue(query);
  }

  // [rows][headSize] at the cache's pitch to [rows][pitch_].
  __aicore__ inline void CopyRows(const AscendC::LocalTensor<half> &to,
                                  const AscendC::GlobalTensor<half> &from, uint32_t rows) {
    const uint32_t bytes = tiling_->headSize * sizeof(half);
    const uint32_t stride = walker_.row_pitch() * sizeof(half) - bytes;
    // Rows without a gap on either side are one long one.
    const bool whole = stride == 0 && pitch_ == tiling_->headSize;
    const AscendC::DataCopyExtParams shape(static_cast<uint16_t>(whole ? 1 : rows),
                                           whole ? rows * bytes : bytes, stride, 0, 0);
    AscendC::DataCopyPad(to, from, shape, AscendC::DataCopyPadExtParams<half>());
  }

  __aicore__ inline void Compute(const TileStep &step) {
    if (step.opens) Open(step);
    if (step.columns > 0) {
      auto tile = tile_queue_.DeQue<half>();
      const auto scores = scores_memory_.Get<float>();
      ScoreKeys(scores, tile, step.columns);
      terms_.Apply(scores, {1, step.columns, tiling_->tileRows});
      softmax_.Update(scores, 0, 1, tiling_->tileRows, rescale_);
      AddValues(scores, tile[ValuesAt()], step.columns);
      tile_queue_.FreeTensor(tile);
    }
    if (step.closes) Close(step);
  }

  __aicore__ inline void Open(const TileStep &step) {
    softmax_.Reset();
    AscendC::Duplicate(weighted_, 0.0F, static_cast<int32_t>(pitch_));
    OrderVector();
    if (step.columns > 0) query_now_ = query_queue_.DeQue<half>();
    holds_query_ = step.columns > 0;
  }

  // scores[r] = query . keys[r]: products of up to 64 channels are added lane by lane, then the lanes.
  __aicore__ inline void ScoreKeys(const AscendC::LocalTensor<float> &scores,
                                   const AscendC::LocalTensor<half> &keys, uint32_t columns) {
    const auto products = scratch_.Get<float>();
    const uint32_t lanes = Min(kLanes, pitch_);
    const BinaryRepeatParams strides(1, 1, 1, lanes / kBlockFloats, pitch_ / kChannelPad, 0);
    for (uint32_t row = 0; row < columns; row += kProductRows) {
      const uint32_t rows = Min(kProductRows, columns - row);
      AscendC::Duplicate(products, 0.0F, static_cast<int32_t>(rows * lanes));
      OrderVector();
      for (uint32_t channel = 0; channel < tiling_->headSize; channel += kLanes) {
        const uint64_t width = Min(kLanes, tiling_->headSize - channel);
        AscendC::MulAddDst(products, keys[row * pitch_ + channel], query_now_[channel], width,
                           static_cast<uint8_t>(rows), strides);
        OrderVector();
      }
      ReduceLanes<Reduction::kSum>(scores[row], products, lanes, rows, lanes);
      OrderVector();
    }
  }

  // weighted = weighted * factor + weights . values, the rows of values folded in a tree.
  __aicore__ inline void AddValues(const AscendC::LocalTensor<float> &weights,
                                   const AscendC::LocalTensor<half> &values, uint32_t columns) {
    const auto rounded = weights_memory_.Get<half>();
    const auto blocks = weight_blocks_memory_.Get<half>();
    AscendC::Cast(rounded, weights, AscendC::RoundMode::CAST_RINT, tiling_->tileRows);
    OrderVector();
    AscendC::Brcb(blocks, rounded, static_cast<uint8_t>(CeilDiv(columns, kBlockFloats)), {1, kBlockFloats});
    const auto products = scratch_.Get<float>();
    const uint32_t apart = Min(ValueRows(tiling_->headSize), columns);
    AscendC::Duplicate(products, 0.0F, static_cast<int32_t>(apart * pitch_));
    OrderVector();
    for (uint32_t row = 0; row < columns; row += apart) {
      MultiplyValues(products, values[row * pitch_], blocks[row * kHalvesPerBlock],
                     Min(apart, columns - row));
    }
    FoldRows<Reduction::kSum>(products, apart, pitch_);
    CombineRows<RowOperation::kMultiply>(weighted_, weighted_, rescale_, 1, pitch_);
    AscendC::Add(weighted_, weighted_, products, static_cast<int32_t>(pitch_));
    OrderVector();
  }

  // products[r] += values[r] * weight of r, which `blocks` holds sixteen times.
  __aicore__ inline void MultiplyValues(const AscendC::LocalTensor<float> &products,
                                        const AscendC::LocalTensor<half> &values,
                                        const AscendC::LocalTensor<half> &blocks, uint32_t rows) {
    const BinaryRepeatParams strides(1, 1, 0, pitch_ / kBlockFloats, pitch_ / kChannelPad, 1);
    for (uint32_t channel = 0; channel < tiling_->headSize; channel += kLanes) {
      const uint64_t width = Min(kLanes, tiling_->headSize - channel);
      AscendC::MulAddDst(products[channel], values[channel], blocks, width, static_cast<uint8_t>(rows),
                         strides);
    }
    OrderVector();
  }

  __aicore__ inline void Close(const TileStep &step) {
    if (holds_query_) query_queue_.FreeTensor(query_now_);
    softmax_.BroadcastSum(sums_, 0, 1);
    if (step.shared) {
      softmax_.BroadcastMax(rescale_, 0, 1);
      split_.Save(step.slot, 0, 1, weighted_, rescale_, sums_);
    } else {
      output_.Store(weighted_, sums_, 1, OutputRow(step));
    }
  }

  // One query head per KV head.
  __aicore__ inline uint64_t OutputRow(const TileStep &step) const {
    return static_cast<uint64_t>(step.batch) * tiling_->heads + step.head;
  }

  using BinaryRepeatParams = AscendC::BinaryRepeatParams;
  using TPosition = AscendC::TPosition;
  static constexpr uint32_t kHalvesPerBlock = kBlockBytes / sizeof(half);

  const DecodeTiling *tiling_ = nullptr;
  uint32_t pitch_ = 0;
  AscendC::GlobalTensor<half> query_;
  AscendC::GlobalTensor<half> key_;
  AscendC::GlobalTensor<half> value_;
  TileCursor cursor_;
  KvWalker walker_;
  ScoreTerms<half> terms_;
  OnlineSoftmax softmax_;
  OutputRows<half> output_;
  SplitCombine split_;

  AscendC::TQue<TPosition::VECIN, 2> query_queue_;          // half [pitch]
  AscendC::TQue<TPosition::VECIN, 2> tile_queue_;           // half [2][tileRows][pitch]: keys, then values
  AscendC::TBuf<TPosition::VECCALC> scratch_;               // fp32 [kScratchFloats]
  AscendC::TBuf<TPosition::VECCALC> scores_memory_;         // fp32 [tileRows]
  AscendC::TBuf<TPosition::VECCALC> weights_memory_;        // half [tileRows]
  AscendC::TBuf<TPosition::VECCALC> weight_blocks_memory_;  // half [tileRows][16]
  AscendC::TBuf<TPosition::VECCALC> weighted_memory_;       // fp32 [pitch]
  AscendC::TBuf<TPosition::VECCALC> factors_memory_;        // fp32 [2][kFactorFloats]

  // Of the row at hand:
  AscendC::LocalTensor<half> query_now_;
  bool holds_query_ = false;
  AscendC::LocalTensor<float> weighted_;  // [pitch]: unnormalised output
  AscendC::LocalTensor<float> rescale_;   // [8][8]: of a tile; for a share's end the maximum
  AscendC::LocalTensor<float> sums_;      // [8][8]: for a row's end
};

constexpr bool VectorPathFits() {
  for (uint32_t size = 1; size <= kMaxHeadSize; ++size) {
    if (VectorPath::Bytes(size) > kUbBytes) return false;
  }
  return true;
}
static_assert(VectorPathFits(), "the unified buffer holds the buffers for every head size");

}  // namespace ifa::ascendc
