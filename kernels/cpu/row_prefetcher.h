// Brings rows into the cache while something else computes: this tile's V during the scores, the next tile's
// K during the sum of values. Memory and arithmetic overlap far better than by the hardware's prefetchers
// alone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ifa::cpu {
namespace {

constexpr int kCacheLineBytes = 64;

/// Takes the lines in the order of their addresses, so that the hardware's prefetchers see a stream and run
/// ahead of it.
class RowPrefetcher {
 public:
  /// Rows of `length` bytes, each `stride` bytes from the next. Where they end need not be known: a prefetch
  /// beyond is useless but harmless.
  RowPrefetcher(const std::byte *first, int64_t stride, int64_t length)
      : row_(first), stride_(stride), length_(length) {}

  /// The next `lines` lines.
  template <int lines>
  inline __attribute__((always_inline)) void Next() {
#pragma GCC unroll 16
    for (int i = 0; i < lines; ++i) {
      __builtin_prefetch(row_ + offset_, 0, 3);
      offset_ += kCacheLineBytes;
      const bool at_end = offset_ >= length_;
      row_ += at_end ? stride_ : 0;
      offset_ = at_end ? 0 : offset_;
    }
  }

 private:
  const std::byte *row_;
  int64_t stride_;
  int64_t length_;
  int64_t offset_ = 0;
};

}  // namespace
}  // namespace ifa::cpu
