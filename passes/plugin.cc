// How the library meets MindSpore and Python: the pass plugin, and a C interface for ctypes.

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/decode_attention.h"
#include "mindspore/ccsrc/include/backend/common/pass_manager/pass.h"
#include "mindspore/ccsrc/include/utils/custom_pass/custom_pass_plugin.h"
#include "passes/fusion_pass.h"
#include "passes/options.h"
#include "passes/report.h"

namespace ifa::passes {
namespace {

constexpr char kPassName[] = "ifa_fusion";

std::atomic<double> seconds_in_pass{0};

class FusionPass : public mindspore::opt::Pass {
 public:
  FusionPass() : Pass(kPassName) {}
  bool Run(const mindspore::FuncGraphPtr &root) override {
    const auto start = std::chrono::steady_clock::now();
    const bool changed = FuseDecodeAttention(root);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    seconds_in_pass = seconds_in_pass + taken.count();  // MindSpore compiles one graph at a time
    return changed;
  }
};

class FusionPlugin : public mindspore::opt::CustomPassPlugin {
 public:
  std::string GetPluginName() const override { return kPassName; }
  std::vector<std::string> GetAvailablePassNames() const override { return {kPassName}; }
  std::shared_ptr<mindspore::opt::Pass> CreatePass(const std::string &name) const override {
    return name == kPassName ? std::make_shared<FusionPass>() : nullptr;
  }
};

}  // namespace
}  // namespace ifa::passes

EXPORT_CUSTOM_PASS_PLUGIN(ifa::passes::FusionPlugin)

#define IFA_API extern "C" __attribute__((visibility("default")))

/// Turns the pass on or off for graphs compiled from now on.
/// @param target an ifa::passes::TargetOption
/// @param ascendc whether graphs for Ascend call the kernel in kernels/ascendc
IFA_API void ifa_set_options(bool enabled, bool strict, int target, bool ascendc) {
  auto &options = ifa::passes::Options::Instance();
  options.strict = strict;
  options.target = static_cast<ifa::passes::TargetOption>(target);
  options.ascendc = ascendc;
  options.enabled = enabled;
}

/// The sites seen since the last call, as JSON. The caller frees the text with ifa_free.
IFA_API char *ifa_take_report() { return strdup(ifa::passes::Report::Instance().TakeJson().c_str()); }

/// That the pass has taken in this process.
IFA_API double ifa_pass_seconds() { return ifa::passes::seconds_in_pass; }

IFA_API void ifa_free(char *text) { std::free(text); }

IFA_API const char *ifa_instruction_set() {
  return ifa::cpu::InstructionSetName(ifa::cpu::BestInstructionSet());
}

IFA_API int ifa_thread_count() { return ifa::cpu::ThreadCount(); }

/// @param threads 0 returns to the default.
IFA_API void ifa_set_thread_count(int threads) { ifa::cpu::SetThreadCount(threads); }
