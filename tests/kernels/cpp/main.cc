#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <mutex>

#include "check.h"

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

}  // namespace ifa::cpu::test

// Arguments choose groups; without any, all run. An emulator that cannot fork() leaves out `process`.
int main(int argc, char **argv) {
  using namespace ifa::cpu::test;
  const struct {
    const char *name;
    void (*run)();
  } groups[] = {
      {"validation", TestValidation},
      {"plan", TestPlan},
      // Before those that start threads, so that its first fork() is of a fresh process.
      {"process", TestProcess},
      {"behaviour", TestBehaviour},
      {"shapes", TestShapes},
      {"paging", TestPaging},
      {"padding", TestPadding},
      {"quantisation", TestQuantisation},
      {"operator", TestOperatorCall},
  };
  for (int i = 1; i < argc; ++i) {
    if (std::none_of(std::begin(groups), std::end(groups),
                     [&](const auto &group) { return std::strcmp(group.name, argv[i]) == 0; })) {
      std::fprintf(stderr,
                   "'%s' is no group; allowed: validation, plan, process, behaviour, shapes, paging, "
                   "padding, quantisation, operator.\n",
                   argv[i]);
      return 2;
    }
  }
  for (const auto &group : groups) {
    const bool chosen = argc == 1 || std::any_of(argv + 1, argv + argc, [&](const char *name) {
                          return std::strcmp(group.name, name) == 0;
                        });
    if (chosen) {
      group.run();
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
