#include "small_kernel.h"

#include <cstdio>

#include "sim/finding.h"

namespace ifa::sim::test {
namespace {

int passed = 0;
int failed = 0;
Tensors *current = nullptr;
int broken_line = 0;

}  // namespace

void Report(const std::string &name, const std::string &problem) {
  ++(problem.empty() ? passed : failed);
  if (!problem.empty()) {
    std::printf("FAILED %s: %s\n", name.c_str(), problem.c_str());
  }
}

bool AllPassed() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0;
}

Tensors &Current() { return *current; }

LaunchResult Run(Tensors &tensors, const LaunchOptions &options, const std::function<void()> &kernel) {
  current = &tensors;
  GlobalMemory memory;
  memory.AddInput("input", tensors.input.data(), kGlobalBytes);
  memory.AddOutput("output", tensors.output.data(), kGlobalBytes);
  memory.AddOutput("workspace", tensors.workspace.data(), kGlobalBytes);
  return Launch(memory, options, kernel);
}

void BreaksHere(int line) { broken_line = line + 1; }

void Breaks(const std::string &name, Check check, const LaunchOptions &options,
            const std::function<void(bool broken)> &kernel) {
  Tensors tensors;
  tensors.Fill<float>();
  broken_line = 0;
  try {
    Run(tensors, options, [&] { kernel(true); });
    Report(name + ", broken", std::string("no finding, expected ") + CheckName(check));
  } catch (const Finding &finding) {
    const bool is_right = finding.check() == check && finding.site().line == broken_line;
    Report(name + ", broken", is_right ? ""
                                       : std::string("expected ") + CheckName(check) + " in line " +
                                             std::to_string(broken_line) + ", got " + finding.what());
  }
  try {
    Tensors fresh;
    fresh.Fill<float>();
    Run(fresh, options, [&] { kernel(false); });
    Report(name + ", mended", "");
  } catch (const Finding &finding) {
    Report(name + ", mended", finding.what());
  }
}

LaunchOptions OneVectorCore() { return {}; }

LaunchOptions OneGroup() {
  LaunchOptions options;
  options.type = KernelType::kMixAic1_2;
  return options;
}

}  // namespace ifa::sim::test
