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
    scales_.Init(tiling, arguments.antiquant_scale, staging);
    offsets_.Init(tiling, arguments.antiquant_offset, staging);
    pipe->InitBuffer(scaled_memory_, kChunk * sizeof(float));
    pipe->InitBuffer(magnitude_memory_, kChunk * sizeof(float));
    pipe->InitBuffer(parameter_memory_, width_ * sizeof(float));
    pipe->InitBuffer(row_memory_, kChunkRows * (1 + kBlockFloats) * sizeof(float));
    // Whole blocks of the reductions' results are read, however many rows there are.
    AscendC::Duplicate(row_memory_.template Get<float>(), 1.0F, static_cast<int32_t>(kChunkRows));
    OrderVector();
  }

  /// Writes queries times keys' scale, each head divided by its largest magnitude so that half holds it.
  /// @param head of the batch's query heads, the first of `rows`
  /// @param to half [rows][headSize rounded up to 16]
  /// @param scales receives [rows][8]: what the scores of a head are to be multiplied by, eight times.
  __aicore__ inline void ConvertQueries(uint32_t batch, uint32_t kv_head, uint32_t head, uint32_t rows,
                                        const AscendC::GlobalTensor<half> &to,
                                        const AscendC::LocalTensor<float> &scales) {
    const auto scale = parameter_memory_.Get<float>();
    scales_.Load(scale, kOfKeys, kv_head);
    const uint32_t most = kChunk / width_;
    for (uint32_t first = 0; first < rows; first += most) {
      const uint32_t count = Min(most, rows - first);
      const uint64_t row = static_cast<uint64_t>(batch) * tiling_->heads + head + first;
      const auto scaled = LoadScaled(row, count, scale);
      Normalise(scaled, count, scales[first * kBlockFloats]);
      Store(to[first * width_], scaled, count);
    }
  }

  /// outputs = (outputs + sum * offset) * scale, which divided by the sum is the operator's output.
  /// @param outputs [rows][headSize rounded up to 16], of weights that are not divided by their sum
  /// @param sums [rows][8]
  __aicore__ inline void ConvertOutputs(uint32_t kv_head, const AscendC::LocalTensor<float> &outputs,
                                        const AscendC::LocalTensor<float> &sums, uint32_t rows) {
    const auto parameter = parameter_memory_.Get<float>();
    const auto step = static_cast<uint8_t>(width_ / kBlockFloats);
    if (tiling_->hasAntiquantOffset != 0) {
      offsets_.Load(parameter, kOfValues, kv_head);
      for (uint32_t column = 0; column < width_; column += kLanes) {
        AscendC::MulAddDst(outputs[column], parameter[column], sums, Lanes(column),
                           static_cast<uint8_t>(rows), AscendC::BinaryRepeatParams(1, 1, 0, step, 0, 1));
      }
      OrderVector();
    }
    scales_.Load(parameter, kOfValues, kv_head);
    MultiplyChannels(outputs, parameter, rows);
  }

 private:
  static constexpr uint32_t kChunk = 1024;  // elements of queries at once
  // Rows of a chunk at most; and what the reduction of its rows needs, whatever their width is.
  static constexpr uint32_t kChunkRows = kChunk / kChannelPad;

  __aicore__ inline uint64_t Lanes(uint32_t column) const { return Min(kLanes, width_ - column); }

  __aicore__ inline AscendC::LocalTensor<float> LoadScaled(uint64_t row, uint32_t rows,
                                                           const AscendC::LocalTensor<float> &scale) {
    const uint32_t size = tiling_->headSize;
    auto queries = staging_->arrivals.template AllocTensor<Query>();
    AscendC::DataCopyPad(
        queries, query_[row * size],
        AscendC::DataCopyExtParams(static_cast<uint16_t>(rows), size * sizeof(Query), 0, 0, 0),
        ZeroPadding<Query>(width_ - size));
    staging_->arrivals.EnQue(queries);
    queries = staging_->arrivals.template DeQue<Query>();
    const auto scaled = scaled_memory_.Get<float>();
    AscendC::Cast(scaled, queries, AscendC::RoundMode::CAST_NONE, rows * width_);
    OrderVector();
    staging_->arrivals.FreeTensor(queries);
    MultiplyChannels(scaled, scale, rows);
    return scaled;
  }

  /// Divides each row by its largest magnitude, and writes that times the scores' scale to `scales`.
  __aicore__ inline void Normalise(const AscendC::LocalTensor<float> &scaled, uint32_t rows,
                                   const AscendC::LocalTensor<float> &scales) {
    const auto largest = row_memory_.Get<float>();
    const auto blocks = largest[kChunkRows];
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
  AscendC::TBuf<AscendC::TPosition::VECCALC> scaled_memory_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> magnitude_memory_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> parameter_memory_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> row_memory_;
};

}  // namespace ifa::ascendc
