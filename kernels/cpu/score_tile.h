// Scores of one tile: scale * dot(query, key) for a block of query heads, each K row read once. Included
// after one vec_*.h.
#pragma once

#include <cstdint>

#include "head_block.h"
#include "kv_walker.h"
#include "tile_prefetcher.h"

namespace ifa::cpu {
namespace {

template <int heads, typename T>
class ScoreTile {
 public:
  static constexpr int kPitch = HeadBlock<heads>::kPitch;
  static constexpr int kPositions = HeadBlock<heads>::kScorePositions;

  /// query: fp32 (heads, query_pitch), zero beyond head_size. scores: [position][kPitch], written up to
  /// `count` rounded up to kPositions; what belongs to no position or head has no meaning.
  static void Compute(const float *query, int64_t query_pitch, int head_size, float scale, const KvTile &tile,
                      TilePrefetcher *prefetcher, float *scores) {
    TilePrefetcher prefetch = *prefetcher;
    int first = 0;
    do {  // a tile has a position
      const T *rows[kPositions];
#pragma GCC unroll 16
      for (int k = 0; k < kPositions; ++k) {
        // Beyond the end the last row again: always readable.
        const int row = first + k < tile.count ? first + k : tile.count - 1;
        rows[k] = reinterpret_cast<const T *>(tile.key + row * tile.key_row_bytes);
      }
      Dots(query, query_pitch, head_size, scale, rows, &prefetch, scores + first * kPitch);
      first += kPositions;
    } while (first < tile.count);
    *prefetcher = prefetch;
  }

 private:
  static constexpr int kAccumulators = kPositions * kPitch;
  static constexpr int kLineElements = kCacheLineBytes / static_cast<int>(sizeof(T));

  static inline __attribute__((always_inline)) void Dots(const float *query, int64_t query_pitch,
                                                         int head_size, float scale, const T *const *rows,
                                                         TilePrefetcher *prefetcher, float *scores) {
    Vec sums[kAccumulators];
#pragma GCC unroll 16
    for (int i = 0; i < kAccumulators; ++i) {
      sums[i] = Vec::Zero();
    }
    int d = 0;
    for (; d + kLineElements <= head_size; d += kLineElements) {
      prefetcher->Next<kPositions * kCacheLineBytes>();
#pragma GCC unroll 16
      for (int u = 0; u < kLineElements; u += Vec::kLanes) {
        Multiply(query + d + u, query_pitch, sums, [&](int k) { return Vec::Load(rows[k] + d + u); });
      }
    }
    if (d < head_size) {
      prefetcher->Next<kPositions * kCacheLineBytes>();
    }
    for (; d + Vec::kLanes <= head_size; d += Vec::kLanes) {
      Multiply(query + d, query_pitch, sums, [&](int k) { return Vec::Load(rows[k] + d); });
    }
    if (d < head_size) {
      Multiply(query + d, query_pitch, sums,
               [&](int k) { return Vec::LoadPartial(rows[k] + d, head_size - d); });
    }
#pragma GCC unroll 16
    for (int i = 0; i < kAccumulators; i += Vec::kLanes) {
      Vec::Store(scores + i, Vec::Mul(Vec::SumLanes(sums + i), Vec::Set(scale)));
    }
  }

  template <typename LoadKey>
  static inline __attribute__((always_inline)) void Multiply(const float *query, int64_t query_pitch,
                                                             Vec *sums, LoadKey load_key) {
    // The fewer of keys and queries wait in registers while the others pass.
    if constexpr (kPositions <= heads) {
      Vec keys[kPositions];
#pragma GCC unroll 16
      for (int k = 0; k < kPositions; ++k) {
        keys[k] = load_key(k);
      }
#pragma GCC unroll 8
      for (int h = 0; h < heads; ++h) {
        const Vec row = Vec::Load(query + h * query_pitch);
#pragma GCC unroll 16
        for (int k = 0; k < kPositions; ++k) {
          sums[k * kPitch + h] = Vec::Fma(row, keys[k], sums[k * kPitch + h]);
        }
      }
    } else {
      Vec queries[heads];
#pragma GCC unroll 8
      for (int h = 0; h < heads; ++h) {
        queries[h] = Vec::Load(query + h * query_pitch);
      }
#pragma GCC unroll 16
      for (int k = 0; k < kPositions; ++k) {
        const Vec key = load_key(k);
#pragma GCC unroll 8
        for (int h = 0; h < heads; ++h) {
          sums[k * kPitch + h] = Vec::Fma(queries[h], key, sums[k * kPitch + h]);
        }
      }
    }
  }
};

}  // namespace
}  // namespace ifa::cpu
