// The device that a graph is meant for, and what the operator takes there.
#pragma once

#include <optional>

#include "passes/attention_site.h"

namespace ifa::passes {

enum class Target { kCpu, kAscend };

/// That of graphs compiled now: the one that was chosen, or MindSpore's own device.
Target CurrentTarget();

/// @return what the operator does not take on the target, or nothing.
std::optional<Refusal> CheckLimits(const AttentionSite &site, Target target);

}  // namespace ifa::passes
