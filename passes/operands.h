// Query, key and value of an attention: which tensors they come from, and the proof that their layouts agree.
#pragma once

#include <optional>

#include "passes/attention_site.h"
#include "passes/memory_order.h"
#include "passes/steps.h"

namespace ifa::passes {

/// Finds the operands of a site whose two matmuls are known, as far upstream as they can be used without
/// moving data and hold their value at the value matmul, and fills in the site's operands, sizes, layout,
/// type and scale.
/// @return why it can't, or nothing.
std::optional<Refusal> ResolveOperands(const MatMul &score, const MatMul &value, MemoryOrder *order,
                                       AttentionSite *site);

}  // namespace ifa::passes
