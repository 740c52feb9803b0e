// Brings the next tile into the cache while this one is computed. Memory and arithmetic overlap far better
// than by the hardware's prefetchers alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kv_walker.h"

namespace ifa::cpu {
namespace {

constexpr int kCacheLineBytes = 64;

/// Takes a line of each half of the K rows and of the V rows in turn: four streams of rising addresses,
/// mostly in four pages, bring up to a third more bytes a second than one, because the hardware's prefetchers
/// work page by page.
class TilePrefetcher {
 public:
  /// Rows of `row_bytes` bytes. The end of the tile need not be kept to: a prefetch beyond it is useless but
  /// harmless.
  TilePrefetcher(const KvTile &tile, int64_t row_bytes)
      : key_(tile.key),
        value_(tile.value),
        key_half_(tile.count / 2 * tile.key_row_bytes),
        value_half_(tile.count / 2 * tile.value_row_bytes),
        row_end_((row_bytes + kCacheLineBytes - 1) / kCacheLineBytes * kCacheLineBytes),
        key_skip_(tile.key_row_bytes - row_end_),
        value_skip_(tile.value_row_bytes - row_end_) {}

  /// To be called where `bytes` bytes of the present tile are read.
  template <int bytes>
  inline __attribute__((always_inline)) void Next() {
    if constexpr (bytes % kStepBytes != 0) {
      due_ += bytes % kStepBytes;
      if (due_ >= kStepBytes) {
        due_ -= kStepBytes;
        Step();
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < bytes / kStepBytes; ++i) {
      Step();
    }
  }

 private:
  static constexpr int kStepBytes = 4 * kCacheLineBytes;

  inline __attribute__((always_inline)) void Step() {
    __builtin_prefetch(key_);
    __builtin_prefetch(value_);
    __builtin_prefetch(key_ + key_half_);
    __builtin_prefetch(value_ + value_half_);
    key_ += kCacheLineBytes;
    value_ += kCacheLineBytes;
    offset_ += kCacheLineBytes;
    if (offset_ == row_end_) {
      key_ += key_skip_;
      value_ += value_skip_;
      offset_ = 0;
    }
  }

  const std::byte *key_;
  const std::byte *value_;
  int64_t key_half_;
  int64_t value_half_;
  int64_t row_end_;  // of row_bytes rounded up to lines
  int64_t key_skip_;
  int64_t value_skip_;
  int64_t offset_ = 0;
  int due_ = 0;
};

}  // namespace
}  // namespace ifa::cpu
