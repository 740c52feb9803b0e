#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <string>

#include "check.h"
#include "problem.h"
#include "processor.h"

// Arguments choose groups, or leave out those with a minus before them; without any, all run.
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
  const auto given = [&](const std::string &argument) {
    return std::any_of(argv + 1, argv + argc, [&](const char *word) { return argument == word; });
  };
  const bool chooses = std::any_of(argv + 1, argv + argc, [](const char *word) { return word[0] != '-'; });
  for (int i = 1; i < argc; ++i) {
    const char *name = argv[i] + (argv[i][0] == '-' ? 1 : 0);
    if (std::none_of(std::begin(groups), std::end(groups),
                     [&](const auto &group) { return std::strcmp(group.name, name) == 0; })) {
      std::fprintf(stderr, "'%s' is no group; allowed:", name);
      for (const auto &group : groups) {
        std::fprintf(stderr, " %s", group.name);
      }
      std::fprintf(stderr, "\n");
      return 2;
    }
  }
  for (const auto &group : groups) {
    if ((!chooses || given(group.name)) && !given(std::string("-") + group.name)) {
      group.run();
    }
  }
  const auto usable = UsableInstructionSets();
  std::string tested;
  for (const auto isa : ifa::cpu::kInstructionSets) {
    const char *name = ifa::cpu::InstructionSetName(isa);
    const bool is_usable = std::count(usable.begin(), usable.end(), isa) == 1;
    tested += is_usable ? std::string(" ") + name : "";
    Report(name, is_usable || !ProcessorHas(isa) ? "" : "the processor has it, but the core does not use it");
  }
  std::printf("instruction sets:%s\n", tested.c_str());
  return AllPassed() ? 0 : 1;
}
