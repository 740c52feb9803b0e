// The algorithm, for whichever vec_*.h the including source took before it (the name keeps sorted includes in
// that order): tiles of positions through scores, softmax and the sum of values. Internal linkage throughout,
// see vec_avx512.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attend_range.h"
#include "element_rows.h"
#include "head_block.h"
#include "online_softmax.h"
#include "output_rows.h"
#include "score_terms.h"
#include "score_tile.h"
#include "value_tile.h"
#include "wide_query.h"

namespace ifa::cpu {
namespace {

// Positions summed in one go before they are merged into the result. The error of an fp32 sum grows with the
// square root of its length: 1e-6 here, against 4e-6 at 32,768 positions.
constexpr int64_t kPositionsPerSum = 1024;

// One block of query heads within a tile.
struct BlockTask {
  const float *query;  // fp32 (heads, pitch)
  int64_t pitch;
  int head_size;
  float scale;
  ScoreTerms terms;
  float *softmax;  // memory of OnlineSoftmax
  float *sums;     // (heads, pitch)
};

template <int heads, typename T>
void AttendTile(const BlockTask &block, const KvTile &tile, const KvTile &next) {
  constexpr int kPitch = HeadBlock<heads>::kPitch;
  constexpr int kStep = HeadBlock<heads>::kVectors * Vec::kLanes;
  const int64_t row_bytes = block.head_size * static_cast<int64_t>(sizeof(T));
  alignas(64) float scores[(kTilePositions + Vec::kScoreAccumulators) * kPitch];
  TilePrefetcher prefetcher(next, row_bytes);
  ScoreTile<heads, T>::Compute(block.query, block.pitch, block.head_size, block.scale, tile, &prefetcher,
                               scores);
  block.terms.Apply<kPitch>(heads, tile, scores);
  const int filled = tile.count * kPitch;
  const int lanes = (filled + kStep - 1) / kStep * kStep;
  for (int i = filled; i < lanes; ++i) {
    scores[i] = kMinusInfinity;
  }
  alignas(64) float rescale[kScratchAlignment];
  if (OnlineSoftmax<heads>(block.softmax).Update(scores, lanes / Vec::kLanes, rescale)) {
    ValueTile<heads, T>::Rescale(rescale, block.sums, block.pitch);
  }
  ValueTile<heads, T>::Accumulate(tile, scores, block.head_size, &prefetcher, block.sums, block.pitch);
}

// The functions of a block by its number of heads.
struct BlockKernels {
  void (*reset)(float *softmax);
  void (*attend)(const BlockTask &block, const KvTile &tile, const KvTile &next);
  void (*finish)(float *softmax, float *max, float *sum);
};

template <int heads, typename T>
constexpr BlockKernels KernelsOfBlock() {
  return {[](float *softmax) { OnlineSoftmax<heads>(softmax).Reset(); }, &AttendTile<heads, T>,
          [](float *softmax, float *max, float *sum) { OnlineSoftmax<heads>(softmax).Finish(max, sum); }};
}

template <typename T>
constexpr BlockKernels kBlockKernels[kMaxBlockHeads] = {
    KernelsOfBlock<1, T>(), KernelsOfBlock<2, T>(), KernelsOfBlock<3, T>(), KernelsOfBlock<4, T>(),
    KernelsOfBlock<5, T>(), KernelsOfBlock<6, T>(), KernelsOfBlock<7, T>(), KernelsOfBlock<8, T>()};

// Attention of one head group over the tiles of a walker, T being the element type of its cache.
template <typename T>
class RangeAttention {
 public:
  RangeAttention(const HeadGroup &group, const PartialSoftmax &result, float *scratch)
      : group_(group),
        pitch_(PaddedHeadSize(group.head_size)),
        blocks_((group.heads + kMaxBlockHeads - 1) / kMaxBlockHeads),
        query_(group, scratch),
        later_sum_(PartialSoftmaxIn(scratch + WideQuery::Floats(group.heads, group.head_size), group.heads,
                                    group.head_size)),
        softmax_(later_sum_.weighted_values + PartialSoftmaxFloats(group.heads, group.head_size)),
        result_(result) {}

  void Run(KvWalker walker, const KvTile *following) {
    KvTile tile;
    bool more = walker.Next(&tile);
    if (!more) {
      ResetPartial(group_, result_);
    }
    for (sum_ = result_; more; sum_ = later_sum_) {
      ResetSum();
      for (int64_t positions = 0; more && positions < kPositionsPerSum; positions += kTilePositions) {
        KvTile next = following != nullptr ? *following : tile;
        more = walker.Next(&next);
        for (int64_t b = 0; b < blocks_; ++b) {
          kBlockKernels<T>[Heads(b) - 1].attend(Block(b), tile, next);
        }
        tile = next;
      }
      FinishSum();
    }
  }

 private:
  // Heads are dealt out evenly: 9 make 4 and 5.
  int64_t FirstHead(int64_t block) const { return block * group_.heads / blocks_; }
  int64_t Heads(int64_t block) const { return FirstHead(block + 1) - FirstHead(block); }
  float *SoftmaxMemory(int64_t block) const { return softmax_ + block * 2 * kScratchAlignment; }

  BlockTask Block(int64_t block) const {
    const int64_t head = FirstHead(block);
    return {query_.Row(head),
            pitch_,
            static_cast<int>(group_.head_size),
            group_.scale,
            query_.Terms(head),
            SoftmaxMemory(block),
            sum_.weighted_values + head * pitch_};
  }

  void ResetSum() {
    ResetPartial(group_, sum_);
    for (int64_t b = 0; b < blocks_; ++b) {
      kBlockKernels<T>[Heads(b) - 1].reset(SoftmaxMemory(b));
    }
  }

  void FinishSum() {
    for (int64_t b = 0; b < blocks_; ++b) {
      const int64_t head = FirstHead(b);
      kBlockKernels<T>[Heads(b) - 1].finish(SoftmaxMemory(b), sum_.max + head, sum_.sum + head);
    }
    if (sum_.max != result_.max) {
      MergePartial(group_, sum_, result_);
    }
  }

  const HeadGroup &group_;
  int64_t pitch_;
  int64_t blocks_;
  WideQuery query_;
  PartialSoftmax later_sum_;  // of all positions but the first kPositionsPerSum
  PartialSoftmax sum_{};      // of those at hand: this one, or the result itself
  float *softmax_;
  const PartialSoftmax &result_;
};

void Attend(const HeadGroup &group, KvWalker walker, const KvTile *following, const PartialSoftmax &result,
            float *scratch) {
  switch (group.kv_dtype) {
    case DataType::kFloat32:
      return RangeAttention<float>(group, result, scratch).Run(walker, following);
    case DataType::kFloat16:
      return RangeAttention<Half>(group, result, scratch).Run(walker, following);
    case DataType::kBFloat16:
      return RangeAttention<BFloat16>(group, result, scratch).Run(walker, following);
    case DataType::kInt8:
      return RangeAttention<int8_t>(group, result, scratch).Run(walker, following);
  }
}

// The query in fp32, one PartialSoftmax, and two vectors (maximum and sum by lane) for each block of heads,
// of which there are at most as many as heads.
int64_t AttendScratchFloats(int64_t heads, int64_t head_size) {
  return WideQuery::Floats(heads, head_size) + PartialSoftmaxFloats(heads, head_size) +
         2 * kScratchAlignment * heads;
}

// Not used by every source that includes this.
[[maybe_unused]] constexpr RangeKernels kRangeKernels = {&Attend, &MergePartial, &WriteNormalised,
                                                         &WriteZeros, &AttendScratchFloats};

}  // namespace
}  // namespace ifa::cpu
