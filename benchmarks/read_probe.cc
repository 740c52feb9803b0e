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

// `bytes` in `streams` parts, a line of each in turn.
template <int streams>
uint64_t ReadChunk(const std::byte *data, int64_t bytes) {
  const int64_t part = bytes / streams / kLineBytes * kLineBytes;
  Words sums[4] = {};
  for (int64_t offset = 0; offset < part; offset += kLineBytes) {
    for (int s = 0; s < streams; ++s) {
      AddLine(data + s * part + offset, sums);
    }
  }
  uint64_t total = 0;
  for (int64_t i = part * streams; i < bytes; ++i) {
    total += static_cast<uint64_t>(data[i]);
  }
  const Words sum = sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
  return total + sum[0] + sum[1];
}

}  // namespace

uint64_t ReadAll(const std::vector<Span> &spans, int threads, int streams) {
  std::vector<Span> chunks;
  for (const Span &span : spans) {
    for (int64_t offset = 0; offset < span.bytes; offset += kChunkBytes) {
      chunks.push_back({span.data + offset, std::min(kChunkBytes, span.bytes - offset)});
    }
  }
  std::atomic<size_t> next{0};
  std::atomic<uint64_t> total{0};
  ThreadPool::Instance().Run(threads, [&](int) {
    uint64_t sum = 0;
    for (size_t i = next++; i < chunks.size(); i = next++) {
      sum += streams == 1 ? ReadChunk<1>(chunks[i].data, chunks[i].bytes)
                          : ReadChunk<4>(chunks[i].data, chunks[i].bytes);
    }
    total += sum;
  });
  return total;
}

}  // namespace ifa::cpu::bench
