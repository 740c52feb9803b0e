// Reads memory as fast as plain loads can: the limit of a kernel that has to read all of it once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ifa::cpu::bench {

struct Span {
  const std::byte *data;
  int64_t bytes;
};

/// Reads all spans once with `threads` threads, each with `streams` places at a time (1 or 4). The threads
/// are the kernel's own and take their work as its threads do, so that both pay the same for waking and for
/// lost CPUs. Returns a number that depends on every byte.
uint64_t ReadAll(const std::vector<Span> &spans, int threads, int streams);

}  // namespace ifa::cpu::bench
