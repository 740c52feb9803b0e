// The switches of the pass. Set from Python, read when a graph is compiled.
#pragma once

#include <atomic>

namespace ifa::passes {

/// The device that graphs are meant for; kDevice is the one that MindSpore runs on.
enum class TargetOption : int { kDevice = 0, kCpu = 1, kAscend = 2 };

struct Options {
  std::atomic<bool> enabled{false};
  std::atomic<bool> strict{false};  ///< keep the value of rows in which every position is masked
  std::atomic<TargetOption> target{TargetOption::kDevice};
  std::atomic<bool> ascendc{false};  ///< on Ascend, call the kernel in kernels/ascendc instead of CANN's

  static Options &Instance() {
    static Options options;
    return options;
  }
};

}  // namespace ifa::passes
