// Reads memory as fast as loads and prefetches can: the limit of a kernel that has to read all of it once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ifa::cpu::bench {

struct Span {
  const std::byte *data;
  int64_t bytes;
};

/// How a thread goes through what it reads. Which one is fastest differs from machine to machine.
enum class ReadPattern : int64_t {
  kOnePlace,
  kFourPlaces,             ///< a line of each in turn
  kFourPlacesPrefetching,  ///< with prefetches 1 KiB ahead
};

/// Reads all spans once with `threads` threads. The threads are the kernel's own and take their work as its
/// threads do, so that both pay the same for waking and for lost CPUs. Returns a number that depends on every
/// byte.
uint64_t ReadAll(const std::vector<Span> &spans, int threads, ReadPattern pattern);

}  // namespace ifa::cpu::bench
