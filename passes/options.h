// The switches of the pass. Set from Python, read when a graph is compiled.
#pragma once

#include <atomic>

namespace ifa::passes {

struct Options {
  std::atomic<bool> enabled{false};
  std::atomic<bool> strict{false};  ///< keep the value of rows in which every position is masked

  static Options &Instance() {
    static Options options;
    return options;
  }
};

}  // namespace ifa::passes
