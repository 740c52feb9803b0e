// The algorithm on the matrix unit of recent x86 processors (AMX), which multiplies bfloat16 and adds in
// fp32: for bfloat16 and int8 caches and groups of many query heads, whose arithmetic takes vectors longer
// than memory takes to bring K and V. Queries are exact in pieces, weights have 16 bits; subnormal numbers
// count as 0. Included after vec_avx512.h and vectorised_attention.h.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "amx_panels.h"
#include "attend_range.h"
#include "kv_walker.h"

namespace ifa::cpu {
namespace {

constexpr int kMatrixHeads = 8;  // of a block: a panel holds two pieces of each

// Panels, of two pieces each, that hold a query exactly. With the scale of an int8 key in it, it has 22 bits.
template <typename T>
constexpr int kQueryPanels = 1;
template <>
constexpr int kQueryPanels<int8_t> = 2;

// Where everything lies in the scratch memory of a range.
struct MatrixScratch {
  float *wide_query;  // of WideQuery
  float *query;       // panels (blocks, D / 32, query panels): pairs of channels by 2 pieces of 8 heads
  float *panels;      // twice two, of 32 channels of K or V
  float *weights;     // a panel: 2 pieces of 8 heads by pairs of positions
  float *raw_scores;  // (32 positions, 2 pieces of 8 heads)
  float *scores;      // (32 positions, 8 heads)
  float *sums;        // (blocks, 2 pieces of 8 heads, D)
  float *softmax;     // blocks of OnlineSoftmax
  float *sum;         // of PartialSoftmax
  int64_t floats = 0;
};

// `memory` may be null, to learn how many floats are needed.
MatrixScratch MatrixScratchIn(float *memory, int64_t heads, int64_t head_size) {
  const int64_t blocks = (heads + kMatrixHeads - 1) / kMatrixHeads;
  MatrixScratch s{};
  const auto take = [&s, memory](int64_t floats) {
    float *start = memory == nullptr ? nullptr : memory + s.floats;
    s.floats += floats;
    return start;
  };
  s.wide_query = take(WideQuery::Floats(heads, head_size));
  s.query = take(blocks * head_size / kPairChannels * kQueryPanels<int8_t> * kPanelFloats);
  s.panels = take(2 * 2 * kPanelFloats);
  s.weights = take(kPanelFloats);
  s.raw_scores = take(2 * kPanelFloats);
  s.scores = take(kPanelFloats);
  s.sums = take(blocks * 2 * kMatrixHeads * head_size);
  s.softmax = take(blocks * 2 * kScratchAlignment);
  s.sum = take(PartialSoftmaxFloats(heads, head_size));
  return s;
}

// Attention of one head group over the tiles of a walker. D is a multiple of 32.
template <typename T>
class MatrixAttention {
 public:
  MatrixAttention(const HeadGroup &group, const PartialSoftmax &result, float *scratch)
      : group_(group),
        head_size_(static_cast<int>(group.head_size)),
        blocks_((group.heads + kMatrixHeads - 1) / kMatrixHeads),
        memory_(MatrixScratchIn(scratch, group.heads, group.head_size)),
        query_(group, memory_.wide_query),
        later_sum_(PartialSoftmaxIn(memory_.sum, group.heads, group.head_size)),
        result_(result) {}

  void Run(KvWalker walker, const KvTile *following) {
    const PanelRegisters registers;
    SplitQuery();
    KvTile tile;
    bool more = walker.Next(&tile);
    if (!more) {
      ResetPartial(group_, result_);
    }
    for (sum_ = result_; more; sum_ = later_sum_) {
      ResetSums();
      for (int64_t positions = 0; more && positions < kPositionsPerSum; positions += kTilePositions) {
        KvTile next = following != nullptr ? *following : tile;
        more = walker.Next(&next);
        for (int64_t b = 0; b < blocks_; ++b) {
          AttendTile(b, tile, next);
        }
        tile = next;
      }
      FinishSum();
    }
  }

 private:
  static constexpr int kPairBytes = kPairChannels * static_cast<int>(sizeof(T));
  static constexpr int kHeadPitch = HeadBlock<kMatrixHeads>::kPitch;

  int64_t FirstHead(int64_t block) const { return block * group_.heads / blocks_; }
  int Heads(int64_t block) const { return static_cast<int>(FirstHead(block + 1) - FirstHead(block)); }
  float *Query(int64_t block) const {
    return memory_.query + block * (head_size_ / kPairChannels) * kQueryPanels<T> * kPanelFloats;
  }
  float *Sums(int64_t block) const { return memory_.sums + block * 2 * kMatrixHeads * head_size_; }
  float *Softmax(int64_t block) const { return memory_.softmax + block * 2 * kScratchAlignment; }

  // Row r of a panel holds a pair of channels, as in LoadChannels; column h head h, column 8 + h what it
  // lacks.
  void SplitQuery() {
    std::fill(memory_.query, memory_.panels, 0.0F);
    for (int64_t b = 0; b < blocks_; ++b) {
      for (int h = 0; h < Heads(b); ++h) {
        const float *row = query_.Row(FirstHead(b) + h);
        float *panels = Query(b);
        for (int d = 0; d < head_size_; d += kPairChannels) {
          __m512 first = Vec::Load(row + d).v;
          __m512 second = Vec::Load(row + d + Vec::kLanes).v;
          for (int piece = 0; piece < 2 * kQueryPanels<T>; ++piece) {
            StoreColumn(UpperHalvesLike<T>(first, second),
                        panels + piece / 2 * kPanelFloats + piece % 2 * kMatrixHeads + h);
            first = WithoutUpperHalf(first);
            second = WithoutUpperHalf(second);
          }
          panels += kQueryPanels<T> * kPanelFloats;
        }
      }
    }
  }

  static void StoreColumn(__m512i pairs, float *column) {
    alignas(64) float rows[kPanelRows];
    _mm512_store_si512(rows, pairs);
    for (int r = 0; r < kPanelRows; ++r) {
      std::memcpy(column + r * 16, rows + r, sizeof(float));
    }
  }

  void ResetSums() {
    std::fill(memory_.sums, memory_.softmax, 0.0F);
    for (int64_t b = 0; b < blocks_; ++b) {
      OnlineSoftmax<kMatrixHeads>(Softmax(b)).Reset();
    }
  }

  void AttendTile(int64_t block, const KvTile &tile, const KvTile &next) {
    TilePrefetcher prefetcher(next, head_size_ * static_cast<int64_t>(sizeof(T)));
    Scores(block, tile, &prefetcher);
    PairValues(tile, 0, memory_.panels, &prefetcher);
    FinishScores(block, tile);
    alignas(64) float rescale[kScratchAlignment];
    if (OnlineSoftmax<kMatrixHeads>(Softmax(block))
            .Update(memory_.scores, kTilePositions * kHeadPitch / Vec::kLanes, rescale)) {
      ValueTile<kMatrixHeads, T>::Rescale(rescale, Sums(block), head_size_);
      ValueTile<kMatrixHeads, T>::Rescale(rescale, Sums(block) + kMatrixHeads * head_size_, head_size_);
    }
    SplitWeights();
    AddValues(block, tile, &prefetcher);
  }

  // 32 positions by 32 channels in two panels. What stays in rows beyond the tile gives scores that are not
  // used.
  static inline __attribute__((always_inline)) void CopyKeys(const KvTile &tile, int d, float *panels,
                                                             TilePrefetcher *prefetcher) {
    const std::byte *row = tile.key + d * static_cast<int64_t>(sizeof(T));
    for (int k = 0; k < tile.count; ++k) {
      prefetcher->Next<kPairBytes>();
      _mm512_store_si512(panels + k * 16, LoadChannels(reinterpret_cast<const T *>(row)));
      row += tile.key_row_bytes;
    }
  }

  void Scores(int64_t block, const KvTile &tile, TilePrefetcher *prefetcher) {
    TilePrefetcher prefetch = *prefetcher;
    const bool in_place = std::is_same_v<T, BFloat16> && tile.count == kTilePositions;
    const float *query = Query(block);
    float *panels = memory_.panels;
    _tile_zero(0);
    _tile_zero(1);
    if (!in_place) {
      CopyKeys(tile, 0, panels, &prefetch);
    }
    for (int d = 0; d < head_size_; d += kPairChannels) {
      if (in_place) {
        const std::byte *keys = tile.key + d * static_cast<int64_t>(sizeof(T));
        _tile_loadd(2, keys, tile.key_row_bytes);
        _tile_loadd(3, keys + kPanelRows * tile.key_row_bytes, tile.key_row_bytes);
        prefetch.Next<kTilePositions * kPairBytes>();
      } else {
        if (d + kPairChannels < head_size_) {
          CopyKeys(tile, d + kPairChannels, OtherPanels(panels), &prefetch);
        }
        _tile_loadd(2, panels, kPanelRowBytes);
        _tile_loadd(3, panels + kPanelFloats, kPanelRowBytes);
        panels = OtherPanels(panels);
      }
      _tile_loadd(6, query, kPanelRowBytes);
      _tile_dpbf16ps(0, 2, 6);
      _tile_dpbf16ps(1, 3, 6);
      if constexpr (kQueryPanels<T> > 1) {
        _tile_loadd(7, query + kPanelFloats, kPanelRowBytes);
        _tile_dpbf16ps(0, 2, 7);
        _tile_dpbf16ps(1, 3, 7);
      }
      query += kQueryPanels<T> * kPanelFloats;
    }
    _tile_stored(0, memory_.raw_scores, kPanelRowBytes);
    _tile_stored(1, memory_.raw_scores + kPanelFloats, kPanelRowBytes);
    *prefetcher = prefetch;
  }

  // What was stored just now is read best a little later: two sets of panels take turns.
  float *OtherPanels(const float *panels) const {
    return panels == memory_.panels ? memory_.panels + 2 * kPanelFloats : memory_.panels;
  }

  // Adds what the pieces of the query gave, and does all that a score still needs.
  void FinishScores(int64_t block, const KvTile &tile) {
    const __m512 scale = _mm512_set1_ps(group_.scale);
    for (int k = 0; k < kTilePositions; k += 2) {
      const __m512 a = _mm512_load_ps(memory_.raw_scores + k * 16);
      const __m512 b = _mm512_load_ps(memory_.raw_scores + k * 16 + 16);
      const __m512 sum = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, _MM_SHUFFLE(1, 0, 1, 0)),
                                       _mm512_shuffle_f32x4(a, b, _MM_SHUFFLE(3, 2, 3, 2)));
      _mm512_store_ps(memory_.scores + k * kHeadPitch, _mm512_mul_ps(sum, scale));
    }
    const ScoreTerms terms = query_.Terms(FirstHead(block));
    terms.Apply<kHeadPitch>(Heads(block), tile, memory_.scores);
    std::fill(memory_.scores + tile.count * kHeadPitch, memory_.scores + kTilePositions * kHeadPitch,
              kMinusInfinity);
  }

  // Row h of the panel holds weights of head h, row 8 + h what they lack; lane 8 i + m the positions 2 m + i
  // and 2 m + i + 16.
  void SplitWeights() {
    __m512i upper[8];
    __m512i rest[8];
#pragma GCC unroll 8
    for (int m = 0; m < 8; ++m) {
      const __m512 a = _mm512_load_ps(memory_.scores + 2 * m * kHeadPitch);
      const __m512 b = _mm512_load_ps(memory_.scores + (2 * m + 16) * kHeadPitch);
      upper[m] = UpperHalves(a, b);
      rest[m] =
          UpperHalves(RoundedForUpperHalf(WithoutUpperHalf(a)), RoundedForUpperHalf(WithoutUpperHalf(b)));
    }
    HeadsToRows(upper);
    HeadsToRows(rest);
    float *panel = memory_.weights;
#pragma GCC unroll 8
    for (int h = 0; h < kMatrixHeads; ++h) {
      _mm512_store_si512(panel + h * 16, upper[h]);
      _mm512_store_si512(panel + (kMatrixHeads + h) * 16, rest[h]);
    }
  }

  // Pairs of positions, as SplitWeights has them, by 32 channels in two panels. Which 16 are in a panel is
  // UnpackChannels' concern.
  static inline __attribute__((always_inline)) void PairValues(const KvTile &tile, int d, float *panels,
                                                               TilePrefetcher *prefetcher) {
    const std::byte *channels = tile.value + d * static_cast<int64_t>(sizeof(T));
    const auto load = [&tile, channels](int position) __attribute__((always_inline)) {
      return position < tile.count
                 ? LoadChannels(reinterpret_cast<const T *>(channels + position * tile.value_row_bytes))
                 : _mm512_setzero_si512();
    };
    for (int r = 0; r < kPanelRows; ++r) {
      prefetcher->Next<2 * kPairBytes>();
      const int position = 2 * (r % 8) + r / 8;
      const __m512i first = load(position);
      const __m512i second = load(position + kPanelRows);
      _mm512_store_si512(panels + r * 16, _mm512_unpacklo_epi16(first, second));
      _mm512_store_si512(panels + kPanelFloats + r * 16, _mm512_unpackhi_epi16(first, second));
    }
  }

  void AddValues(int64_t block, const KvTile &tile, TilePrefetcher *prefetcher) {
    TilePrefetcher prefetch = *prefetcher;
    const int64_t sum_row_bytes = head_size_ * static_cast<int64_t>(sizeof(float));
    float *panels = memory_.panels;
    float *sums = Sums(block);
    _tile_loadd(7, memory_.weights, kPanelRowBytes);
    for (int d = 0; d < head_size_; d += kPairChannels) {
      if (d + kPairChannels < head_size_) {
        PairValues(tile, d + kPairChannels, OtherPanels(panels), &prefetch);
      }
      _tile_loadd(0, sums + d, sum_row_bytes);
      _tile_loadd(1, sums + d + Vec::kLanes, sum_row_bytes);
      _tile_loadd(2, panels, kPanelRowBytes);
      _tile_dpbf16ps(0, 7, 2);
      _tile_loadd(3, panels + kPanelFloats, kPanelRowBytes);
      _tile_dpbf16ps(1, 7, 3);
      _tile_stored(0, sums + d, sum_row_bytes);
      _tile_stored(1, sums + d + Vec::kLanes, sum_row_bytes);
      panels = OtherPanels(panels);
    }
    *prefetcher = prefetch;
  }

  // The sums of 32 channels, from the order of PairValues and LoadChannels to that of the channels.
  static void UnpackChannels(__m512 first, __m512 second, float *channels) {
    // The first panel had places 0 to 3 of each 8.
    const __m512i lower = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i upper = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    __m512 low = _mm512_permutex2var_ps(first, lower, second);
    __m512 high = _mm512_permutex2var_ps(first, upper, second);
    if constexpr (!std::is_same_v<T, BFloat16>) {
      const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
      const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
      const __m512 places = low;
      low = _mm512_permutex2var_ps(places, even, high);
      high = _mm512_permutex2var_ps(places, odd, high);
    }
    _mm512_storeu_ps(channels, low);
    _mm512_storeu_ps(channels + Vec::kLanes, high);
  }

  void FinishSum() {
    const int64_t pitch = PaddedHeadSize(head_size_);
    for (int64_t b = 0; b < blocks_; ++b) {
      float max[kMatrixHeads];
      float sum[kMatrixHeads];
      OnlineSoftmax<kMatrixHeads>(Softmax(b)).Finish(max, sum);
      for (int h = 0; h < Heads(b); ++h) {
        const int64_t head = FirstHead(b) + h;
        sum_.max[head] = max[h];
        sum_.sum[head] = sum[h];
        const float *upper = Sums(b) + h * head_size_;
        const float *rest = upper + kMatrixHeads * head_size_;
        for (int d = 0; d < head_size_; d += kPairChannels) {
          UnpackChannels(Vec::Add(Vec::Load(upper + d), Vec::Load(rest + d)).v,
                         Vec::Add(Vec::Load(upper + d + Vec::kLanes), Vec::Load(rest + d + Vec::kLanes)).v,
                         sum_.weighted_values + head * pitch + d);
        }
      }
    }
    if (sum_.max != result_.max) {
      MergePartial(group_, sum_, result_);
    }
  }

  const HeadGroup &group_;
  int head_size_;
  int64_t blocks_;
  MatrixScratch memory_;
  WideQuery query_;
  PartialSoftmax later_sum_;  // of all positions but the first kPositionsPerSum
  PartialSoftmax sum_{};      // of those at hand: this one, or the result itself
  const PartialSoftmax &result_;
};

// Vectors are as fast for fewer heads: the unit computes eight whatever they are.
constexpr int64_t kFewestMatrixHeads = 5;

bool HasOnlyFiniteNumbers(const HeadGroup &group, const PartialSoftmax &state) {
  const Vec infinity = Vec::Set(-kMinusInfinity);
  __mmask16 finite = 0xFFFF;
  const int64_t floats = group.heads * PaddedHeadSize(group.head_size);
  for (int64_t i = 0; i < floats; i += Vec::kLanes) {
    const __m512 x = _mm512_abs_ps(_mm512_load_ps(state.weighted_values + i));
    finite = _mm512_mask_cmp_ps_mask(finite, x, infinity.v, _CMP_LT_OQ);
  }
  return finite == 0xFFFF &&
         std::all_of(state.sum, state.sum + group.heads, [](float sum) { return sum < -kMinusInfinity; });
}

// Pieces of an infinity are not what it is, and neither unit says where a NaN came from: such a range is done
// again by vectors.
template <typename T>
void AttendByMatrices(const HeadGroup &group, const KvWalker &walker, const KvTile *following,
                      const PartialSoftmax &result, float *scratch) {
  if (group.heads >= kFewestMatrixHeads && group.head_size % kPairChannels == 0 &&
      group.dtype != DataType::kFloat32) {
    MatrixAttention<T>(group, result, scratch).Run(walker, following);
    if (HasOnlyFiniteNumbers(group, result)) {
      return;
    }
  }
  Attend(group, walker, following, result, scratch);
}

void AttendByMatricesOrVectors(const HeadGroup &group, KvWalker walker, const KvTile *following,
                               const PartialSoftmax &result, float *scratch) {
  switch (group.kv_dtype) {
    case DataType::kBFloat16:
      return AttendByMatrices<BFloat16>(group, walker, following, result, scratch);
    case DataType::kInt8:
      return AttendByMatrices<int8_t>(group, walker, following, result, scratch);
    default:
      return Attend(group, walker, following, result, scratch);
  }
}

int64_t MatrixScratchFloats(int64_t heads, int64_t head_size) {
  return std::max(AttendScratchFloats(heads, head_size), MatrixScratchIn(nullptr, heads, head_size).floats);
}

constexpr RangeKernels kMatrixRangeKernels = {&AttendByMatricesOrVectors, &MergePartial, &WriteNormalised,
                                              &WriteZeros, &MatrixScratchFloats};

}  // namespace
}  // namespace ifa::cpu
