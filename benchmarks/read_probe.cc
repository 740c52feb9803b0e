#include "read_probe.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "thread_pool.h"

namespace ifa::cpu::bench {
namespace {

// Taken by a thread at a time: about 30 us of reading, as the kernel's tasks of a call that is limited by
// memory.
constexpr int64_t kChunkBytes = 256 * 1024;
constexpr int64_t kLineBytes = 64;

using Words = uint64_t __attribute__((vector_size(16)));

inline __attribute__((always_inline)) void AddLine(const std::byte *line, Words *sums) {
  Words words[4];
  std::memcpy(words, line, sizeof(words));
  for (int i = 0; i < 4; ++i) {
    sums[i] ^= words[i];
  }
}

// Measured best on a 4th generation Xeon, where it is a fifth faster than without.
constexpr int64_t kPrefetchBytes = 1024;

// `bytes` in `places` parts, a line of each in turn.
template <int places, bool prefetching>
uint64_t ReadChunk(const std::byte *data, int64_t bytes) {
  const int64_t part = bytes / places / kLineBytes * kLineBytes;
  Words sums[4] = {};
  for (int64_t offset = 0; offset < part; offset += kLineBytes) {
    for (int p = 0; p < places; ++p) {
      const std::byte *line = data + p * part + offset;
      if constexpr (prefetching) {
        __builtin_prefetch(line + kPrefetchBytes);
      }
      AddLine(line, sums);
    }
  }
  uint64_t total = 0;
  for (int64_t i = part * places; i < bytes; ++i) {
    total += static_cast<uint64_t>(data[i]);
  }
  const Words sum = sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
  return total + sum[0] + sum[1];
}

}  // namespace

uint64_t ReadAll(const std::vector<Span> &spans, int threads, ReadPattern pattern) {
  std::vector<Span> chunks;
  for (const Span &span : spans) {
    for (int64_t offset = 0; offset < span.bytes; offset += kChunkBytes) {
      chunks.push_back({span.data + offset, std::min(kChunkBytes, span.bytes - offset)});
    }
  }
  const auto read = pattern == ReadPattern::kOnePlace     ? ReadChunk<1, false>
                    : pattern == ReadPattern::kFourPlaces ? ReadChunk<4, false>
                                                          : ReadChunk<4, true>;
  std::atomic<size_t> next{0};
  std::atomic<uint64_t> total{0};
  ThreadPool::Instance().Run(threads, [&](int) {
    uint64_t sum = 0;
    for (size_t i = next++; i < chunks.size(); i = next++) {
      sum += read(chunks[i].data, chunks[i].bytes);
    }
    total += sum;
  });
  return total;
}

}  // namespace ifa::cpu::bench
