// Order and time of what a core's pipes do. Every pipe of every core is a timeline whose instructions are
// numbered; a clock says of each timeline how many of them are known to be complete, and since when.
#pragma once

#include <cstdint>
#include <vector>

#include "ascendc/keywords.h"

namespace ifa::sim {

constexpr int kPipes = PIPE_ALL;
/// Timelines of one core in a clock; a power of two, so that core and pipe are easy to read off an index.
constexpr int kTimelinesOfCore = 8;
static_assert(kPipes <= kTimelinesOfCore);

struct Clock {
  std::vector<uint32_t> known;  ///< per timeline: instructions known to be complete
  double ready = 0;             ///< in cycles: when the last of them was

  explicit Clock(int cores = 0) : known(static_cast<size_t>(cores) * kTimelinesOfCore) {}

  void Join(const Clock &other) {
    for (size_t i = 0; i < known.size(); ++i) {
      known[i] = known[i] > other.known[i] ? known[i] : other.known[i];
    }
    ready = ready > other.ready ? ready : other.ready;
  }
};

inline int Timeline(int core, pipe_t pipe) { return core * kTimelinesOfCore + pipe; }
const char *PipeName(pipe_t pipe);

}  // namespace ifa::sim
