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
#include "score_tile.h"
#include "value_tile.h"

namespace ifa::cpu {
namespace {

// The score of a masked position: finite, so that a row of nothing else is uniform.
constexpr float kMaskedScore = -1e12F;

// Positions summed in one go before they are merged into the result. The error of an fp32 sum grows with the
// square root of its length: 1e-6 here, against 4e-6 at 32,768 positions.
constexpr int64_t kPositionsPerSum = 1024;

// One block of query heads within a tile.
struct BlockTask {
  const float *query;  // fp32 (heads, pitch)
  int64_t pitch;
  int head_size;
  float scale;
  const float *key_constant;  // (heads) to be added to all scores, or null
  DataType pse_dtype;
  const std::byte *pse_shift;  // (heads, S) or null
  int64_t pse_stride;
  float *softmax;  // memory of OnlineSoftmax
  float *sums;     // (heads, pitch)
};

template <int heads>
void AddKeyConstant(const BlockTask &block, const KvTile &tile, float *scores) {
  for (int k = 0; k < tile.count; ++k) {
    for (int h = 0; h < heads; ++h) {
      scores[k * HeadBlock<heads>::kPitch + h] += block.key_constant[h];
    }
  }
}

template <int heads>
void AddPseShift(const BlockTask &block, const KvTile &tile, float *scores) {
  for (int h = 0; h < heads; ++h) {
    const int64_t row = h * block.pse_stride + tile.position;
    float shift[kTilePositions + Vec::kLanes];
    for (int k = 0; k < tile.count; k += Vec::kLanes) {
      Vec::Store(shift + k, LoadElements(block.pse_dtype, block.pse_shift, row + k, LanesAt(k, tile.count)));
    }
    for (int k = 0; k < tile.count; ++k) {
      scores[k * HeadBlock<heads>::kPitch + h] += shift[k];
    }
  }
}

template <int heads>
void ReplaceMasked(const KvTile &tile, float *scores) {
  constexpr int kPitch = HeadBlock<heads>::kPitch;
  for (int k = 0; k < tile.count; ++k) {
    if (tile.mask[k] != 0) {
      for (int h = 0; h < kPitch; ++h) {
        scores[k * kPitch + h] = kMaskedScore;
      }
    }
  }
}

template <int heads, typename T>
void AttendTile(const BlockTask &block, const KvTile &tile, const KvTile &next) {
  constexpr int kPitch = HeadBlock<heads>::kPitch;
  constexpr int kStep = HeadBlock<heads>::kVectors * Vec::kLanes;
  const int64_t row_bytes = block.head_size * static_cast<int64_t>(sizeof(T));
  alignas(64) float scores[(kTilePositions + Vec::kScoreAccumulators) * kPitch];
  ScoreTile<heads, T>::Compute(block.query, block.pitch, block.head_size, block.scale, tile,
                               RowPrefetcher(tile.value, tile.value_row_bytes, row_bytes), scores);
  if (block.key_constant != nullptr) {
    AddKeyConstant<heads>(block, tile, scores);
  }
  if (block.pse_shift != nullptr) {
    AddPseShift<heads>(block, tile, scores);
  }
  if (tile.mask != nullptr) {
    ReplaceMasked<heads>(tile, scores);
  }
  const int filled = tile.count * kPitch;
  const int lanes = (filled + kStep - 1) / kStep * kStep;
  for (int i = filled; i < lanes; ++i) {
    scores[i] = kMinusInfinity;
  }
  alignas(64) float rescale[kScratchAlignment];
  if (OnlineSoftmax<heads>(block.softmax).Update(scores, lanes / Vec::kLanes, rescale)) {
    ValueTile<heads, T>::Rescale(rescale, block.sums, block.pitch);
  }
  ValueTile<heads, T>::Accumulate(tile, scores, block.head_size,
                                  RowPrefetcher(next.key, next.key_row_bytes, row_bytes), block.sums,
                                  block.pitch);
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
        query_(scratch),
        sum_(PartialSoftmaxIn(scratch + group.heads * pitch_, group.heads, group.head_size)),
        softmax_(scratch + group.heads * pitch_ + PartialSoftmaxFloats(group.heads, group.head_size)),
        key_constant_(softmax_ + 2 * kScratchAlignment * group.heads),
        result_(result) {}

  void Run(KvWalker walker) {
    WidenQuery();
    ResetPartial(group_, result_);
    KvTile tile;
    bool more = walker.Next(&tile);
    while (more) {
      ResetSum();
      for (int64_t positions = 0; more && positions < kPositionsPerSum; positions += kTilePositions) {
        KvTile next = tile;
        more = walker.Next(&next);
        for (int64_t b = 0; b < blocks_; ++b) {
          kBlockKernels<T>[Heads(b) - 1].attend(Block(b), tile, next);
        }
        tile = next;
      }
      AddSumToResult();
    }
  }

 private:
  // Heads are dealt out evenly: 9 make 4 and 5.
  int64_t FirstHead(int64_t block) const { return block * group_.heads / blocks_; }
  int64_t Heads(int64_t block) const { return FirstHead(block + 1) - FirstHead(block); }
  float *SoftmaxMemory(int64_t block) const { return softmax_ + block * 2 * kScratchAlignment; }

  BlockTask Block(int64_t block) const {
    const int64_t head = FirstHead(block);
    const auto *pse_shift = static_cast<const std::byte *>(group_.pse_shift);
    return {query_ + head * pitch_,
            pitch_,
            static_cast<int>(group_.head_size),
            group_.scale,
            add_key_constant_ ? key_constant_ + head : nullptr,
            group_.dtype,
            pse_shift == nullptr ? nullptr : pse_shift + head * group_.pse_stride * ElementSize(group_.dtype),
            group_.pse_stride,
            SoftmaxMemory(block),
            sum_.weighted_values + head * pitch_};
  }

  // q . (k + offset) * scale = (q * scale) . k + (q * scale) . offset: the scale goes into the query, and the
  // last term is the same for every position.
  void WidenQuery() {
    const Quantisation &key = group_.key_quantisation;
    for (int64_t h = 0; h < group_.heads; ++h) {
      float *row = query_ + h * pitch_;
      Vec constant = Vec::Zero();
      for (int64_t d = 0; d < pitch_; d += Vec::kLanes) {
        Vec::Store(row + d, Vec::Zero());
      }
      for (int64_t d = 0; d < group_.head_size; d += Vec::kLanes) {
        const int lanes = LanesAt(d, group_.head_size);
        Vec x = LoadElements(group_.dtype, group_.query, h * group_.query_stride + d, lanes);
        if (key.scale != nullptr) {
          x = Vec::Mul(x, LoadParameter(key, key.scale, d, lanes));
        }
        if (key.offset != nullptr) {
          constant = Vec::Fma(x, LoadParameter(key, key.offset, d, lanes), constant);
        }
        Vec::Store(row + d, x);
      }
      KeepKeyConstant(h, Vec::Mul(SumOverPositions<1>(constant), Vec::Set(group_.scale)));
    }
  }

  // What is added to every score of a head changes no weight, and would only cost digits. But a masked score
  // is -1e12 whatever the others are, so a constant that comes near it counts, and so does one that is not
  // finite.
  void KeepKeyConstant(int64_t head, Vec constant) {
    Vec::StorePartial(key_constant_ + head, constant, 1);
    float &x = key_constant_[head];
    if (x > 0.1F * kMaskedScore && x < -kMinusInfinity) {
      x = 0.0F;
    } else {
      add_key_constant_ = true;
    }
  }

  void ResetSum() {
    ResetPartial(group_, sum_);
    for (int64_t b = 0; b < blocks_; ++b) {
      kBlockKernels<T>[Heads(b) - 1].reset(SoftmaxMemory(b));
    }
  }

  void AddSumToResult() {
    for (int64_t b = 0; b < blocks_; ++b) {
      const int64_t head = FirstHead(b);
      kBlockKernels<T>[Heads(b) - 1].finish(SoftmaxMemory(b), sum_.max + head, sum_.sum + head);
    }
    MergePartial(group_, sum_, result_);
  }

  const HeadGroup &group_;
  int64_t pitch_;
  int64_t blocks_;
  float *query_;
  PartialSoftmax sum_;
  float *softmax_;
  float *key_constant_;  // by head, 0 where it changes nothing
  bool add_key_constant_ = false;
  const PartialSoftmax &result_;
};

void Attend(const HeadGroup &group, KvWalker walker, const PartialSoftmax &result, float *scratch) {
  switch (group.kv_dtype) {
    case DataType::kFloat32:
      return RangeAttention<float>(group, result, scratch).Run(walker);
    case DataType::kFloat16:
      return RangeAttention<Half>(group, result, scratch).Run(walker);
    case DataType::kBFloat16:
      return RangeAttention<BFloat16>(group, result, scratch).Run(walker);
    case DataType::kInt8:
      return RangeAttention<int8_t>(group, result, scratch).Run(walker);
  }
}

constexpr RangeKernels kRangeKernels = {&Attend, &MergePartial, &WriteNormalised, &WriteZeros};

}  // namespace
}  // namespace ifa::cpu
