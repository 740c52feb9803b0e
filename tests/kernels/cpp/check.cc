#include "check.h"

#include <cstdio>
#include <mutex>

namespace ifa::cpu::test {
namespace {

int passed = 0;
int failed = 0;
std::mutex mutex;

}  // namespace

void Report(const std::string &name, const std::string &problem) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (problem.empty()) {
    ++passed;
    return;
  }
  ++failed;
  std::printf("FAILED %s: %s\n", name.c_str(), problem.c_str());
}

bool AllPassed() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0;
}

}  // namespace ifa::cpu::test
