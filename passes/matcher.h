// From a softmax to the attention around it: up to the score matmul, down to the value matmul, and out to the
// tensors that query, key and value come from.
#pragma once

#include <optional>

#include "passes/attention_site.h"
#include "passes/memory_order.h"

namespace ifa::passes {

struct Match {
  AttentionSite site;  ///< with a refusal, as much of it as was found until then
  std::optional<Refusal> refusal;
};

/// @param root of a softmax, spelled out or not.
/// @param strict rows in which every position is masked must keep their value.
/// @return nothing for a softmax of something else, and for what is no softmax.
std::optional<Match> MatchAttention(const mindspore::CNodePtr &root, bool strict, MemoryOrder *order);

}  // namespace ifa::passes
