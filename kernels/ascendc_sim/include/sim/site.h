// The line of the kernel that made a call.
#pragma once

namespace ifa::sim {

struct Site {
  const char *file = "";
  int line = 0;

  /// As a default argument of an interface: the line that calls the interface.
  static constexpr Site Here(const char *file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

}  // namespace ifa::sim
