// An int8 cache stays in its own units in both matrix products: keys' scale goes into the queries, values'
// scale and offset into the outputs. Keys' offset adds the same to all scores of a head, which the softmax
// ignores.
#pragma once

#include "channel_parameters.h"
#include "cube_plan.h"
#include "decode_arguments.h"
#include "decode_tiling_data.h"
#include "kernel_operator.h"
#include "row_operations.h"
#include "vector_staging.h"

namespace ifa::ascendc {

/// @tparam Query half or bfloat16_t
template <typename Query>
class CacheUnits {
 public:
  __aicore__ inline void Init(AscendC::TPipe *pipe, const DecodeTiling &tiling,
                              const DecodeArguments &arguments, VectorStaging *staging) {
    tiling_ = &tiling;
    staging_ = staging;
    width_ = PaddedHeadSize(tiling.headSize);
    query_.SetGlobalBuffer(reinterpret_cast<__gm__ Query *>(arguments.query));
    scales_.Init(tiling, arguments.antiquant_scale);
    offsets_.Init(tiling, arguments.antiquant_offset);
    pipe->InitBuffer(small_, 1, 2 * kChunk * sizeof(Query));
    pipe->InitBuffer(scaled_memory_, kChunk * sizeof(float));
    pipe->InitBuffer(magnitude_memory_, kChunk * sizeof(float));
    pipe->InitBuffer(parameter_memory_, 2 * width_ * sizeof(float));
    pipe->InitBuffer(row_memory_, (kReducedFloats + kChunkRows * kBlockFloats) * sizeof(float));
    // Whole blocks of the reductions' results are read, however many rows there are.
    AscendC::Duplicate(row_memory_.template Get<float>(), 1.0F, static_cast<int32_t>(kReducedFloats));
    OrderVector();
  }

  /// What Init() takes of the unified buffer.
  static constexpr uint32_t Bytes(uint32_t head_size) {
    return 2 * kChunk * sizeof(Query) +
           (2 * kChunk + 2 * RoundUp(head_size, kChannelPad) + kReducedFloats + kChunkRows * kBlockFloats) *
               sizeof(float);
  }

  /// Writes queries times keys' scale, each head divided by its largest magnitude so that half holds it.
  /// @param head of the batch's query heads, the first of `rows`
  /// @param to half [rows][headSize rounded up to 16]
  /// @param scales receives [rows][8]: what the scores of a head are to be multiplied by, eight times.
  __aicore__ inline void ConvertQueries(uint32_t batch, uint32_t kv_head, uint32_t head, uint32_t rows,
                                        const AscendC::GlobalTensor<half> &to,
                                        const AscendC::LocalTensor<float> &scales) {
    const uint32_t most = kChunk / width_;
    for (uint32_t first = 0; first < rows; first += most) {
      const uint32_t count = Min(most, rows - first);
      const uint64_t row = static_cast<uint64_t>(batch) * tiling_->heads + head + first;
      const auto scaled = LoadScaled(row, count, kv_head, first == 0);
      Normalise(scaled, count, scales[first * kBlockFloats]);
      Store(to[first * width_], scaled, count);
    }
  }

  /// Begins to copy what the next ConvertOutputs() needs.
  __aicore__ inline void LoadOutputUnits(uint32_t kv_head) {
    auto arrived = small_.template AllocTensor<Query>();
    scales_.Load(arrived, kOfValues, kv_head);
    if (tiling_->hasAntiquantOffset != 0) offsets_.Load(arrived[width_], kOfValues, kv_head);
    small_.EnQue(arrived);
  }

  /// outputs = (outputs + sum * offset) * scale, which divided by the sum is the operator's output.
  /// @param outputs [rows][headSize rounded up to 16], of weights that are not divided by their sum
  /// @param sums [rows][8]
  __aicore__ inline void ConvertOutputs(const AscendC::LocalTensor<float> &outputs,
                                        const AscendC::LocalTensor<float> &sums, uint32_t rows) {
    const auto scale = parameter_memory_.Get<float>()[0];
    const auto offset = scale[width_];
    auto arrived = small_.template DeQue<Query>();
    scales_.Convert(scale, arrived, kOfValues);
    if (tiling_->hasAntiquantOffset != 0) {
      offsets_.Convert(offset, arrived[width_], kOfValues);
      AddOffset(outputs, offset, sums, rows);
    }
    small_.FreeTensor(arrived);
    MultiplyChannels(outputs, scale, rows);
  }

 private:
  static constexpr uint32_t kChunk = kMaxHeadSize;  // elements of queries at once
  static constexpr uint32_t kChunkRows = kChunk / kChannelPad;
  // What the reduction of a chunk's rows needs: most for one row of the largest size, in whole blocks.
  static constexpr uint32_t kReducedFloats = kMaxHeadSize / kLanes * kBlockFloats;

  __aicore__ inline uint64_t Lanes(uint32_t column) const { return Min(kLanes, width_ - column); }

  /// Query heads from `row` on times the keys' scale, which comes with the first of them.
  __aicore__ inline AscendC::LocalTensor<float> LoadScaled(uint64_t row, uint32_t rows, uint32_t kv_head,
                                                           bool is_first) {
    const uint32_t size = tiling_->headSize;
    const auto scale = parameter_memory_.Get<float>();
    const auto scaled = scaled_memory_.Get<float>();
    auto arrived = small_.template AllocTensor<Query>();
    if (is_first) scales_.Load(arrived[kChunk], kOfKeys, kv_head);
    AscendC::DataCopyPad(
        arrived, query_[row * size],
        AscendC::DataCopyExtParams(static_cast<uint16_t>(rows), size * sizeof(Query), 0, 0, 0),
        ZeroPadding<Query>(width_ - size));
    small_.EnQue(arrived);
    arrived = small_.template DeQue<Query>();
    if (is_first) scales_.Convert(scale, arrived[kChunk], kOfKeys);
    AscendC::Cast(scaled, arrived, AscendC::RoundMode::CAST_NONE, rows * width_);
    OrderVector();
    small_.FreeTensor(arrived);
    MultiplyChannels(scaled, scale, rows);
    return scaled;
  }

  /// Divides each row by its largest magnitude, and writes that times the scores' scale to `scales`.
  __aicore__ inline void Normalise(const AscendC::LocalTensor<float> &scaled, uint32_t rows,
                                   const AscendC::LocalTensor<float> &scales) {
    const auto largest = row_memory_.Get<float>();
    const auto blocks = largest[kReducedFloats];
    const auto magnitude = magnitude_memory_.Get<float>();
    AscendC::Abs(magnitude, scaled, static_cast<int32_t>(rows * width_));
    OrderVector();
    ReduceRows<Reduction::kMax>(largest, magnitude, rows, width_);
    AscendC::Maxs(largest, largest, kSmallestDivisor, static_cast<int32_t>(rows));
    OrderVector();
    BroadcastRows(blocks, largest, rows);
    CombineRows<RowOperation::kDivide>(scaled, scaled, blocks, rows, width_);
    AscendC::Muls(scales, blocks, tiling_->scale, static_cast<int32_t>(rows * kBlockFloats));
    OrderVector();
  }

  __aicore__ inline void Store(const AscendC::GlobalTensor<half> &to,
                               const AscendC::LocalTensor<float> &scaled, uint32_t rows) {
    auto converted = staging_->departures.template AllocTensor<half>();
    AscendC::Cast(converted, scaled, AscendC::RoundMode::CAST_RINT, rows * width_);
    staging_->departures.EnQue(converted);
    converted = staging_->departures.template DeQue<half>();
    AscendC::DataCopy(to, converted, rows * width_);
    staging_->departures.FreeTensor(converted);
    OrderVector();
  }

  /// outputs += sum * offset
  __aicore__ inline void AddOffset(const AscendC::LocalTensor<float> &outputs,
                                   const AscendC::LocalTensor<float> &offset,
                                   const AscendC::LocalTensor<float> &sums, uint32_t rows) {
    const auto step = static_cast<uint8_t>(width_ / kBlockFloats);
    for (uint32_t column = 0; column < width_; column += kLanes) {
      AscendC::MulAddDst(outputs[column], offset[column], sums, Lanes(column), static_cast<uint8_t>(rows),
                         AscendC::BinaryRepeatParams(1, 1, 0, step, 0, 1));
    }
    OrderVector();
  }

  __aicore__ inline void MultiplyChannels(const AscendC::LocalTensor<float> &tensor,
                                          const AscendC::LocalTensor<float> &parameter, uint32_t rows) {
    const auto step = static_cast<uint8_t>(width_ / kBlockFloats);
    for (uint32_t column = 0; column < width_; column += kLanes) {
      AscendC::Mul(tensor[column], tensor[column], parameter[column], Lanes(column),
                   static_cast<uint8_t>(rows), AscendC::BinaryRepeatParams(1, 1, 1, step, step, 0));
    }
    OrderVector();
  }

  // A head of zeros is divided by this.
  static constexpr float kSmallestDivisor = 1e-30F;

  const DecodeTiling *tiling_ = nullptr;
  VectorStaging *staging_ = nullptr;
  uint32_t width_ = 0;  // headSize rounded up to 16
  AscendC::GlobalTensor<Query> query_;
  ChannelParameters<Query> scales_;
  ChannelParameters<Query> offsets_;
  AscendC::TQue<AscendC::TPosition::VECIN, 1> small_;  // queries, parameters
  AscendC::TBuf<AscendC::TPosition::VECCALC> scaled_memory_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> magnitude_memory_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> parameter_memory_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> row_memory_;
};

}  // namespace ifa::ascendc
