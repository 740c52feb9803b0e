// A vector core's part of the cube path. It has half of the query heads of each KV head: it makes weights of
// their scores for the cube core, and sums the outputs that come back. Of an int8 cache it also widens half
// of each tile, in the order in which the cube core wants keys and values.
#pragma once

#include "cache_units.h"
#include "cache_widener.h"
#include "cube_exchange.h"
#include "cube_plan.h"
#include "decode_arguments.h"
#include "kernel_operator.h"
#include "online_softmax.h"
#include "output_rows.h"
#include "row_operations.h"
#include "score_terms.h"
#include "split_combine.h"
#include "tile_cursor.h"
#include "vector_staging.h"

namespace ifa::ascendc {

/// @tparam Query half or bfloat16_t
/// @tparam T of the matrix products: half for an int8 cache, else Query
template <typename Query, typename T, bool int8_cache>
class CubeVectorCore {
 public:
  __aicore__ inline void Init(AscendC::TPipe *pipe, const DecodeTiling &tiling,
                              const DecodeArguments &arguments, uint32_t core,
                              const CubeExchange<T> &exchange) {
    tiling_ = &tiling;
    exchange_ = exchange;
    width_ = PaddedHeadSize(tiling.headSize);
    const uint32_t half_heads = CeilDiv(tiling.group, 2);
    first_head_ = AscendC::GetSubBlockIdx() == 0 ? 0 : half_heads;
    heads_ = AscendC::GetSubBlockIdx() == 0 ? half_heads : tiling.group - half_heads;
    cursor_.Init(tiling, core, arguments.lengths, arguments.kv_padding);
    staging_.Init(pipe, tiling.group, tiling.headSize, int8_cache);
    terms_.Init(pipe, tiling, arguments, kChunk, tiling.tileRows, 1);
    softmax_.Init(pipe, kMostHeads);
    output_.Init(pipe, tiling, arguments, kOutputElements);
    split_.Init(tiling, arguments);
    pipe->InitBuffer(memory_, MemoryFloats(heads_, tiling.headSize) * sizeof(float));
    if constexpr (int8_cache) {
      key_.SetGlobalBuffer(reinterpret_cast<__gm__ int8_t *>(arguments.key));
      value_.SetGlobalBuffer(reinterpret_cast<__gm__ int8_t *>(arguments.value));
      widener_.Init(tiling, arguments, &staging_);
      units_.Init(pipe, tiling, arguments, &staging_);
    }
  }

  /// What Init() takes of the unified buffer if the call has everything.
  static constexpr uint32_t Bytes(uint32_t group, uint32_t head_size) {
    return VectorStaging::Bytes(PlanStaging(group, head_size, int8_cache)) +
           ScoreTerms<Query>::Bytes(kChunk, CubeTileRows(group, head_size, int8_cache), 1) +
           OnlineSoftmax::Bytes(kMostHeads) + OutputRows<Query>::Bytes(head_size, kOutputElements) +
           MemoryFloats(CeilDiv(group, 2), head_size) * sizeof(float) +
           (int8_cache ? CacheUnits<Query>::Bytes(head_size) : 0);
  }

  __aicore__ inline void Run() {
    uint32_t tiles = 0;  // taken from the cursor
    bool more = true;
    for (uint32_t tile = 0; more || tile < tiles + kOutputLag; ++tile) {
      while (more && tiles <= tile + kLead && (more = NextTile(&steps_[tiles % kSteps]))) {
        if constexpr (int8_cache) SendKeys(tiles, steps_[tiles % kSteps]);
        ++tiles;
      }
      if constexpr (int8_cache) SendValues(tile + kWidenLead - kScoreLead, tiles);
      if (tile < tiles) WeighTile(tile, steps_[tile % kSteps]);
      if (tile < kOutputLag || tile - kOutputLag >= tiles) continue;
      const uint32_t last = tile - kOutputLag;
      const TileStep &step = steps_[last % kSteps];
      if (last % 2 == 1 || step.closes) AddOutputs(last, step);
    }
    if (tiling_->hasSplitRows == 0) return;
    AscendC::SyncAll();
    split_.Combine(static_cast<uint32_t>(AscendC::GetBlockIdx()), 2 * tiling_->cores, memory_.Get<float>(),
                   &output_);
  }

 private:
  static constexpr uint32_t kChunk = ChunkElements(int8_cache);
  static constexpr uint32_t kMostHeads = kMaxGroup / 2;
  // What is kept of a tile, or of a row, until its outputs come: how far the sums before it are to be scaled
  // down; of a row's last tile its maxima and sums; the scores' scale of a row of an int8 cache.
  enum class StateRing : uint32_t { kRescale, kMaxima, kSums, kScales };
  static constexpr uint32_t kStateFloats = kMostHeads * kBlockFloats;  // [heads][8]
  static constexpr uint32_t kEmptySlot = kRingSlots;                   // of what has no positions
  static constexpr uint32_t kStateSlots = kRingSlots + 1;
  static constexpr uint32_t kWeightedAt = (int8_cache ? 4 : 3) * kStateSlots * kStateFloats;
  static constexpr uint32_t kOutputElements = kMaxHeadSize;  // of a copy
  static constexpr uint32_t kLead = int8_cache ? kWidenLead : 0;
  static constexpr uint32_t kSteps = kLead + kOutputLag + 2;

  static constexpr __aicore__ uint32_t MemoryFloats(uint32_t heads, uint32_t head_size) {
    const uint32_t floats = kWeightedAt + heads * PaddedHeadSize(head_size);
    return floats > kScratchFloats ? floats : kScratchFloats;
  }

  /// Goes to the next step that has positions; finishes rows and shares without any.
  __aicore__ inline bool NextTile(TileStep *step) {
    while (cursor_.Next(step)) {
      if (step->columns > 0) return true;
      FinishEmpty(*step);
    }
    return false;
  }

  __aicore__ inline void SendKeys(uint32_t tile, const TileStep &step) {
    // Before the queries, so that the memory has work while they are converted.
    widener_.Widen(key_, step, exchange_.Keys(tile));
    if (step.opens) {
      ++rows_sent_;
      const uint32_t head = step.head * tiling_->group + first_head_;
      units_.ConvertQueries(step.batch, step.head, head, heads_,
                            exchange_.Queries(rows_sent_)[first_head_ * width_],
                            State(StateRing::kScales, rows_sent_ % kRingSlots));
    }
    AscendC::CrossCoreSetFlag<kCubeAndVectors, PIPE_MTE3>(kKeysReady);
  }

  /// Of all tiles up to and with `last`, of `tiles`.
  __aicore__ inline void SendValues(uint32_t last, uint32_t tiles) {
    for (; values_sent_ <= last && values_sent_ < tiles; ++values_sent_) {
      widener_.Widen(value_, steps_[values_sent_ % kSteps], exchange_.Values(values_sent_));
      AscendC::CrossCoreSetFlag<kCubeAndVectors, PIPE_MTE3>(kValuesReady);
    }
  }

  /// Scores to weights, and how far the sums before them are to be scaled down.
  __aicore__ inline void WeighTile(uint32_t tile, const TileStep &step) {
    const uint32_t slot = tile % kRingSlots;
    const uint32_t head = step.head * tiling_->group + first_head_;
    const uint32_t fitting = kChunk / tiling_->tileRows;
    // Fewer than kChunkHeads fit only where they are all.
    const uint32_t most = fitting < kChunkHeads ? fitting : fitting / kChunkHeads * kChunkHeads;
    if (step.opens) {
      ++rows_weighed_;
      softmax_.Reset();
    }
    AscendC::CrossCoreWaitFlag<kCubeAndVectors>(kScoresReady);
    for (uint32_t first = 0; first < heads_; first += most) {
      const ScoreShape shape = {Min(most, heads_ - first), step.columns, RoundUp(step.columns, kFractal)};
      terms_.Load(step.batch, head + first, step.position, shape);
      auto scores = LoadScores(tile, first, shape);
      if constexpr (int8_cache) {
        const auto scales = State(StateRing::kScales, rows_weighed_ % kRingSlots);
        terms_.Apply(scores, scales[first * kBlockFloats], shape);
      } else {
        terms_.Apply(scores, shape);
      }
      softmax_.Update(scores, first, shape.rows, shape.pitch,
                      State(StateRing::kRescale, slot)[first * kBlockFloats]);
      StoreWeights(tile, first, shape, scores);
    }
    if (step.closes && heads_ > 0) {
      softmax_.BroadcastMax(State(StateRing::kMaxima, slot), 0, heads_);
      softmax_.BroadcastSum(State(StateRing::kSums, slot), 0, heads_);
    }
    AscendC::CrossCoreSetFlag<kCubeAndVectors, PIPE_MTE3>(kWeightsReady);
  }

  __aicore__ inline AscendC::LocalTensor<float> LoadScores(uint32_t tile, uint32_t first,
                                                           const ScoreShape &shape) {
    auto scores = staging_.arrivals.template AllocTensor<float>();
    AscendC::DataCopy(scores, exchange_.Scores(tile)[(first_head_ + first) * tiling_->tileRows],
                      RowsOf<float>(shape, tiling_->tileRows - shape.pitch, 0));
    staging_.arrivals.EnQue(scores);
    return staging_.arrivals.template DeQue<float>();
  }

  __aicore__ inline void StoreWeights(uint32_t tile, uint32_t first, const ScoreShape &shape,
                                      AscendC::LocalTensor<float> &scores) {
    auto weights = staging_.departures.template AllocTensor<T>();
    AscendC::Cast(weights, scores, AscendC::RoundMode::CAST_RINT, shape.rows * shape.pitch);
    staging_.arrivals.FreeTensor(scores);
    staging_.departures.EnQue(weights);
    weights = staging_.departures.template DeQue<T>();
    AscendC::DataCopy(exchange_.Weights(tile)[(first_head_ + first) * tiling_->tileRows], weights,
                      RowsOf<T>(shape, 0, tiling_->tileRows - shape.pitch));
    staging_.departures.FreeTensor(weights);
  }

  /// A copy of a chunk's rows, with gaps of so many elements between them.
  template <typename Element>
  static __aicore__ inline AscendC::DataCopyParams RowsOf(const ScoreShape &shape, uint32_t from_gap,
                                                          uint32_t to_gap) {
    constexpr uint32_t kBlock = kBlockBytes / sizeof(Element);
    return {static_cast<uint16_t>(shape.rows), static_cast<uint16_t>(shape.pitch / kBlock),
            static_cast<uint16_t>(from_gap / kBlock), static_cast<uint16_t>(to_gap / kBlock)};
  }

  /// Takes the outputs of the tiles up to and with `last`: two of a row that lie side by side in their ring
  /// in one copy, where there are two. Outputs so far = outputs so far * rescale + those of the tile.
  __aicore__ inline void AddOutputs(uint32_t last, const TileStep &step) {
    const uint32_t tile = last % 2 == 1 && !steps_[(last - 1) % kSteps].closes ? last - 1 : last;
    const auto weighted = memory_.Get<float>()[kWeightedAt];
    if constexpr (int8_cache) {
      if (step.closes && heads_ > 0) units_.LoadOutputUnits(step.head);
    }
    for (uint32_t i = tile; i <= last; ++i) AscendC::CrossCoreWaitFlag<kCubeAndVectors>(kOutputsReady);
    const uint32_t most = staging_.plan.arrival_bytes / sizeof(float) / 2 / width_;
    for (uint32_t first = 0; first < heads_; first += most) {
      const uint32_t rows = Min(most, heads_ - first);
      auto outputs = LoadOutputs(tile, last + 1 - tile, first, rows);
      for (uint32_t i = tile; i <= last; ++i) {
        AddTile(i, weighted[first * width_], outputs[(i - tile) * rows * width_], first, rows);
      }
      staging_.arrivals.FreeTensor(outputs);
    }
    if (!step.closes || heads_ == 0) return;
    const uint32_t slot = last % kRingSlots;
    if constexpr (int8_cache) units_.ConvertOutputs(weighted, State(StateRing::kSums, slot), heads_);
    Finish(step, slot, weighted, 0, heads_);
  }

  /// [tiles][rows][width], of heads from `first` on.
  __aicore__ inline AscendC::LocalTensor<float> LoadOutputs(uint32_t tile, uint32_t tiles, uint32_t first,
                                                            uint32_t rows) {
    auto outputs = staging_.arrivals.template AllocTensor<float>();
    const uint32_t blocks = width_ / kBlockFloats;
    AscendC::DataCopy(
        outputs, exchange_.Outputs(tile)[(first_head_ + first) * width_],
        AscendC::DataCopyParams(static_cast<uint16_t>(tiles), static_cast<uint16_t>(rows * blocks),
                                static_cast<uint16_t>((tiling_->group - rows) * blocks), 0));
    staging_.arrivals.EnQue(outputs);
    return staging_.arrivals.template DeQue<float>();
  }

  __aicore__ inline void AddTile(uint32_t tile, const AscendC::LocalTensor<float> &sum,
                                 const AscendC::LocalTensor<float> &outputs, uint32_t first, uint32_t rows) {
    const auto elements = static_cast<int32_t>(rows * width_);
    if (steps_[tile % kSteps].opens) {
      AscendC::Adds(sum, outputs, 0.0F, elements);
    } else {
      const auto rescale = State(StateRing::kRescale, tile % kRingSlots)[first * kBlockFloats];
      CombineRows<RowOperation::kMultiply>(sum, sum, rescale, rows, width_);
      AscendC::Add(sum, sum, outputs, elements);
    }
    OrderVector();
  }

  /// A row without positions is 0, a share without positions has no maximum and no sum.
  __aicore__ inline void FinishEmpty(const TileStep &step) {
    const uint32_t most = kChunk / width_;
    for (uint32_t first = 0; first < heads_; first += most) {
      const uint32_t rows = Min(most, heads_ - first);
      AscendC::Duplicate(State(StateRing::kMaxima, kEmptySlot), kLowestScore,
                         static_cast<int32_t>(kStateFloats));
      AscendC::Duplicate(State(StateRing::kSums, kEmptySlot), 0.0F, static_cast<int32_t>(kStateFloats));
      auto zeros = staging_.arrivals.template AllocTensor<float>();
      staging_.arrivals.EnQue(zeros);
      zeros = staging_.arrivals.template DeQue<float>();
      AscendC::Duplicate(zeros, 0.0F, static_cast<int32_t>(rows * width_));
      OrderVector();
      Finish(step, kEmptySlot, zeros, first, rows);
      staging_.arrivals.FreeTensor(zeros);
    }
  }

  /// Of heads from `first` on; `slot` is that of their maxima and sums.
  __aicore__ inline void Finish(const TileStep &step, uint32_t slot,
                                const AscendC::LocalTensor<float> &weighted, uint32_t first, uint32_t rows) {
    const auto maxima = State(StateRing::kMaxima, slot)[first * kBlockFloats];
    const auto sums = State(StateRing::kSums, slot)[first * kBlockFloats];
    if (step.shared) {
      split_.Save(step.slot, first_head_ + first, rows, weighted, maxima, sums);
      return;
    }
    const uint64_t row = static_cast<uint64_t>(step.batch) * tiling_->heads + step.head * tiling_->group;
    output_.Store(weighted, sums, rows, row + first_head_ + first);
  }

  /// One [heads][8] of a ring, by tiles or by rows modulo kRingSlots.
  __aicore__ inline AscendC::LocalTensor<float> State(StateRing ring, uint32_t slot) {
    return memory_.Get<float>()[(static_cast<uint32_t>(ring) * kStateSlots + slot) * kStateFloats];
  }

  const DecodeTiling *tiling_ = nullptr;
  CubeExchange<T> exchange_;
  uint32_t width_ = 0;       // headSize rounded up to 16
  uint32_t first_head_ = 0;  // of the group's
  uint32_t heads_ = 0;       // of this core
  TileCursor cursor_;
  TileStep steps_[kSteps];
  VectorStaging staging_;
  ScoreTerms<Query> terms_;
  OnlineSoftmax softmax_;
  OutputRows<Query> output_;
  SplitCombine split_;
  // fp32: state rings [3 or 4][kStateSlots][heads][8], weighted outputs [heads][width]; in the end
  // SplitCombine's scratch.
  AscendC::TBuf<AscendC::TPosition::VECCALC> memory_;

  // Of an int8 cache:
  AscendC::GlobalTensor<int8_t> key_;
  AscendC::GlobalTensor<int8_t> value_;
  CacheWidener widener_;
  CacheUnits<Query> units_;
  uint32_t values_sent_ = 0;   // tiles
  uint32_t rows_sent_ = 0;     // begun
  uint32_t rows_weighed_ = 0;  // begun
};

template <typename VectorCore>
constexpr bool VectorCoreFits() {
  for (uint32_t group = 1; group <= kMaxGroup; ++group) {
    for (uint32_t size = kChannelPad; size <= kMaxHeadSize; size += kChannelPad) {
      if (VectorCore::Bytes(group, size) > kUbBytes) return false;
    }
  }
  return true;
}
static_assert(VectorCoreFits<CubeVectorCore<half, half, false>>() &&
                  VectorCoreFits<CubeVectorCore<half, half, true>>(),
              "the unified buffer holds the buffers for every group and head size");

}  // namespace ifa::ascendc
