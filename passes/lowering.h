// From a proved site to nodes: the operands brought into the operator's shapes, and the fused operator
// in place of the value matmul. Everything that the operator demands is inserted or refused here.
#pragma once

#include <variant>

#include "passes/attention_site.h"
#include "passes/score_terms.h"
#include "passes/target.h"

namespace ifa::passes {

/// Replaces the site's value matmul in its graph.
/// @return what stands there now; or why the operator can't stand for the site, which is unchanged in the
/// graph then.
std::variant<mindspore::AnfNodePtr, Refusal> Lower(const AttentionSite &site, Target target,
                                                   SharedTensors *shared);

}  // namespace ifa::passes
