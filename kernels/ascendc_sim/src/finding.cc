#include "sim/finding.h"

namespace ifa::sim {

const char *CheckName(Check check) {
  switch (check) {
    case Check::kBufferSize:
      return "buffer-size";
    case Check::kBufferBounds:
      return "buffer-bounds";
    case Check::kGlobalBounds:
      return "global-bounds";
    case Check::kAlignment:
      return "alignment";
    case Check::kCopyRange:
      return "copy-range";
    case Check::kVectorRange:
      return "vector-range";
    case Check::kCubeRange:
      return "cube-range";
    case Check::kCastMode:
      return "cast-mode";
    case Check::kOverlap:
      return "overlap";
    case Check::kUnwritten:
      return "unwritten";
    case Check::kQueue:
      return "queue";
    case Check::kFlagSetTwice:
      return "flag-set-twice";
    case Check::kFlagInVain:
      return "flag-in-vain";
    case Check::kFlagLeftSet:
      return "flag-left-set";
    case Check::kFlagCounter:
      return "flag-counter";
    case Check::kDeadlock:
      return "deadlock";
    case Check::kWrongCore:
      return "wrong-core";
    case Check::kOrder:
      return "order";
    case Check::kKernelType:
      return "kernel-type";
  }
  return "unknown";
}

Finding::Finding(Check check, const Site &site, const std::string &where, const std::string &problem)
    : std::runtime_error(std::string(site.file) + ":" + std::to_string(site.line) + ": [" + CheckName(check) +
                         "] " + where + ": " + problem),
      check_(check),
      site_(site) {}

}  // namespace ifa::sim
