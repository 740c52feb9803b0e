// The device that a graph is meant for, the operator that attention becomes there, and what it takes.
#pragma once

#include <optional>

#include "passes/attention_site.h"

namespace ifa::passes {

/// kAscendC: on Ascend, by the kernel in kernels/ascendc.
enum class Target { kCpu, kAscend, kAscendC };

/// That of graphs compiled now: the one that was chosen, or MindSpore's own device.
Target CurrentTarget();

/// The primitive that stands for attention on the target.
const char *FusedOperator(Target target);

/// @return what the operator does not take on the target, or nothing.
std::optional<Refusal> CheckLimits(const AttentionSite &site, Target target);

}  // namespace ifa::passes
