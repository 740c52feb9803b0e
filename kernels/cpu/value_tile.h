// Adds one tile's weighted V rows to the sums of a block of query heads. Included after one vec_*.h.
#pragma once

#include <cstdint>

#include "head_block.h"
#include "kv_walker.h"
#include "tile_prefetcher.h"

namespace ifa::cpu {
namespace {

// Vectors of a row taken at a time: a power of two, so that usual head sizes divide evenly.
constexpr int ValueVectors(int heads) {
  int vectors = 8;
  while (vectors > 1 && vectors * heads > Vec::kValueAccumulators) {
    vectors /= 2;
  }
  return vectors;
}

template <int heads, typename T>
class ValueTile {
 public:
  /// sums: fp32 (heads, pitch). weights: [position][HeadBlock<heads>::kPitch].
  static void Accumulate(const KvTile &tile, const float *weights, int head_size, TilePrefetcher *prefetcher,
                         float *sums, int64_t pitch) {
    Slices<ValueVectors(heads)>(tile, weights, 0, head_size, prefetcher, sums, pitch);
  }

  static void Rescale(const float *factors, float *sums, int64_t pitch) {
    for (int h = 0; h < heads; ++h) {
      const Vec factor = Vec::Set(factors[h]);
      for (int64_t d = 0; d < pitch; d += Vec::kLanes) {
        Vec::Store(sums + h * pitch + d, Vec::Mul(Vec::Load(sums + h * pitch + d), factor));
      }
    }
  }

 private:
  static constexpr int kWeightPitch = HeadBlock<heads>::kPitch;

  // The channels from d on, in slices of `vectors` vectors, what is left in narrower ones.
  template <int vectors>
  static void Slices(const KvTile &tile, const float *weights, int d, int head_size,
                     TilePrefetcher *prefetcher, float *sums, int64_t pitch) {
    constexpr int kChannels = vectors * Vec::kLanes;
    for (; d + kChannels <= head_size; d += kChannels) {
      Slice<vectors>(tile, weights, d, prefetcher, sums, pitch,
                     [](const T *row, int i) { return Vec::Load(row + i * Vec::kLanes); });
    }
    if constexpr (vectors > 1) {
      Slices<vectors / 2>(tile, weights, d, head_size, prefetcher, sums, pitch);
    } else if (d < head_size) {
      const int left = head_size - d;
      Slice<1>(tile, weights, d, prefetcher, sums, pitch,
               [left](const T *row, int) { return Vec::LoadPartial(row, left); });
    }
  }

  template <int vectors, typename LoadValue>
  static inline __attribute__((always_inline)) void Slice(const KvTile &tile, const float *weights, int d,
                                                          TilePrefetcher *prefetcher, float *sums,
                                                          int64_t pitch, LoadValue load_value) {
    constexpr int kSliceBytes = vectors * Vec::kLanes * static_cast<int>(sizeof(T));
    Vec total[heads * vectors];
#pragma GCC unroll 24
    for (int i = 0; i < heads * vectors; ++i) {
      total[i] = Vec::Load(sums + (i / vectors) * pitch + d + (i % vectors) * Vec::kLanes);
    }
    const std::byte *row = tile.value + d * static_cast<int>(sizeof(T));
    TilePrefetcher prefetch = *prefetcher;  // a copy whose members may stay in registers
    for (int k = 0; k < tile.count; ++k) {
      prefetch.Next<kSliceBytes>();
      Vec value[vectors];
#pragma GCC unroll 8
      for (int i = 0; i < vectors; ++i) {
        value[i] = load_value(reinterpret_cast<const T *>(row), i);
      }
#pragma GCC unroll 8
      for (int h = 0; h < heads; ++h) {
        const Vec weight = Vec::Set(weights[k * kWeightPitch + h]);
#pragma GCC unroll 8
        for (int i = 0; i < vectors; ++i) {
          total[h * vectors + i] = Vec::Fma(weight, value[i], total[h * vectors + i]);
        }
      }
      row += tile.value_row_bytes;
    }
    *prefetcher = prefetch;
#pragma GCC unroll 24
    for (int i = 0; i < heads * vectors; ++i) {
      Vec::Store(sums + (i / vectors) * pitch + d + (i % vectors) * Vec::kLanes, total[i]);
    }
  }
};

}  // namespace
}  // namespace ifa::cpu
